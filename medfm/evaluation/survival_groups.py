"""What stands beside C and AUC: curves by risk group, log-rank, hazard ratios, proportional hazards."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from medfm.evaluation.survival_curves import StepCurve, cumulative_incidence, kaplan_meier, number_at_risk

_TICKS = 6


def group_figures(table: pd.DataFrame, names: tuple[str, ...], *, level: float = 0.95) -> dict[str, Any]:
    """Everything by risk group as plain data, from the predictions of the first repeat.

    Args:
        table: Predictions of a survival run.
        names: The risk groups from low to high.
        level: Of the intervals.

    Returns:
        ``groups`` (name, sizes, events, median, curve, incidence), ``ticks`` with ``at_risk`` per group,
        ``logrank`` (statistic, df, p), ``hazards`` (one entry per cause) and ``proportional`` (p of
        Schoenfeld residuals against time ranks, or why there is none).
    """
    table = table[table["repeat"] == table["repeat"].min()].reset_index(drop=True)
    time, event = table["time"].to_numpy(np.float64), table["event"].to_numpy().astype(np.int64)
    group = table["risk_group"].astype(str).to_numpy()
    competing = bool((event > 1).any())
    ticks = ticks_of(float(time.max()))
    rows = []
    for name in names:
        own = group == name
        if not own.any():
            continue
        curve = kaplan_meier(time[own], event[own] == 1, level=level)
        entry: dict[str, Any] = {
            "name": name,
            "n": int(own.sum()),
            "events": int((event[own] == 1).sum()),
            "competing": int((event[own] > 1).sum()),
            "median": curve.first_below(0.5),
            "curve": _plain(curve, event[own] == 1, time[own]),
            "at_risk": number_at_risk(time[own], np.array(ticks)).tolist(),
        }
        if competing:
            found = cumulative_incidence(time[own], event[own], 1, level=level)
            entry["incidence"] = _plain(found, event[own] == 1, time[own])
        rows.append(entry)
    return {
        "ticks": ticks,
        "groups": rows,
        "logrank": _logrank(time, event == 1, group),
        "hazards": [_hazard(table, event, int(c), level) for c in np.unique(event[event > 0])],
        "proportional": _proportional(table, event == 1),
        "censored": int((event == 0).sum()),
        "median_follow_up": kaplan_meier(time, event == 0).first_below(0.5),
    }


def ticks_of(last: float) -> list[float]:
    """About six round times from 0 to `last`."""
    raw = last / (_TICKS - 1)
    size = 10.0 ** np.floor(np.log10(raw))
    step = next(size * m for m in (1, 2, 2.5, 3, 5, 6, 10) if size * m >= raw * 0.999)
    if 6 <= last <= 200 and abs(raw / 12 - round(raw / 12)) < 0.25 and raw > 9:
        step = 12.0 * round(raw / 12)  # months are read in years
    return [float(f"{t:.10g}") for t in np.arange(0, last * 1.0001, step)]


def _plain(curve: StepCurve, marks: np.ndarray, time: np.ndarray) -> dict[str, list[float | None]]:
    """The steps of a curve, and the times at which somebody was censored."""
    changed = np.concatenate([[curve.values[0] != curve.start], np.diff(curve.values) != 0])
    changed[-1] = True  # the curve goes on to the last follow-up
    columns = {"time": curve.times, "value": curve.values, "low": curve.low, "high": curve.high}
    found = {key: [_number(v) for v in column[changed]] for key, column in columns.items()}
    found["censored"] = [_number(t) for t in np.unique(time[~marks])]
    return found


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _logrank(time: np.ndarray, event: np.ndarray, group: np.ndarray) -> dict[str, Any]:
    from lifelines.statistics import multivariate_logrank_test  # type: ignore[import-untyped]

    if len(np.unique(group)) < 2:
        return {"note": "all records are in one risk group"}
    found = multivariate_logrank_test(time, group, event)
    return {
        "statistic": float(found.test_statistic),
        "df": len(np.unique(group)) - 1,
        "p": float(found.p_value),
    }


def _frame(table: pd.DataFrame, event: np.ndarray) -> pd.DataFrame:
    """What the regressions on the risk score are fitted on: each fold has its own baseline hazard."""
    return pd.DataFrame(
        {
            "time": table["time"].to_numpy(np.float64),
            "event": event,
            "risk": table["risk"].to_numpy(np.float64),
            "fold": table["fold"].to_numpy(np.int64),
            "patient": table["patient_id"].astype(str).to_numpy(),
        }
    )


def _hazard(table: pd.DataFrame, event: np.ndarray, cause: int, level: float) -> dict[str, Any]:
    """Hazard ratio of one event per standard deviation of the predicted log hazard, and the slope on it.

    A Cox regression of the outcome on the out-of-fold risk, a baseline per fold, standard errors robust
    to several records per patient. The slope is 1 where predicted log hazards can be taken at their
    word, below 1 where they are too extreme; it makes sense for the event of interest only.
    """
    from lifelines import CoxPHFitter  # type: ignore[import-untyped]

    frame = _frame(table, event == cause)
    entry: dict[str, Any] = {"event": cause, "events": int((event == cause).sum())}
    spread = float(frame["risk"].std(ddof=1)) if len(frame) > 1 else 0.0
    if not spread > 0:
        return {**entry, "note": "all risks are equal"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = CoxPHFitter(alpha=1 - level).fit(frame, "time", "event", strata=["fold"], cluster_col="patient")
    except Exception as error:  # lifelines has several kinds for what does not converge
        return {**entry, "note": f"no hazard ratio: {type(error).__name__} in lifelines' Cox regression"}
    slope = float(fitted.params_["risk"])
    low, high = (float(v) for v in fitted.confidence_intervals_.loc["risk"])
    bounds = [float(np.exp(v * spread)) for v in (slope, low, high)]
    return {
        **entry,
        **dict(zip(("ratio", "low", "high"), bounds, strict=True)),
        "p": float(fitted.summary.loc["risk", "p"]),
        **({"slope": slope, "slope_low": low, "slope_high": high} if cause == 1 else {}),
    }


def _proportional(table: pd.DataFrame, event: np.ndarray) -> dict[str, Any]:
    """Schoenfeld residuals of the risk against the ranks of the event times (Grambsch and Therneau 1994)."""
    from lifelines import CoxPHFitter
    from lifelines.statistics import proportional_hazard_test

    frame = _frame(table, event).drop(columns="patient")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = CoxPHFitter().fit(frame, "time", "event", strata=["fold"])
            found = proportional_hazard_test(fitted, frame, time_transform="rank")
        return {"statistic": float(np.ravel(found.test_statistic)[0]), "p": float(np.ravel(found.p_value)[0])}
    except Exception as error:  # lifelines has several kinds for what does not converge
        return {"note": f"not tested: {type(error).__name__} in lifelines' Cox regression"}
