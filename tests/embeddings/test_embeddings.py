from __future__ import annotations

import numpy as np
import pytest

from medfm.core.errors import EvaluationError
from medfm.embeddings import embeddings as module
from medfm.embeddings.embeddings import Embeddings, digest_of


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def test_rows_and_sizes(values):
    emb = Embeddings(values, tuple("abcde"))
    assert (len(emb), emb.dim) == (5, 3)
    assert emb.rows(["c", "x", "a"]).tolist() == [2, -1, 0]


def test_shapes_and_values_are_checked_in_every_block(values, monkeypatch):
    with pytest.raises(EvaluationError, match="do not fit 4"):
        Embeddings(values, tuple("abcd"))
    monkeypatch.setattr(module, "_BLOCK", 2)
    values[4, 1] = np.inf
    with pytest.raises(EvaluationError, match="not finite") as caught:
        Embeddings(values, tuple("abcde"))
    assert caught.value.where == "records e"


def test_the_digest_is_over_ids_and_values_and_nothing_else(values, monkeypatch):
    emb = Embeddings(values, tuple("abcde"), {"some": "provenance"})
    same = Embeddings(np.asfortranarray(values), tuple("abcde"))
    assert emb.digest() == same.digest()
    changed = values.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], np.float32(9))
    others = [
        Embeddings(changed, tuple("abcde")),
        Embeddings(values, tuple("abced")),
        Embeddings(values[::-1], tuple("abcde")),
        Embeddings(values[:4], tuple("abcd")),
    ]
    assert len({emb.digest(), *(o.digest() for o in others)}) == 5
    before = emb.digest()
    monkeypatch.setattr(module, "_BLOCK", 2)
    assert emb.digest() == before


def test_digest_of_ids_that_run_together():
    block = [np.zeros((2, 1), np.float32)]
    assert digest_of(["ab", "c"], block, 1) != digest_of(["a", "bc"], block, 1)
