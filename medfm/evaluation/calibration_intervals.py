"""Intervals of the calibration slope, its intercept and the calibration in the large.

With one record per patient: Wald intervals from the information of the logistic regression (Cox 1958).
With several: the cluster-robust covariance (Liang and Zeger, Biometrika 73, 1986) times G / (G - 1) for G
patients, with the quantile of t with G - 1 degrees of freedom.
"""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import expit

from medfm.evaluation.calibration import CalibrationFit, logit_of
from medfm.evaluation.intervals import normal_quantile

Interval = tuple[float, float] | None


def calibration_intervals(
    scores: np.ndarray, truth: np.ndarray, fit: CalibrationFit, clusters: np.ndarray | None = None, level: float = 0.95
) -> tuple[Interval, Interval, Interval]:
    """Intervals of slope, intercept and calibration in the large; ``None`` for what is undefined.

    Args:
        scores: float (n,) probabilities.
        truth: (n,) of 0 and 1.
        fit: Of the same scores and truth.
        clusters: int (n,), the patient of each record; ``None`` where every record is one of its own.
        level: Of the intervals.
    """
    logits, labels = logit_of(scores), np.asarray(truth, dtype=np.float64)
    slope = intercept = large = None
    if fit.slope is not None and fit.intercept is not None:
        design = np.column_stack([np.ones_like(logits), logits])
        errors = _standard_errors(design, labels, expit(fit.intercept + fit.slope * logits), clusters)
        intercept, slope = (
            _around(v, e, clusters, level) for v, e in zip((fit.intercept, fit.slope), errors, strict=True)
        )
    if fit.in_the_large is not None:
        errors = _standard_errors(np.ones((len(labels), 1)), labels, expit(fit.in_the_large + logits), clusters)
        large = _around(fit.in_the_large, errors[0], clusters, level)
    return slope, intercept, large


def _standard_errors(
    design: np.ndarray, labels: np.ndarray, fitted: np.ndarray, clusters: np.ndarray | None
) -> np.ndarray:
    """Of each coefficient: float64 (k,), NaN where there are too few patients or the information has no inverse."""
    information = (design * (fitted * (1 - fitted))[:, None]).T @ design
    try:
        inverse = np.linalg.inv(information)
    except np.linalg.LinAlgError:
        return np.full(design.shape[1], np.nan)
    covariance = inverse
    if clusters is not None:
        names, place = np.unique(clusters, return_inverse=True)
        if len(names) < 2:
            return np.full(design.shape[1], np.nan)
        sums = np.zeros((len(names), design.shape[1]))
        np.add.at(sums, place.reshape(-1), design * (labels - fitted)[:, None])
        covariance = inverse @ (sums.T @ sums) @ inverse * (len(names) / (len(names) - 1))
    return np.asarray(np.sqrt(np.maximum(np.diag(covariance), 0.0)))


def _around(value: float, error: float, clusters: np.ndarray | None, level: float) -> Interval:
    if not np.isfinite(error) or error <= 0:
        return None
    reach = float(error) * (
        normal_quantile(level)
        if clusters is None
        else float(stats.t.ppf((1 + level) / 2, len(np.unique(clusters)) - 1))
    )
    return value - reach, value + reach
