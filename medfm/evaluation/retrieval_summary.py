"""Retrieval predictions -> Summary: the figures of all directions under the same resamples."""

from __future__ import annotations

from collections.abc import Sequence

from medfm.evaluation.groups import estimates_of, group_rows, group_values
from medfm.evaluation.metrics import metrics_for
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.statistics_estimates import Sample
from medfm.evaluation.statistics_notes import notes
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
    for column in plan.subgroups:
        group_values(predictions.table, column)
    sample = Sample.of(predictions, plan, patients_known=patients_known)
    shown = [m for m in chosen if "_r@" in m.name] or chosen
    table = predictions.table
    by_site = "site" in table.columns and len(set(group_values(table, "site"))) > 1
    sites = group_rows(predictions, "site", shown, plan, patients_known=patients_known) if by_site else ()
    subgroups = [group_rows(predictions, c, shown, plan, patients_known=patients_known) for c in plan.subgroups]
    return Summary(
        task="retrieval",
        target=predictions.target,
        n_records=sample.n_records,
        n_patients=sample.clusters.count,
        patients_known=patients_known,
        headline=estimates_of(sample, chosen),
        sites=sites,
        subgroups=tuple(row for rows in subgroups for row in rows),
        notes=(*notes(sample, len(sample.outcomes)), *said),
    )
