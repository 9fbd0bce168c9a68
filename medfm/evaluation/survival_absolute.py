"""Absolute risks over time from cause-specific Cox models, and how far they lie from what happened.

* baseline hazards: Breslow's estimator, one per kind of event;
* cumulative incidence from cause-specific hazards (Benichou and Gail, Biometrics 46, 1990): with a
  competing event, one minus the survival of the own hazard alone would be too high;
* Brier score with inverse-probability-of-censoring weights (Graf et al., Statistics in Medicine 18,
  1999; with competing events Schoop et al., Biometrical Journal 53, 2011).

The censoring distribution comes from the training records.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medfm.evaluation.survival_curves import StepCurve, cumulative_incidence

# Rows of records by event times at once: a few tens of megabytes.
_CHUNK = 256
GRID = 100
# What the predictions carry for each tested record besides the columns of the ranking figures.
ABSOLUTE_COLUMNS = ("risk_at_horizon", "event_at_horizon", "horizon_weight", "integrated_brier", "null_brier")


@dataclass(frozen=True)
class Baseline:
    """A baseline cumulative hazard as steps.

    Attributes:
        times: float64 (m,), distinct event times, rising.
        steps: float64 (m,), increments at them, for a record of log hazard 0.
    """

    times: np.ndarray
    steps: np.ndarray


def breslow(risk: np.ndarray, time: np.ndarray, event: np.ndarray) -> Baseline:
    """Breslow's estimate of the baseline hazard.

    Args:
        risk: float (n,), log hazards of the training records.
        time: float (n,).
        event: bool (n,); without any event there are no steps.
    """
    time, event = np.asarray(time, np.float64), np.asarray(event, bool)
    order = np.argsort(time, kind="stable")
    ordered = time[order]
    hazard = np.exp(np.asarray(risk, np.float64))[order]
    at_risk = np.cumsum(hazard[::-1])[::-1]
    times, counts = np.unique(time[event], return_counts=True)
    return Baseline(times, counts / at_risk[np.searchsorted(ordered, times, side="left")])


def incidence(
    risk: np.ndarray,
    baseline: Baseline,
    at: np.ndarray,
    *,
    rival_risk: np.ndarray | None = None,
    rival: Baseline | None = None,
) -> np.ndarray:
    """Predicted share that has had the event by each time: float64 (n, len(at)).

    Args:
        risk: float (n,), log hazard of the event.
        baseline: Of the event.
        at: float (k,) times.
        rival_risk: float (n,), log hazard of the competing events together.
        rival: Their baseline; ``None`` where nothing competes.
    """
    risk, at = np.asarray(risk, np.float64), np.asarray(at, np.float64)
    if rival is None or rival_risk is None or not len(rival.times):
        total = np.concatenate([[0.0], np.cumsum(baseline.steps)])
        hazard = total[np.searchsorted(baseline.times, at, side="right")]
        return np.asarray(-np.expm1(-np.exp(risk)[:, None] * hazard[None, :]))
    times = np.union1d(baseline.times, rival.times)
    own, other = np.zeros(len(times)), np.zeros(len(times))
    own[np.searchsorted(times, baseline.times)] = baseline.steps
    other[np.searchsorted(times, rival.times)] = rival.steps
    place = np.searchsorted(times, at, side="right")
    parts = []
    for first in range(0, len(risk), _CHUNK):
        rows = slice(first, first + _CHUNK)
        mine = np.exp(risk[rows])[:, None] * own
        both = mine + np.exp(np.asarray(rival_risk, np.float64)[rows])[:, None] * other
        left = np.exp(-np.cumsum(both, axis=1))
        before = np.concatenate([np.ones((len(left), 1)), left[:, :-1]], axis=1)
        # Of those who leave at a step, the share of the own hazard has the event.
        share = np.divide(mine, both, out=np.zeros_like(mine), where=both > 0)
        reached = np.cumsum((before - left) * share, axis=1)
        parts.append(np.concatenate([np.zeros((len(left), 1)), reached], axis=1)[:, place])
    return np.concatenate(parts) if parts else np.zeros((0, len(at)))


def null_incidence(time: np.ndarray, codes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """What the training records alone say, without embedding: Aalen-Johansen at the times `at`, float64 (k,)."""
    return cumulative_incidence(time, codes, 1)(at)


def status_weights(
    time: np.ndarray, codes: np.ndarray, curve: StepCurve, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Who is known to have had the event by each time, and with which weight: bool and float64, both (n, k).

    Args:
        time: float (n,).
        codes: int (n,): 0 censored, 1 the event, 2 and above competing.
        curve: Share not yet censored, of the training records.
        at: float (k,).

    Returns:
        Whether the event had happened, and 1 / G: at the end of follow-up for those with any event by
        then, at the time itself for those followed longer, 0 for those censored before.
    """
    time, codes, at = np.asarray(time, np.float64), np.asarray(codes), np.asarray(at, np.float64)
    gone = (time[:, None] <= at[None, :]) & (codes > 0)[:, None]
    there = time[:, None] > at[None, :]
    weights = np.where(gone, _inverse(curve(time))[:, None], np.where(there, _inverse(curve(at))[None, :], 0.0))
    return gone & (codes == 1)[:, None], weights


def brier_rows(predicted: np.ndarray, had: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each record's part of the Brier score at each time: float64 (n, k), whose mean over records is the score.

    Args:
        predicted: float (n, k) or (k,) absolute risks.
        had: bool (n, k).
        weights: float (n, k) of :func:`status_weights`.
    """
    return np.asarray(weights * (had.astype(np.float64) - predicted) ** 2)


def integrated(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Mean over the time from ``at[0]`` to ``at[-1]`` by the trapezoidal rule: float64 (n,) of (n, k)."""
    widths = np.diff(at)
    return np.asarray(((rows[:, 1:] + rows[:, :-1]) / 2 @ widths) / (at[-1] - at[0]))


def time_grid(first: float, last: float, points: int = GRID) -> np.ndarray | None:
    """Times over which the Brier score is integrated; ``None`` where there is no span."""
    return np.linspace(first, last, points) if last > first else None


def _inverse(shares: np.ndarray) -> np.ndarray:
    return np.divide(1.0, shares, out=np.zeros_like(shares), where=shares > 0)
