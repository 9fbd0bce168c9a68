"""Harrell's C, Uno's C and the time-dependent AUC under many weightings at once.

All three are shares of pairs (a case that has had the event, a control that has not yet) in which the
case was given the higher risk, ties counting one half:

* Harrell et al. (JAMA 247, 1982): every pair whose order is known; of equal times, one event and one censored;
* Uno et al. (Statistics in Medicine 30, 2011): the same, weighted by 1 / G(T_i)^2 and before tau;
* cumulative/dynamic AUC at t (Uno et al. JASA 102, 2007; Hung and Chiang 2010): cases had the event by t,
  controls are followed beyond t, weighted by 1 / G(T_i).

G is the Kaplan-Meier curve of the censoring in the training records.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from medfm.evaluation.survival_curves import StepCurve, kaplan_meier

if TYPE_CHECKING:
    from medfm.evaluation.metrics_outcomes import Weighted

_CHUNK = 512
COLUMNS = ("time", "event", "risk", "stratum", "censoring_weight", "uno_weight")
_TIMED = re.compile(r"auc_at_([0-9.eE+-]+)")


def concordance(
    risk: np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    weights: np.ndarray,
    *,
    factor: np.ndarray | None = None,
    strata: np.ndarray | None = None,
    horizon: float | None = None,
) -> np.ndarray:
    """Share of concordant pairs under every weighting: float64 (B,), NaN where there is no pair.

    Args:
        risk: float (n,), higher is sooner.
        time: float (n,).
        event: bool (n,).
        weights: (n, B), how often each record counts.
        factor: float (n,), weight of each case (1 by default; 0 leaves it out).
        strata: int (n,): only records of one stratum are compared.
        horizon: Cases had the event by then, controls are followed beyond; ``None`` compares times.
    """
    groups = np.zeros(len(risk), dtype=np.int64) if strata is None else np.asarray(strata)
    factor = np.ones(len(risk)) if factor is None else factor
    case = event & (factor > 0) & ((time <= horizon) if horizon is not None else True)
    won, all_pairs = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    for group in np.unique(groups):
        others = np.flatnonzero(groups == group)
        # Controls at a horizon are the same for all cases, so only these columns are multiplied.
        others = others if horizon is None else others[time[others] > horizon]
        cases = np.flatnonzero(case & (groups == group))
        there = weights[others].astype(np.float64)
        for first in range(0, len(cases), _CHUNK):
            rows = cases[first : first + _CHUNK]
            own = factor[rows, None] * weights[rows].astype(np.float64)
            ahead = risk[rows, None] - risk[None, others]
            wins = np.where(ahead > 0, 1.0, np.where(ahead == 0, 0.5, 0.0))
            if horizon is None:
                later = time[None, others] > time[rows, None]
                same = (time[None, others] == time[rows, None]) & ~event[None, others]
                known = (later | same).astype(np.float64)
                won += ((wins * known @ there) * own).sum(axis=0)
                all_pairs += ((known @ there) * own).sum(axis=0)
            else:
                won += ((wins @ there) * own).sum(axis=0)
                all_pairs += there.sum(axis=0) * own.sum(axis=0)
    return np.divide(won, all_pairs, out=np.full(len(won), np.nan), where=all_pairs > 0)


def censoring_curve(time: np.ndarray, event: np.ndarray) -> StepCurve:
    """Share of records not yet censored: Kaplan-Meier with events taken as before censorings of the same time.

    Args:
        time: float (n,) of the training records.
        event: bool (n,), the event of interest; a competing one ends the follow-up like a censoring.
    """
    return kaplan_meier(time, ~np.asarray(event, bool), before=np.asarray(event, bool))


def censoring_weights(curve: StepCurve, time: np.ndarray, event: np.ndarray, tau: float) -> np.ndarray:
    """1 / G(T) of the events before `tau`, 0 for all others: float64 (n,)."""
    G = curve(time)
    counted = np.asarray(event, bool) & (time < tau) & (G > 0)
    return np.where(counted, 1.0 / np.where(counted, G, 1.0), 0.0)


def usual_tau(curve: StepCurve, time: np.ndarray, least: float = 0.1) -> float:
    """The latest time of `time` at which at least the share `least` is still uncensored, and just after it."""
    good = time[curve(time) >= least]
    return float(np.nextafter(good.max(), np.inf)) if len(good) else 0.0


def harrell(view: Weighted) -> np.ndarray:
    """Harrell's C: float64 (B,)."""
    time, event, risk, stratum, _, _ = _columns(view)
    return concordance(risk, time, event == 1, view.weights, strata=stratum)


def uno(view: Weighted) -> np.ndarray:
    """Uno's C: float64 (B,)."""
    time, event, risk, stratum, _, factor = _columns(view)
    return concordance(risk, time, event == 1, view.weights, factor=factor**2, strata=stratum)


def auc_at(horizon: float, view: Weighted) -> np.ndarray:
    """Cumulative/dynamic AUC at `horizon`: float64 (B,).

    A record censored, or with a competing event, before the horizon is neither case nor control.
    """
    time, event, risk, stratum, factor, _ = _columns(view)
    return concordance(risk, time, event == 1, view.weights, factor=factor, strata=stratum, horizon=horizon)


def _columns(view: Weighted) -> np.ndarray:
    """The columns :data:`COLUMNS` of survival predictions: float64 (6, n)."""
    return np.asarray(view.outcomes.scores[:, : len(COLUMNS)], np.float64).T


def time_of(metric: str) -> float | None:
    """The time of ``auc_at_24``; ``None`` for a metric of another name."""
    found = _TIMED.fullmatch(metric)
    if found is None:
        return None
    try:
        return float(found[1])
    except ValueError:
        return None


def auc_name(time: float) -> str:
    """``auc_at_24``: the metric of a time-dependent AUC."""
    return f"auc_at_{time:g}"
