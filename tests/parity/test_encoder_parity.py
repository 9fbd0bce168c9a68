"""Our encoders against golden figures of the published implementations; never skipped."""

import json

import numpy as np
import pytest
import torch
from fill import HERE, filled, filled_input, filled_state, golden, published_shapes

from medfm.encoders.dinov2 import ViTArgs, build_vit, published_names
from medfm.encoders.encoder import Encoder
from medfm.encoders.keymaps import match
from medfm.encoders.posembed import interpolate_positions
from medfm.encoders.published import build, load_published, plain_shapes
from medfm.encoders.registry import get_card

RULES = {
    "dinov2_offset0.1": "dinov2",
    "dinov2reg_antialias_offset0": "dinov2-register",
    "dinobloom_init_scale16_37": "dinobloom-init",
    "timm_bicubic_antialias": "timm",
}
TABLES = {"518": 1370, "224": 257}


def test_fill_rule_has_its_known_values():
    """The rule itself, on figures computed once by hand from its definition."""
    assert filled("norm.weight", (4,)).dtype == np.float32
    assert filled("a.running_var", (1000,)).min() > 0.5 and filled("a.running_var", (1000,)).max() < 1.5
    assert filled("ls1.gamma", (1000,)).min() >= 0.1 and filled("ls1.gamma", (1000,)).max() <= 1.0
    assert abs(filled("m.weight", (50, 400)).std() - 1 / 20) < 2e-3
    assert abs(filled("m.bias", (4000,)).std() - 1 / 50) < 1e-3


@pytest.mark.parametrize("name", sorted(golden("dinov2-posembed")))
def test_position_tables(name):
    expected = golden("dinov2-posembed")[name]
    source, target, rule = name.split("_", 2)
    source, target = source.removeprefix("from"), target.removeprefix("to")
    table = torch.from_numpy(filled(f"dinov2-posembed/{source}/pos_embed", (1, TABLES[source], 16)))
    side = int(target) // 14
    ours = interpolate_positions(table, (side, side), RULES[rule]).numpy()
    assert ours.shape == (1, side * side + 1, 16)
    np.testing.assert_allclose(ours[:, : expected.shape[1]], expected, atol=1e-6)


CASES = [
    "dinobloom-s",
    "reddino-small",
    pytest.param("dinobloom-b", marks=pytest.mark.slow),
    pytest.param("reddino-base", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", CASES)
def test_embeddings_of_published_layout(name):
    """Class token, patch tokens and their mean at 224 pixels; class token at 98 pixels."""
    expected = golden(name)
    state = filled_state(name)
    module, report = load_published(name, {"teacher": state} if name.startswith("dinobloom") else state)
    assert report.ok and not report.dropped
    assert report.absent == (() if name.startswith("dinobloom") else ("mask_token",))
    large = torch.from_numpy(np.concatenate([filled_input(f"{name}/{i}", (1, 3, 224, 224)) for i in (0, 1)]))
    small = torch.from_numpy(np.concatenate([filled_input(f"{name}/{i}/98", (1, 3, 98, 98)) for i in (0, 1)]))
    with torch.inference_mode():
        cls, patches = module.features(large)
        cls98 = module(small)
    for i in (0, 1):
        ours = {
            f"cls_{i}": cls[i : i + 1],
            f"patch_tokens_first8_{i}": patches[i : i + 1, :8],
            f"patch_mean_{i}": patches[i : i + 1].mean(1),
            f"cls98_{i}": cls98[i : i + 1],
        }
        for key, value in ours.items():
            np.testing.assert_allclose(value.numpy(), expected.pop(key), rtol=0, atol=1e-4, err_msg=key)
    assert not expected, "a golden array was not compared"


@pytest.mark.parametrize("name", ["dinobloom-s", "reddino-small"])
def test_the_encoder_gives_the_golden_embedding(name):
    """The whole public path: card, key map, encoder call and tokens."""
    module, report = load_published(name, filled_state(name))
    encoder = Encoder(get_card(name), module, "local file", "filled", report)
    batch = torch.from_numpy(filled_input(f"{name}/0", (1, 3, 224, 224)))
    np.testing.assert_allclose(encoder(batch).numpy(), golden(name)["cls_0"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        encoder.tokens(batch)[:, :8].numpy(), golden(name)["patch_tokens_first8_0"], rtol=0, atol=1e-4
    )


def test_timm_at_98_pixels_is_another_thing():
    """Why the rule is part of the card: timm's own resampling is off by more than the tolerance."""
    args = ViTArgs(size="small", interpolation="timm")
    module = build_vit(args, device="meta")
    state = {f"vit.{key}": tensor for key, tensor in filled_state("reddino-small").items()}
    module.load_state_dict(state | {"mask_token": torch.zeros(1, 384)}, assign=True)
    with torch.inference_mode():
        ours = module.eval()(torch.from_numpy(filled_input("reddino-small/0/98", (1, 3, 98, 98)))).numpy()
    assert np.abs(ours - golden("reddino-small")["cls98_0"]).max() > 1e-3


@pytest.mark.parametrize("name", ["dinobloom-s", "dinobloom-b", "dinobloom-l", "dinobloom-g"])
@pytest.mark.parametrize("layout", ["zenodo", "hub", "timm"])
def test_dinobloom_key_layouts(name, layout):
    """Names and shapes of every size in all three published layouts, on the meta device."""
    shapes = published_shapes(name)
    extra = json.loads((HERE / name / "extra_keys.json").read_text())
    heads = {key: tuple(shape) for key, shape in extra.items() if not key.startswith("_")}
    if layout == "zenodo":
        checkpoint = {"teacher": ghosts(shapes | heads)}
    else:
        flat = {key.removeprefix("backbone."): shape for key, shape in shapes.items()}
        if layout == "timm":
            del flat["mask_token"]
            flat = {key.replace("mlp.w12", "mlp.fc1").replace("mlp.w3", "mlp.fc2"): s for key, s in flat.items()}
        checkpoint = ghosts(flat)
    card = get_card(name)
    found, report = match(checkpoint, plain_shapes(card), card.spec.weights.key_map, layout)
    assert report.ok, str(report)
    assert set(report.dropped) == (set(heads) if layout == "zenodo" else set())
    assert report.absent == (("mask_token",) if layout == "timm" else ())
    assert len(found) == len(shapes) - len(report.absent)


@pytest.mark.parametrize("name", ["reddino-small", "reddino-base", "reddino-large"])
@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_reddino_key_layouts(name, prefix):
    """The hub upload, and the authors' own file it was made from."""
    shapes = {prefix + key: shape for key, shape in published_shapes(name).items()}
    card = get_card(name)
    checkpoint = {"teacher": ghosts(shapes)} if prefix else ghosts(shapes)
    _, report = match(checkpoint, plain_shapes(card), card.spec.weights.key_map, name)
    assert report.ok and report.absent == ("mask_token",)


@pytest.mark.parametrize("name", ["dinobloom-s", "dinobloom-b", "dinobloom-l", "dinobloom-g"])
def test_names_we_write_are_the_published_ones(name):
    """What training writes has exactly the published names, SwiGLU included."""
    module = build(name, device="meta")
    state = module.state_dict()
    ours = {f"backbone.{name}": tuple(state[key].shape) for name, key in published_names(module).items()}
    assert ours == published_shapes(name)


def ghosts(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
