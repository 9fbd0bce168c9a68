"""Survival predictions -> Summary: C and AUC under the same resamples, and C by site and subgroup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medfm.evaluation.groups import estimates_of, group_rows, group_values
from medfm.evaluation.metrics import metrics_for
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.statistics_estimates import Sample
from medfm.evaluation.statistics_notes import notes
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
    for column in plan.subgroups:
        group_values(predictions.table, column)
    sample = Sample.of(predictions, plan, patients_known=patients_known)
    shown = [m for m in chosen if m.name == "c_index"] or chosen[:1]
    table = predictions.table
    by_site = "site" in table.columns and len(set(group_values(table, "site"))) > 1
    sites = group_rows(predictions, "site", shown, plan, patients_known=patients_known) if by_site else ()
    subgroups = [group_rows(predictions, c, shown, plan, patients_known=patients_known) for c in plan.subgroups]
    events = int((table.drop_duplicates("record_id")["event"] == 1).sum())
    few = [f"Only {events} events were tested: every figure is uncertain."] if events < FEW_EVENTS else []
    return Summary(
        task="survival",
        target=predictions.target,
        n_records=sample.n_records,
        n_patients=sample.clusters.count,
        patients_known=patients_known,
        headline=estimates_of(sample, chosen),
        sites=sites,
        subgroups=tuple(row for rows in subgroups for row in rows),
        notes=(*few, *notes(sample, len(sample.outcomes)), *said),
    )


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
