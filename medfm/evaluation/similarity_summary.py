"""How alike drawn and real volumes are -> Summary: means with patient-clustered intervals, variant by variant."""

from __future__ import annotations

from collections.abc import Sequence

from medfm.evaluation.groups import estimates_of, group_rows, group_values
from medfm.evaluation.metrics import metrics_for
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.statistics_estimates import Sample
from medfm.evaluation.statistics_notes import notes
from medfm.evaluation.summary import Summary


def summarise_similarity(
    predictions: Predictions,
    plan: StatisticsPlan,
    metrics: Sequence[str],
    *,
    patients_known: bool = True,
    said: Sequence[str] = (),
) -> Summary:
    """Mean of every figure, of the headline and of all variants, with intervals over patients.

    Args:
        predictions: Of the task ``similarity``; one row per record and variant.
        plan: Level, resamples, seed, minimum cell, subgroup columns.
        metrics: Names; SSIM, PSNR and MSE when empty.
        patients_known: Whether patient ids can be trusted.
        said: Further notes.

    Raises:
        UnknownNameError: A metric does not exist.
        EvaluationError: The predictions have no such figure or subgroup column.
    """
    chosen = metrics_for(metrics, "similarity")
    main = predictions.of_variant(MAIN) if MAIN in predictions.variants else predictions
    for column in plan.subgroups:
        group_values(main.table, column)
    sample = Sample.of(main, plan, patients_known=patients_known)
    others = [
        Sample.of(predictions.of_variant(name), plan, variant=name, patients_known=patients_known)
        for name in predictions.variants
        if name != MAIN
    ]
    shown = chosen[:2]
    by_site = "site" in main.table.columns and len(set(group_values(main.table, "site"))) > 1
    sites = group_rows(main, "site", shown, plan, patients_known=patients_known) if by_site else ()
    subgroups = [group_rows(main, c, shown, plan, patients_known=patients_known) for c in plan.subgroups]
    return Summary(
        task="similarity",
        target=predictions.target,
        n_records=sample.n_records,
        n_patients=sample.clusters.count,
        patients_known=patients_known,
        headline=estimates_of(sample, chosen),
        variants=tuple(e for other in others for e in estimates_of(other, chosen)),
        sites=sites,
        subgroups=tuple(row for rows in subgroups for row in rows),
        notes=(*notes(sample, len(sample.outcomes)), *said),  # a screen shows the first few alone
    )
