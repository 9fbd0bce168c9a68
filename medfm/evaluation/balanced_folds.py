"""The folds of BPDneo-CXR: test folds of equally many positive and negative patients.

As in ``bpd_torch/data/dataset_fold.py`` of phflot/bpdneo-cxr at 25691162 (arXiv 2507.12269). Negatives
beyond the number of positives are never tested; prevalence in test is forced to one half, so figures
that depend on it are not those of the cohort.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from medfm.core.errors import EvaluationError

FIRST_SEED = 100
TRAINING_SEED = 1000


class BalancedFold(NamedTuple):
    """One training: patients that train and test (positions), its run from 1, fold from 0, and seed."""

    train: np.ndarray
    test: np.ndarray
    run: int
    fold: int
    seed: int


def balanced_folds(positive: np.ndarray, *, runs: int = 6, folds: int = 5) -> Iterator[BalancedFold]:
    """The published scheme over patients.

    Run r shuffles with ``RandomState(100 + r)``, positives first; positives are cut into `folds`
    parts and each gets the next equally many negatives in order. Seeds of the trainings,
    ``1000 + r + fold``, repeat between runs, as published.

    Args:
        positive: bool (patients,), in the sorted order of the patients' ids.
        runs: Repeats.
        folds: Folds of a repeat.

    Raises:
        EvaluationError: Fewer positives than folds, or fewer negatives than positives.
    """
    truth = np.asarray(positive, dtype=bool)
    one, zero = np.flatnonzero(truth), np.flatnonzero(~truth)
    if len(one) < folds or len(zero) < len(one):
        raise EvaluationError(
            f"{len(one)} positive and {len(zero)} negative patients cannot make {folds} balanced folds.",
            expected=f"at least {folds} positive patients and as many negative ones as positive ones",
        )
    for run in range(1, runs + 1):
        source = np.random.RandomState(FIRST_SEED + run)
        ones, zeros = source.permutation(one), source.permutation(zero)
        used = 0
        for fold, part in enumerate(np.array_split(ones, folds)):
            test = np.sort(np.concatenate([part, zeros[used : used + len(part)]]))
            used += len(part)
            train = np.setdiff1d(np.arange(len(truth)), test)
            yield BalancedFold(train, test, run, fold, TRAINING_SEED + run + fold)
