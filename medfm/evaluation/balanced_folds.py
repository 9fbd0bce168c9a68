"""The folds of BPDneo-CXR: test folds of equally many positive and negative patients.

As in ``bpd_torch/data/dataset_fold.py`` of phflot/bpdneo-cxr at 25691162 (arXiv 2507.12269). Negatives
beyond the number of positives are never tested; prevalence in test is forced to one half, so figures
that depend on it are not those of the cohort.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

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


def training_seed(run: int, fold: int) -> int:
    """The published seed of a training, 1000 + run + fold; run from 1, fold from 0.

    Trainings with equal sums share a seed: six runs of five folds have ten seeds, a flaw of the published program.
    """
    return TRAINING_SEED + run + fold


def balanced_folds(
    positive: np.ndarray,
    *,
    runs: int = 6,
    folds: int = 5,
    draw: Literal["published", "generator"] = "published",
    seed: int = 0,
) -> Iterator[BalancedFold]:
    """The published scheme over patients.

    Positives are shuffled first, then negatives; positives are cut into `folds` parts, of which the
    first have one more, and each gets the next equally many negatives in order.

    Args:
        positive: bool (patients,), in the order that is shuffled: published, that of the patients' first files.
        runs: Repeats.
        folds: Folds of a repeat.
        draw: ``published``: run r shuffles with numpy's legacy ``RandomState(100 + seed + r)``; ``generator``: with
            ``default_rng([seed, r])``.
        seed: Added to the published ones (the program's ``--seed`` is 100 + `seed`), or of the generator; from 0.

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
        source = _source(draw, seed, run)
        ones, zeros = source.permutation(one), source.permutation(zero)
        used = 0
        for fold, part in enumerate(np.array_split(ones, folds)):
            test = np.sort(np.concatenate([part, zeros[used : used + len(part)]]))
            used += len(part)
            train = np.setdiff1d(np.arange(len(truth)), test)
            yield BalancedFold(train, test, run, fold, training_seed(run, fold))


def _source(draw: str, seed: int, run: int) -> np.random.RandomState | np.random.Generator:
    if draw == "published":
        return np.random.RandomState(FIRST_SEED + seed + run)
    return np.random.default_rng([seed, run])
