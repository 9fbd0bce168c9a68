"""How alike drawn and real volumes are -> Summary: means with patient-clustered intervals, variant by variant."""

from __future__ import annotations

from collections.abc import Sequence

from medfm.evaluation.groups import estimates_of
from medfm.evaluation.metrics import metrics_for
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.rows_summary import summarise_rows
from medfm.evaluation.statistics_estimates import Sample
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
    # A screen shows the first few notes alone, so those of the statistics come first.
    summary = summarise_rows(main, plan, chosen, chosen[:2], patients_known=patients_known, said=said)
    others = [
        Sample.of(predictions.of_variant(name), plan, variant=name, patients_known=patients_known)
        for name in predictions.variants
        if name != MAIN
    ]
    return summary.model_copy(update={"variants": tuple(e for other in others for e in estimates_of(other, chosen))})
