"""Paired comparison of two sets of predictions on the same records.

The headline difference comes from the clustered bootstrap: both models are scored under the same
resampled patients. A binary AUROC has DeLong's paired test in its place; the tests of
``paired_tests.py`` stand beside it where they apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from medfm.core.errors import EvaluationError
from medfm.evaluation.bootstrap import Clusters, collect, percentile_interval
from medfm.evaluation.delong import delong
from medfm.evaluation.intervals import normal_quantile
from medfm.evaluation.metrics import Metric, number
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.paired_tests import bootstrap_p, mcnemar, nadeau_bengio, wilcoxon
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.statistics_estimates import cluster_ids


@dataclass(frozen=True)
class PairedDifference:
    """Second minus first for one metric.

    Attributes:
        metric: Its name.
        first, second: Values on the common records; ``None`` where undefined.
        difference: Second minus first.
        low, high: Interval of the difference.
        p: Two-sided, not corrected for other comparisons.
        method: Where interval and p come from.
        better: ``higher`` or ``lower``.
        others: Further p-values by name of the test.
        note: What a reader must know.
    """

    metric: str
    first: float | None
    second: float | None
    difference: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    method: str = ""
    better: str = "higher"
    others: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Pair:
    """Two models' predictions of the same records.

    Attributes:
        first, second: Rows of the common records.
        clusters: Of the first's rows and of the second's, on one common numbering of patients.
        n_common: Distinct common records.
        n_first, n_second: Distinct records before matching.
        aligned: Whether row i of both is the same record of the same repeat and fold.
        independent: Whether each patient has one record and each record one row in both.
        patients_known: Whether clusters are patients.
    """

    first: Predictions
    second: Predictions
    clusters: tuple[Clusters, Clusters]
    n_common: int
    n_first: int
    n_second: int
    aligned: bool
    independent: bool
    patients_known: bool


def match(first: Predictions, second: Predictions, *, patients_known: bool = True) -> Pair:
    """Bring two sets of predictions (of one variant each) onto their common records.

    Raises:
        EvaluationError: Another task, target or classes; no common record; a common record with
            another truth or another patient.
    """
    facts = [
        {"task": p.task, "target": p.target, "classes": ", ".join(sorted(p.classes)) or "none"} for p in (first, second)
    ]
    for what, ours in facts[0].items():
        if ours != facts[1][what]:
            raise EvaluationError(
                f"The two results differ in {what} and cannot be compared.",
                expected=f"the same {what}; these are: {ours} | {facts[1][what]}",
            )
    if first.task == "binary" and first.classes != second.classes:
        raise EvaluationError(
            "The two results take another class as the positive one.",
            expected=f"the same order of classes; these are: {', '.join(first.classes)} | {', '.join(second.classes)}",
        )
    second = Predictions(second.table, second.task, first.classes, second.target)
    ids = [p.table["record_id"].astype(str) for p in (first, second)]
    common = set(ids[0]) & set(ids[1])
    counts = ids[0].nunique(), ids[1].nunique()
    if not common:
        raise EvaluationError(
            "The two results have no record in common.",
            expected=f"the same records; {counts[0]} and {counts[1]} records share no id",
        )
    parts = []
    for predictions, own in zip((first, second), ids, strict=True):
        table = predictions.table[own.isin(common).to_numpy()]
        keys = pd.DataFrame(
            {
                "record_id": table["record_id"].astype(str),
                "repeat": table["repeat"].astype(int),
                "fold": table["fold"].astype(int),
            }
        )
        order = keys.sort_values(["record_id", "repeat", "fold"], kind="stable").index
        parts.append(
            Predictions(
                table.loc[order].reset_index(drop=True), predictions.task, predictions.classes, predictions.target
            )
        )
    a, b = parts
    _same_facts(a, b, patients_known)
    clusters = _common_clusters(a, b, patients_known)
    aligned = len(a) == len(b) and bool((a.table["record_id"].astype(str) == b.table["record_id"].astype(str)).all())
    single = aligned and clusters[0].single
    return Pair(a, b, clusters, len(common), counts[0], counts[1], aligned, single, patients_known)


def compare_pair(pair: Pair, metrics: Sequence[Metric], plan: StatisticsPlan) -> list[PairedDifference]:
    """The difference of every metric with interval and p-value.

    Args:
        pair: From :func:`match`.
        metrics: For the pair's task.
        plan: Level, resamples, seed.
    """
    outcomes = Outcomes.of(pair.first), Outcomes.of(pair.second)
    statistics = {m.name: m.compute for m in metrics}
    points = [Weighted(o, np.ones((len(o), 1))) for o in outcomes]
    drawn: list[dict[str, np.ndarray]] = [{}, {}]
    if plan.resamples and pair.clusters[0].count > 1:
        drawn = [
            collect(o, c, statistics, resamples=plan.resamples, seed=plan.seed)
            for o, c in zip(outcomes, pair.clusters, strict=True)
        ]
    rows = []
    for m in metrics:
        first, second = (number(m.compute(point)[0]) for point in points)
        if first is None or second is None:
            rows.append(PairedDifference(m.name, first, second, None, better=m.better, note="undefined here"))
            continue
        row = _bootstrap_row(pair, m, first, second, drawn, plan)
        if m.name == "auroc" and pair.first.task == "binary":
            row = _delong_row(pair, outcomes, row, plan)
        others = _other_tests(pair, outcomes, m)
        rows.append(PairedDifference(**{**row.__dict__, "others": others}))
    return rows


def _bootstrap_row(
    pair: Pair, m: Metric, first: float, second: float, drawn: list[dict[str, np.ndarray]], plan: StatisticsPlan
) -> PairedDifference:
    difference = second - first
    if not drawn[0]:
        why = "no resamples were asked for" if plan.resamples == 0 else "a single patient"
        return PairedDifference(m.name, first, second, difference, better=m.better, note=f"no interval: {why}")
    resampled = drawn[1][m.name] - drawn[0][m.name]
    undefined = int(np.isnan(resampled).sum())
    if undefined > len(resampled) // 2:
        note = f"no interval: undefined in {undefined} of {len(resampled)} resamples"
        return PairedDifference(m.name, first, second, difference, better=m.better, note=note)
    low, high = percentile_interval(resampled, plan.level)
    if float(high - low) < 1e-12 < abs(difference):
        # All wrong against all right: the resamples cannot vary, which is no proof that other patients would not.
        note = "no interval: all resamples gave the same difference"
        return PairedDifference(m.name, first, second, difference, better=m.better, note=note)
    unit = "patient-clustered" if pair.patients_known else "record-level"
    return PairedDifference(
        m.name,
        first,
        second,
        difference,
        low=number(float(low)),
        high=number(float(high)),
        p=bootstrap_p(resampled),
        method=f"paired {unit} bootstrap, B={plan.resamples}",
        better=m.better,
        note=f"undefined in {undefined} of {len(resampled)} resamples" if undefined else "",
    )


def _delong_row(
    pair: Pair, outcomes: tuple[Outcomes, Outcomes], row: PairedDifference, plan: StatisticsPlan
) -> PairedDifference:
    """DeLong's interval and p in place of the bootstrap's, where rows match one to one."""
    if not pair.aligned:
        return row
    scores = np.stack([o.scores[:, 1] for o in outcomes])
    codes = None if pair.independent else pair.clusters[0].codes
    try:
        found = delong(scores, outcomes[0].truth == 1, codes)
    except EvaluationError:
        # Too few patients for DeLong's variance; the bootstrap row stands.
        return row
    difference, error, _, p = found.paired(1, 0)
    if np.isnan(p):
        return row
    reach = normal_quantile(plan.level) * error
    changed = {
        "low": difference - reach,
        "high": difference + reach,
        "p": p,
        "method": "DeLong, paired" + (f", clustered by {_unit(pair)}" if codes is not None else ""),
    }
    return PairedDifference(**{**row.__dict__, **changed})


def _other_tests(pair: Pair, outcomes: tuple[Outcomes, Outcomes], m: Metric) -> dict[str, float]:
    tests: dict[str, float] = {}
    if m.name in ("accuracy", "f1_micro") and pair.independent and outcomes[0].task in ("binary", "multiclass"):
        tests["mcnemar_exact"] = mcnemar(*(o.truth == o.predicted for o in outcomes))[2]
    folds = _fold_differences(pair, outcomes, m)
    if folds is not None:
        differences, repeat, n_train, n_test = folds
        tests["nadeau_bengio"] = nadeau_bengio(differences, n_train, n_test).p
        repeats = np.unique(repeat)
        # Folds of one repeat share training records; with fewer than six repeats no p below 0.05 exists.
        if len(repeats) >= 6:
            tests["wilcoxon_repeats"] = wilcoxon(np.array([differences[repeat == r].mean() for r in repeats]))[1]
    return tests


def _fold_differences(
    pair: Pair, outcomes: tuple[Outcomes, Outcomes], m: Metric
) -> tuple[np.ndarray, np.ndarray, float, float] | None:
    """Differences per fold and its repeat when both are the same k-fold run (each record tested once per repeat)."""
    if not pair.aligned:
        return None
    keys = [p.table[["repeat", "fold"]].to_numpy(dtype=np.int64) for p in (pair.first, pair.second)]
    if not np.array_equal(keys[0], keys[1]):
        return None
    records = pair.first.table["record_id"].astype(str)
    repeats = len(np.unique(keys[0][:, 0]))
    once = not pd.DataFrame({"record": records, "repeat": keys[0][:, 0]}).duplicated().any()
    folds, place = np.unique(keys[0], axis=0, return_inverse=True)
    if not once or len(folds) < 2 * repeats:
        return None
    weights = (place.reshape(-1)[:, None] == np.arange(len(folds))[None, :]).astype(np.float64)
    differences = m.compute(Weighted(outcomes[1], weights)) - m.compute(Weighted(outcomes[0], weights))
    if np.isnan(differences).any():
        return None
    n_test = len(records) / len(folds)
    return differences, folds[:, 0], len(records) / repeats - n_test, n_test


def _same_facts(first: Predictions, second: Predictions, patients_known: bool) -> None:
    """Common records must agree on truth, and on patient where patients are known."""
    columns = ["truth"] if first.task != "multilabel" else [f"truth:{c}" for c in first.classes]
    if first.task == "retrieval":  # the same search: as many candidates, as many of them right
        columns = [str(c) for c in first.table.columns if str(c).endswith((":relevant", ":candidates"))]
    if first.task == "survival":
        columns = ["time", "event"]
    if first.task == "similarity":  # the truth is the scan itself, and the record's id names it
        columns = []
    for column in [*columns, "patient_id"] if patients_known else columns:
        kept = []
        for predictions in (first, second):
            table = predictions.table.drop_duplicates("record_id")
            values = table[column]
            if column != "patient_id" and first.task in ("regression", "multilabel", "retrieval", "survival"):
                values = pd.to_numeric(values, errors="coerce").fillna(-1e300)
            else:
                values = values.fillna("").astype(str)
            kept.append(pd.Series(values.to_numpy(), index=table["record_id"].astype(str)).sort_index())
        differs = kept[0].to_numpy() != kept[1].to_numpy()
        if differs.any():
            what = "patient" if column == "patient_id" else "truth"
            some = ", ".join(map(str, kept[0].index[differs][:5]))
            raise EvaluationError(
                f"{int(differs.sum())} common records have another {what} in the two results.",
                where=f"records {some}",
                fix="evaluate both on the same cohort table",
            )


def _common_clusters(first: Predictions, second: Predictions, patients_known: bool) -> tuple[Clusters, Clusters]:
    """Clusters with one numbering and one stratification, so that both get the same draws."""
    ids = [cluster_ids(p.table, patients_known)[0] for p in (first, second)]
    labels = first.truth_index() if first.task in ("binary", "multiclass") else None
    own = Clusters.of(ids[0], labels)
    names = np.unique(ids[0])
    return own, Clusters(np.searchsorted(names, ids[1]).astype(np.int64), own.strata)


def _unit(pair: Pair) -> str:
    return "patient" if pair.patients_known else "record"
