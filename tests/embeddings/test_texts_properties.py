"""Text embeddings in the store: any requests in any order give what the tower gives, each text asked once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medfm.core.errors import CardError, EvaluationError
from medfm.embeddings import texts as module
from medfm.embeddings.texts import embed_texts

TEXTS = st.lists(st.text(alphabet="ab éß漢🫀\n", max_size=6), min_size=1, max_size=12)
QUIET = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def vector(text: str) -> np.ndarray:
    """A vector that only this text has."""
    digest = hashlib.sha256(text.encode()).digest()
    return np.frombuffer(digest[:8], np.uint8).astype(np.float32)


class Tower:
    id, modality, embedding_dim, weights_kind = "tower", "ecg", 8, "random"

    def __init__(self, fingerprint: str | None = "a" * 64) -> None:
        self.text_fingerprint = fingerprint
        self.asked: list[str] = []

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += list(texts)
        return np.stack([vector(text) for text in texts])


@QUIET
@given(requests=st.lists(TEXTS, min_size=1, max_size=4), shard=st.sampled_from([1, 3, 4096]))
def test_any_requests_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, requests: list[list[str]], shard: int
) -> None:
    cache, tower, usual = tmp_path_factory.mktemp("cache"), Tower(), module._SHARD
    module._SHARD = shard
    try:
        for texts in requests:
            found = embed_texts(tower, texts, cache=cache)
            np.testing.assert_array_equal(found, np.stack([vector(t) for t in texts]))
            assert found.dtype == np.float32
    finally:
        module._SHARD = usual
    assert max(Counter(tower.asked).values()) == 1
    assert set(tower.asked) == {t for texts in requests for t in texts}


def test_texts_that_differ_by_blanks_or_case_are_different_texts(tmp_path: Path) -> None:
    tower = Tower()
    texts = ["a b", "a  b", "A b", "a b ", "", " "]
    found = embed_texts(tower, texts, cache=tmp_path)
    assert tower.asked == texts and len({row.tobytes() for row in found}) == len(texts)


def test_towers_do_not_share_their_vectors(tmp_path: Path) -> None:
    first, second = Tower("a" * 64), Tower("b" * 64)
    for tower in (first, second):
        embed_texts(tower, ["x"], cache=tmp_path)
        assert tower.asked == ["x"]


def test_what_was_read_is_the_callers_own(tmp_path: Path) -> None:
    found = embed_texts(Tower(), ["x", "y"], cache=tmp_path)
    found[:] = 0
    np.testing.assert_array_equal(embed_texts(Tower(), ["y"], cache=tmp_path)[0], vector("y"))


@pytest.mark.parametrize("wrong", ["short", "long", "nan", "inf", "wide", "flat"])
def test_a_tower_that_gives_something_else_leaves_nothing_behind(tmp_path: Path, wrong: str) -> None:
    class Odd(Tower):
        def encode_text(self, texts: Sequence[str]) -> np.ndarray:
            rows = super().encode_text(texts)
            return {
                "short": rows[:-1],
                "long": np.vstack([rows, rows[:1]]),
                "nan": np.where(rows == rows[0, 0], np.nan, rows),
                "inf": rows * np.float32(np.inf),
                "wide": np.hstack([rows, rows]),
                "flat": rows.ravel(),
            }[wrong]

    with np.errstate(invalid="ignore"), pytest.raises(EvaluationError, match="text tower of 'tower'") as caught:
        embed_texts(Odd(), ["x", "y"], cache=tmp_path)
    assert caught.value.expected == "finite rows of 8 numbers"
    sound = Tower()
    embed_texts(sound, ["x", "y"], cache=tmp_path)
    assert sound.asked == ["x", "y"]


def test_no_texts_and_no_tower(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no texts to encode"):
        embed_texts(Tower(), [], cache=tmp_path)
    with pytest.raises(CardError, match="'tower' has no text tower"):
        embed_texts(Tower(None), ["x"], cache=tmp_path)


def test_bytes_of_a_shell_that_are_no_text_are_named_without_being_repeated(tmp_path: Path) -> None:
    tower = Tower()
    with pytest.raises(EvaluationError, match="cannot be written as UTF-8") as caught:
        embed_texts(tower, ["fine", "caf\udce9"], cache=tmp_path)
    assert caught.value.where == "text 2 of 2" and tower.asked == []
