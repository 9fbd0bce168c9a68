"""CLIP's byte pairs as a zero-shot report shows them: counted, cut and read back without weights or files."""

from __future__ import annotations

import pytest

from medfm.encoders.registry import get_card
from medfm.encoders.tokens import SingleTexts, tokenizer_of_card
from medfm.encoders.tokens_bpe import ClipTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> ClipTokenizer:
    found = tokenizer_of_card(get_card("quiltnet-b-32"))
    assert isinstance(found, ClipTokenizer)
    return found


def test_the_vocabulary_is_always_here(tokenizer: ClipTokenizer) -> None:
    assert tokenizer.present and "open_clip_torch" in tokenizer.wanted


@pytest.mark.parametrize("text", ["lung adenocarcinoma", "a histopathology image of benign tissue", "grade 3 + 4"])
def test_what_is_encoded_is_read_back(tokenizer: ClipTokenizer, text: str) -> None:
    pieces = SingleTexts(tokenizer)
    ids = pieces.encode(text)
    assert len(ids) == tokenizer.lengths([text])[0]
    assert pieces.decode(ids) == text
    assert len(pieces.decode(ids, skip_special_tokens=False)) > len(text)


def test_a_long_text_is_cut_and_keeps_its_end(tokenizer: ClipTokenizer) -> None:
    pieces = SingleTexts(tokenizer)
    text = "tumour " * 100
    whole, cut = pieces.encode(text), pieces.encode(text, truncation=True, max_length=77)
    assert len(whole) == 102 and len(cut) == pieces.max_tokens == 77
    assert cut[:-1] == whole[:76] and cut[-1] == whole[-1]
    assert pieces.decode(cut) == " ".join(["tumour"] * 75)


def test_encoders_without_a_text_tower_have_none() -> None:
    assert tokenizer_of_card(get_card("color-histogram")) is None
    assert tokenizer_of_card(get_card("dinobloom-s")) is None
