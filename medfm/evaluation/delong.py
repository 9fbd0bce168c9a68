"""DeLong's covariance of AUROCs, by mid-ranks, and its form for clustered records.

DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988); mid-ranks after Sun and Xu, IEEE Signal
Processing Letters 21 (2014); clusters after Obuchowski, Biometrics 53 (1997). With one record per
cluster the clustered form equals DeLong's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit, logit, ndtr
from scipy.stats import rankdata

from medfm.core.errors import EvaluationError
from medfm.evaluation.intervals import normal_quantile


@dataclass(frozen=True)
class DeLong:
    """AUROCs of several scores on the same records.

    Attributes:
        aurocs: float64 (m,).
        covariance: float64 (m, m) of the AUROCs.
        clustered: Whether clusters with several records were accounted for.
    """

    aurocs: np.ndarray
    covariance: np.ndarray
    clustered: bool = False

    def interval(
        self, index: int = 0, *, level: float = 0.95, scale: Literal["logit", "wald"] = "logit"
    ) -> tuple[float, float]:
        """Interval of one AUROC, on the logit scale (stays within 0 and 1) or Wald's.

        Both bounds are NaN on the logit scale for an AUROC of exactly 0 or 1, and on either
        when the variance is not above zero: the data then tell nothing about the spread.
        """
        value, variance = float(self.aurocs[index]), float(self.covariance[index, index])
        if not variance > 0 or (scale == "logit" and not 0 < value < 1):
            return float("nan"), float("nan")
        reach = normal_quantile(level) * np.sqrt(variance)
        if scale == "wald":
            return float(value - reach), float(value + reach)
        reach /= value * (1 - value)
        return float(expit(logit(value) - reach)), float(expit(logit(value) + reach))

    def paired(self, first: int = 0, second: int = 1) -> tuple[float, float, float, float]:
        """Difference of two AUROCs (first - second), its standard error, z and two-sided p.

        Scores that rank alike give a difference of 0, z of 0 and p of 1. A difference with no
        variance (both rank perfectly or against each other) has z and p NaN.
        """
        difference = float(self.aurocs[first] - self.aurocs[second])
        c = self.covariance
        variance = float(c[first, first] + c[second, second] - 2 * c[first, second])
        # Rounding alone leaves differences near 1e-17 between identical score vectors.
        if variance <= 1e-14:
            same = abs(difference) < 1e-12
            return difference, 0.0, 0.0 if same else float("nan"), 1.0 if same else float("nan")
        z = difference / np.sqrt(variance)
        return difference, float(np.sqrt(variance)), float(z), float(2 * ndtr(-abs(z)))


def delong(scores: np.ndarray, positive: np.ndarray, clusters: np.ndarray | None = None) -> DeLong:
    """AUROCs of one or several score vectors on the same records, with their covariance.

    Args:
        scores: float (n,) or (m, n), higher means more likely positive.
        positive: bool (n,).
        clusters: (n,) id of the patient of each record; ``None`` when all records are independent.

    Raises:
        EvaluationError: One kind is absent, or too few records (clusters) to have a variance:
            at least two positives and two negatives, from at least two clusters each.
    """
    stacked = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    truth = np.asarray(positive, dtype=bool)
    m, n = int(truth.sum()), int((~truth).sum())
    if m == 0 or n == 0:
        raise EvaluationError("An AUROC needs positives and negatives.", expected="at least one of each")
    placements = [_placements(row, truth) for row in stacked]
    v10 = np.stack([p[0] for p in placements])
    v01 = np.stack([p[1] for p in placements])
    aurocs = v10.mean(axis=1)
    if clusters is None:
        codes, size = np.arange(m + n), m + n
        codes = np.concatenate([codes[truth], codes[~truth]])
    else:
        names, inverse = np.unique(np.asarray(clusters), return_inverse=True)
        size = len(names)
        codes = np.concatenate([inverse.reshape(-1)[truth], inverse.reshape(-1)[~truth]])
    own, other = codes[:m], codes[m:]
    with_positive, with_negative = len(np.unique(own)), len(np.unique(other))
    if with_positive < 2 or with_negative < 2:
        raise EvaluationError(
            "Too few patients for the variance of an AUROC.",
            expected="at least two with positive and two with negative records",
        )
    sums10 = np.stack([np.bincount(own, weights=row, minlength=size) for row in v10 - aurocs[:, None]])
    sums01 = np.stack([np.bincount(other, weights=row, minlength=size) for row in v01 - aurocs[:, None]])
    covariance = with_positive / (with_positive - 1) * sums10 @ sums10.T / m**2
    covariance += with_negative / (with_negative - 1) * sums01 @ sums01.T / n**2
    cross = size / (size - 1) * sums10 @ sums01.T / (m * n)
    covariance += cross + cross.T
    return DeLong(aurocs, covariance, clustered=size < m + n)


def _placements(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of negatives below each positive, and of positives above each negative (ties half)."""
    ours, theirs = scores[truth], scores[~truth]
    pooled = rankdata(np.concatenate([ours, theirs]))
    v10 = (pooled[: len(ours)] - rankdata(ours)) / len(theirs)
    v01 = 1.0 - (pooled[len(ours) :] - rankdata(theirs)) / len(ours)
    return v10, v01
