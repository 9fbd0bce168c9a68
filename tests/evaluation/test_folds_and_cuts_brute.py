"""Balanced folds and thresholds against plain searches."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import EvaluationError
from medfm.evaluation.balanced_folds import balanced_folds
from medfm.evaluation.thresholds import youden


def by_hand(truth: list[bool], runs: int, folds: int) -> list[tuple[set[int], set[int], int, int, int]]:
    """The published scheme in lists and loops; array_split gives the first folds one more."""
    found = []
    for run in range(1, runs + 1):
        source = np.random.RandomState(100 + run)
        ones = source.permutation([i for i, t in enumerate(truth) if t]).tolist()
        zeros = source.permutation([i for i, t in enumerate(truth) if not t]).tolist()
        for fold in range(folds):
            size = len(ones) // folds + (fold < len(ones) % folds)
            before = sum(len(ones) // folds + (f < len(ones) % folds) for f in range(fold))
            test = set(ones[before : before + size]) | set(zeros[before : before + size])
            found.append((set(range(len(truth))) - test, test, run, fold, 1000 + run + fold))
    return found


@pytest.mark.parametrize(
    ("positives", "more", "folds"), [c for c in product(range(2, 9), (0, 1, 6), (2, 3, 5)) if c[0] >= c[2]]
)
def test_every_size_gives_the_folds_of_the_scheme(positives: int, more: int, folds: int) -> None:
    order = np.random.default_rng(positives).permutation(2 * positives + more)
    truth = order < positives
    found = [(set(f.train), set(f.test), f.run, f.fold, f.seed) for f in balanced_folds(truth, runs=3, folds=folds)]
    assert found == by_hand(truth.tolist(), 3, folds)


@pytest.mark.parametrize(("positives", "negatives", "folds"), [(4, 9, 5), (6, 5, 5), (0, 0, 2), (1, 1, 2)])
def test_too_few_are_refused_with_their_numbers(positives: int, negatives: int, folds: int) -> None:
    truth = np.array([True] * positives + [False] * negatives, dtype=bool)
    with pytest.raises(EvaluationError) as found:
        list(balanced_folds(truth, folds=folds))
    said = str(found.value)
    assert f"{positives} positive and {negatives} negative" in said and f"at least {folds} positive" in said


def test_numbers_count_as_truth() -> None:
    truth = np.array([1, 0, 0, 1, 1, 0])
    assert [f.test.tolist() for f in balanced_folds(truth, folds=3)] == [
        f.test.tolist() for f in balanced_folds(truth.astype(bool), folds=3)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=24))
def test_the_cut_is_the_best_gap_nearest_to_one_half(pairs: list[tuple[int, bool]]) -> None:
    scores, truth = [p[0] / 12 for p in pairs], [p[1] for p in pairs]
    values = sorted(set(scores))
    found = youden(np.array(scores), np.array(truth))
    if len(set(truth)) < 2 or len(values) < 2:
        assert found is None
        return
    best: list[tuple[float, float]] = []
    for low, high in pairwise(values):
        cut = (low + high) / 2
        hits = sum(s >= cut for s, t in zip(scores, truth, strict=True) if t) / sum(truth)
        spared = sum(s < cut for s, t in zip(scores, truth, strict=True) if not t) / (len(truth) - sum(truth))
        best.append((round(hits + spared, 9), cut))
    top = max(gain for gain, _ in best)
    assert found is not None
    assert abs(found - 0.5) == pytest.approx(min(abs(cut - 0.5) for gain, cut in best if gain == top))
    assert any(cut == pytest.approx(found) for gain, cut in best if gain == top)


def test_a_cut_moves_with_the_scores_and_not_with_the_order_of_records() -> None:
    source = np.random.default_rng(1)
    scores, truth = source.random(40), source.random(40) < 0.4
    order = source.permutation(40)
    found = youden(scores, truth)
    assert found == youden(scores[order], truth[order])
    assert youden(np.repeat(scores, 3), np.repeat(truth, 3)) == found
