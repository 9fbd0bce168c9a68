"""Lung fields: the published layout of the network, its arithmetic by hand, masks and boxes."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import medfm.encoders.pspnet as pspnet
from medfm.core.errors import ReadError, WeightsError
from medfm.encoders.lungs import LUNGS, STRUCTURES, largest_part, load_lung_network, lung_field, lung_masks
from medfm.encoders.pspnet import PSPNet

# SHA-256 over the sorted lines "name shape" of torchxrayvision 1.5.7's own class with 14 structures.
LAYOUT = "48085233da3707fcca407bc566a261abdc3106763030685f335d78f200008225"
TINY = functools.partial(PSPNet, width=2, depths=(2, 1, 2, 1))


class Dark(torch.nn.Module):
    """Calls dark pixels of the left and right half lungs; the patient's right is at the left."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        grey = batch[:, 0] * 0.229 + 0.485
        logits = torch.full((len(batch), len(STRUCTURES), 512, 512), -1.0)
        left = torch.arange(512) >= 256
        dark = (grey > 0.05) & (grey < 0.4)
        logits[:, LUNGS[0]][dark & left] = 1.0
        logits[:, LUNGS[1]][dark & ~left] = 1.0
        return logits


def chest(rows: int = 120, columns: int = 100, *, lungs: str = "LR") -> np.ndarray:
    """A bright body with dark lungs: columns 60 to 79 and 20 to 39 of 100, rows 30 to 89 of 120."""
    picture = np.full((rows, columns), 0.8, np.float32)
    high, wide = rows // 4, columns // 5
    for side, start in (("R", wide), ("L", 3 * wide)):
        if side in lungs:
            picture[high : 3 * high, start : start + wide] = 0.2
    return picture


def filled(network: torch.nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """Values for every tensor, of a size that neither dies out nor grows."""
    rng = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in network.state_dict().items():
        values = torch.rand(tensor.shape, generator=rng)
        if tensor.ndim == 4:
            values = (values - 0.5) * (12 / tensor[0].numel()) ** 0.5
        elif not tensor.is_floating_point():
            values = torch.tensor(5)
        elif name.endswith(("bias", "running_mean")):
            values = values - 0.5
        else:
            values = values + 0.5
        state[name] = values
    return state


def test_names_and_shapes_are_those_published() -> None:
    with torch.device("meta"):
        network = PSPNet(len(STRUCTURES))
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in network.state_dict().items())
    assert len(lines) == 676 and sum(p.numel() for p in network.parameters()) == 68_068_316
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == LAYOUT
    assert len(STRUCTURES) == 14 and [STRUCTURES[i] for i in LUNGS] == ["left lung", "right lung"]


def by_hand(state: dict[str, torch.Tensor], x: torch.Tensor, depths: tuple[int, ...]) -> torch.Tensor:
    """The network from its published names, with functions only."""

    def unit(name: str, x: torch.Tensor, stride: int = 1, dilation: int = 1) -> torch.Tensor:
        kind = "cbr_unit" if f"{name}.cbr_unit.0.weight" in state else "cb_unit"
        weight = state[f"{name}.{kind}.0.weight"]
        x = functional.conv2d(x, weight, None, stride, dilation * (weight.shape[-1] // 2), dilation)
        mean, var, scale, shift = (
            state[f"{name}.{kind}.1.{part}"][None, :, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / torch.sqrt(var + 1e-5) * scale + shift
        return x.clamp(min=0) if kind == "cbr_unit" else x

    size = x.shape[-2:]
    for name, stride in (("1_1", 2), ("1_2", 1), ("1_3", 1)):
        x = unit(f"convbnrelu{name}", x, stride)
    x = functional.max_pool2d(x, 3, 2, 1)
    for stage, stride, dilation in ((2, 1, 1), (3, 2, 1), (4, 1, 2), (5, 1, 4)):
        for block in range(depths[stage - 2]):
            name = f"res_block{stage}.layers.{block}"
            short = unit(f"{name}.cb4", x, stride) if block == 0 else x
            inner = unit(f"{name}.cbr2", unit(f"{name}.cbr1", x), stride if block == 0 else 1, dilation)
            x = (unit(f"{name}.cb3", inner) + short).clamp(min=0)
    parts = [x]
    for place, pool in enumerate((6, 3, 2, 1)):
        side = x.shape[-1] // pool
        fields_across = x.shape[-1] // side  # 6 becomes 7 where sides of 2 fit seven times into 14
        fields = [
            [x[..., r * side : (r + 1) * side, c * side : (c + 1) * side].mean((-1, -2)) for c in range(fields_across)]
            for r in range(fields_across)
        ]
        small = torch.stack([torch.stack(row, -1) for row in fields], -2)
        narrow = unit(f"pyramid_pooling.path_module_list.{place}", small)
        parts.append(functional.interpolate(narrow, x.shape[-2:], mode="bilinear"))
    x = unit("cbr_final", torch.cat(parts, 1))
    x = functional.conv2d(x, state["classification.weight"], state["classification.bias"])
    return functional.interpolate(x, size, mode="bilinear")


def test_the_arithmetic_is_that_of_the_layout() -> None:
    network = TINY(14).eval()
    state = filled(network)
    network.load_state_dict(state)
    x = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        got, expected = network(x), by_hand(state, x, (2, 1, 2, 1))
    assert got.shape == (2, 14, 112, 112) and float(expected.std()) > 0.01
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pspnet, "PSPNet", TINY)


@pytest.mark.parametrize("prefix", ["module.", "", "model."])
@pytest.mark.usefixtures("tiny")
def test_the_published_nesting_loads(tmp_path: Path, prefix: str) -> None:
    state = filled(TINY(14), 3)
    torch.save({f"{prefix}{name}": tensor for name, tensor in state.items()}, tmp_path / "w.pth")
    network = load_lung_network(tmp_path / "w.pth")
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, state[name])


@pytest.mark.usefixtures("tiny")
def test_other_weights_are_refused(tmp_path: Path) -> None:
    state = filled(TINY(14))
    file = tmp_path / "w.pth"
    torch.save({name: tensor for name, tensor in state.items() if "aux" not in name}, file)
    with pytest.raises(WeightsError, match="not the segmentation network") as error:
        load_lung_network(file)
    assert "aux_cls.bias" in str(error.value) and "pspnet_chestxray" in str(error.value.expected)
    torch.save({**state, "cbr_final.cbr_unit.0.weight": state["cbr_final.cbr_unit.0.weight"] * np.nan}, file)
    with pytest.raises(WeightsError, match="not finite"):
        load_lung_network(file)
    torch.save(filled(TINY(3)), file)
    with pytest.raises(WeightsError, match="classification"):
        load_lung_network(file)
    file.write_text("no weights")
    with pytest.raises(WeightsError):
        load_lung_network(file)


@pytest.mark.parametrize(("rows", "columns"), [(120, 100), (100, 120), (512, 512), (700, 400), (1100, 1000)])
def test_masks_lie_on_the_radiographs_own_grid(rows: int, columns: int) -> None:
    picture = chest(rows, columns)
    masks = lung_masks(picture, Dark())
    assert masks.shape == (2, rows, columns) and masks.dtype == bool
    slack = max(rows, columns) / 512 + 2
    for mask, start in zip(masks, (3 * (columns // 5), columns // 5), strict=True):
        true = np.zeros_like(mask)
        true[rows // 4 : 3 * (rows // 4), start : start + columns // 5] = True
        edge = 2 * slack * (rows / 2 + columns / 5)
        assert int((mask ^ true).sum()) <= edge
    field = lung_field(masks, margin=0.0)
    assert field.seen == "both" and field.box is not None
    expected = (rows // 4, columns // 5, 3 * (rows // 4), 4 * (columns // 5))
    np.testing.assert_allclose(field.box, expected, atol=slack)


def test_grey_of_eight_bits_and_other_arrays() -> None:
    eight = np.rint(chest() * 255).astype(np.uint8)
    np.testing.assert_array_equal(lung_masks(eight, Dark()), lung_masks((eight / np.float32(255)), Dark()))
    for wrong in (np.zeros((3, 4, 5), np.float32), np.full((9, 9), np.nan, np.float32), np.zeros((0, 3), np.float32)):
        with pytest.raises(ReadError):
            lung_masks(wrong, Dark())


@pytest.mark.parametrize(("lungs", "seen"), [("LR", "both"), ("L", "one"), ("R", "one"), ("", "none")])
def test_one_lung_or_none_keeps_the_radiograph_whole(lungs: str, seen: str) -> None:
    field = lung_field(lung_masks(chest(lungs=lungs), Dark()))
    assert field.seen == seen and (field.box is not None) == (seen == "both")
    assert [share > 0.05 for share in field.shares] == ["L" in lungs, "R" in lungs]


def test_a_lung_that_fills_the_picture_is_none() -> None:
    masks = np.zeros((2, 40, 40), bool)
    masks[0] = True
    masks[1, 5:15, 5:15] = True
    assert lung_field(masks).seen == "one"


def test_specks_do_not_widen_the_box() -> None:
    masks = np.zeros((2, 100, 100), bool)
    masks[0, 30:70, 55:80] = masks[1, 25:70, 20:45] = True
    clean = lung_field(masks)
    masks[0, 2:4, 95:98] = masks[1, 95:99, 1] = True
    assert lung_field(masks) == clean
    # 45 rows and 60 columns, a twentieth of them (2.25 and 3) on every side.
    assert clean.box == (23, 17, 72, 83)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_boxes_hold_both_lungs_and_stay_inside(data: st.DataObject) -> None:
    rows, columns = data.draw(st.integers(20, 60)), data.draw(st.integers(20, 60))
    masks = np.zeros((2, rows, columns), bool)
    for mask in masks:
        top, left = data.draw(st.integers(0, rows - 8)), data.draw(st.integers(0, columns - 8))
        high, wide = (data.draw(st.integers(8, 14)) for _ in range(2))
        mask[top : top + high, left : left + wide] = True
    margin = data.draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]))
    field = lung_field(masks, margin)
    assert field.shares == pytest.approx((masks[0].mean(), masks[1].mean()))
    assert field.seen == "both" and field.box is not None
    top, left, bottom, right = field.box
    assert 0 <= top < bottom <= rows and 0 <= left < right <= columns
    inside = np.zeros((rows, columns), bool)
    inside[top:bottom, left:right] = True
    assert inside[masks.any(0)].all()
    tight = lung_field(masks, 0.0).box
    assert tight is not None and all(tight[i] >= field.box[i] for i in (0, 1))


def test_the_largest_part_is_taken_by_touching_sides() -> None:
    mask = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]], bool)
    np.testing.assert_array_equal(largest_part(mask), np.array([[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]], bool))
    empty = np.zeros((3, 3), bool)
    np.testing.assert_array_equal(largest_part(empty), empty)
