"""The nearest candidates: equal to a sort of everything; the approximate index says how exact it is."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from medfm.core.errors import EvaluationError, MissingExtraError
from medfm.evaluation.retrieval_search import nearest, nearest_approximate


def vectors(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 12)).astype(np.float32)


@pytest.mark.parametrize("n", [1, 7, 20_000])
@pytest.mark.parametrize("top", [1, 10])
def test_equals_a_sort(n: int, top: int) -> None:
    candidates, queries = vectors(n), vectors(3, 1) * 5
    unit = candidates.astype(float) / np.linalg.norm(candidates.astype(float), axis=1, keepdims=True)
    cosines = queries.astype(float) / np.linalg.norm(queries, axis=1, keepdims=True) @ unit.T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :top]
    found = nearest(queries, candidates, top)
    assert found.rows.shape == (3, top) and found.recall is None
    width = min(n, top)
    np.testing.assert_array_equal(found.rows[:, :width], order)
    np.testing.assert_allclose(found.cosines[:, :width], np.take_along_axis(cosines, order, axis=1), atol=1e-5)
    assert (found.rows[:, width:] == -1).all() and np.isnan(found.cosines[:, width:]).all()


def test_equal_cosines_come_in_order_of_position() -> None:
    found = nearest(np.ones((1, 4), np.float32), np.ones((9, 4), np.float32), 4)
    assert found.rows.tolist() == [[0, 1, 2, 3]]


def test_the_approximate_index_reports_its_recall() -> None:
    pytest.importorskip("faiss")
    candidates = vectors(500)
    found = nearest_approximate(candidates[:5], candidates, 3)
    assert found.rows[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert found.recall is not None and 0.9 < found.recall <= 1.0
    few = nearest_approximate(candidates[:1], candidates[:2], 3)
    assert few.rows[0, 2] == -1 and few.recall == 1.0


def test_the_index_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"medfm\[faiss\]"):
        nearest_approximate(vectors(2), vectors(5), 1)


@pytest.mark.parametrize("find", [nearest, nearest_approximate])
def test_bad_requests(find) -> None:  # type: ignore[no-untyped-def]
    for queries, candidates, top, message in (
        (np.ones((1, 3)), np.ones((1, 4)), 1, "cannot be compared"),
        (np.ones((0, 3)), np.ones((1, 3)), 1, "0 queries"),
        (np.ones((1, 3)), np.ones((1, 3)), 0, "0 nearest"),
    ):
        with pytest.raises(EvaluationError, match=message):
            find(queries, candidates, top)
    with pytest.raises(EvaluationError, match="not finite"):
        nearest(np.zeros((1, 3)), np.ones((1, 3)), 1)
