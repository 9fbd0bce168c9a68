"""Exact ranks in blocks: equal to the whole matrix sorted, whatever the blocks, ties and exclusions."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import EvaluationError
from medfm.core.progress import Silent
from medfm.evaluation.retrieval_ranks import Ranks, Relevance, rank_queries
from medfm.objectives.merl import retrieval_accuracy


def naive(
    queries: np.ndarray, candidates: np.ndarray, relevance: Relevance, k: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """The whole matrix in float64, each row sorted; made for scores without ties."""
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries.astype(float), candidates.astype(float))]
    matrix = unit[0] @ unit[1].T
    rows = []
    for i, row in enumerate(matrix):
        order = np.argsort(-row, kind="stable")
        if relevance.query_owner is not None and relevance.candidate_owner is not None:
            order = order[relevance.candidate_owner[order] != relevance.query_owner[i]]
        right = relevance.candidate_group[order] == relevance.query_group[i]
        places = np.flatnonzero(right) + 1
        nearest = order[0] if len(order) else -1
        if not len(places):
            rows.append([np.nan] * (3 + 2 * len(k)) + [0, len(order), nearest])
            continue
        ap = np.mean(np.arange(1, len(places) + 1) / places)
        hits, precision = [float(right[:d].any()) for d in k], [right[:d].sum() / d for d in k]
        rows.append([places[0], 1 / places[0], ap, *hits, *precision, len(places), len(order), nearest])
    return np.array(rows, dtype=float)


def flat(ranks: Ranks) -> np.ndarray:
    parts = [ranks.rank, ranks.reciprocal, ranks.ap, *ranks.hits.T, *ranks.precision.T]
    return np.stack([*parts, ranks.relevant, ranks.candidates, ranks.nearest], axis=1).astype(float)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 30), m=st.integers(1, 40), groups=st.integers(1, 8), seed=st.integers(0, 999),
    owners=st.booleans(), block=st.sampled_from([1, 700, 2**20]),
)  # fmt: skip
def test_equals_the_sorted_matrix(n: int, m: int, groups: int, seed: int, owners: bool, block: int) -> None:
    rng = np.random.default_rng(seed)
    queries, candidates = rng.normal(size=(n, 6)), rng.normal(size=(m, 6)).astype(np.float32)
    relevance = Relevance(
        rng.integers(0, groups, n),
        rng.integers(0, groups, m),
        rng.integers(0, 5, n) if owners else None,
        rng.integers(0, 5, m) if owners else None,
    )
    found = rank_queries(queries.astype(np.float32), candidates, relevance, k=(1, 3, 10), block_bytes=block)
    np.testing.assert_allclose(
        flat(found), naive(queries.astype(np.float32), candidates, relevance, (1, 3, 10)), atol=1e-9
    )


def test_equal_candidates_tie_exactly_wherever_they_lie() -> None:
    rng = np.random.default_rng(0)
    candidates = rng.normal(size=(9000, 17)).astype(np.float32)
    candidates[[3, 4000, 8999]] = candidates[0]
    queries = candidates[:1] + 0.01 * rng.normal(size=(1, 17)).astype(np.float32)
    own = np.arange(9000)
    found = rank_queries(queries, candidates, Relevance(np.array([0]), own))
    # One right answer among four equal ones in front: ranks 1 to 4, equally likely.
    assert found.rank[0] == 2.5 and found.hits[0, 0] == 0.25 and found.hits[0, 1] == 1.0
    assert found.reciprocal[0] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert found.nearest[0] == 0


def test_all_the_same_is_chance() -> None:
    values = np.ones((50, 4), np.float32)
    found = rank_queries(values, values, Relevance(np.arange(50), np.arange(50)), k=(1, 10))
    np.testing.assert_allclose(found.hits.mean(axis=0), [0.02, 0.2])
    np.testing.assert_allclose(found.rank, 25.5)


def test_many_right_answers_take_the_sorted_way_and_agree() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=(300, 8)).astype(np.float32)
    values[150:] = values[:150]  # every vector twice, so that ties cross the groups
    groups = rng.integers(0, 3, 300)
    found = rank_queries(values, values, Relevance(groups, groups, np.arange(300), np.arange(300)))
    matrix = (u := values.astype(float) / np.linalg.norm(values.astype(float), axis=1, keepdims=True)) @ u.T
    matrix = np.round(matrix, 9)
    for i in (0, 7, 151, 299):
        right = np.flatnonzero((groups == groups[i]) & (np.arange(300) != i))
        others = np.delete(np.arange(300), i)
        draws = []
        for seed in range(400):
            noise = np.random.default_rng(seed).random(300)
            order = others[np.lexsort((noise[others], -matrix[i, others]))]
            places = np.flatnonzero(np.isin(order, right)) + 1
            draws.append(np.mean(np.arange(1, len(places) + 1) / places))
        assert found.ap[i] == pytest.approx(np.mean(draws), abs=0.004)


def test_agrees_with_the_accuracy_of_the_training_log() -> None:
    import torch

    rng = np.random.default_rng(5)
    left, right = rng.normal(size=(2, 40, 8)).astype(np.float32)
    own = np.arange(40)
    both = [rank_queries(a, b, Relevance(own, own), k=(1, 5)).hits for a, b in ((left, right), (right, left))]
    for column, top in enumerate((1, 5)):
        expected = retrieval_accuracy(torch.tensor(left), torch.tensor(right), top)
        assert np.mean([hits[:, column].mean() for hits in both]) == pytest.approx(expected)


def test_nothing_is_left_to_search_or_to_find() -> None:
    values = np.eye(3, dtype=np.float32)
    alone = rank_queries(
        values[:1], values[:1], Relevance(np.zeros(1, int), np.zeros(1, int), np.zeros(1, int), np.zeros(1, int))
    )
    assert alone.candidates[0] == 0 and alone.nearest[0] == -1 and np.isnan(alone.rank[0])
    strange = rank_queries(values, values, Relevance(np.full(3, 9), np.zeros(3, int)))
    assert np.isnan(strange.hits).all() and strange.nearest.tolist() == [0, 1, 2]


def test_memory_does_not_hold_the_matrix_and_maps_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    np.save(tmp_path / "v.npy", rng.normal(size=(4000, 8)).astype(np.float32))
    values = np.load(tmp_path / "v.npy", mmap_mode="r")
    own = np.arange(4000)
    tracemalloc.start()
    with Silent("x", 4000) as shown:
        found = rank_queries(values, values, Relevance(own, own), block_bytes=2**20, progress=shown)
        assert shown.done == 4000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.rank == 1).all()
    assert peak < 16 * 2**20  # the whole matrix is 64 MB


@pytest.mark.parametrize(
    ("queries", "candidates", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "cannot be compared"),
        (np.ones(3), np.ones((2, 3)), "cannot be compared"),
        (np.ones((0, 3)), np.ones((2, 3)), "0 queries"),
        (np.ones((2, 3)), np.ones((0, 3)), "0 candidates"),
        (np.array([[1.0, np.nan]]), np.ones((2, 2)), "queries are zero or not finite"),
        (np.ones((2, 2)), np.array([[0.0, 0.0], [1.0, 1.0]]), "candidates are zero or not finite"),
    ],
)
def test_what_cannot_be_searched(queries: np.ndarray, candidates: np.ndarray, message: str) -> None:
    groups = Relevance(np.zeros(len(queries), int), np.zeros(len(candidates), int))
    with pytest.raises(EvaluationError, match=message):
        rank_queries(queries, candidates, groups)


def test_wrong_sizes_and_depths() -> None:
    values = np.ones((2, 3))
    with pytest.raises(EvaluationError, match="Groups or owners"):
        rank_queries(values, values, Relevance(np.zeros(3, int), np.zeros(2, int)))
    with pytest.raises(EvaluationError, match="k is"):
        rank_queries(values, values, Relevance(np.zeros(2, int), np.zeros(2, int)), k=(0,))
