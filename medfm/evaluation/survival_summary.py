"""Survival predictions -> Summary: C and AUC under the same resamples, and C by site and subgroup."""

from __future__ import annotations

from collections.abc import Sequence

from medfm.evaluation.metrics import metrics_for
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.rows_summary import summarise_rows
from medfm.evaluation.summary import Summary

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
