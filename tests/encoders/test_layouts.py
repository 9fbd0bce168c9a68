"""Checkpoints of other libraries: the tensors land where they give the same numbers."""

import pytest
import torch

from medfm.encoders.card_schema import KeyMap
from medfm.encoders.clip import build_clip
from medfm.encoders.keymaps import match
from medfm.encoders.layouts import from_transformers_clip, translate
from medfm.encoders.registry import get_card

ARGS = {
    "image_size": 32,
    "activation": "quick_gelu",
    "projection": 12,
    "image": {"kind": "open_clip", "patch": 8, "width": 16, "layers": 2, "heads": 2},
    "text": {
        "kind": "clip",
        "pooling": "end_of_text",
        "context": 9,
        "vocabulary": 50,
        "width": 24,
        "layers": 2,
        "heads": 3,
    },
}
KEY_MAP = get_card("quiltnet-b-32").spec.weights.key_map


def theirs(activation: str = "quick_gelu"):
    from transformers import CLIPConfig, CLIPModel

    text = {
        "vocab_size": 50,
        "hidden_size": 24,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": 9,
        "projection_dim": 12,
        "hidden_act": activation,
        "eos_token_id": 49,
        "bos_token_id": 48,
        "pad_token_id": 0,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": 12,
        "hidden_act": activation,
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.normal_(std=0.3, generator=generator)
    return model


def ours(state: dict[str, torch.Tensor], activation: str = "quick_gelu"):
    module = build_clip(ARGS | {"activation": activation}).eval()
    tensors, report = match(state, {k: tuple(v.shape) for k, v in module.state_dict().items()}, KEY_MAP, "x")
    assert report.ok and "transformers-clip" in report.layout, str(report)
    module.load_state_dict(tensors)
    return module


def features(model, pixels, ids):
    image, text = model.get_image_features(pixel_values=pixels), model.get_text_features(input_ids=ids)
    return [value if isinstance(value, torch.Tensor) else value.pooler_output for value in (image, text)]


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_a_transformers_checkpoint_gives_the_same_numbers(activation):
    model = theirs(activation)
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[48, 5, 6, 49, 0, 0, 0, 0, 0], [48, 7, 8, 9, 10, 11, 12, 13, 49]])
    module = ours(dict(model.state_dict()), activation)
    with torch.inference_mode():
        image, text = features(model, pixels, ids)
        torch.testing.assert_close(module(pixels), image, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(module.encode(ids, (ids != 0).long()), text, rtol=1e-4, atol=1e-4)
        other = ours(dict(model.state_dict()), "gelu" if activation == "quick_gelu" else "quick_gelu")
        assert float((other(pixels) - image).abs().max()) > 1e-3
    assert module.logit_scale.item() == pytest.approx(model.logit_scale.item())


def test_prefixes_nesting_and_old_buffers():
    state = {f"module.{k}": v for k, v in theirs().state_dict().items()}
    state["module.text_model.embeddings.position_ids"] = torch.arange(9)[None]
    module = build_clip(ARGS, device="meta")
    wanted = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    report = match({"state_dict": state}, wanted, KEY_MAP, "x")[1]
    assert report.ok and report.dropped == ("text_model.embeddings.position_ids",)
    assert report.layout == "under 'state_dict', layout transformers-clip, bare names"


def test_a_matrix_without_its_partners_is_reported_not_lost():
    state = dict(theirs().state_dict())
    del state["vision_model.encoder.layers.1.self_attn.k_proj.weight"]
    wanted = {k: tuple(v.shape) for k, v in build_clip(ARGS, device="meta").state_dict().items()}
    report = match(state, wanted, KEY_MAP, "x")[1]
    assert report.missing == ("visual.transformer.resblocks.1.attn.in_proj_weight",)
    assert set(report.unexpected) == {
        f"vision_model.encoder.layers.1.self_attn.{part}_proj.weight" for part in ("q", "v")
    }


def test_strange_tensors_stay_visible():
    state = dict(theirs().state_dict()) | {"vision_model.encoder.layers.0.adapter.weight": torch.zeros(1)}
    state["lora.weight"] = torch.zeros(2)
    found = from_transformers_clip(state)
    assert found is not None and "lora.weight" in found and "vision_model.encoder.layers.0.adapter.weight" in found


def test_other_layouts_are_left_alone():
    tensors = {"module.visual.proj": torch.zeros(1), "logit_scale": torch.zeros(())}
    same, layout = translate(tensors, ("transformers-clip",), ("module.",))
    assert same == tensors and layout == ""
    assert translate(tensors, (), ())[0] == tensors


def test_beginnings_of_names_are_renamed_once_and_first_match_counts():
    key_map = KeyMap(prefixes=("module.",), starts={"a.b.": "x.", "a.": "y.", "x.": "z."})
    wanted = {"x.w": (1,), "y.c.w": (1,), "b.a.w": (1,)}
    one = torch.zeros(1)
    report = match({"module.a.b.w": one, "a.c.w": one, "b.a.w": one}, wanted, key_map, "x")[1]
    assert report.ok, str(report)


def test_duplicates_after_renaming_are_an_error():
    from medfm.core.errors import WeightsError

    state = {
        "transformer.resblocks.0.ln_1.weight": torch.zeros(1),
        "text.transformer.resblocks.0.ln_1.weight": torch.zeros(1),
    }
    with pytest.raises(WeightsError, match="Two tensors"):
        match(state, {}, KEY_MAP, "x")
    twice = {"module.visual.proj": torch.zeros(1), "visual.proj": torch.zeros(1)}
    with pytest.raises(WeightsError, match="Two tensors"):
        match(twice, {}, KEY_MAP, "x")


def test_a_word_to_drop_is_also_looked_for_in_plain_names():
    """A card of one's own with pooled features of a whole flat checkpoint."""
    full = build_clip(ARGS).state_dict()
    flat = {name.removeprefix("text."): tensor for name, tensor in full.items()}
    pooled = build_clip({**ARGS, "text": None, "output": "pooled"}, device="meta")
    wanted = {k: tuple(v.shape) for k, v in pooled.state_dict().items()}
    key_map = KEY_MAP.model_copy(update={"drop": (*KEY_MAP.drop, "text", "proj")})
    report = match(flat, wanted, key_map, "x")[1]
    assert report.ok and "visual.proj" in report.dropped and "transformer.resblocks.0.ln_1.weight" in report.dropped
    assert "visual.transformer.resblocks.0.ln_1.weight" in report.loaded
