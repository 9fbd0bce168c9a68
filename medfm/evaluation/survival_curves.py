"""Kaplan-Meier curves and cumulative incidence (Aalen-Johansen) as step functions, with intervals.

Written here because lifelines moves tied times apart at random before an Aalen-Johansen estimate;
the tests hold both curves to lifelines.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.evaluation.intervals import normal_quantile


@dataclass(frozen=True)
class StepCurve:
    """A right-continuous step function.

    Attributes:
        times: float64 (m,), rising; the value before the first is `start`.
        values: float64 (m,), the value from each time on.
        start: Value at time 0.
        low, high: float64 (m,), pointwise interval; empty where none was asked for.
    """

    times: np.ndarray
    values: np.ndarray
    start: float = 1.0
    low: np.ndarray = field(default_factory=lambda: np.empty(0))
    high: np.ndarray = field(default_factory=lambda: np.empty(0))

    def __call__(self, at: np.ndarray | float) -> np.ndarray:
        """Values at the times `at`."""
        place = np.searchsorted(self.times, np.asarray(at, np.float64), side="right")
        return np.concatenate([[self.start], self.values])[place]

    def first_below(self, level: float) -> float | None:
        """The first time at which the value is at most `level`, such as the median survival; ``None`` if never."""
        there = np.flatnonzero(self.values <= level + 1e-12)
        return float(self.times[there[0]]) if len(there) else None


def _counts(time: np.ndarray, *marks: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Distinct times, the number at risk just before each, and how many marked rows each holds."""
    time = np.asarray(time, np.float64)
    if not len(time):
        raise EvaluationError("A survival curve needs at least one record.")
    times, place = np.unique(time, return_inverse=True)
    place = place.reshape(-1)
    gone = np.bincount(place, minlength=len(times))
    at_risk = len(time) - np.cumsum(gone) + gone
    return times, at_risk, [np.bincount(place[np.asarray(m, bool)], minlength=len(times)) for m in marks]


def kaplan_meier(
    time: np.ndarray, event: np.ndarray, *, before: np.ndarray | None = None, level: float | None = None
) -> StepCurve:
    """Kaplan-Meier estimate of the share without the event.

    Args:
        time: float (n,).
        event: bool (n,).
        before: bool (n,): rows that leave the risk set just before the events of their time (for the
            censoring distribution, where those with the event cannot be censored any more).
        level: Also give a pointwise log-log interval (Kalbfleisch and Prentice) with Greenwood's variance.
    """
    times, at_risk, (events, early) = _counts(time, event, np.zeros(len(time), bool) if before is None else before)
    exposed = np.maximum(at_risk - early, 1)
    values = np.cumprod(1.0 - events / exposed)
    if level is None:
        return StepCurve(times, values)
    left = exposed - events
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(np.where(events > 0, events / (exposed * left), 0.0))
        log = np.log(values)
        spread = normal_quantile(level) * np.sqrt(variance) / np.abs(log)
        low, high = values ** np.exp(spread), values ** np.exp(-spread)
    # No event yet: no variance. Everybody gone: the formula has no bound.
    low, high = np.where(values >= 1, 1.0, low), np.where(values >= 1, 1.0, high)
    known = values > 0
    return StepCurve(times, values, 1.0, np.where(known, low, np.nan), np.where(known, high, np.nan))


def cumulative_incidence(time: np.ndarray, causes: np.ndarray, cause: int, *, level: float | None = None) -> StepCurve:
    """Aalen-Johansen estimate of the share that has had the event `cause`, other causes competing.

    Args:
        time: float (n,).
        causes: int (n,), 0 where censored.
        cause: Which cause.
        level: Also give a pointwise interval on the scale of log(-log I), with the delta-method variance
            (Collett, Modelling Survival Data in Medical Research), as lifelines has it.
    """
    causes = np.asarray(causes, np.int64)
    times, at_risk, (any_event, own) = _counts(time, causes > 0, causes == cause)
    after = np.cumprod(1.0 - any_event / at_risk)
    just_before = np.concatenate([[1.0], after[:-1]])
    values = np.cumsum(just_before * own / at_risk)
    if level is None:
        return StepCurve(times, values, 0.0)
    spread = np.sqrt(_incidence_variance(values, just_before, at_risk, any_event, own))
    with np.errstate(divide="ignore", invalid="ignore"):
        width = normal_quantile(level) * spread / (values * np.abs(np.log(values)))
        low, high = values ** np.exp(width), values ** np.exp(-width)
    low, high = np.where(values <= 0, 0.0, low), np.where(values <= 0, 0.0, high)
    good = values < 1
    return StepCurve(times, values, 0.0, np.where(good, low, np.nan), np.where(good, high, np.nan))


def _incidence_variance(
    values: np.ndarray, before: np.ndarray, at_risk: np.ndarray, any_event: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """Variance of the cumulative incidence at each time, in one pass: sums over j of (I_t - I_j)^k terms are expanded."""
    left = at_risk - any_event
    with np.errstate(divide="ignore", invalid="ignore"):
        a = np.where((any_event > 0) & (left > 0), any_event / (at_risk * np.maximum(left, 1)), 0.0)
    b = before**2 * own * (at_risk - own) / at_risk.astype(np.float64) ** 3
    c = before * own / at_risk.astype(np.float64) ** 2
    first = values**2 * np.cumsum(a) - 2 * values * np.cumsum(a * values) + np.cumsum(a * values**2)
    third = values * np.cumsum(c) - np.cumsum(c * values)
    return np.maximum(first + np.cumsum(b) - 2 * third, 0.0)


def number_at_risk(time: np.ndarray, at: np.ndarray) -> np.ndarray:
    """int64 (m,): how many are still followed just before each of the times `at`."""
    ordered = np.sort(np.asarray(time, np.float64))
    return (len(ordered) - np.searchsorted(ordered, np.asarray(at, np.float64), side="left")).astype(np.int64)
