"""From point values and resamples to :class:`Estimate`: intervals, their names and their notes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from medfm.evaluation.bootstrap import Clusters, Statistic, percentile_interval
from medfm.evaluation.intervals import wilson_interval
from medfm.evaluation.metrics import Metric, number
from medfm.evaluation.metrics_outcomes import Outcomes
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.statistics_intervals import direct_interval, smooth_interval
from medfm.evaluation.summary import Estimate


@dataclass(frozen=True)
class Sample:
    """Predictions with their clusters: what one set of estimates is computed from.

    Attributes:
        outcomes: The arrays.
        clusters: Patients, or records where patients are unknown.
        plan: Level, resamples, seed.
        n_records: Distinct records (a record may be predicted in several repeats).
        variant: Name of the variant.
        patients_known: Whether clusters are patients.
        incomplete: Number of records without a patient id although others have one.
        mixes: Variance from the mix of classes, by figure; computed once for all classes.
    """

    outcomes: Outcomes
    clusters: Clusters
    plan: StatisticsPlan
    n_records: int
    variant: str = MAIN
    patients_known: bool = True
    incomplete: int = 0
    mixes: dict[Statistic, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(
        cls, predictions: Predictions, plan: StatisticsPlan, *, variant: str = MAIN, patients_known: bool = True
    ) -> Sample:
        """The sample of `predictions` (rows of one variant)."""
        outcomes = Outcomes.of(predictions)
        ids, incomplete = cluster_ids(predictions.table, patients_known)
        labels = outcomes.truth if outcomes.task in ("binary", "multiclass") else None
        n_records = int(predictions.table["record_id"].astype(str).nunique())
        return cls(outcomes, Clusters.of(ids, labels), plan, n_records, variant, patients_known, incomplete)

    def method(self) -> str:
        """Name of the interval, such as ``patient-clustered bootstrap, B=1000``."""
        unit = "patient-clustered" if self.patients_known else "record-level"
        return f"{unit} bootstrap, B={self.plan.resamples}"


def cluster_ids(table: pd.DataFrame, patients_known: bool) -> tuple[np.ndarray, int]:
    """One id per row for the bootstrap, and how many records lack a patient id.

    The patient's id where patients are known; otherwise, and where it is missing, the record's
    own (a record predicted in several repeats stays one cluster).
    """
    records = "record:" + table["record_id"].astype(str)
    if not patients_known:
        return records.to_numpy(dtype=str), 0
    missing = table["patient_id"].isna() | (table["patient_id"].astype(str).str.strip() == "")
    ids = ("patient:" + table["patient_id"].astype(str)).where(~missing, records)
    return ids.to_numpy(dtype=str), int(table.loc[missing, "record_id"].astype(str).nunique())


def estimate(
    sample: Sample,
    metric: Metric,
    value: float,
    resampled: np.ndarray | None,
    *,
    positive: int | None = None,
) -> Estimate:
    """One figure with its interval.

    Args:
        sample: What it was computed from.
        metric: Its definition (name, range).
        value: Point value, NaN where undefined.
        resampled: float64 (B,) or ``None`` when nothing was resampled.
        positive: The class or label of a figure of one class; 1 for the AUROC of a binary task.
    """
    low = high = None
    method, notes = "", []
    if np.isnan(value):
        notes.append(_undefined_reason(sample, positive))
    elif (direct := direct_interval(sample, metric, value, positive)) is not None:
        low, high, method = direct
    elif sample.clusters.count < 2:
        notes.append("no interval: a single patient" if sample.patients_known else "no interval: a single record")
    elif resampled is None or not len(resampled):
        notes.append("no interval: no resamples were asked for")
    else:
        undefined = int(np.isnan(resampled).sum())
        if undefined:
            notes.append(f"undefined in {undefined} of {len(resampled)} resamples")
        if undefined <= len(resampled) // 2:
            lower, upper = (float(bound) for bound in percentile_interval(resampled, sample.plan.level))
            smooth = smooth_interval(sample, metric, value, resampled, positive)
            if upper - lower > 1e-12 and smooth is not None:
                low, high, method = smooth
            elif upper - lower > 1e-12:
                low, high, method = lower, upper, sample.method()
            elif metric.proportion and (value < 1e-12 or value > 1 - 1e-12):
                units = _units(sample, metric.name)
                below, above = wilson_interval(round(value) * units, units, sample.plan.level)
                low, high = float(below), float(above)
                method = "Wilson, one trial per " + ("patient" if sample.patients_known else "record")
            else:
                notes.append("no interval: all resamples gave the same value" + _no_error(sample, metric, value))
        else:
            notes.append("no interval: defined in too few resamples")
    return Estimate(
        metric=metric.name,
        value=number(value),
        low=number(low) if low is not None else None,
        high=number(high) if high is not None else None,
        level=sample.plan.level,
        method=method,
        n_records=sample.n_records,
        n_patients=sample.clusters.count,
        variant=sample.variant,
        note="; ".join(notes),
    )


def _no_error(sample: Sample, metric: Metric, value: float) -> str:
    """What a perfect agreement of decisions still allows: in how many patients errors may come; else nothing."""
    outcomes = sample.outcomes
    if outcomes.task not in ("binary", "multiclass") or value != metric.highest or metric.better != "higher":
        return ""
    if not np.array_equal(outcomes.truth, outcomes.predicted):
        return ""
    count = sample.clusters.count
    unit = "patients" if sample.patients_known else "records"
    most = float(wilson_interval(0, count, sample.plan.level)[1])
    return f"; no error in {count} {unit} still allows errors in up to {100 * most:.0f} % of such {unit}"


def _units(sample: Sample, name: str) -> int:
    """Number of patients (clusters) in the denominator of a proportion."""
    outcomes = sample.outcomes
    rows = {
        "sensitivity": lambda: outcomes.truth == 1,
        "specificity": lambda: outcomes.truth == 0,
        "ppv": lambda: outcomes.predicted == 1,
        "npv": lambda: outcomes.predicted == 0,
    }.get(name)
    codes = sample.clusters.codes if rows is None else sample.clusters.codes[rows()]
    return len(np.unique(codes))


def _undefined_reason(sample: Sample, positive: int | None) -> str:
    outcomes = sample.outcomes
    if outcomes.task == "regression":
        return "undefined: the target or the prediction does not vary"
    if outcomes.task == "similarity":
        return "undefined: no record"
    if outcomes.task == "survival":
        return "undefined: no pair of records whose order is known (too few events)"
    if positive is not None:
        return f"undefined: '{outcomes.classes[positive]}' has no positive or no negative record"
    return "undefined: not enough classes among these records"
