"""Intervals that hold in small samples: the variance is taken at the bound, not at the estimate.

* proportions of clustered records: Wilson's interval with the number of independent records that has the same
  variance (design effect), and the quantile of t, as Korn and Graubard (Survey Methodology 24, 1998) do;
* a mean of proportions (balanced accuracy): from the Wilson intervals of each, by the method of variance estimates
  recovery (Zou and Donner, Statistics in Medicine 27, 2008);
* an AUROC: Newcombe's score interval (Statistics in Medicine 25, 2006, method 5), its variance scaled by DeLong's;
* any other figure of a bounded range: the standard error of the bootstrap on the logit scale, with the quantile of t;
* a figure with one end (mean absolute error, 1 - R²): the same on the logarithmic scale.

How often each holds the truth is measured by ``scripts/interval_coverage.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from medfm.core.errors import EvaluationError
from medfm.evaluation.delong import delong
from medfm.evaluation.intervals import normal_quantile, wilson_interval

# With this many patients in the rarer class, DeLong's variance and Newcombe's formula count alike where the first is
# the smaller one; with more, DeLong's counts more.
_FORMULA_PATIENTS = 50
_HALVINGS = 60


def check_auroc(auroc: float, positives: float, negatives: float) -> None:
    """Refuse what no AUROC can be.

    Raises:
        EvaluationError: An AUROC outside 0 to 1, or fewer than one of either kind.
    """
    if not 0 <= auroc <= 1:
        raise EvaluationError(f"An AUROC cannot be {auroc}.", expected="a number from 0 to 1")
    if positives < 1 or negatives < 1:
        raise EvaluationError("An AUROC needs positives and negatives.", expected="at least one of each")


def auroc_variance(auroc: float | np.ndarray, positives: float, negatives: float) -> np.ndarray:
    """Newcombe's variance of an AUROC (his method 5: Hanley and McNeil's, made symmetric in the two kinds)."""
    theta = np.asarray(auroc, dtype=np.float64)
    half = (positives + negatives) / 2 - 1
    spread = 1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    return np.asarray(theta * (1 - theta) * spread / (positives * negatives))


def newcombe_interval(
    auroc: float, positives: float, negatives: float, level: float = 0.95, *, scale: float = 1.0
) -> tuple[float, float]:
    """Bounds at which the estimate is just as far away as `level` allows: within [0, 1], wider than 0 even at 0 and 1.

    Args:
        auroc: The estimate.
        positives: Independent records of the one kind, 1 or more; need not be whole.
        negatives: Of the other.
        level: Of the interval.
        scale: Multiplies the variance.

    Raises:
        EvaluationError: An AUROC outside 0 to 1, or fewer than one of either kind.
    """
    check_auroc(auroc, positives, negatives)
    quantile = normal_quantile(level)

    def bound(inside: float, outside: float) -> float:
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            if abs(middle - auroc) > quantile * np.sqrt(scale * float(auroc_variance(middle, positives, negatives))):
                outside = middle
            else:
                inside = middle
        return inside

    # At an estimate of exactly 0 or 1 both sides are 0 there; the search starts a little beside it.
    low = 0.0 if auroc <= 0 else bound(min(auroc, 1 - 1e-12), 0.0)
    high = 1.0 if auroc >= 1 else bound(max(auroc, 1e-12), 1.0)
    return low, high


def auroc_interval(
    scores: np.ndarray,
    positive: np.ndarray,
    clusters: np.ndarray | None = None,
    level: float = 0.95,
    *,
    repeats: float = 1.0,
) -> tuple[float, float]:
    """Score interval of an AUROC: Newcombe's, with DeLong's variance where that is larger or well known.

    The numbers of independent records are those of patients, or more where DeLong's clustered variance says that the
    records of a patient resemble one another little. Where DeLong's variance is 0 (an AUROC of 0 or 1) patients count.

    Args:
        scores: float (n,).
        positive: bool (n,).
        clusters: (n,) patient of each record; ``None`` when all records are independent.
        level: Of the interval.
        repeats: Rows per record, where repeated cross-validation tests a record several times.

    Raises:
        EvaluationError: Fewer than two patients with positive or with negative records.
    """
    truth = np.asarray(positive, dtype=bool)
    found = delong(scores, truth, clusters)
    value, variance = float(found.aurocs[0]), float(found.covariance[0, 0])
    m, n = float(truth.sum()), float((~truth).sum())
    ill, well = m, n
    if clusters is not None:
        who = np.asarray(clusters)
        ill, well = float(len(np.unique(who[truth]))), float(len(np.unique(who[~truth])))
    rarer = min(ill, well)
    # The variance of an AUROC near 1 comes from very few records that are out of order: rounding is no variance.
    if not variance > 1e-14 or not 0 < value < 1:
        return newcombe_interval(value, ill, well, level)
    if clusters is not None:
        plain = float(delong(scores, truth).covariance[0, 0])
        effect = variance / plain if plain > 1e-14 else np.inf
        ill = float(np.clip(m / effect, ill, max(m / repeats, ill)))
        well = float(np.clip(n / effect, well, max(n / repeats, well)))
    ratio = variance / float(auroc_variance(value, ill, well))
    mixed = (rarer * ratio + _FORMULA_PATIENTS) / (rarer + _FORMULA_PATIENTS)
    return newcombe_interval(value, ill, well, level, scale=max(ratio, mixed))


def clustered_wilson(
    hits: np.ndarray, clusters: np.ndarray | None = None, level: float = 0.95, *, repeats: float = 1.0
) -> tuple[float, float, float]:
    """Share of `hits` and its interval: Wilson's for as many independent records as have the same variance.

    Args:
        hits: bool (n,), n at least 1.
        clusters: (n,) patient of each record; ``None`` when all are independent.
        level: Of the interval.
        repeats: Rows per record, where repeated cross-validation tests a record several times.

    Returns:
        Share, lower and upper bound. With one patient the bounds are those of one trial.

    Raises:
        EvaluationError: There is no record.
    """
    values = np.asarray(hits, dtype=np.float64)
    if not len(values):
        raise EvaluationError("A share of no records has no interval.", expected="at least one record")
    share, size = float(values.mean()), float(len(values))
    if clusters is not None:
        names, place = np.unique(np.asarray(clusters), return_inverse=True)
        patients = len(names)
        size = float(patients)
        if patients > 1 and 0 < share < 1:
            sums = np.bincount(place.reshape(-1), weights=values - share, minlength=patients)
            variance = patients / (patients - 1) * float(np.sum(sums**2)) / len(values) ** 2
            # Less spread between patients than chance alone gives is taken for chance.
            most = len(values) / repeats
            size = min(share * (1 - share) / variance, most) if variance > 0 else most
            size *= (normal_quantile(level) / float(stats.t.ppf((1 + level) / 2, patients - 1))) ** 2
    low, high = wilson_interval(share * size, size, level)
    return share, float(low), float(high)


def mean_of_proportions(parts: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Interval of the plain mean of independent proportions from ``(share, low, high)`` of each.

    Raises:
        EvaluationError: There is none.
    """
    if not parts:
        raise EvaluationError("A mean of no proportions has no interval.", expected="at least one proportion")
    share, low, high = np.asarray(parts, dtype=np.float64).T
    middle = share.mean()
    below, above = (np.sqrt(np.sum((share - bound) ** 2)) / len(share) for bound in (low, high))
    return float(max(middle - below, 0.0)), float(min(middle + above, 1.0))


def logit_bootstrap_interval(
    value: float,
    resampled: np.ndarray,
    clusters: int,
    level: float = 0.95,
    *,
    lowest: float = 0.0,
    highest: float = 1.0,
    beside: float = 0.0,
) -> tuple[float, float] | None:
    """The bootstrap's standard error on the logit scale of the figure's range, with t of ``clusters - 1``.

    Args:
        value: The figure.
        resampled: float64 (B,); NaN are left out.
        clusters: Number of patients that were resampled.
        level: Of the interval.
        lowest: Of all possible values, finite.
        highest: Likewise.
        beside: Variance that the resamples do not show, such as that of the mix of classes
            (:func:`medfm.evaluation.class_mix.mix_variance`).

    Returns:
        Bounds strictly within the range; ``None`` at an end of it, without spread, or with fewer than two patients.
    """
    good = resampled[~np.isnan(resampled)]
    width = highest - lowest
    share = (value - lowest) / width
    if len(good) < 2 or clusters < 2 or not 0 < share < 1:
        return None
    error = _standard_error(good, clusters, beside) / width
    if not error > 1e-12:
        return None
    reach = float(stats.t.ppf((1 + level) / 2, clusters - 1)) * error / (share * (1 - share))
    low, high = (float(lowest + width * expit(logit(share) + sign * reach)) for sign in (-1, 1))
    return low, high


def log_bootstrap_interval(
    value: float, resampled: np.ndarray, clusters: int, level: float = 0.95, *, beside: float = 0.0
) -> tuple[float, float] | None:
    """The same on the logarithmic scale, for a figure that has 0 as its one end, such as an error.

    Args:
        value: The figure.
        resampled: float64 (B,); NaN are left out.
        clusters: Number of patients that were resampled.
        level: Of the interval.
        beside: Variance that the resamples do not show.

    Returns:
        Bounds above 0; ``None`` at 0, without spread, or with fewer than two patients.
    """
    good = resampled[~np.isnan(resampled)]
    if len(good) < 2 or clusters < 2 or not value > 0:
        return None
    error = _standard_error(good, clusters, beside) / value
    if not error > 1e-12:
        return None
    reach = float(stats.t.ppf((1 + level) / 2, clusters - 1)) * error
    return float(value * np.exp(-reach)), float(value * np.exp(reach))


def _standard_error(resampled: np.ndarray, clusters: int, beside: float) -> float:
    # Drawing G patients from G makes the spread too small by (G - 1) / G.
    return float(np.sqrt(float(resampled.var(ddof=1)) * clusters / (clusters - 1) + beside))
