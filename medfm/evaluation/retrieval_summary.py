"""Retrieval predictions -> Summary: the figures of all directions under the same resamples."""

from __future__ import annotations

from collections.abc import Sequence

from medfm.evaluation.metrics import metrics_for
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.rows_summary import summarise_rows
from medfm.evaluation.summary import Summary


def summarise_retrieval(
    predictions: Predictions,
    plan: StatisticsPlan,
    metrics: Sequence[str],
    *,
    patients_known: bool = True,
    said: Sequence[str] = (),
) -> Summary:
    """Headline figures with patient-clustered intervals, and R@k by site and subgroup.

    Args:
        predictions: Of :func:`medfm.evaluation.retrieval.retrieval_predictions`.
        plan: Level, resamples, seed, minimum cell, subgroup columns.
        metrics: Names.
        patients_known: Whether patient ids can be trusted.
        said: Further notes.

    Raises:
        UnknownNameError: A metric does not exist.
        EvaluationError: The predictions have no such direction, depth or subgroup column.
    """
    chosen = metrics_for(metrics, "retrieval")
    shown = [m for m in chosen if "_r@" in m.name] or chosen
    return summarise_rows(predictions, plan, chosen, shown, patients_known=patients_known, said=said)
