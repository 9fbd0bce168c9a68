"""Figures from lists: equal to the exact search to the same depth, ties, patients and all; trust is right."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import EvaluationError, MissingExtraError
from medfm.evaluation import retrieval_approximate, retrieval_lists
from medfm.evaluation.retrieval_approximate import rank_queries_approximate
from medfm.evaluation.retrieval_ranks import Ranks, Relevance, rank_queries

FIELDS = ("rank", "reciprocal", "ap", "hits", "precision", "relevant", "candidates", "nearest")


def same(found: Ranks, exact: Ranks) -> None:
    assert found.k == exact.k and found.depth == exact.depth
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name), getattr(exact, name), rtol=1e-9, atol=1e-12, err_msg=name)


def vectors(rng: np.random.Generator, n: int, distinct: int) -> np.ndarray:
    """n rows, at most `distinct` different ones, of clearly different directions."""
    return rng.normal(size=(distinct, 12)).astype(np.float32)[rng.integers(0, distinct, n)]


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 40), m=st.integers(1, 120), groups=st.integers(1, 30), owners=st.integers(1, 20),
    distinct=st.integers(1, 60), depth=st.sampled_from([10, 12, 40, 200]), seed=st.integers(0, 99),
)  # fmt: skip
def test_equals_the_exact_search_to_a_depth(
    n: int, m: int, groups: int, owners: int, distinct: int, depth: int, seed: int
) -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(seed)
    queries, candidates = vectors(rng, n, distinct), vectors(rng, m, distinct)
    draw = [rng.integers(0, top, size) for top, size in ((groups, n), (groups, m), (owners, n), (owners, m))]
    for relevance in (Relevance(draw[0], draw[1]), Relevance(*draw)):
        exact = rank_queries(queries, candidates, relevance, depth=depth)
        found, trust = rank_queries_approximate(queries, candidates, relevance, depth=depth)
        same(found, exact)
        assert set(trust.recall.values()) == {1.0} and trust.hits_exact == pytest.approx(trust.hits_found)
        assert trust.sample == n and trust.effort == 0


def test_a_patient_with_most_records_is_searched_exactly() -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 8)).astype(np.float32)
    owner = np.where(np.arange(400) < 300, 0, np.arange(400))
    values[:300] += 20  # the patient's records are each other's nearest
    relevance = Relevance(np.arange(400) % 7, np.arange(400) % 7, owner, owner)
    found, trust = rank_queries_approximate(values, values, relevance, depth=20)
    same(found, rank_queries(values, values, relevance, depth=20))
    assert trust.searched_exactly == 300


def test_equal_cosines_past_the_end_of_a_list_are_searched_exactly() -> None:
    pytest.importorskip("faiss")
    candidates = np.eye(60, 64, dtype=np.float32)  # all at the same cosine from the query, all different
    relevance = Relevance(np.zeros(3, np.int64), (np.arange(60) >= 5).astype(np.int64))
    queries = np.ones((3, 64), np.float32)
    found, trust = rank_queries_approximate(queries, candidates, relevance, k=(1, 10), depth=10)
    assert trust.searched_exactly == 3
    np.testing.assert_allclose(found.hits[:, 0], 5 / 60, rtol=1e-9)
    np.testing.assert_allclose(found.precision[:, 1], 5 / 60, rtol=1e-9)


def test_recall_is_that_of_sets_counted_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    faiss = pytest.importorskip("faiss")
    monkeypatch.setattr(retrieval_lists, "FLAT_ROWS", 100)
    monkeypatch.setattr(retrieval_lists, "_EFFORTS", (1,))
    monkeypatch.setattr(retrieval_approximate, "SAMPLE", 80)
    rng = np.random.default_rng(5)
    queries, candidates = (rng.normal(size=(n, 48)).astype(np.float32) for n in (240, 2500))
    groups = np.arange(2500) % 9
    order = np.random.default_rng(0).permutation(240)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        found, trust = rank_queries_approximate(queries, candidates, Relevance(groups[:240], groups), k=(1, 5), depth=5)
        bank, tuning = retrieval_lists.Bank.of(candidates), np.sort(order[80:160])
        lists = retrieval_lists.nearest_lists(faiss, queries, bank, 5 + 8, tuning=tuning, seed=0)
    finally:
        faiss.omp_set_num_threads(threads)
    left, right = (v.astype(float) / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, candidates))
    best = np.argsort(-left @ right.T, axis=1)
    sample = order[:80]
    for k in (1, 5):
        by_hand = np.mean([len(set(best[i, :k]) & set(lists.rows[i, :k].tolist())) / k for i in sample])
        assert trust.recall[k] == pytest.approx(by_hand, abs=1e-12) and trust.recall[k] < 0.95
        hit = [(groups[best[i, :k]] == groups[i]).any() for i in sample]
        assert trust.hits_exact[k] == pytest.approx(np.mean(hit))
        hit = [(groups[lists.rows[i, :k]] == groups[i]).any() for i in sample]
        assert trust.hits_found[k] == pytest.approx(np.mean(hit))
        everywhere = [(groups[lists.rows[i, :k]] == groups[i]).any() for i in range(240)]
        assert found.hits[:, (1, 5).index(k)].mean() == pytest.approx(np.mean(everywhere))
    assert trust.searched_exactly == 0 and trust.effort == 13 and trust.sample == 80
    plain = trust.to_dict()
    assert plain["recall"] == {str(k): v for k, v in trust.recall.items()} and plain["library"].startswith("faiss ")


def test_the_queries_own_records_do_not_flatter_the_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(retrieval_lists, "FLAT_ROWS", 100)
    monkeypatch.setattr(retrieval_lists, "_EFFORTS", (1,))
    values = np.random.default_rng(5).normal(size=(1500, 48)).astype(np.float32)
    own, groups = np.arange(1500), np.arange(1500) % 9
    with_self = rank_queries_approximate(values, values, Relevance(groups, groups), k=(1, 5), depth=5)[1]
    without = rank_queries_approximate(values, values, Relevance(groups, groups, own, own), k=(1, 5), depth=5)[1]
    assert without.recall[1] <= with_self.recall[1] and without.recall[5] <= with_self.recall[5]


def test_what_cannot_be_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    values, relevance = np.ones((3, 4), np.float32), Relevance(np.arange(3), np.arange(3))
    with pytest.raises(EvaluationError, match="only the first 100 are looked at"):
        rank_queries_approximate(values, values, relevance, k=(1, 200))
    with pytest.raises(EvaluationError, match="only the first 5 are looked at"):
        rank_queries(values, values, relevance, depth=5)
    with pytest.raises(EvaluationError, match="Groups or owners"):
        rank_queries_approximate(values, values[:2], relevance)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"medfm\[faiss\]"):
        rank_queries_approximate(values, values, relevance)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_rows_without_a_direction_are_refused(bad: float) -> None:
    pytest.importorskip("faiss")
    values, broken = np.ones((3, 4), np.float32), np.ones((3, 4), np.float32)
    broken[1] = bad
    relevance = Relevance(np.arange(3), np.arange(3))
    for first, second in ((values, broken), (broken, values)):
        with pytest.raises(EvaluationError, match="no direction"):
            rank_queries_approximate(first, second, relevance)
