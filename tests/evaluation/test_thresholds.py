"""The threshold of two classes, against a search over all cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from medfm.evaluation.thresholds import youden


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=30))
def test_no_other_cut_is_better(pairs: list[tuple[int, bool]]) -> None:
    scores, truth = np.array([p[0] / 8 for p in pairs]), np.array([p[1] for p in pairs])
    found = youden(scores, truth)
    if truth.all() or not truth.any() or len(set(scores.tolist())) < 2:
        assert found is None
        return
    assert found is not None and scores.min() < found < scores.max()

    def gain(cut: float) -> float:
        return float((scores[truth] >= cut).mean() + (scores[~truth] < cut).mean())

    inside = [cut for cut in (np.arange(8) + 0.5) / 8 if scores.min() < cut < scores.max()]
    assert gain(found) == pytest.approx(max(gain(cut) for cut in inside))


def test_it_is_the_point_of_the_roc_curve_farthest_from_the_diagonal() -> None:
    source = np.random.default_rng(0)
    truth = source.random(200) < 0.3
    scores = np.clip(source.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
    fpr, tpr, _ = roc_curve(truth, scores)
    found = youden(scores, truth)
    assert found is not None
    gain = (scores[truth] >= found).mean() - (scores[~truth] >= found).mean()
    assert gain == pytest.approx((tpr - fpr).max())


def test_of_equal_gaps_the_one_nearest_to_one_half() -> None:
    assert youden(np.array([0.1, 0.9]), np.array([False, True])) == pytest.approx(0.5)
    assert youden(np.array([0.0, 0.2, 0.4, 1.0]), np.array([False, True, False, True])) == pytest.approx(0.7)
