"""Calibration: how well scores can be read as probabilities, and how to mend them.

Errors and bins follow the definition of ``metrics_scores.ece``. The slope and intercept are those
of Cox (Biometrika 45, 1958): logistic regression of the outcome on the logit of the score.
Scaling (temperature: Guo et al., ICML 2017; Platt 1999; isotonic: Zadrozny and Elkan, KDD 2002) is fitted on
validation records only and then applied to test records.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from medfm.core.errors import EvaluationError
from medfm.evaluation.bootstrap import percentile_interval
from medfm.evaluation.intervals import wilson_interval
from medfm.evaluation.metrics import number
from medfm.evaluation.metrics_outcomes import BINS, Outcomes, Weighted
from medfm.evaluation.metrics_ranking import ratio
from medfm.evaluation.summary import ReliabilityBin

# Probabilities of exactly 0 or 1 are moved this far inwards before taking logits.
TINY = 1e-6
_STEPS = 100


@dataclass(frozen=True)
class CalibrationFit:
    """Logistic recalibration of a binary score.

    Attributes:
        slope: 1 is ideal; below 1 the scores are too extreme.
        intercept: Fitted together with the slope; 0 is ideal.
        in_the_large: Intercept with the slope fixed at 1; below 0 the scores are too high.
    """

    slope: float | None
    intercept: float | None
    in_the_large: float | None


def calibration_fit(scores: np.ndarray, truth: np.ndarray) -> CalibrationFit:
    """Slope, intercept and calibration in the large by unpenalised maximum likelihood.

    Args:
        scores: float (n,) probabilities; 0 and 1 are moved inwards by 1e-6.
        truth: (n,) of 0 and 1.

    Returns:
        ``None`` for what has no finite optimum (one class only, or perfectly separated scores).
    """
    logits = logit_of(scores)
    labels = np.asarray(truth, dtype=np.float64)
    if labels.min() == labels.max():
        return CalibrationFit(None, None, None)
    large = _newton(np.ones((len(labels), 1)), labels, logits)
    positive, negative = logits[labels == 1], logits[labels == 0]
    separated = positive.min() >= negative.max() or negative.min() >= positive.max()
    joint = None
    if not separated and logits.std() > 0:
        joint = _newton(np.stack([np.ones_like(logits), logits], axis=1), labels, np.zeros_like(logits))
    return CalibrationFit(
        slope=None if joint is None else float(joint[1]),
        intercept=None if joint is None else float(joint[0]),
        in_the_large=None if large is None else float(large[0]),
    )


def _newton(design: np.ndarray, labels: np.ndarray, offset: np.ndarray) -> np.ndarray | None:
    """Logistic regression with an offset: the coefficients, or ``None`` without convergence."""
    beta = np.zeros(design.shape[1])

    def loss(at: np.ndarray) -> float:
        eta = design @ at + offset
        return float(np.sum(np.logaddexp(0, eta) - labels * eta))

    now = loss(beta)
    for _ in range(_STEPS):
        p = expit(design @ beta + offset)
        gradient = design.T @ (labels - p)
        hessian = (design * (p * (1 - p))[:, None]).T @ design
        try:
            step = np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError:
            return None
        length = 1.0
        while length > 1e-8 and not loss(beta + length * step) <= now + 1e-12 * abs(now):
            length /= 2
        beta = beta + length * step
        now = loss(beta)
        if np.max(np.abs(length * step)) < 1e-12 * (1 + np.max(np.abs(beta))):
            return beta
    return beta if np.max(np.abs(gradient)) < 1e-6 * len(labels) else None


def reliability_bins(
    outcomes: Outcomes, resampled: np.ndarray | None, level: float, *, independent: bool
) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram: observed rate per bin of score, with a band.

    Args:
        outcomes: Any task with scores.
        resampled: float64 (3, bins, B) from ``Weighted.calibration_bins``, or ``None``.
        level: Of the band.
        independent: Whether every patient has one record; the band is then Wilson's,
            otherwise the clustered bootstrap's.
    """
    view = Weighted(outcomes, np.ones((len(outcomes), 1)))
    count, scores, hits = view.calibration_bins[:, :, 0]
    if independent:
        low, high = wilson_interval(hits, count, level)
    elif resampled is not None:
        low, high = percentile_interval(ratio(resampled[2], resampled[0]), level)
    else:
        low = high = np.full(BINS, np.nan)
    return tuple(
        ReliabilityBin(
            lower=b / BINS,
            upper=(b + 1) / BINS,
            n=round(float(count[b])),
            mean_score=number(scores[b] / count[b]) if count[b] else None,
            observed=number(hits[b] / count[b]) if count[b] else None,
            low=number(low[b]) if count[b] else None,
            high=number(high[b]) if count[b] else None,
        )
        for b in range(BINS)
    )


@dataclass(frozen=True)
class TemperatureScaling:
    """Divides logits by a temperature: confidence changes, the ranking within a record does not."""

    temperature: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Rescaled probabilities of the same shape, (n,) or (n, classes)."""
        if scores.ndim == 1:
            return np.asarray(expit(logit_of(scores) / self.temperature))
        return _softmax(np.log(np.clip(scores, TINY, None)) / self.temperature)


def fit_temperature(scores: np.ndarray, truth: np.ndarray) -> TemperatureScaling:
    """The temperature of least log loss on *validation* records.

    Args:
        scores: float (n,) of a binary task or (n, classes).
        truth: int (n,) class positions.

    Raises:
        EvaluationError: No record, or only one class among them.
    """
    labels = np.asarray(truth, dtype=np.int64)
    if len(np.unique(labels)) < 2:
        raise EvaluationError(
            "A temperature cannot be fitted to one class.", expected="at least two classes in validation"
        )

    def loss(log_temperature: float) -> float:
        given = TemperatureScaling(float(np.exp(log_temperature)))(scores)
        chosen = np.where(labels == 1, given, 1 - given) if given.ndim == 1 else given[np.arange(len(labels)), labels]
        return float(-np.log(np.clip(chosen, 1e-300, None)).mean())

    from scipy.optimize import minimize_scalar

    best = minimize_scalar(loss, bounds=(np.log(1e-2), np.log(1e2)), method="bounded", options={"xatol": 1e-8})
    return TemperatureScaling(float(np.exp(best.x)))


@dataclass(frozen=True)
class IsotonicScaling:
    """Replaces scores by a rising step function (linear between the steps)."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Rescaled probabilities (n,)."""
        return np.asarray(np.interp(scores, self.x, self.y))


def fit_isotonic(scores: np.ndarray, truth: np.ndarray) -> IsotonicScaling:
    """The rising function of least squared error on *validation* records of a binary task.

    Args:
        scores: float (n,).
        truth: (n,) of 0 and 1.

    Raises:
        EvaluationError: Only one class among the records.
    """
    labels = np.asarray(truth, dtype=np.float64)
    if len(np.unique(labels)) < 2:
        raise EvaluationError("Isotonic scaling cannot be fitted to one class.", expected="both classes in validation")
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(np.asarray(scores, dtype=np.float64), labels)
    return IsotonicScaling(tuple(map(float, fitted.X_thresholds_)), tuple(map(float, fitted.y_thresholds_)))


@dataclass(frozen=True)
class PlattScaling:
    """Logistic recalibration: a line on the logit scale."""

    slope: float
    intercept: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Rescaled probabilities (n,)."""
        return np.asarray(expit(self.intercept + self.slope * logit_of(scores)))


def fit_platt(scores: np.ndarray, truth: np.ndarray) -> PlattScaling:
    """Slope and intercept by maximum likelihood on *validation* records of a binary task (Platt 1999).

    Args:
        scores: float (n,) probabilities.
        truth: (n,) of 0 and 1.

    Raises:
        EvaluationError: One class only, or scores that separate the classes: no finite optimum.
    """
    fit = calibration_fit(scores, truth)
    if fit.slope is None or fit.intercept is None:
        raise EvaluationError(
            "A logistic recalibration has no finite optimum here.",
            expected="both classes in validation, with scores that overlap",
            fix="use temperature scaling, or more validation patients",
        )
    return PlattScaling(fit.slope, fit.intercept)


def scaled_brier(scores: np.ndarray, truth: np.ndarray) -> float | None:
    """``1 - Brier / Brier of the prevalence``: 1 is perfect, 0 no better than the prevalence; ``None`` for one class.

    Args:
        scores: float (n,) probabilities of a binary task.
        truth: (n,) of 0 and 1.
    """
    labels = np.asarray(truth, dtype=np.float64)
    reference = labels.mean() * (1 - labels.mean())
    return None if reference == 0 else float(1 - np.mean((np.asarray(scores) - labels) ** 2) / reference)


def logit_of(scores: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) of scores (n,), kept finite at 0 and 1."""
    clipped = np.clip(np.asarray(scores, dtype=np.float64), TINY, 1 - TINY)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
