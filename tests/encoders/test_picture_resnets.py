"""FLAIR, ConVIRT and plain ResNets: outputs, text pooling and its traps, layouts, first weights."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from medfm.core.errors import CardError, ConfigError
from medfm.encoders.card import Card
from medfm.encoders.convirt import build_convirt
from medfm.encoders.encoder import Encoder
from medfm.encoders.flair import build_flair
from medfm.encoders.keymaps import match
from medfm.encoders.published import load_published
from medfm.encoders.registry import get_card
from medfm.encoders.resnet import build_resnet
from medfm.encoders.resnet_args import ConvirtArgs, FlairArgs, ResNetArgs
from medfm.encoders.weights import weights_folder

BERT = {"vocabulary": 40, "width": 16, "layers": 3, "heads": 2, "feed_forward": 32, "positions": 24}
FLAIR: dict[str, Any] = {
    "backbone": "resnet18",
    "image_size": 64,
    "projection": 8,
    "text": BERT | {"pooling": "mean_with_padding", "hidden_states": [1, 2, -1]},
}
CONVIRT: dict[str, Any] = {
    "backbone": "resnet18",
    "image_size": 64,
    "projection": 8,
    "text": BERT | {"pooling": "mean"},
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "fundus", "photograph", "of", "glaucoma", "drusens", "normal", "hard"]


def pictures(n: int = 2, side: int = 64) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def tiny_card(name: str, args: dict[str, Any], **text: Any) -> Card:
    card = get_card(name)
    spec = card.spec.to_dict()
    spec["architecture"]["args"] = args
    spec["input"]["shape"] = [3, 64, 64]
    spec["embedding"]["dim"] = 8
    spec["parameters"] = None
    spec["text"] |= {"max_tokens": 10} | text
    spec["preprocessing_variants"] = {}
    spec["preprocessing"] = [
        {"step": "to_rgb"},
        {"step": "to_unit_range"},
        {"step": "resize_float", "size": 64, "antialias": True},
        {"step": "canvas", "size": [64, 64]},
    ]
    changed = type(card.spec).model_validate(spec)
    return Card(card.path, card.header.model_copy(update={"medfm": changed}), card.prose, card.sha256)


@pytest.fixture
def flair() -> Encoder:
    card = tiny_card("flair-resnet50", FLAIR)
    folder = weights_folder() / card.id / "tokenizer"
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    state = build_flair(FLAIR, torch.Generator().manual_seed(2)).state_dict()
    module, report = load_published(card, {key: tensor.clone() for key, tensor in state.items()})
    return Encoder(card, module, "local file", "tiny", report)


def test_flair_outputs(flair):
    vectors = flair(pictures())
    assert vectors.shape == (2, 8)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    feature = flair.module.pooled(pictures())
    matrix = flair.module.vision_model.projection_head_vision.projection.weight
    expected = torch.nn.functional.normalize(feature, dim=-1) @ matrix.T
    torch.testing.assert_close(vectors, torch.nn.functional.normalize(expected, dim=-1))
    assert flair.tokens(pictures()).shape == (2, 4, 512) and flair.token_dim == 512


def test_a_text_always_has_the_same_embedding_unless_a_group_is_asked_for(flair):
    short, long = "a fundus photograph of normal", "a fundus photograph of hard drusens of glaucoma"
    alone = flair.encode_text([short])
    beside = flair.encode_text([short, long])
    group = flair.encode_text([short, long], as_group=True)
    torch.testing.assert_close(beside[:1], alone)
    torch.testing.assert_close(group[1:], beside[1:])
    assert float((group[0] - alone[0]).abs().max()) > 1e-4
    torch.testing.assert_close(flair.encode_text([short], as_group=True), alone)
    assert flair.encode_text([]).shape == flair.encode_text([], as_group=True).shape == (0, 8)


def test_a_group_is_what_the_published_code_computes(flair):
    texts = ["a fundus photograph of normal", "drusens"]
    ids, mask = flair._tokenizer.encode(texts)
    bert = flair.module.text_model
    with torch.inference_mode():
        states = bert.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        pooled = torch.stack([states[1].mean(1), states[2].mean(1), states[3].mean(1)]).mean(0)
        unit = torch.nn.functional.normalize
        expected = unit(unit(pooled, dim=-1) @ bert.projection_head_text.projection.weight.T, dim=-1)
    torch.testing.assert_close(flair.encode_text(texts, as_group=True), expected)


def test_upper_case_does_not_matter_for_a_cased_vocabulary(flair):
    torch.testing.assert_close(flair.encode_text(["A Fundus"]), flair.encode_text(["a fundus"]))


def test_flair_without_text_and_pooled():
    pooled = build_flair({"backbone": "resnet18", "image_size": 64, "output": "pooled"}).eval()
    with torch.inference_mode():
        assert pooled(pictures()).shape == (2, 512)
    assert not any("projection" in key or "logit_scale" in key for key in pooled.state_dict())
    with pytest.raises(ConfigError, match="without a text tower"):
        pooled.pooled_text(torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 2))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (FlairArgs, FLAIR | {"backbone": "resnet9"}, "backbone"),
        (FlairArgs, {k: v for k, v in FLAIR.items() if k != "image_size"}, "image_size"),
        (FlairArgs, FLAIR | {"text": BERT | {"hidden_states": [1]}}, "pooling"),
        (FlairArgs, FLAIR | {"text": FLAIR["text"] | {"hidden_states": [4]}}, "between -4 and 3"),
        (FlairArgs, FLAIR | {"output": "pooled"}, "needs output 'projected'"),
        (ConvirtArgs, CONVIRT | {"output": "pooled"}, "needs output 'projected'"),
        (ConvirtArgs, CONVIRT | {"text": BERT | {"pooling": "cls"}}, "pooling"),
        (ResNetArgs, {"backbone": "resnet18"}, "image_size"),
        (FlairArgs, FLAIR | {"text": FLAIR["text"] | {"heads": 3}}, "multiple of heads"),
    ],
)
def test_arguments_that_contradict_themselves(kind, values, message):
    with pytest.raises(ValidationError, match=message):
        kind.model_validate(values)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_convirt_leaves_padding_out(pooling):
    module = build_convirt(CONVIRT | {"text": BERT | {"pooling": pooling}}).eval()
    ids = torch.tensor([[2, 5, 6, 3, 0, 0], [2, 7, 8, 9, 10, 3]])
    mask = (ids != 0).long()
    with torch.inference_mode():
        together, alone = module.encode(ids, mask), module.encode(ids[:1, :4], mask[:1, :4])
        torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-5)
        states = module.bert_model(input_ids=ids[:1, :4]).last_hidden_state[0]
        feature = states.mean(0) if pooling == "mean" else states.max(0).values
        expected = module.bert_l2(module.bert_l1(feature).relu())
    torch.testing.assert_close(alone[0], expected, rtol=0, atol=1e-5)


def test_convirt_trains_every_layer_and_takes_one_picture():
    module = build_convirt(CONVIRT)
    module.eval()
    assert module(pictures(1)).shape == (1, 8)
    ids = torch.tensor([[2, 5, 3]])
    (module(pictures(2)).sum() + module.encode(ids, torch.ones_like(ids)).sum()).backward()
    lacking = {name for name, p in module.named_parameters() if p.grad is None}
    assert lacking == {"bert_model.pooler.dense.weight", "bert_model.pooler.dense.bias"}


def test_the_layout_of_the_convirt_port():
    """res_features is a numbered sequence there: conv, norm, relu, pool, four stages, mean."""
    import torchvision

    resnet = torchvision.models.resnet18(weights=None)
    sequence = torch.nn.Sequential(*list(resnet.children())[:-1])
    module = build_convirt(CONVIRT).eval()
    state = {k: v for k, v in module.state_dict().items() if not k.startswith("res_features.")}
    state |= {f"res_features.{key}": value for key, value in sequence.state_dict().items()}
    card = get_card("convirt-resnet50")
    wanted = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    found, report = match({f"module.{k}": v for k, v in state.items()}, wanted, card.spec.weights.key_map, "x")
    assert report.ok and not report.absent, str(report)
    module.load_state_dict(found)
    x = pictures()
    with torch.inference_mode():
        feature = sequence.eval()(x).flatten(1)
        torch.testing.assert_close(module(x), module.res_l2(module.res_l1(feature).relu()))


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_plain_resnets_are_torchvisions(backbone):
    import torchvision

    module = build_resnet({"backbone": backbone, "image_size": 64}).eval()
    published = getattr(torchvision.models, backbone)(weights=None).eval()
    published.load_state_dict(dict(module.network.state_dict()) | {
        "fc.weight": torch.zeros_like(published.fc.weight), "fc.bias": torch.zeros_like(published.fc.bias)
    })  # fmt: skip
    published.fc = torch.nn.Identity()
    with torch.inference_mode():
        torch.testing.assert_close(module(pictures()), published(pictures()))
        tokens = module.tokens(pictures())
    assert tokens.shape == (2, 4, module.args.dim)
    torch.testing.assert_close(tokens.mean(1), module(pictures()), rtol=1e-4, atol=1e-5)


def test_first_weights_are_those_of_torchvision_in_kind():
    module = build_resnet({"backbone": "resnet18", "image_size": 64}, torch.Generator().manual_seed(1))
    kernel = module.network.layer2[0].conv1.weight
    assert float(kernel.detach().std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.05)
    assert torch.equal(module.network.bn1.running_var, torch.ones(64))
    assert torch.equal(module.network.bn1.weight, torch.ones(64))


def test_an_untrained_flair_separates_pictures(flair):
    """Activations neither vanish nor explode on the way through an untrained network."""
    feature = build_flair(FLAIR).eval().pooled(pictures()).detach().numpy()
    assert 1e-3 < np.abs(feature).mean() < 1e3 and np.abs(feature[0] - feature[1]).max() > 1e-3


def test_a_general_purpose_network_is_listed_for_every_modality_it_names():
    card = tiny_card("flair-resnet50", FLAIR)
    spec = card.spec.model_copy(update={"also_for": ("histopathology",)})
    other = Card(card.path, card.header.model_copy(update={"medfm": spec}), card.prose, card.sha256)
    assert other.modalities == ("retina", "histopathology") and card.modalities == ("retina",)


def test_size_of_the_card_and_of_the_network_must_agree(tmp_path):
    from medfm.encoders.card import read_card

    text = (
        get_card("flair-resnet50-pooled").path.read_text(encoding="utf-8").replace("image_size: 512", "image_size: 384")
    )
    (tmp_path / "card.md").write_text(text, encoding="utf-8")
    with pytest.raises(CardError, match="takes 384 x 384 pixels"):
        read_card(tmp_path / "card.md")
