"""Figures of absolute risks: integrated Brier score, calibration at a horizon, under many weightings at once.

Calibration at a horizon weights each record whose status is known there by the inverse probability of
not being censored (Gerds, Andersen and Kattan, Statistics in Medicine 33, 2014). The observed risk of
the plotted groups is Aalen-Johansen's estimate, one minus Kaplan-Meier where nothing competes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.special import expit

from medfm.evaluation.metrics_ranking import ratio
from medfm.evaluation.survival_curves import cumulative_incidence

if TYPE_CHECKING:
    from medfm.evaluation.metrics_outcomes import Weighted

CALIBRATION = ("observed_to_expected", "horizon_slope", "horizon_intercept")
_GROUPS, _LEAST = 5, 10
_TINY = 1e-6
_STEPS = 50
# A slope beyond is no recalibration but a likelihood without a maximum.
_MOST = 50.0


def specs() -> list[tuple[str, str, Callable[[Weighted], np.ndarray], Literal["higher", "lower"], float, float]]:
    """Name, title, function, better direction and range of every figure of absolute risks."""
    inf = float("inf")
    return [
        ("integrated_brier", "integrated Brier score", integrated_brier, "lower", 0.0, inf),
        ("scaled_integrated_brier", "scaled integrated Brier score", scaled_brier, "higher", -inf, 1.0),
        ("observed_to_expected", "observed to expected events", observed_to_expected, "higher", 0.0, inf),
        ("horizon_slope", "calibration slope at the horizon", horizon_slope, "higher", -inf, inf),
        ("horizon_intercept", "calibration in the large at the horizon", horizon_intercept, "higher", -inf, inf),
    ]


def integrated_brier(view: Weighted) -> np.ndarray:
    """Integrated Brier score: float64 (B,)."""
    return _mean(view, "integrated_brier")


def scaled_brier(view: Weighted) -> np.ndarray:
    """1 - integrated Brier score / that of the training records' incidence alone: float64 (B,)."""
    return 1.0 - ratio(_mean(view, "integrated_brier"), _mean(view, "null_brier"))


def observed_to_expected(view: Weighted) -> np.ndarray:
    """Observed risk at the horizon over the mean predicted one: float64 (B,)."""
    predicted, had, factor = (_column(view, c) for c in ("risk_at_horizon", "event_at_horizon", "horizon_weight"))
    observed = ratio(view.sums(factor * had), view.sums(factor))
    return ratio(observed, ratio(view.sums(predicted), view.total))


def horizon_slope(view: Weighted) -> np.ndarray:
    """Slope of a weighted logistic regression of the status at the horizon on the logit of the risk: float64 (B,)."""
    return _logistic(view, free_slope=True)[1]


def horizon_intercept(view: Weighted) -> np.ndarray:
    """Its intercept where the slope is held at 1 (calibration in the large): float64 (B,)."""
    return _logistic(view, free_slope=False)[0]


def _column(view: Weighted, name: str) -> np.ndarray:
    """A column of survival predictions; NaN where an earlier result has none."""
    outcomes = view.outcomes
    if name not in outcomes.classes:
        return np.full(len(outcomes), np.nan)
    return np.asarray(outcomes.scores[:, outcomes.classes.index(name)], np.float64)


def _mean(view: Weighted, name: str) -> np.ndarray:
    return ratio(view.sums(_column(view, name)), view.total)


def _logistic(view: Weighted, *, free_slope: bool) -> tuple[np.ndarray, np.ndarray]:
    """Intercept and slope of every weighting by Newton's method; NaN without a maximum."""
    predicted, had, factor = (_column(view, c) for c in ("risk_at_horizon", "event_at_horizon", "horizon_weight"))
    kept = factor > 0
    weights = view.weights[kept].astype(np.float64) * factor[kept, None]
    inside = np.clip(predicted[kept], _TINY, 1 - _TINY)
    x, y = np.log(inside) - np.log1p(-inside), had[kept]
    count = weights.shape[1]
    a, b = np.zeros(count), np.ones(count)
    known = (weights.T @ y > 0) & (weights.T @ (1 - y) > 0)
    moved = np.full(count, np.inf)
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            p = expit(a[None, :] + b[None, :] * x[:, None])
            rest, curve = weights * (y[:, None] - p), weights * p * (1 - p)
            g0, h00 = rest.sum(axis=0), curve.sum(axis=0)
            if free_slope:
                g1, h01, h11 = x @ rest, x @ curve, (x**2) @ curve
                whole = h00 * h11 - h01**2
                step_a, step_b = (h11 * g0 - h01 * g1) / whole, (h00 * g1 - h01 * g0) / whole
            else:
                step_a, step_b = g0 / h00, np.zeros(count)
            # Long first steps overshoot where risks lie far from what happened.
            short = np.minimum(1.0, 2.0 / np.maximum(np.abs(step_a), np.abs(step_b)))
            a, b = a + short * step_a, b + short * step_b
            moved = np.maximum(np.abs(step_a), np.abs(step_b))
            if not (moved[known] > 1e-10).any():
                break
    good = known & (moved < 1e-6) & (np.abs(b) < _MOST)
    return np.where(good, a, np.nan), np.where(good, b, np.nan)


def risk_groups_at(table: pd.DataFrame, horizon: float, *, level: float = 0.95) -> list[dict[str, Any]]:
    """Predicted and observed risk at the horizon by fifths of the predicted risk (fewer of few records).

    Args:
        table: Predictions of a survival run; the first repeat counts.
        horizon: The time.
        level: Of the pointwise intervals of the observed risk.

    Returns:
        One entry per group: ``n``, ``events`` (by the horizon), ``predicted`` (mean), ``observed``, ``low``, ``high``
        (``None`` where the estimate has no interval, such as before the first event).
    """
    table = table[table["repeat"] == table["repeat"].min()]
    predicted = table["risk_at_horizon"].to_numpy(np.float64)
    time, codes = table["time"].to_numpy(np.float64), table["event"].to_numpy().astype(np.int64)
    count = int(np.clip(len(table) // _LEAST, 1, _GROUPS))
    place = np.searchsorted(np.quantile(predicted, np.arange(1, count) / count), predicted, side="left")
    rows = []
    for group in range(count):
        own = place == group
        if not own.any():
            continue
        curve = cumulative_incidence(time[own], codes[own], 1, level=level)
        step = int(np.searchsorted(curve.times, horizon, side="right")) - 1
        bounds = (None, None) if step < 0 else (_number(curve.low[step]), _number(curve.high[step]))
        observed = float(curve(horizon))
        # Before the first event the estimate has no spread, and so no honest interval.
        if observed <= 0:
            bounds = (None, None)
        rows.append(
            {
                "n": int(own.sum()),
                "events": int(((codes == 1) & (time <= horizon) & own).sum()),
                "predicted": float(predicted[own].mean()),
                "observed": observed,
                "low": bounds[0],
                "high": bounds[1],
            }
        )
    return rows


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
