"""Tests of paired differences besides the bootstrap and DeLong's.

McNemar's exact test of predicted labels (Psychometrika 12, 1947); Wilcoxon's signed ranks
(Biometrics Bulletin 1, 1945); Nadeau and Bengio's corrected t test of repeated cross-validation
(Machine Learning 52, 2003), since folds that share training records are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from medfm.core.errors import EvaluationError


@dataclass(frozen=True)
class CorrectedT:
    """Nadeau and Bengio's test: mean difference, t, degrees of freedom, two-sided p."""

    mean: float
    t: float
    df: int
    p: float


def nadeau_bengio(differences: np.ndarray, n_train: float, n_test: float) -> CorrectedT:
    """Corrected resampled t test of repeated cross-validation.

    Args:
        differences: float (J,), one difference per fold and repeat.
        n_train: Training records of a fold.
        n_test: Test records of a fold.

    Returns:
        t = mean / sqrt(var (1/J + n_test/n_train)) with J - 1 degrees of freedom. Differences that
        are all zero give t 0 and p 1; all equal but not zero give t infinite and p 0.

    Raises:
        EvaluationError: Fewer than two folds, or counts not above zero.
    """
    d = np.asarray(differences, dtype=np.float64).ravel()
    if len(d) < 2 or n_train <= 0 or n_test <= 0:
        raise EvaluationError("The corrected t test needs at least two folds with training and test records.")
    mean = float(d.mean())
    scale = float(np.sqrt(d.var(ddof=1) * (1 / len(d) + n_test / n_train)))
    if scale <= 1e-15:
        same = abs(mean) <= 1e-15
        return CorrectedT(mean, 0.0 if same else float(np.copysign(np.inf, mean)), len(d) - 1, 1.0 if same else 0.0)
    t = mean / scale
    return CorrectedT(mean, t, len(d) - 1, float(2 * stats.t.sf(abs(t), len(d) - 1)))


def wilcoxon(differences: np.ndarray, *, exact: bool | None = None) -> tuple[float, float]:
    """Wilcoxon's signed-rank test: statistic (smaller rank sum) and two-sided p.

    Args:
        differences: float (J,); zeros are dropped. Differences that agree to 12 digits of the largest are tied: sums in
            another order leave as much between equal ones.
        exact: Exact distribution given the ties, or normal approximation without continuity correction;
            ``None`` chooses exact for up to 25 differences.

    Returns:
        Statistic 0 and p 1 when every difference is zero.
    """
    d = np.asarray(differences, dtype=np.float64).ravel()
    largest = float(np.abs(d).max(initial=0.0))
    if largest <= 1e-15:
        return 0.0, 1.0
    d = np.round(d / largest, 12)
    d = d[d != 0]
    if not (len(d) <= 25 if exact is None else exact):
        found = stats.wilcoxon(d, correction=False, method="approx")
        return float(found.statistic), float(found.pvalue)
    # Tied ranks are halves: twice the ranks are whole numbers, and signs by fair coins give the sums their chances.
    ranks = np.rint(2 * stats.rankdata(np.abs(d))).astype(np.int64)
    chances = np.zeros(int(ranks.sum()) + 1)
    chances[0] = 1.0
    for rank in ranks:
        moved = np.zeros_like(chances)
        moved[rank:] = chances[: len(chances) - rank]
        chances = (chances + moved) / 2
    smaller = int(min(ranks[d > 0].sum(), ranks[d < 0].sum()))
    return smaller / 2, float(min(1.0, 2 * chances[: smaller + 1].sum()))


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> tuple[int, int, float]:
    """McNemar's exact test of two models on the same independent records.

    Args:
        first_right, second_right: bool (n,).

    Returns:
        Records only the first gets right, only the second, and the two-sided p.
    """
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    discordant = only_first + only_second
    p = 1.0 if discordant == 0 else float(stats.binomtest(only_first, discordant, 0.5).pvalue)
    return only_first, only_second, p


def bootstrap_p(differences: np.ndarray) -> float:
    """Two-sided p of "no difference" from resampled differences (B,): twice the smaller tail at 0.

    Never below 2 / (B + 1): so many resamples cannot show less. Undefined ones are left out.
    """
    good = differences[~np.isnan(differences)]
    # Sums in another order leave 1e-17 between equal figures.
    tails = [1 + int((good <= 1e-12).sum()), 1 + int((good >= -1e-12).sum())]
    return min(1.0, 2 * min(tails) / (len(good) + 1))
