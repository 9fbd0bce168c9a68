"""SwinUNETR's encoder: MONAI's own values, the published layout, and tables that are no weights."""

import copy

import numpy as np
import pytest
import torch

from medfm.core.errors import ConfigError
from medfm.encoders.card import Card
from medfm.encoders.families import family_args
from medfm.encoders.keymaps import match
from medfm.encoders.published import load_published, plain_shapes
from medfm.encoders.registry import get_card
from medfm.encoders.swin_unetr import build_swin, plain_names
from medfm.testing import synthetic_state

pytest.importorskip("monai")
pytest.importorskip("einops")
SIZES = {"width": 12, "depths": [1, 2, 1, 1], "heads": [1, 2, 2, 3], "window": 3}
CARD = get_card("swinunetr-encoder")


def batch(side: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 1, side, side, side, generator=torch.Generator().manual_seed(seed))


def small_card() -> Card:
    spec = CARD.spec.to_dict()
    spec["architecture"]["args"] = SIZES
    spec |= {"parameters": None, "embedding": {"what": "pooled", "dim": 192}, "input": {"shape": [1, 32, 32, 32]}}
    header = CARD.header.model_copy(update={"medfm": type(CARD.spec).model_validate(spec)})
    return Card(CARD.path, header, CARD.prose, CARD.sha256)


def published_name(plain: str) -> str:
    """As MONAI's loader reads names (SwinTransformerBlock.load_from): fc1 and fc2 for linear1 and linear2."""
    return "module." + plain.replace(".mlp.linear", ".mlp.fc")


def published_file(shapes: dict[str, tuple[int, ...]], extra: bool = True) -> dict[str, dict[str, torch.Tensor]]:
    """A checkpoint in the published layout, with what else it holds."""
    state = {published_name(plain): tensor for plain, tensor in synthetic_state(shapes).items()}
    if extra:
        for plain in shapes:
            if plain.endswith("relative_position_bias_table"):
                name = published_name(plain).replace("bias_table", "index")
                state[name] = torch.zeros(27, 27, dtype=torch.int64)  # never read: it follows from the window
        others = {"rotation_head.weight": (4, 192), "contrastive_head.bias": (512,), "norm.weight": (192,)}
        others |= {"conv.0.weight": (96, 192, 1, 1, 1), "norm.bias": (192,)}
        state |= {f"module.{name}": torch.zeros(shape) for name, shape in others.items()}
    return {"state_dict": state}


def monai_unetr():
    from monai.networks.nets import SwinUNETR

    return SwinUNETR(1, 2, depths=SIZES["depths"], num_heads=SIZES["heads"], window_size=3, feature_size=12).eval()


@pytest.fixture(scope="module")
def loaded():
    card = small_card()
    return load_published(card, published_file(plain_shapes(card)))


def test_published_names_and_sizes_have_their_place():
    """Names that MONAI's loader reads of the published file, at the published sizes."""
    shapes = plain_shapes(CARD)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == CARD.spec.parameters == 8_062_002
    ghost = {published_name(plain): torch.empty(shape, device="meta") for plain, shape in shapes.items()}
    assert "module.layers4.0.blocks.1.mlp.fc2.weight" in ghost and "module.layers1.0.downsample.norm.weight" in ghost
    assert ghost["module.layers1.0.blocks.0.attn.relative_position_bias_table"].shape == (13**3, 3)
    assert match({"state_dict": ghost}, shapes, CARD.spec.weights.key_map, "x")[1].ok


def test_monais_own_loader_reads_the_same_tensors_and_gives_the_same_values(loaded):
    module, report = loaded
    assert report.ok and len(report.dropped) == 5 + 5
    theirs = monai_unetr()
    file = published_file(plain_shapes(small_card()))
    index = {k: v for k, v in theirs.swinViT.state_dict().items() if k.endswith("relative_position_index")}
    file["state_dict"] |= {f"module.{name}": table for name, table in index.items()}
    theirs.load_from(file)
    x = batch()
    with torch.no_grad():
        expected = theirs.swinViT(x, True)[4].mean(dim=(2, 3, 4))
        assert torch.equal(module(x), expected) and expected.shape == (1, 192)


def test_a_whole_swinunetr_loads_too(loaded):
    """Names of a fine-tuned SwinUNETR: the encoder among decoders."""
    theirs = monai_unetr()
    for start in ("", "module."):
        state = {start + name: tensor for name, tensor in theirs.state_dict().items()}
        module, report = load_published(small_card(), {"state_dict": state})
        assert any(name.startswith(f"{start}decoder5") for name in report.dropped)
    x = batch(seed=1)
    with torch.no_grad():
        assert torch.equal(module(x), theirs.swinViT(x, True)[4].mean(dim=(2, 3, 4)))
        assert not torch.equal(module(x), loaded[0](x))


def report_on(file: dict[str, dict[str, torch.Tensor]]):
    card = small_card()
    return match(file, plain_shapes(card), card.spec.weights.key_map, "a file")[1]


def test_norms_within_the_network_are_not_taken_for_the_unused_one():
    file = published_file(plain_shapes(small_card()))
    del file["state_dict"]["module.layers2.0.downsample.norm.weight"]
    file["state_dict"]["module.mask_token"] = torch.zeros(3)
    report = report_on(file)
    assert report.missing == ("layers2.0.downsample.norm.weight",) and report.unexpected == ("mask_token",)
    assert {"module.norm.weight", "module.norm.bias", "module.conv.0.weight"} <= set(report.dropped)


def test_another_window_is_refused():
    file = published_file(plain_shapes(small_card()))
    table = "layers1.0.blocks.0.attn.relative_position_bias_table"
    file["state_dict"][f"module.{table}"] = torch.zeros(13**3, 1)
    assert report_on(file).mismatched == ((table, (13**3, 1), (5**3, 1)),)


def test_places_follow_from_the_window(loaded):
    """Entry (a, b) of the index: the offset between two places of a window, every offset with a number of its own."""
    index = loaded[0].network.layers1[0].blocks[0].attn.relative_position_index
    places = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij")).reshape(3, -1).T
    offsets = places[:, None] - places[None] + 2
    assert (index.numpy() == offsets @ np.array([25, 5, 1])).all()
    assert not any("relative_position_index" in name for name in loaded[0].state_dict())


def test_building_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (build_swin(SIZES, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)]
    assert all(same) and one.training
    table = "layers1.0.blocks.0.attn.relative_position_bias_table"
    tables = [dict(net.network.named_parameters())[table] for net in (one, other)]
    assert not torch.equal(*tables) and 0 < float(tables[0].detach().std()) < 0.03


def test_a_network_on_meta_costs_nothing_and_is_complete_once_filled():
    module = build_swin(SIZES, device="meta")
    assert all(tensor.is_meta for tensor in [*module.parameters(), *module.buffers()])
    state = {key: torch.zeros(tensor.shape) for key, tensor in module.state_dict().items()}
    module.load_state_dict(state, strict=True, assign=True)
    assert not any(tensor.is_meta for tensor in [*module.parameters(), *module.buffers()])
    assert set(plain_names(module)) == {key.removeprefix("network.") for key in state}


def test_a_copy_is_independent(loaded):
    again = copy.deepcopy(loaded[0])
    x = batch(seed=2)
    with torch.no_grad():
        before = loaded[0](x)
        next(iter(again.parameters())).mul_(2)
        assert torch.equal(loaded[0](x), before) and not torch.equal(again(x), before)


@pytest.mark.parametrize("shape", [(1, 1, 32, 32, 48), (1, 2, 32, 32, 32), (1, 32, 32, 32), (1, 1, 0, 32, 32)])
def test_other_tensors_are_refused(loaded, shape):
    with pytest.raises(ConfigError, match="cannot be encoded") as caught:
        loaded[0](torch.zeros(shape))
    assert "multiple of 32" in str(caught.value)


@pytest.mark.parametrize(
    "values", [{"heads": [5, 6, 12, 24]}, {"depths": [0, 1, 1, 1]}, {"window": 1}, {"heads": [3, 6, 12]}, {"patch": 4}]
)
def test_wrong_arguments_are_refused(values):
    with pytest.raises(ConfigError):
        family_args("swin-unetr", values, "card.md")
