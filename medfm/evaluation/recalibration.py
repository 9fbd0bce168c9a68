"""Temperature and Platt scaling as one line on the logit, so that a linear classifier can take it in.

Temperature: Guo et al., ICML 2017. Platt: logistic regression of the outcome on the logit. Both are fitted on
validation records only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from medfm.evaluation.calibration import calibration_fit, fit_temperature
from medfm.evaluation.target import Target

# A few dozen records that happen to be separable would ask for certainty; no scaling goes beyond these.
LEAST, MOST = 0.2, 5.0
# As near to 0 and 1 as float64 tells apart, so that scores here are those of the classifier that takes the line in.
_FLOOR = 1e-15


@dataclass(frozen=True)
class Recalibration:
    """Logits become ``slope * logit + intercept``; the intercept is 0 but for Platt's rule with two classes."""

    slope: float = 1.0
    intercept: float = 0.0
    rule: str = "none"

    def __call__(self, scores: np.ndarray, task: str) -> np.ndarray:
        """Recalibrated probabilities, float64 (n, classes); scores of other tasks than classes as they are."""
        if self.rule == "none" or task not in ("binary", "multiclass"):
            return scores
        if task == "multiclass":
            return np.asarray(softmax(self.slope * np.log(np.clip(scores, _FLOOR, None)), axis=1))
        inside = np.clip(scores[:, 1], _FLOOR, 1 - _FLOOR)
        positive = expit(self.slope * (np.log(inside) - np.log1p(-inside)) + self.intercept)
        return np.column_stack([1 - positive, positive])

    def about(self) -> dict[str, Any]:
        """JSON-like."""
        return {"rule": self.rule, "slope": self.slope, "intercept": self.intercept}


def recalibrate(scores: np.ndarray, truth: Target, rule: str) -> Recalibration:
    """Fit `rule` on validation records.

    Args:
        scores: float (n, classes) of the validation records.
        truth: Of the same records.
        rule: ``"temperature"``, ``"platt"`` or ``"none"``.

    Returns:
        A slope between 0.2 and 5; nothing is changed for one class only, for scores that separate the classes,
        for several classes under Platt's rule, and where Platt's slope is not above 0.
    """
    classes = truth.task in ("binary", "multiclass")
    if rule == "none" or not classes or len(np.unique(truth.values)) < 2:
        return Recalibration()
    if truth.task == "binary":
        fit = calibration_fit(scores[:, 1], truth.values)
        if fit.slope is None or fit.intercept is None:
            return Recalibration()
        if rule == "platt":
            if fit.slope <= 0:
                return Recalibration()
            slope = float(np.clip(fit.slope, LEAST, MOST))
            return Recalibration(slope, fit.intercept, rule) if slope == fit.slope else Recalibration()
        return _by_temperature(scores[:, 1], truth)
    if rule == "platt":
        return Recalibration()
    return _by_temperature(scores, truth)


def _by_temperature(scores: np.ndarray, truth: Target) -> Recalibration:
    return Recalibration(
        float(np.clip(1 / fit_temperature(scores, truth.values).temperature, LEAST, MOST)), 0.0, "temperature"
    )
