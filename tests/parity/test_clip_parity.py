"""CLIP networks of pathology against golden figures of open_clip, from filled weights; never skipped."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from fill import filled_input, filled_state, golden, published_shapes

from medfm.core.errors import WeightsError
from medfm.encoders.card import Card
from medfm.encoders.encoder import Encoder
from medfm.encoders.keymaps import match
from medfm.encoders.load import with_architecture
from medfm.encoders.lookalikes import hints
from medfm.encoders.published import family_of, load_published, plain_shapes
from medfm.encoders.registry import get_card

SIZES = {"quiltnet-b-32": 224, "quiltnet-b-16": 224, "quiltnet-b-16-pmb": 224, "pathgen-clip-l": 336}
PROMPTS = [
    "a histopathology slide showing colorectal adenocarcinoma epithelium",
    "histopathology image of benign lung",
    "presence of adipose tissue on image",
]


def close(ours: torch.Tensor, expected: np.ndarray, what: str, atol: float = 1e-4) -> None:
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=atol, err_msg=what)


def encoder(card: Card, state: dict[str, torch.Tensor]) -> Encoder:
    module, report = load_published(card, state)
    assert report.assumed and "activation" in report.assumed[0]
    return Encoder(card, module, "local file", "filled", report)


def images(name: str, count: int = 2) -> torch.Tensor:
    size = SIZES[name]
    return torch.from_numpy(np.concatenate([filled_input(f"{name}/{i}", (1, 3, size, size)) for i in range(count)]))


def check(made: Encoder, name: str, suffix: str, count: int = 2) -> None:
    """Both towers, and the logits where both images were embedded."""
    expected = golden(name)
    ids = torch.from_numpy(expected["text_ids"])
    pictures = made(images(name, count))
    with torch.inference_mode():
        texts = made.module.encode(ids, (ids != 0).long())
    close(pictures, expected[f"image_features{suffix}"][:count], "image")
    close(texts, expected[f"text_features{suffix}"], "text")
    unit = torch.nn.functional.normalize
    close(
        100 * unit(pictures, dim=-1) @ unit(texts, dim=-1).T,
        expected[f"logits_scale100{suffix}"][:count],
        "logits",
        1e-3,
    )


def under(card: Card, made: Encoder) -> Encoder:
    """The same tensors (not copied) in the network that another card describes."""
    family, args = family_of(card)
    module = family.build(args, None, "meta")
    module.load_state_dict(made.module.state_dict(), strict=True, assign=True)
    return Encoder(card, module, "local file", "the same tensors")


@pytest.fixture(scope="module", params=["quiltnet-b-32", "quiltnet-b-16"])
def quilt(request: pytest.FixtureRequest) -> Iterator[tuple[str, Encoder]]:
    """Filled weights through the shipped card, which says GELU."""
    yield request.param, encoder(get_card(request.param), filled_state(request.param))


def test_quiltnet_as_the_card_says_it(quilt):
    name, made = quilt
    check(made, name, "_gelu")
    assert made.assumed == ("activation GELU in its exact (erf) form",)


def test_quiltnet_with_the_other_activation(quilt):
    """One or two percent of difference: a test by cosine would not see it."""
    name, made = quilt
    other = under(with_architecture(get_card(name), {"activation": "quick_gelu"}), made)
    check(other, name, "_quickgelu")
    with pytest.raises(AssertionError):
        check(other, name, "_gelu", 1)


def test_pathgen_clip_has_the_same_tensors_and_quickgelu(quilt):
    name, made = quilt
    if name == "quiltnet-b-16":
        check(under(get_card("pathgen-clip"), made), name, "_quickgelu", 1)


def test_texts_become_the_published_tokens(quilt):
    name, made = quilt
    expected = golden(name)
    ids, mask = made._tokenizer.encode(PROMPTS)
    assert torch.equal(ids, torch.from_numpy(expected["text_ids"])[:, : ids.shape[1]])
    assert torch.equal(mask, (ids != 0).long()) and not expected["text_ids"][:, ids.shape[1] :].any()
    close(made.encode_text(PROMPTS), expected["text_features_gelu"], "texts as people write them")


def test_quiltnet_pmb():
    name = "quiltnet-b-16-pmb"
    made = encoder(get_card(name), filled_state(name))
    check(made, name, "")
    # Masked, so the padding to 256 of the published code has no influence.
    ids = torch.from_numpy(golden(name)["text_ids"])
    longest = int((ids != 0).sum(dim=1).max())
    with torch.inference_mode():
        short = made.module.encode(ids[:1, :longest], (ids[:1, :longest] != 0).long())
    close(short, golden(name)["text_features"][:1], "without padding")


@pytest.mark.slow
def test_pathgen_clip_l():
    name = "pathgen-clip-l"
    made = encoder(get_card(name), {f"module.{key}": tensor for key, tensor in filled_state(name).items()})
    # One of two pictures: this network takes ten times as long as those above, which take both at once.
    check(made, name, "_quickgelu", 1)
    check(under(with_architecture(get_card(name), {"activation": "gelu"}), made), name, "_gelu", 1)


@pytest.mark.parametrize("name", [*SIZES, "pathgen-clip"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_layouts_by_names_and_shapes(name, prefix):
    """Flat and nested, with and without DDP's prefix, and what older files hold besides."""
    shapes = published_shapes("quiltnet-b-16" if name == "pathgen-clip" else name)
    extra = {"text.transformer.embeddings.position_ids": (1, 512)} if name.endswith("pmb") else {}
    ghosts = {prefix + key: torch.empty(shape, device="meta") for key, shape in (shapes | extra).items()}
    card = get_card(name)
    for checkpoint in (ghosts, {"epoch": 1, "name": "run", "state_dict": ghosts}):
        found, report = match(checkpoint, plain_shapes(card), card.spec.weights.key_map, name)
        assert report.ok and not report.absent, str(report)
        assert len(found) == len(shapes) and set(report.dropped) == {prefix + key for key in extra}


@pytest.mark.parametrize(
    ("file", "as_card", "size"),
    [("pathgen-clip-l", "pathgen-clip-l", 224), ("quiltnet-b-16", "quiltnet-b-16", 384)],
)
def test_a_wrong_image_size_is_refused_with_the_right_one(file, as_card, size):
    """open_clip stretches the position table without a word; here the size is named."""
    shapes = published_shapes(file)
    true = SIZES[file]
    card = get_card(as_card)
    patch = card.spec.architecture.args["image"]["patch"]
    spec = card.spec.to_dict()
    spec["architecture"]["args"]["image_size"] = size
    spec["input"]["shape"] = [3, size, size]
    other = Card(
        card.path,
        card.header.model_copy(update={"medfm": type(card.spec).model_validate(spec)}),
        card.prose,
        card.sha256,
    )
    ghosts = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    with pytest.raises(WeightsError) as error:
        load_published(other, ghosts)
    message = str(error.value)
    assert f"an input of {true} pixels; this card takes {size}" in message
    assert f"{true // patch} x {true // patch} patches" in message and as_card in message


def test_a_checkpoint_of_another_patch_size_is_named():
    ghosts = {key: torch.empty(s, device="meta") for key, s in published_shapes("quiltnet-b-32").items()}
    card = get_card("quiltnet-b-16")
    _, report = match(ghosts, plain_shapes(card), card.spec.weights.key_map, "x")
    found = hints(report, ghosts, card, "x").hints
    assert found[0].startswith("this looks like") and "quiltnet-b-32" in found[0]
    assert any("7 x 7 patches" in hint and "32 pixels per patch an input of 224" in hint for hint in found)
