"""The folds of BPDneo-CXR: counts, no patient twice, equally many of both classes in test."""

from __future__ import annotations

import numpy as np
import pytest

from medfm.core.errors import EvaluationError
from medfm.evaluation.balanced_folds import balanced_folds

TRUTH = np.arange(163) < 60  # 163 infants as published; the number of positives is not


def test_six_runs_of_five_folds() -> None:
    folds = list(balanced_folds(TRUTH))
    assert [(f.run, f.fold) for f in folds] == [(run, fold) for run in range(1, 7) for fold in range(5)]
    assert [f.seed for f in folds[:6]] == [1001, 1002, 1003, 1004, 1005, 1002]  # seeds repeat, as published


@pytest.mark.parametrize("positives", [60, 63, 5, 81])
def test_test_folds_are_balanced_and_no_patient_trains_and_is_tested(positives: int) -> None:
    truth = np.arange(163) < positives
    folds = list(balanced_folds(truth))
    for fold in folds:
        assert truth[fold.test].sum() == (~truth[fold.test]).sum() > 0
        assert not set(fold.train) & set(fold.test)
        assert sorted([*fold.train, *fold.test]) == list(range(163))
    for run in range(1, 7):
        tested = np.concatenate([f.test for f in folds if f.run == run])
        assert len(tested) == len(set(tested.tolist())) == 2 * positives
        assert truth[tested].sum() == positives  # every positive once; left-over negatives never


def test_runs_differ_and_repeat() -> None:
    first, again = list(balanced_folds(TRUTH)), list(balanced_folds(TRUTH))
    assert all(np.array_equal(a.test, b.test) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].test, first[5].test)


def test_the_draw_by_hand() -> None:
    """RandomState(101): positives first, then negatives, each fold the next ones in order."""
    source = np.random.RandomState(101)
    ones, zeros = source.permutation(np.flatnonzero(TRUTH)), source.permutation(np.flatnonzero(~TRUTH))
    found = next(iter(balanced_folds(TRUTH)))
    assert set(found.test) == set(ones[:12]) | set(zeros[:12])


@pytest.mark.parametrize("positives", [4, 82, 0])
def test_what_cannot_be_balanced_is_refused(positives: int) -> None:
    with pytest.raises(EvaluationError, match="balanced folds"):
        next(iter(balanced_folds(np.arange(163) < positives)))
