"""CLIP's byte pairs against open_clip's own call; limits reported, not silent."""

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ConfigError
from medfm.encoders.card_schema import TextSpec
from medfm.encoders.tokens_bpe import ClipTokenizer

SPEC = TextSpec(tower="CLIP", kind="clip_bpe", tokenizer="openai/clip-vit-base-patch16", max_tokens=77)


@pytest.fixture(scope="module")
def tokenizer() -> ClipTokenizer:
    return ClipTokenizer(SPEC, "mini", 49408)


def published(texts: list[str]) -> torch.Tensor:
    from open_clip.tokenizer import tokenize

    return tokenize(texts)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=120), min_size=1, max_size=4))
def test_the_same_tokens_as_open_clip(texts):
    made = ClipTokenizer(SPEC, "mini", 49408)
    ids, mask = made.encode(texts)
    whole = published(texts)
    assert torch.equal(ids, whole[:, : ids.shape[1]])
    assert not whole[:, ids.shape[1] :].any()
    assert [min(n, 77) for n in made.lengths(texts)] == mask.sum(dim=1).tolist()


def test_a_long_text_keeps_its_end(tokenizer):
    text = "adenocarcinoma of the lung " * 40
    ids, mask = tokenizer.encode([text, "lung"])
    assert ids.shape == (2, 77) and mask.sum(dim=1).tolist() == [77, 3]
    assert ids[0, 0] == 49406 and ids[0, 76] == 49407
    assert tokenizer.lengths([text])[0] > 77
    assert torch.equal(ids, published([text, "lung"]))


def test_upper_case_and_blanks_do_not_matter(tokenizer):
    assert torch.equal(tokenizer.encode(["Benign   LUNG\n"])[0], tokenizer.encode(["benign lung"])[0])
    assert tokenizer.encode([""])[0].tolist() == [[49406, 49407]]


@pytest.mark.parametrize("bad", ["lung", [1], [None]])
def test_only_lists_of_texts(tokenizer, bad):
    with pytest.raises(ConfigError, match="list"):
        tokenizer.encode(bad)


def test_a_tower_that_knows_too_few_pairs():
    with pytest.raises(ConfigError, match="knows 100 byte pairs"):
        ClipTokenizer(SPEC, "mini", 100)


def test_cut_texts_are_warned_of(caplog):
    from test_clip_networks import tiny_encoder

    encoder = tiny_encoder(vocabulary=49408, context=10)
    with caplog.at_level(logging.WARNING, logger="medfm"):
        encoder.encode_text(["benign lung"])
        assert not caplog.records
        encoder.encode_text(
            ["benign lung", "a histopathology slide showing well differentiated adenocarcinoma of the colon"]
        )
    (record,) = caplog.records
    assert "1 of 2 texts are longer than 10 tokens" in record.getMessage()
    assert encoder.text_lengths(["benign lung"]) == [5]
