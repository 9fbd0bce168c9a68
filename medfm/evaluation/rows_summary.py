"""What the summaries of survival, retrieval and similarity share: figures, sites, subgroups, notes."""

from __future__ import annotations

from collections.abc import Sequence

from medfm.evaluation.groups import estimates_of, group_rows, group_values
from medfm.evaluation.metrics import Metric
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.statistics_estimates import Sample
from medfm.evaluation.statistics_notes import notes
from medfm.evaluation.summary import Summary


def summarise_rows(
    predictions: Predictions,
    plan: StatisticsPlan,
    metrics: Sequence[Metric],
    shown: Sequence[Metric],
    *,
    patients_known: bool = True,
    said: Sequence[str] = (),
) -> Summary:
    """Headline figures with patient-clustered intervals, and some of them by site and subgroup.

    Args:
        predictions: Rows of one variant.
        plan: Level, resamples, seed, minimum cell, subgroup columns.
        metrics: The headline.
        shown: What each site (where there are several) and each subgroup is told by.
        patients_known: Whether patient ids can be trusted.
        said: Notes after those of the statistics.

    Raises:
        EvaluationError: The predictions carry no such subgroup column.
    """
    table = predictions.table
    for column in plan.subgroups:
        group_values(table, column)
    sample = Sample.of(predictions, plan, patients_known=patients_known)
    by_site = "site" in table.columns and len(set(group_values(table, "site"))) > 1
    sites = group_rows(predictions, "site", shown, plan, patients_known=patients_known) if by_site else ()
    subgroups = [group_rows(predictions, c, shown, plan, patients_known=patients_known) for c in plan.subgroups]
    return Summary(
        task=predictions.task,
        target=predictions.target,
        n_records=sample.n_records,
        n_patients=sample.clusters.count,
        patients_known=patients_known,
        headline=estimates_of(sample, metrics),
        sites=sites,
        subgroups=tuple(row for rows in subgroups for row in rows),
        notes=(*notes(sample, len(sample.outcomes)), *said),
    )
