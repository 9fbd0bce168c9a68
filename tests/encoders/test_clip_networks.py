"""The CLIP family: what its arguments refuse, what its networks give, what is assumed and said."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from medfm.core.errors import CardError, WeightsError
from medfm.encoders.card import Card, read_card, write_card
from medfm.encoders.clip import build_clip
from medfm.encoders.clip_args import ClipArgs
from medfm.encoders.encoder import Encoder
from medfm.encoders.first_weights import draw
from medfm.encoders.load import load_encoder, with_architecture
from medfm.encoders.published import load_published, plain_shapes
from medfm.encoders.registry import get_card

IMAGE = {"kind": "open_clip", "patch": 8, "width": 16, "layers": 2, "heads": 2}
TEXT = {
    "kind": "clip",
    "pooling": "end_of_text",
    "context": 12,
    "vocabulary": 60,
    "width": 24,
    "layers": 2,
    "heads": 3,
}
BERT = {"kind": "bert", "pooling": "cls", "head": "mlp", "vocabulary": 40, "width": 16, "layers": 2, "heads": 2, "feed_forward": 32, "positions": 20}  # fmt: skip
TINY: dict[str, Any] = {"image_size": 32, "activation": "gelu", "projection": 12, "image": IMAGE, "text": TEXT}
WITH_BERT = TINY | {"image": IMAGE | {"kind": "timm"}, "text": BERT}


def pictures(n: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def tiny_card(base: str = "quiltnet-b-32", **args: Any) -> Card:
    card = get_card(base)
    spec = card.spec.to_dict()
    spec["architecture"]["args"] = TINY | args
    spec["input"]["shape"] = [3, 32, 32]
    spec["embedding"]["dim"] = ClipArgs.model_validate(TINY | args).dim
    spec["parameters"] = None
    text = spec["architecture"]["args"]["text"]
    spec["text"]["max_tokens"] = text.get("context", text.get("positions"))
    for step in spec["preprocessing"]:
        if "size" in step:
            step["size"] = [32, 32]
    return Card(
        card.path,
        card.header.model_copy(update={"medfm": type(card.spec).model_validate(spec)}),
        card.prose,
        card.sha256,
    )


def tiny_encoder(vocabulary: int = 60, context: int = 12, **args: Any) -> Encoder:
    card = tiny_card(text=TEXT | {"vocabulary": vocabulary, "context": context}, **args)
    module, report = load_published(card, flat_state(card))
    return Encoder(card, module, "local file", "tiny", report)


def flat_state(card: Card, seed: int = 3) -> dict[str, torch.Tensor]:
    """A checkpoint as open_clip writes it: the text tower without its prefix."""
    module = build_clip(card.spec.architecture.args, torch.Generator().manual_seed(seed))
    return {key.removeprefix("text."): tensor.clone() for key, tensor in module.state_dict().items()}


@pytest.mark.parametrize("lacking", ["activation", "image_size", "projection", "image"])
def test_what_a_checkpoint_does_not_show_has_no_default(lacking):
    with pytest.raises(ValidationError, match=lacking):
        ClipArgs.model_validate({key: value for key, value in TINY.items() if key != lacking})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 33}, "multiple of image.patch"),
        ({"activation": "relu"}, "activation"),
        ({"image": IMAGE | {"width": 15}}, "multiple of heads"),
        ({"image": IMAGE | {"head": "mlp"}}, "for kind 'timm'"),
        ({"text": TEXT | {"width": 25}}, "multiple of heads"),
        ({"text": {k: v for k, v in TEXT.items() if k != "pooling"}}, "pooling"),
        ({"output": "pooled"}, "needs output 'projected'"),
        ({"image": IMAGE | {"kind": "timm"}, "text": None, "activation": "quick_gelu"}, "only in CLIP's own towers"),
        ({"text": BERT, "activation": "quick_gelu"}, "only in CLIP's own towers"),
        ({"text": BERT | {"head": "none"}}, "must equal projection"),
    ],
)
def test_arguments_that_contradict_themselves(change, message):
    with pytest.raises(ValidationError, match=message):
        ClipArgs.model_validate(TINY | change)


@pytest.mark.parametrize("args", [TINY, TINY | {"activation": "quick_gelu"}, WITH_BERT])
def test_outputs(args):
    module = build_clip(args).eval()
    ids = torch.tensor([[1, 5, 6, 9, 0], [1, 7, 9, 0, 0]])
    with torch.inference_mode():
        assert module(pictures()).shape == (3, 12)
        assert module.tokens(pictures()).shape == (3, 16, 16)
        text = module.encode(ids, (ids != 0).long())
        assert text.shape == (2, 12)
        alone = module.encode(ids[1:, :3], torch.ones(1, 3, dtype=torch.long))
    torch.testing.assert_close(text[1:], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("args", [TINY, WITH_BERT])
def test_tokens_belong_to_the_embedding(args):
    """The class token beside the patch tokens, projected, is the embedding: the same layer, the same norm."""
    module = build_clip(args | {"text": None}).eval()
    pooled = build_clip(args | {"text": None, "output": "pooled"}).eval()
    state = {k: v for k, v in module.state_dict().items() if k in pooled.state_dict()}
    pooled.load_state_dict(state)
    with torch.inference_mode():
        head = module.visual.head if args is WITH_BERT else (lambda x: x @ module.visual.proj)
        torch.testing.assert_close(head(pooled(pictures())), module(pictures()), rtol=0, atol=1e-5)
    assert pooled.args.dim == 16 and pooled.args.token_dim == module.args.token_dim == 16


def test_heads_and_layer_scale_of_other_networks():
    image = IMAGE | {"kind": "timm", "layer_scale": True, "head": "mlp"}
    text = BERT | {"pooling": "pooler", "head": "none", "width": 12}
    module = build_clip(TINY | {"image": image, "text": text})
    assert torch.allclose(module.visual.trunk.blocks[0].ls1.gamma, torch.tensor(1e-5))
    assert set(dict(module.visual.head.named_parameters())) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    ids = torch.tensor([[2, 5, 3]])
    with torch.inference_mode():
        bert = module.eval().text.transformer
        expected = torch.tanh(bert.pooler.dense(bert(input_ids=ids).last_hidden_state[:, 0]))
        torch.testing.assert_close(module.encode(ids, torch.ones_like(ids)), expected, rtol=0, atol=1e-6)


def test_first_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, same = (build_clip(TINY, torch.Generator().manual_seed(4)).state_dict() for _ in range(2))
    other = build_clip(TINY, torch.Generator().manual_seed(5)).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    drawn = [key for key in one if not key.endswith(("bias", "ln_1.weight", "ln_2.weight", "logit_scale"))]
    assert sum(torch.equal(one[key], other[key]) for key in drawn if "ln_" not in key) == 0
    assert float(one["logit_scale"]) == pytest.approx(2.6593, abs=1e-4)
    assert all(value.isfinite().all() for value in one.values())


def test_no_tensor_is_left_as_memory_happened_to_be():
    for args in (TINY, WITH_BERT):
        module = build_clip(args)
        with torch.no_grad():
            for tensor in module.parameters():
                tensor.fill_(float("nan"))
        draw(module, torch.Generator().manual_seed(0), bert=("text.",))
        left = {name for name, p in module.named_parameters() if not p.isfinite().all()}
        assert left == {"logit_scale"}


def test_the_mask_is_real_after_loading():
    encoder = tiny_encoder()
    mask = encoder.module.text.attn_mask
    assert mask.device.type == "cpu" and mask.shape == (12, 12)
    assert torch.equal(mask == 0, torch.ones(12, 12).tril().bool())


def test_the_activation_is_part_of_the_fingerprint_and_of_every_note(tmp_path):
    card = tiny_card()
    state = flat_state(card)
    path = tmp_path / "tiny.md"
    write_card(path, card.header, card.prose)
    file = tmp_path / "tiny.pt"
    torch.save(state, file)
    usual = load_encoder(path, weights=file, device="cpu")
    other = load_encoder(path, weights=file, device="cpu", architecture={"activation": "quick_gelu"})
    assert usual.fingerprint != other.fingerprint
    assert "GELU in its exact (erf) form" in usual.weights_note and "architecture changed" not in usual.weights_note
    assert "QuickGELU" in other.weights_note and "architecture changed by the user" in other.weights_note
    assert "assumed, as no checkpoint shows it" in str(usual.key_report)
    gap = float((usual(pictures()) - other(pictures())).abs().max())
    assert 1e-5 < gap < 1
    again = load_encoder(path, weights=file, device="cpu", architecture={"activation": "gelu"})
    assert again.fingerprint == usual.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "swish"}, "activation"),
        ({"image_size": 64}, "takes 64 x 64 pixels"),
        ({"projection": 16}, "architecture gives 16"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_changed_arguments_must_agree_with_the_card(change, message):
    with pytest.raises(CardError, match=message):
        with_architecture(tiny_card(), change)


def test_a_wrong_image_size_is_refused_not_stretched():
    card = tiny_card()
    big = tiny_card(image_size=64)
    spec = big.spec.to_dict()
    spec["input"]["shape"] = [3, 64, 64]
    with pytest.raises(WeightsError, match="an input of 64 pixels; this card takes 32"):
        load_published(card, flat_state(big))


def test_a_checkpoint_without_text_embeds_pictures_only():
    card = tiny_card()
    state = {k: v for k, v in flat_state(card).items() if k.startswith(("visual", "logit_scale"))}
    module, report = load_published(card, state)
    encoder = Encoder(card, module, "local file", "image tower alone", report)
    assert not encoder.has_text and encoder(pictures()).shape == (3, 12)
    with pytest.raises(CardError, match="hold no text tower"):
        encoder.encode_text(["lung"])
    full, _ = load_published(card, flat_state(card))
    whole = Encoder(card, full, "local file", "whole")
    assert whole.has_text and torch.equal(whole(pictures()), encoder(pictures()))
    # Vectors of pictures stay valid whichever text tower comes with them.
    assert whole.text_fingerprint is not None and encoder.text_fingerprint is None


def test_plain_names_are_those_of_both_towers():
    names = plain_shapes(tiny_card())
    assert {name.split(".")[0] for name in names} == {"visual", "text", "logit_scale"}


def test_texts_longer_than_the_tower_are_refused_by_the_card(tmp_path):
    card = get_card("quiltnet-b-32")
    text = card.path.read_text(encoding="utf-8").replace("max_tokens: 77", "max_tokens: 78")
    (tmp_path / "card.md").write_text(text, encoding="utf-8")
    with pytest.raises(CardError, match="78 tokens but the tower takes 77"):
        read_card(tmp_path / "card.md")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("      activation: gelu\n", "", "activation"),
        ("      image_size: 224\n", "", "image_size"),
        ("image_size: 224", "image_size: 448", "448 x 448"),
        ("pooling: end_of_text, ", "", "pooling"),
        ("shape: [3, 224, 224]", "shape: [3, 336, 336]", "takes 224 x 224"),
    ],
)
def test_a_card_must_say_them(tmp_path, old, new, message):
    text = get_card("quiltnet-b-32").path.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "card.md").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(CardError, match=message):
        read_card(tmp_path / "card.md")
