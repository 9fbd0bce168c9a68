"""The word pieces made from training reports."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.encoders.card_schema import TextSpec
from medfm.encoders.tokens import TextTokenizer
from medfm.training.vocabulary import SPECIAL, build_vocabulary

TEXTS = ["Sinus rhythm. Normal ECG", "sinus bradycardia", "Sinus rhythm, RSR' in V1", "LEFT bundle branch block"]


def tokenizer(folder: Path, pieces: list[str], size: int = 300) -> TextTokenizer:
    (folder / "tokenizer").mkdir(exist_ok=True)
    (folder / "tokenizer" / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return TextTokenizer(TextSpec(tower="t", tokenizer=None, max_tokens=64), "mini", size, folder)


def test_order_of_the_texts_does_not_matter() -> None:
    shuffled = TEXTS * 3
    random.Random(0).shuffle(shuffled)
    assert build_vocabulary(TEXTS * 3, 300) == build_vocabulary(shuffled, 300)


def test_frequent_words_come_first_and_rare_ones_are_spelt(tmp_path: Path) -> None:
    pieces = build_vocabulary(TEXTS, 300)
    assert tuple(pieces[:5]) == SPECIAL
    assert pieces[-2:] == ["sinus", "rhythm"]
    assert "bradycardia" not in pieces
    assert "bradycardia" in build_vocabulary(TEXTS, 300, least=1)
    made = tokenizer(tmp_path, pieces)
    assert made.lengths(["Sinus rhythm"]) == [4]
    assert made.lengths(["bradycardia"]) == [2 + len("bradycardia")]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(max_codepoint=0x24F), max_size=30), max_size=8))
def test_no_piece_twice_and_ascii_is_never_unknown(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    pieces = build_vocabulary(texts, 1024)
    assert len(pieces) == len(set(pieces)) <= 1024
    assert not any("\n" in piece for piece in pieces)
    made = tokenizer(tmp_path_factory.mktemp("t"), pieces, 1024)
    ids, _ = made.encode(["atrial fibrillation, 120/min (V1) #3!"])
    assert pieces.index("[UNK]") not in ids[0].tolist()


def test_the_size_is_kept_and_too_small_is_refused() -> None:
    many = [f"word{i} word{i}" for i in range(500)]
    assert len(build_vocabulary(many, 250)) == 250
    with pytest.raises(ValueError, match="room for 50"):
        build_vocabulary(TEXTS, 50)
