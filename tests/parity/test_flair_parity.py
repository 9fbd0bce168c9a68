"""FLAIR against golden figures of the published code: both towers and the pictures; never skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from fill import HERE, filled_input, filled_state, golden, published_shapes

from medfm.encoders.encoder import Encoder
from medfm.encoders.foreground import foreground_box, li_threshold
from medfm.encoders.keymaps import match
from medfm.encoders.picture_resnet import feature_map
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.published import build, load_published, plain_shapes
from medfm.encoders.registry import get_card

CASES = json.loads((HERE / "flair-preprocess" / "README.json").read_text())["inputs"]
VARIANTS = {  # what the published code calls it: our variant of the card
    "api": None,
    "api_noaa": "before-2025-11-27",
    "loader": None,
    "loader_noaa": "before-2025-11-27",
    "loader_crop": "foreground-crop",
}
POOLER = ("text_model.model.pooler.dense.weight", "text_model.model.pooler.dense.bias")


def shapes() -> dict[str, tuple[int, ...]]:
    return published_shapes("flair-vision") | published_shapes("flair-text")


def state() -> dict[str, torch.Tensor]:
    return filled_state("flair-vision") | filled_state("flair-text")


@pytest.fixture(scope="module")
def flair() -> Iterator[Encoder]:
    module, report = load_published("flair-resnet50", state())
    assert not report.absent and len(report.loaded) == 520
    yield Encoder(get_card("flair-resnet50"), module, "local file", "filled", report)


def picture(name: str) -> torch.Tensor:
    if name.startswith("coarse"):
        grid = filled_input(f"flair-vision/{name}", (1, 3, 16, 16))
        return torch.from_numpy(grid.repeat(32, axis=2).repeat(32, axis=3))
    return torch.from_numpy(filled_input(f"flair-vision/{name}", (1, 3, 512, 512)))


@pytest.mark.parametrize("name", ["0", "1", "coarse0", "coarse1"])
def test_image_tower(flair, name):
    expected = {k.split("/", 1)[1]: v for k, v in golden("flair-vision").items() if k.split("/", 1)[0] == name}
    x, module = picture(name), flair.module
    network, head = module.vision_model.model, module.vision_model.projection_head_vision
    ours = {}
    with torch.inference_mode():
        stage = network.maxpool(network.relu(network.bn1(network.conv1(x))))
        ours["stem_mean_c"] = stage.mean(dim=(2, 3))[0]
        for index in (1, 2, 3, 4):
            stage = getattr(network, f"layer{index}")(stage)
            ours[f"layer{index}_mean_c"] = stage.mean(dim=(2, 3))[0]
        ours["layer4_corner"] = stage[0, :8, :4, :4]
        feature = stage.mean(dim=(2, 3))
        ours["features"], ours["embedding"] = feature[0], head(feature)[0]
        ours["embedding_nonorm"] = head.projection(feature)[0]
    for key, value in expected.items():
        scale = max(1.0, float(np.abs(value).max()))
        np.testing.assert_allclose(ours[key].numpy(), value, rtol=0, atol=1e-5 * scale, err_msg=key)
    assert float(ours["embedding"].norm()) == pytest.approx(1, abs=1e-6)
    if name == "0":
        # The encoder takes the same way, and so do the places of its map.
        np.testing.assert_allclose(flair(x)[0].numpy(), expected["embedding"], rtol=0, atol=1e-5)
        assert torch.equal(feature_map(network, x), stage)


def test_places_of_the_map_average_to_the_feature(flair):
    tokens = flair.tokens(picture("coarse0"))
    assert tokens.shape == (1, 256, 2048) and flair.token_dim == 2048
    np.testing.assert_allclose(
        tokens.mean(dim=1)[0].numpy(), golden("flair-vision")["coarse0/features"], rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("name", ["0", "1"])
def test_text_tower(flair, name):
    expected = {k.split("/", 1)[1]: v for k, v in golden("flair-text").items() if k.split("/", 1)[0] == name}
    ids, mask = (torch.from_numpy(expected.pop(key)) for key in ("input_ids", "attention_mask"))
    module = flair.module
    with torch.inference_mode():
        states = module.text_model.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        ours = {f"h{layer}_tok0": states[layer][:, 0] for layer in (0, 1, 2, 12)}
        ours["pooled"] = module.pooled_text(ids, mask)
        ours["embedding"] = module.encode(ids, mask)
        for key in [key for key in expected if key.endswith("_alone")]:
            row = int(key.removeprefix("row").removesuffix("_alone"))
            length = int(mask[row].sum())
            alone = module.encode(ids[row : row + 1, :length], mask[row : row + 1, :length])[0]
            ours[key] = alone
            # The trap: padding is averaged in.
            assert float(alone @ ours["embedding"][row]) < 0.9999
    for key, value in expected.items():
        np.testing.assert_allclose(ours[key].numpy(), value, rtol=0, atol=2e-5, err_msg=key)


def test_pooled_features_from_the_whole_file_and_from_a_bare_backbone():
    """Torchvision names after the prefix is taken off, as third parties do."""
    x = picture("coarse1")
    whole = filled_state("flair-vision")
    bare = {k.removeprefix("vision_model.model."): v for k, v in whole.items() if k.startswith("vision_model.model.")}
    card = get_card("flair-resnet50-pooled")
    made = [Encoder(card, load_published(card, s)[0], "local file", "filled") for s in (whole, bare)]
    assert made[0].fingerprint == made[1].fingerprint
    np.testing.assert_allclose(made[0](x)[0].numpy(), golden("flair-vision")["coarse1/features"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_layouts_by_names_and_shapes(prefix):
    names = shapes()
    assert len(names) == 520
    ghosts = {key: torch.empty(shape, device="meta") for key, shape in names.items()}
    card = get_card("flair-resnet50")
    wanted = plain_shapes(card)
    key_map = card.spec.weights.key_map
    older = ghosts | {"text_model.model.embeddings.position_ids": torch.empty(1, 512, device="meta")}
    report = match({prefix + k: v for k, v in older.items()}, wanted, key_map, "x")[1]
    assert report.ok and report.dropped == (f"{prefix}text_model.model.embeddings.position_ids",)
    lean = {prefix + k: v for k, v in ghosts.items() if k not in POOLER}
    report = match(lean, wanted, key_map, "x")[1]
    assert report.ok and set(report.absent) == set(POOLER)
    image_only = {prefix + k: v for k, v in ghosts.items() if not k.startswith("text_model")}
    report = match(image_only, wanted, key_map, "x")[1]
    assert report.ok and len(report.absent) == 200
    report = match({k: v for k, v in lean.items() if "layer4.2.conv3" not in k}, wanted, key_map, "x")[1]
    assert report.missing == ("vision_model.model.layer4.2.conv3.weight",)


def test_without_the_unused_pooler_the_text_tower_stays(flair):
    tensors = dict(flair.module.state_dict())
    for key in POOLER:
        del tensors[key]
    module, report = load_published("flair-resnet50", tensors)
    assert set(report.absent) == set(POOLER)
    ids = torch.from_numpy(golden("flair-text")["0/input_ids"])
    mask = torch.from_numpy(golden("flair-text")["0/attention_mask"])
    with torch.inference_mode():
        ours = module.encode(ids, mask)
    np.testing.assert_allclose(ours.numpy(), golden("flair-text")["0/embedding"], rtol=0, atol=2e-5)


def test_the_names_we_write_are_the_published_ones():
    ours = {key: tuple(value.shape) for key, value in build("flair-resnet50", device="meta").state_dict().items()}
    assert ours == shapes()


def drawn(case: dict[str, object]) -> np.ndarray:
    """The picture that the golden figures were made from, by its rule."""
    height, width, a = (int(case[key]) for key in ("H", "W", "a"))  # type: ignore[call-overload]
    y, x = np.mgrid[:height, :width]
    channels = [((x // 7) * (c + 3 + a) + (y // 5) * (2 * c + 1) + (x * y) // 97) % 256 for c in range(3)]
    values = np.stack(channels, axis=2)
    if case["kind"] == "disc":
        radius = int(0.4 * min(height, width))
        inside = (x - width // 2 - width // 20) ** 2 + (y - height // 2 + height // 16) ** 2 <= radius**2
        outside = np.stack([(x + 2 * y + c) % 4 for c in range(3)], axis=2)
        values = np.where(inside[:, :, None], 64 + values * 3 // 4, outside)
    return values.astype(np.uint8)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
@pytest.mark.parametrize("path", list(VARIANTS))
def test_pictures(case, path):
    name, expected = case["case"], golden("flair-preprocess")
    if f"{name}/{path}/mean" not in expected:
        assert path == "loader_crop" and case["kind"] == "plain"
        return
    raw = drawn(case)
    assert raw.sum(dtype=np.int64) == expected[f"{name}/sum"][0]
    spec = get_card("flair-resnet50").spec
    variant = VARIANTS[path]
    steps = Preprocessing(spec.preprocessing if variant is None else spec.preprocessing_variants[variant])
    ours = steps.array(raw)
    assert ours.shape == (3, 512, 512) and ours.dtype == np.float32
    lit = (ours != 0).any(axis=0)
    found = {
        "mean": ours.mean(axis=(1, 2), dtype=np.float64),
        "std": ours.std(axis=(1, 2), dtype=np.float64),
        "min": ours.min(axis=(1, 2)),
        "max": ours.max(axis=(1, 2)),
        "grid32": ours.reshape(3, 32, 16, 32, 16).mean(axis=(2, 4), dtype=np.float64),
        "patch": ours[:, 100:108, 200:208],
        "nonzero_rows_cols": [lit.any(axis=1).sum(), lit.any(axis=0).sum()],
    }
    for key, value in found.items():
        np.testing.assert_allclose(value, expected[f"{name}/{path}/{key}"], rtol=0, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("case", [c for c in CASES if c["kind"] == "disc"], ids=lambda case: case["case"])
def test_the_foreground(case):
    expected, red = golden("flair-preprocess"), drawn(case)[:, :, 0]
    threshold = li_threshold(np.bincount(red.ravel(), minlength=256)) / 255
    assert threshold == pytest.approx(float(expected[f"{case['case']}/loader_crop/li_threshold"][0]), abs=1e-9)
    rows, columns = foreground_box(red)
    size = expected[f"{case['case']}/loader_crop/shape_after_crop"]
    assert [3, rows.stop - rows.start, columns.stop - columns.start] == size.tolist()


def test_the_two_datings_differ_by_more_than_the_tolerance():
    """They must be named apart: single pixels of a textured picture differ by more than a tenth."""
    spec = get_card("flair-resnet50").spec
    old, new = (
        Preprocessing(steps).array(drawn(CASES[0]))
        for steps in (spec.preprocessing_variants["before-2025-11-27"], spec.preprocessing)
    )
    assert 0.1 < np.abs(old - new).max() < 1
