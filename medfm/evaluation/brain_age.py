"""Brain-age gap: predicted minus true age, its dependence on age taken out with training subjects only.

A regression draws predictions to the mean age, so the gap falls with age whatever the brain is like.
The bias is a straight line of the gap on age (de Lange and Cole, NeuroImage: Clinical 26, 2020),
fitted here on predictions of training subjects by inner folds that did not see them. A corrected gap
holds the subject's own age: errors of corrected ages are no accuracy, and none is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medfm.core.errors import EvaluationError
from medfm.evaluation.bootstrap import Clusters, draw, percentile_interval
from medfm.evaluation.groups import group_values, suppressed_cells
from medfm.evaluation.linear_probe import run_linear_probe
from medfm.evaluation.protocol import LinearProbe, Selection, StatisticsPlan
from medfm.evaluation.schemes import Fold
from medfm.evaluation.selection import inner_folds
from medfm.evaluation.target import Target

_NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class AgeBias:
    """The line gap = intercept + slope * age, ages in years; `n` subjects or scans it was fitted on."""

    intercept: float
    slope: float
    n: int

    @classmethod
    def fit(cls, age: np.ndarray, predicted: np.ndarray) -> AgeBias:
        """Least squares of the gap on age.

        Raises:
            EvaluationError: Fewer than three ages, or all equal.
        """
        age, gap = np.asarray(age, np.float64), np.asarray(predicted, np.float64) - np.asarray(age, np.float64)
        if len(age) < 3 or not np.ptp(age) > 0:
            raise EvaluationError(
                "A bias line needs at least three training subjects of different ages.", where=f"{len(age)} ages"
            )
        centred = age - age.mean()
        slope = float(centred @ (gap - gap.mean()) / (centred @ centred))
        return cls(float(gap.mean() - slope * age.mean()), slope, len(age))

    def corrected(self, age: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """float64 (n,): gap minus what the line expects at that age."""
        age = np.asarray(age, np.float64)
        return np.asarray(predicted, np.float64) - age - (self.intercept + self.slope * age)


def age_biases(
    X: np.ndarray,
    target: Target,
    folds: Sequence[Fold],
    method: LinearProbe,
    strengths: Sequence[float],
    *,
    patients: np.ndarray,
    seed: int = 0,
) -> list[AgeBias]:
    """The bias line of each fold, from training records alone.

    Args:
        X: float (n, d) embeddings.
        target: Ages.
        folds: As the probe had them.
        method: The probe.
        strengths: The C that the probe chose in each fold.
        patients: Patient of each record, who never crosses an inner fold.
        seed: Of the inner folds.

    Raises:
        EvaluationError: The target is no measurement, or a fold has fewer than two training patients.
    """
    if target.task != "regression":
        raise EvaluationError(f"A brain-age gap needs ages, not a {target.task} target.", where=target.name)
    found = []
    for fold, strength in zip(folds, strengths, strict=True):
        parts, _ = inner_folds(method.selection, target, patients, fold.train, seed)
        if not parts:
            raise EvaluationError("A brain-age gap needs at least two training patients in every fold.")
        fixed = method.model_copy(update={"selection": Selection(rule="fixed", value=strength)})
        inner = [Fold(fold.train[a], fold.train[b], _NONE) for a, b in parts]
        outcomes = run_linear_probe(X, target, inner, fixed, patients=patients, seed=seed)
        rows = np.concatenate([part.test for part in inner])
        predicted = np.concatenate([outcome.scores[:, 0] for outcome in outcomes])
        found.append(AgeBias.fit(target.values[rows], predicted))
    return found


def gap_figures(table: pd.DataFrame, plan: StatisticsPlan) -> dict[str, Any]:
    """Mean gap and its correlation with age, before and after the correction, and the mean by subgroup.

    Args:
        table: Predictions with ``truth, gap, corrected_gap, patient_id`` and the subgroup columns of `plan`.
        plan: Level, resamples, seed, minimum cell, subgroups.

    Returns:
        Nested groups of ``{"value", "low", "high"}``, in years and correlations; intervals are
        patient-clustered bootstraps, ``None`` where there is none.
    """
    age = table["truth"].to_numpy(np.float64)
    patients = table["patient_id"].astype(str).to_numpy()
    found: dict[str, Any] = {}
    for name, column in (("uncorrected", "gap"), ("corrected", "corrected_gap")):
        gap = table[column].to_numpy(np.float64)
        found[name] = {
            "mean_gap": _with_interval(patients, plan, lambda w, gap=gap: _mean(gap, w)),
            "correlation_with_age": _with_interval(patients, plan, lambda w, gap=gap: _correlation(gap, age, w)),
        }
    gap = table["corrected_gap"].to_numpy(np.float64)
    for column in plan.subgroups:
        values = group_values(table, column)
        names = sorted(set(values))
        sizes = [len(np.unique(patients[values == v])) for v in names]
        shown: dict[str, Any] = {}
        for value, size, hide in zip(names, sizes, suppressed_cells(sizes, plan.minimum_cell), strict=True):
            own = values == value
            entry = {} if hide else {"n_patients": size}
            shown[value] = (
                {"hidden": True}
                if hide
                else {**entry, **_with_interval(patients[own], plan, lambda w, g=gap[own]: _mean(g, w))}
            )
        found.setdefault("corrected_gap_by", {})[column] = shown
    return found


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray(values @ weights / weights.sum(axis=0))


def _correlation(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(axis=0)
    a, b = a - a.mean(), b - b.mean()
    covariance = (a * b) @ weights / total - (a @ weights / total) * (b @ weights / total)
    va = (a * a) @ weights / total - (a @ weights / total) ** 2
    vb = (b * b) @ weights / total - (b @ weights / total) ** 2
    spread = np.sqrt(np.maximum(va, 0) * np.maximum(vb, 0))
    return np.divide(covariance, spread, out=np.full(len(total), np.nan), where=spread > 1e-12)


def _with_interval(patients: np.ndarray, plan: StatisticsPlan, statistic: Any) -> dict[str, float | None]:
    value = float(statistic(np.ones((len(patients), 1)))[0])
    clusters = Clusters.of(patients)
    low = high = None
    if plan.resamples and clusters.count > 1:
        parts = [statistic(w.astype(np.float64)) for w in draw(clusters, plan.resamples, plan.seed)]
        low, high = (float(bound) for bound in percentile_interval(np.concatenate(parts), plan.level))
    return {
        "value": value if np.isfinite(value) else None,
        "low": low if low is not None and np.isfinite(low) else None,
        "high": high if high is not None and np.isfinite(high) else None,
    }
