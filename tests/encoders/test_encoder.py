"""The encoder object: outputs, checks of its input, fingerprint."""

import dataclasses

import numpy as np
import pytest
import torch

import medfm
from medfm.core.errors import CardError, ConfigError, MedfmError, ReadError
from medfm.encoders.card import Card, read_card
from medfm.encoders.encoder import Encoder, _finite
from medfm.encoders.published import load_published
from medfm.modalities.record import Record


@pytest.fixture
def encoder(mini: Card, mini_state: dict[str, torch.Tensor]) -> Encoder:
    module, report = load_published(mini, mini_state)
    return Encoder(mini, module, "local file", "for tests", report)


def batch(count: int = 3, side: int = 56) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(2))


def test_facts(encoder):
    assert (encoder.id, encoder.modality, encoder.embedding_dim) == ("mini", "blood_cell", 32)
    assert encoder.input_shape == (3, 56, 56)
    assert encoder.device == torch.device("cpu")
    assert encoder.has_tokens
    assert repr(encoder) == "Encoder('mini', 'for tests', dim=32, device='cpu')"


def test_embeddings(encoder):
    vectors = encoder(batch(5))
    assert vectors.shape == (5, 32) and vectors.dtype == torch.float32
    assert not vectors.requires_grad and vectors.is_inference()
    assert torch.equal(vectors, encoder.module(batch(5)))
    assert not encoder.module.training


@pytest.mark.parametrize("size", [1, 2, 4])
def test_batch_size_does_not_matter(encoder, size):
    whole = encoder(batch(8))
    parts = torch.cat([encoder(part) for part in batch(8).split(size)])
    assert torch.allclose(whole, parts, atol=1e-5)


def test_order_within_a_batch_does_not_matter(encoder):
    assert torch.allclose(encoder(batch(6).flip(0)), encoder(batch(6)).flip(0), atol=1e-5)


def test_an_empty_batch(encoder):
    assert encoder(batch(0)).shape == (0, 32)
    assert encoder.tokens(batch(0)).shape == (0, 16, 32)


def test_tokens(encoder):
    tokens = encoder.tokens(batch(2))
    assert tokens.shape == (2, 16, 32)
    assert torch.equal(tokens, encoder.module.features(batch(2))[1])


def test_no_text_tower(encoder):
    with pytest.raises(CardError, match="no text tower"):
        encoder.encode_text(["a lymphocyte"])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(3, 56, 56), r"shape \(3, 56, 56\)"),
        (torch.zeros(1, 3, 56, 70), r"shape \(1, 3, 56, 70\)"),
        (torch.zeros(1, 3, 224, 224), r"shape \(1, 3, 224, 224\)"),
        (torch.zeros(1, 1, 56, 56), r"shape \(1, 1, 56, 56\)"),
        (torch.zeros(1, 56, 56, 3), r"shape \(1, 56, 56, 3\)"),
        (torch.zeros(1, 3, 56, 56, dtype=torch.uint8), r"torch\.uint8"),
        (torch.zeros(1, 3, 56, 56, dtype=torch.float64), r"torch\.float64"),
        (torch.zeros(1, 3, 56, 56, dtype=torch.float16), r"torch\.float16"),
        (torch.full((1, 3, 56, 56), float("nan")), "NaN or infinite"),
        (torch.full((1, 3, 56, 56), float("inf")), "NaN or infinite"),
        (np.zeros((1, 3, 56, 56), np.float32), "ndarray was given"),
        ([1, 2], "list was given"),
        ("cell.png", "str was given"),
    ],
)
def test_wrong_input_is_named(encoder, bad, message):
    for call in (encoder, encoder.tokens):
        with pytest.raises(ConfigError, match=message) as error:
            call(bad)
        assert "float32 of shape (n, 3, 56, 56)" in str(error.value) or "finite" in str(error.value)


def test_one_nan_among_many(encoder):
    values = batch(4)
    values[2, 1, 3, 3] = float("nan")
    with pytest.raises(ConfigError, match="NaN"):
        encoder(values)


def test_a_sum_that_overflows_is_not_mistaken_for_infinity():
    assert not torch.isfinite(torch.full((1000,), 1e38).sum())
    assert _finite(torch.full((1000,), 1e38))
    assert not _finite(torch.tensor([1e38, float("inf")]))
    assert not _finite(torch.tensor([float("inf"), -float("inf")]))


def test_values_too_large_for_the_network_are_an_error(encoder):
    with pytest.raises(MedfmError, match="not finite"):
        encoder(torch.full((1, 3, 56, 56), 1e36))


def test_a_network_that_gives_nan_is_not_silent(encoder):
    with torch.no_grad():
        encoder.module.vit.norm.weight[0] = float("inf")
    with pytest.raises(MedfmError, match="not finite"):
        encoder(batch(2))


def test_other_sizes_where_the_card_allows(write_card, mini_state):
    card = read_card(write_card(set={"medfm.input": {"shape": [3, 56, 56], "other_sizes": True}}))
    encoder = Encoder(card, load_published(card, mini_state)[0], "local file", "x")
    assert encoder(batch(2, side=84)).shape == (2, 32)
    assert encoder.tokens(batch(2, side=28)).shape == (2, 4, 32)
    for side in (60, 7, 0):
        with pytest.raises(ConfigError, match="shape"):
            encoder(batch(1, side=side))


def test_a_record_through_the_encoder(encoder):
    array = np.random.default_rng(0).integers(0, 256, (80, 70, 3), dtype=np.uint8)
    record = Record("cell-1", "blood_cell", array)
    tensor = encoder.preprocess(record)
    assert torch.equal(tensor, encoder.preprocess(array))
    assert encoder(tensor[None]).shape == (1, 32)
    with pytest.raises(ReadError, match="cell-1"):
        encoder.preprocess(Record("cell-1", "blood_cell", array.astype(np.float32)))


def test_fingerprint_is_stable(encoder, mini, mini_state):
    assert len(encoder.fingerprint) == 64
    other = Encoder(mini, load_published(mini, {"teacher": mini_state})[0], "published", "another note")
    assert other.fingerprint == encoder.fingerprint


def test_fingerprint_sees_every_used_weight(mini, mini_state):
    base = Encoder(mini, load_published(mini, mini_state)[0], "local file", "").fingerprint
    for name in ("cls_token", "pos_embed", "blocks.1.ls2.gamma", "norm.bias", "patch_embed.proj.weight"):
        changed = mini_state | {name: mini_state[name].clone()}
        changed[name].view(-1)[-1] += 1e-4
        assert Encoder(mini, load_published(mini, changed)[0], "local file", "").fingerprint != base, name


def test_fingerprint_ignores_what_no_embedding_depends_on(mini, mini_state):
    base = Encoder(mini, load_published(mini, mini_state)[0], "local file", "")
    masked = mini_state | {"mask_token": torch.ones(1, 32)}
    other = Encoder(mini, load_published(mini, masked)[0], "local file", "")
    assert other.fingerprint == base.fingerprint
    assert torch.equal(other(batch()), base(batch()))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("medfm.preprocessing", [{"step": "resize", "size": [56, 56]}, {"step": "to_unit_range"}]),
        (
            "medfm.architecture.args",
            {"size": "custom", "width": 32, "depth": 2, "heads": 4, "patch": 14, "img_size": 56},
        ),
        (
            "medfm.architecture.args",
            {
                "size": "custom",
                "width": 32,
                "depth": 2,
                "heads": 2,
                "patch": 14,
                "img_size": 56,
                "interpolation": "timm",
            },
        ),
        ("medfm.embedding", {"what": "cls", "dim": 32, "normalised": True}),
    ],
)
def test_fingerprint_sees_preprocessing_and_arguments(encoder, write_card, mini_state, key, value):
    card = read_card(write_card("other.md", set={key: value}))
    assert Encoder(card, load_published(card, mini_state)[0], "local file", "").fingerprint != encoder.fingerprint


def test_fingerprint_does_not_see_words(encoder, write_card, mini_state):
    card = read_card(write_card("other.md", prose="# Other words\n", set={"medfm.title": "T", "medfm.id": "renamed"}))
    assert Encoder(card, load_published(card, mini_state)[0], "local file", "").fingerprint == encoder.fingerprint


def test_fingerprint_survives_a_move(encoder):
    before = encoder.fingerprint
    assert encoder.to("cpu") is encoder
    assert encoder.fingerprint == before
    with pytest.raises(ConfigError, match="nowhere"):
        encoder.to("nowhere")


def test_weights_are_frozen(encoder):
    assert not any(p.requires_grad for p in encoder.module.parameters())


def test_the_public_name():
    assert medfm.Encoder is Encoder


def test_cards_are_immutable(mini):
    with pytest.raises(dataclasses.FrozenInstanceError):
        mini.prose = "x"


def test_on_the_best_device_of_this_machine(encoder):
    """A GPU where there is one: near the CPU's figures, and the same fingerprint."""
    here = encoder(batch(4))
    before = encoder.fingerprint
    there = encoder.to("auto")(batch(4))
    assert there.device == encoder.device
    assert torch.allclose(there.cpu(), here, atol=1e-3)
    moved = Encoder(encoder.card, encoder.module, "local file", "", device=encoder.device)
    assert moved.fingerprint == before
