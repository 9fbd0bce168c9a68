"""Survival predictions -> Summary: C and AUC under the same resamples, and C by site and subgroup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medfm.evaluation.groups import estimates_of
from medfm.evaluation.metrics import metrics_for
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.rows_summary import summarise_rows
from medfm.evaluation.statistics_estimates import Sample
from medfm.evaluation.summary import Summary
from medfm.evaluation.survival_calibration import CALIBRATION, risk_groups_at
from medfm.evaluation.survival_horizon import Scope

# Below this many events a C-index says little, whatever its interval.
FEW_EVENTS = 20


def summarise_survival(
    predictions: Predictions,
    plan: StatisticsPlan,
    metrics: Sequence[str],
    *,
    patients_known: bool = True,
    said: Sequence[str] = (),
) -> Summary:
    """Headline figures with patient-clustered intervals, and Harrell's C by site and subgroup.

    Args:
        predictions: Of :func:`medfm.evaluation.survival.run_survival`.
        plan: Level, resamples, seed, minimum cell, subgroup columns.
        metrics: Names.
        patients_known: Whether patient ids can be trusted.
        said: Further notes.

    Raises:
        UnknownNameError: A metric does not exist.
        EvaluationError: The predictions carry no such subgroup column.
    """
    chosen = metrics_for(metrics, "survival")
    shown = [m for m in chosen if m.name == "c_index"] or chosen[:1]
    summary = summarise_rows(predictions, plan, chosen, shown, patients_known=patients_known, said=said)
    events = int((predictions.table.drop_duplicates("record_id")["event"] == 1).sum())
    if events >= FEW_EVENTS:
        return summary
    few = f"Only {events} events were tested: every figure is uncertain."
    return summary.model_copy(update={"notes": (few, *summary.notes)})


def absolute_figures(
    predictions: Predictions, plan: StatisticsPlan, scope: Scope | None, *, patients_known: bool = True
) -> dict[str, Any] | None:
    """Calibration of the absolute risk at the horizon as plain data; ``None`` where it cannot be judged.

    Returns:
        ``horizon``, ``span`` (first and last time of the Brier score), ``figures`` (dumped estimates, patient-clustered
        intervals that take the censoring weights as given) and ``groups``.
    """
    if scope is None:
        return None
    sample = Sample.of(predictions, plan, patients_known=patients_known)
    found = estimates_of(sample, metrics_for(CALIBRATION, "survival"))
    return {
        "horizon": scope.horizon,
        "span": [float(scope.grid[0]), float(scope.grid[-1])],
        "figures": [e.to_dict() for e in found],
        "groups": risk_groups_at(predictions.table, scope.horizon, level=plan.level),
    }
