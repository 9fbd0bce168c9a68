"""Predictions -> Summary: every figure of a report from the predictions per record.

One pass over the resamples serves all figures of the main variant. k-fold predictions are pooled
(every record is tested once per repeat), with the patients as clusters; figures per fold, as
papers average them, are in :attr:`Summary.folds`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medfm.core.progress import Progress
from medfm.evaluation.bootstrap import Statistic, collect
from medfm.evaluation.calibration import calibration_fit, reliability_bins
from medfm.evaluation.calibration_intervals import Interval, calibration_intervals
from medfm.evaluation.curves import ClassCurves, curves
from medfm.evaluation.decision import NetBenefit, decision_curves, thresholds_within
from medfm.evaluation.groups import estimates_of, group_gaps, group_rows, group_values
from medfm.evaluation.metrics import Metric, metric, metrics_for, number
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.statistics_classes import class_rows, per_class_metrics
from medfm.evaluation.statistics_estimates import Sample, estimate
from medfm.evaluation.statistics_notes import notes
from medfm.evaluation.summary import Calibration, Curve, Estimate, FoldRow, GroupRow, Summary

# With more classes than this the curves of single classes are left out; the mean stays.
_MOST_CURVES = 40


def summarise(
    predictions: Predictions,
    plan: StatisticsPlan | None = None,
    *,
    metrics: Sequence[str] = (),
    patients_known: bool = True,
    probabilities: bool = True,
    progress: Progress | None = None,
) -> Summary:
    """All statistics of one evaluation.

    Args:
        predictions: One or several variants; ``main`` is the headline (the first one present
            when there is no ``main``).
        plan: Level, resamples, seed, minimum cell, subgroup columns; the defaults when ``None``.
        metrics: Headline metrics; the task's default when empty.
        patients_known: Whether ``patient_id`` says who is who. If not, intervals are record-level
            and a note says that they are too narrow.
        probabilities: Whether scores may be read as probabilities. If not (zero-shot) calibration and
            decision curves are left out, and for multilabel tasks every figure at the threshold 0.5.
        progress: Advanced by the resamples of the headline variant, ``plan.resamples`` in all.

    Returns:
        A summary without NaN: ``None`` and a note stand where a figure is undefined.

    Raises:
        UnknownNameError: A metric does not exist.
        EvaluationError: A metric is not for this task, a subgroup column is absent, or the
            predictions are empty, not finite or not probabilities.
    """
    plan = plan if plan is not None else StatisticsPlan()
    chosen = metrics_for(metrics, predictions.task)
    variants = predictions.variants
    main_name = MAIN if MAIN in variants or not variants else variants[0]
    main = predictions.of_variant(main_name)
    for column in plan.subgroups:
        group_values(main.table, column)
    sample = Sample.of(main, plan, variant=main_name, patients_known=patients_known)
    outcomes = sample.outcomes
    point = Weighted(outcomes, np.ones((len(outcomes), 1)))
    per_class = per_class_metrics(outcomes.task, thresholds=probabilities or outcomes.task != "multilabel")
    drawn = _resample(sample, chosen, list(per_class.values()), probabilities, progress)
    labels = _drawn_classes(outcomes)
    names = [outcomes.classes[c] for c in labels]
    roc: tuple[Curve, ...] = ()
    pr: tuple[Curve, ...] = ()
    if outcomes.task != "regression":
        macro = outcomes.task != "binary"
        every = list(range(len(outcomes.classes))) if macro else labels
        titles = [outcomes.classes[c] for c in every]
        roc, pr = curves(outcomes, every, titles, drawn.get("curves"), plan.level, macro)
        kept = {"macro", *names}
        roc, pr = (tuple(c for c in found if c.name in kept) for found in (roc, pr))
    binary = outcomes.task == "binary"
    positive = {"auroc": 1} if binary else {}
    sites = _sites(main, chosen, plan, patients_known)
    subgroups = [group_rows(main, c, chosen, plan, patients_known=patients_known) for c in plan.subgroups]
    return Summary(
        task=outcomes.task,
        target=main.target,
        classes=outcomes.classes,
        n_records=sample.n_records,
        n_patients=sample.clusters.count,
        patients_known=patients_known,
        headline=tuple(
            estimate(
                sample, m, float(m.compute(point)[0]), drawn.get(f"metric:{m.name}"), positive=positive.get(m.name)
            )
            for m in chosen
        ),
        variants=_variants(predictions, main_name, chosen, plan, patients_known),
        folds=fold_rows(predictions, chosen),
        per_class=class_rows(sample, point, drawn, per_class) if outcomes.task != "regression" else (),
        confusion=_confusion(point),
        roc=roc,
        pr=pr,
        calibration=_calibration(sample, point, drawn) if probabilities and outcomes.task != "regression" else None,
        decision=decision_curves(outcomes, drawn.get("decision"), plan.level, thresholds_within(plan.decision_range))
        if probabilities and binary
        else (),
        sites=sites,
        subgroups=tuple(row for rows in subgroups for row in rows),
        gaps=tuple(
            g for rows in (sites, *subgroups) for g in group_gaps(main, rows, plan.level, patients_known=patients_known)
        )
        if binary
        else (),
        notes=tuple(notes(sample, len(outcomes))),
    )


def fold_rows(predictions: Predictions, metrics: Sequence[Metric]) -> tuple[FoldRow, ...]:
    """Point metrics of each fold of each repeat of each variant.

    Args:
        predictions: All variants.
        metrics: What to compute in each fold.
    """
    rows = []
    for variant in predictions.variants:
        part = predictions.of_variant(variant)
        keys = part.table[["repeat", "fold"]].to_numpy(dtype=np.int64)
        outcomes = Outcomes.of(part)
        for repeat, fold in np.unique(keys, axis=0).tolist():
            own = outcomes.take((keys == (repeat, fold)).all(axis=1))
            view = Weighted(own, np.ones((len(own), 1)))
            values = {m.name: number(m.compute(view)[0]) for m in metrics}
            rows.append(FoldRow(variant=variant, repeat=repeat, fold=fold, n_records=len(own), metrics=values))
    return tuple(rows)


def _resample(
    sample: Sample,
    metrics: Sequence[Metric],
    per_class: Sequence[Metric],
    probabilities: bool,
    progress: Progress | None,
) -> dict[str, np.ndarray]:
    """Every statistic of the main variant under the same resamples; empty when there are none."""
    outcomes = sample.outcomes
    if sample.plan.resamples == 0 or sample.clusters.count < 2:
        return {}
    statistics: dict[str, Statistic] = {f"metric:{m.name}": m.compute for m in metrics}
    if outcomes.task != "regression":
        for m in per_class:
            statistics[f"class:{m.name}"] = m.compute
        binary = outcomes.task == "binary"
        statistics["curves"] = ClassCurves(outcomes, [1] if binary else list(range(len(outcomes.classes))))
        if probabilities:
            for name in ("ece", "mce", "brier"):
                statistics[f"calibration:{name}"] = metric(name, outcomes.task).compute
            statistics["bins"] = lambda view: view.calibration_bins
            if binary:
                statistics["decision"] = NetBenefit(outcomes, thresholds_within(sample.plan.decision_range))
    return collect(
        outcomes,
        sample.clusters,
        statistics,
        resamples=sample.plan.resamples,
        seed=sample.plan.seed,
        progress=progress,
    )


def _drawn_classes(outcomes: Outcomes) -> list[int]:
    if outcomes.task == "binary":
        return [1]
    size = len(outcomes.classes)
    return list(range(size)) if size <= _MOST_CURVES else []


def _confusion(point: Weighted) -> tuple[tuple[int, ...], ...]:
    if point.outcomes.task not in ("binary", "multiclass"):
        return ()
    return tuple(tuple(round(v) for v in row) for row in point.confusion[:, :, 0].tolist())


def _calibration(sample: Sample, point: Weighted, drawn: dict[str, np.ndarray]) -> Calibration:
    outcomes = sample.outcomes

    def made(name: str) -> Estimate:
        m = metric(name, outcomes.task)
        return estimate(sample, m, float(m.compute(point)[0]), drawn.get(f"calibration:{name}"))

    texts = {
        "binary": "Scores of the positive class against its observed rate.",
        "multiclass": "The largest score of each record against how often that class is right.",
        "multilabel": "All known (record, label) pairs together.",
    }
    slope = intercept = large = None
    ends: tuple[Interval, Interval, Interval] = (None, None, None)
    text = texts[outcomes.task]
    if outcomes.task == "binary":
        scores, hits, _ = outcomes.confidences
        fit = calibration_fit(scores, hits)
        slope, intercept, large = fit.slope, fit.intercept, fit.in_the_large
        patients = None if sample.clusters.single else sample.clusters.codes
        ends = calibration_intervals(scores, hits, fit, patients, sample.plan.level)
        if slope is None:
            text += " Slope and intercept are undefined: one class only, or the scores separate the classes."
    bins = reliability_bins(outcomes, drawn.get("bins"), sample.plan.level, independent=sample.clusters.single)
    return Calibration(
        ece=made("ece"),
        mce=made("mce"),
        brier=made("brier"),
        slope=slope,
        intercept=intercept,
        in_the_large=large,
        slope_interval=ends[0],
        intercept_interval=ends[1],
        in_the_large_interval=ends[2],
        bins=bins,
        note=text,
    )


def _variants(
    predictions: Predictions,
    main: str,
    metrics: Sequence[Metric],
    plan: StatisticsPlan,
    patients_known: bool,
) -> tuple[Estimate, ...]:
    rows: list[Estimate] = []
    for variant in predictions.variants:
        if variant == main:
            continue
        part = predictions.of_variant(variant)
        sample = Sample.of(part, plan, variant=variant, patients_known=patients_known)
        rows += estimates_of(sample, metrics)
    return tuple(rows)


def _sites(
    main: Predictions, metrics: Sequence[Metric], plan: StatisticsPlan, patients_known: bool
) -> tuple[GroupRow, ...]:
    """The table by site; empty with fewer than two sites."""
    if "site" not in main.table.columns or len(set(group_values(main.table, "site"))) < 2:
        return ()
    return group_rows(main, "site", metrics, plan, patients_known=patients_known)
