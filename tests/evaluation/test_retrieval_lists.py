"""Lists of the nearest from an index: equal to a sort where nothing is skipped, whatever the shards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.evaluation import retrieval_lists
from medfm.evaluation.retrieval_lists import found_share, nearest_lists, nearest_of, rows_of, unit_rows
from medfm.evaluation.retrieval_ranks import Bank

faiss = pytest.importorskip("faiss")


def vectors(n: int, seed: int = 0, d: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def exact(queries: np.ndarray, candidates: np.ndarray, top: int) -> np.ndarray:
    """Positions by a sort of all cosines in double precision."""
    first, second = (v.astype(float) / np.linalg.norm(v.astype(float), axis=1, keepdims=True)
                     for v in (queries, candidates))  # fmt: skip
    return np.argsort(-first @ second.T, axis=1, kind="stable")[:, :top]


def lists(queries: np.ndarray, candidates: np.ndarray, top: int, **settings: Any) -> retrieval_lists.Lists:
    tuning = np.arange(min(50, len(queries)))
    return nearest_lists(faiss, queries, Bank.of(candidates), top, tuning=tuning, **settings)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 60), m=st.integers(1, 80), top=st.integers(1, 100), rows=st.integers(1, 90))
def test_small_sets_and_any_shards_equal_a_sort(n: int, m: int, top: int, rows: int) -> None:
    queries, candidates = vectors(n, 1), vectors(m, 2) * 3
    made = lists(queries, candidates, top, shard_bytes=rows * (4 * 16 + 12 * retrieval_lists.LINKS))
    np.testing.assert_array_equal(made.rows, exact(queries, candidates, min(top, m)))
    assert made.effort == 0 and made.shards == -(-m // -(-m // -(-m // rows)))
    assert (np.diff(made.cosines, axis=1) <= 0).all()


def test_a_graph_that_looks_far_enough_equals_a_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval_lists, "FLAT_ROWS", 100)
    monkeypatch.setattr(retrieval_lists, "_EFFORTS", (3000,))
    queries, candidates = vectors(64, 1), vectors(1500, 2)
    for most in (2**30, 700 * (4 * 16 + 12 * retrieval_lists.LINKS)):
        made = lists(queries, candidates, 20, shard_bytes=most)
        np.testing.assert_array_equal(made.rows, exact(queries, candidates, 20))
        assert made.effort == 3000 and made.shards == (1 if most == 2**30 else 3)


def test_the_effort_is_the_least_that_reaches_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval_lists, "FLAT_ROWS", 100)
    monkeypatch.setattr(retrieval_lists, "_EFFORTS", (1, 2, 4, 8, 3000, 6000))
    queries, candidates = vectors(200, 1, 32), vectors(3000, 2, 32)
    assert lists(queries, candidates, 1).effort == 3000
    monkeypatch.setattr(retrieval_lists, "TARGET", 0.0)
    assert lists(queries, candidates, 1).effort == 1
    assert lists(queries, candidates, 7).effort == 7  # never less than the list is long


def test_one_thread_and_a_seed_give_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval_lists, "FLAT_ROWS", 100)
    monkeypatch.setattr(retrieval_lists, "_EFFORTS", (8,))
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        queries, candidates = vectors(100, 1, 32), vectors(3000, 2, 32)
        first, again, other = (lists(queries, candidates, 8, seed=seed) for seed in (3, 3, 4))
    finally:
        faiss.omp_set_num_threads(threads)
    np.testing.assert_array_equal(first.rows, again.rows)
    np.testing.assert_array_equal(first.cosines, again.cosines)
    assert (first.rows != other.rows).any()


def test_equal_candidates_are_one_row_and_maps_are_read(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = np.repeat(vectors(5), 3, axis=0)
    np.save(tmp_path / "c.npy", candidates)
    mapped = np.load(tmp_path / "c.npy", mmap_mode="r")
    monkeypatch.setattr(retrieval_lists, "_IN_MEMORY", 10)
    made = lists(mapped, mapped, 9)
    assert made.rows.shape == (15, 5) and isinstance(made.rows, np.memmap)
    np.testing.assert_array_equal(made.rows[:, 0], np.arange(15) // 3)
    copied = rows_of(mapped, np.array([4, 0, 4]))
    assert isinstance(copied, np.memmap)
    np.testing.assert_array_equal(copied, candidates[[4, 0, 4]])


def test_progress_comes_to_the_number_of_queries() -> None:
    class Counting:
        total = 0

        def advance(self, count: int = 1, note: str = "") -> None:
            assert count >= 0
            self.total += count

    shown = Counting()
    lists(vectors(70), vectors(90), 5, shard_bytes=40 * (4 * 16 + 12 * retrieval_lists.LINKS), progress=shown)
    assert shown.total == 70


def test_the_share_found_counts_by_cosine() -> None:
    best = np.array([[0.9, 0.8, 0.8, 0.1]], np.float32)
    assert found_share(best, best, 4) == 1.0
    assert found_share(np.array([[0.9, 0.8, 0.1, -np.inf]], np.float32), best, 2) == 1.0
    assert found_share(np.array([[0.9, 0.1, 0.0, -np.inf]], np.float32), best, 2) == 0.5
    assert found_share(np.array([[0.8, 0.1, 0.0, -np.inf]], np.float32), best, 1) == 0.0


def test_nearest_of_takes_blocks_in_any_number() -> None:
    queries, candidates = vectors(7, 1), vectors(50, 2)
    unit = unit_rows(candidates, np.arange(50))
    blocks = [(start, unit[start : start + 8]) for start in range(0, 50, 8)]
    where, best = nearest_of(unit_rows(queries, np.arange(7)), blocks, 60)
    np.testing.assert_array_equal(where, exact(queries, candidates, 50))
    assert where.shape == best.shape == (7, 50)
