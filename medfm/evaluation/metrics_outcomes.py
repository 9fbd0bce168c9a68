"""Predictions as arrays, and the same under many weightings at once.

:class:`Outcomes` holds the arrays and what can be prepared once; :class:`Weighted` pairs them
with a weights matrix (records, B), one column per resample, fold or group, and caches what
several metrics share. A weight is how often a record counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from medfm.core.errors import EvaluationError
from medfm.evaluation.metrics_ranking import RankPlan, indicator_matrix
from medfm.evaluation.predictions import FIGURES_ONLY, Predictions, TaskKind

BINS = 10
THRESHOLD = 0.5


def bin_of(scores: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Equal-width bin of each score in [0, 1]: bin b is (b/bins, (b+1)/bins], 0 goes to bin 0."""
    edges = np.arange(1, bins) / bins
    return np.searchsorted(edges, scores, side="left").astype(np.int64)


@dataclass(frozen=True)
class Outcomes:
    """One task's truths, predictions and scores as arrays, all n records long.

    Attributes:
        task: Kind of task.
        classes: Class or label names; empty for regression.
        truth: int64 (n,) class positions; float64 (n, labels) of 1, 0, NaN; or float64 (n,).
        predicted: int64 (n,), or float64 (n,) for regression; for multilabel the scores cut at 0.5.
        scores: float64 (n, classes) in [0, 1]; (n, 0) for regression; for retrieval and survival the
            figures per query or record, whose names are `classes`.
    """

    task: TaskKind
    classes: tuple[str, ...]
    truth: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, predictions: Predictions) -> Outcomes:
        """The arrays of `predictions`, checked.

        Raises:
            EvaluationError: No rows, values missing, not finite, of an unknown class, or scores
                outside [0, 1].
        """
        table = predictions.table
        if table.empty:
            raise EvaluationError("There are no predictions to evaluate.", expected="at least one record")
        if predictions.task == "regression":
            truth = pd.to_numeric(table["truth"], errors="coerce").to_numpy(dtype=np.float64)
            predicted = pd.to_numeric(table["predicted"], errors="coerce").to_numpy(dtype=np.float64)
            _finite(truth, "truth", table)
            _finite(predicted, "predicted", table)
            return cls("regression", (), truth, predicted, np.zeros((len(table), 0)))
        scores = predictions.scores()
        _finite(scores, "score", table)
        if predictions.task in FIGURES_ONLY:
            nothing = np.zeros(len(table), dtype=np.int64)
            return cls(predictions.task, predictions.classes, nothing, nothing, scores)
        if scores.min() < -1e-6 or scores.max() > 1 + 1e-6:
            raise EvaluationError(
                f"Scores run from {scores.min():g} to {scores.max():g}; they must be probabilities.",
                expected="score columns within [0, 1]",
                fix="apply softmax or the logistic function before storing the scores",
            )
        scores = np.clip(scores, 0.0, 1.0)
        if predictions.task == "multilabel":
            labels = predictions.truth_matrix()
            if not np.isin(labels[~np.isnan(labels)], (0.0, 1.0)).all():
                raise EvaluationError("A multilabel truth is neither 0, 1 nor missing.", expected="1, 0 or missing")
            return cls("multilabel", predictions.classes, labels, (scores >= THRESHOLD).astype(np.int64), scores)
        for column in ("truth", "predicted"):
            known = table[column].astype(str).isin(predictions.classes)
            if not known.all():
                bad = sorted(set(table.loc[~known, column].astype(str)))[:5]
                raise EvaluationError(
                    f"The column '{column}' holds values that are not classes of the task: {', '.join(bad)}.",
                    expected="one of " + ", ".join(predictions.classes),
                )
        return cls(
            predictions.task,
            predictions.classes,
            predictions.truth_index(),
            predictions.predicted_index(),
            scores,
        )

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: np.ndarray) -> Outcomes:
        """The chosen rows (positions or mask)."""
        return Outcomes(self.task, self.classes, self.truth[rows], self.predicted[rows], self.scores[rows])

    @cached_property
    def _rank_plans(self) -> dict[object, RankPlan]:
        return {}

    def rank_plan(self, label: int) -> RankPlan:
        """Ranking of one class against the rest (or one label), unknown truths left out."""
        if label not in self._rank_plans:
            if self.task == "multilabel":
                rows = np.flatnonzero(~np.isnan(self.truth[:, label]))
                positive = self.truth[rows, label] == 1
            else:
                rows = np.arange(len(self))
                positive = self.truth == label
            self._rank_plans[label] = RankPlan(self.scores[rows, label], positive, rows, len(self))
        return self._rank_plans[label]

    def pair_plan(self, first: int, second: int) -> RankPlan:
        """Ranking by the score of `first` among the records of the classes `first` and `second`."""
        if (first, second) not in self._rank_plans:
            rows = np.flatnonzero((self.truth == first) | (self.truth == second))
            plan = RankPlan(self.scores[rows, first], self.truth[rows] == first, rows, len(self))
            self._rank_plans[(first, second)] = plan
        return self._rank_plans[(first, second)]

    @cached_property
    def micro_plan(self) -> RankPlan:
        """Ranking of all (record, label) pairs of a multilabel task together."""
        rows, labels = np.nonzero(~np.isnan(self.truth))
        return RankPlan(self.scores[rows, labels], self.truth[rows, labels] == 1, rows, len(self))

    @cached_property
    def _confusion_matrix(self) -> sparse.csr_array:
        size = len(self.classes)
        return indicator_matrix(self.truth * size + self.predicted, np.arange(len(self)), (size * size, len(self)))

    @cached_property
    def _label_matrices(self) -> tuple[sparse.csr_array, ...]:
        """For multilabel: true positives, predicted positives, positives, known, per label."""
        known = ~np.isnan(self.truth)
        true, predicted = self.truth == 1, (self.predicted == 1) & known
        kinds = (true & predicted, predicted, true, known)
        shape = (len(self.classes), len(self))
        found = [np.nonzero(kind.T) for kind in kinds]
        return tuple(indicator_matrix(rows, columns, shape) for rows, columns in found)

    @cached_property
    def confidences(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What calibration looks at: scores (m,), hits 0/1 (m,) and the record of each.

        Binary: the positive class's score and whether it is true. Multiclass: the largest score
        and whether that class is true. Multilabel: every known (record, label) pair.
        """
        if self.task == "multilabel":
            rows, labels = np.nonzero(~np.isnan(self.truth))
            return self.scores[rows, labels], self.truth[rows, labels], rows
        rows = np.arange(len(self))
        if self.task == "binary":
            return self.scores[:, 1], (self.truth == 1).astype(np.float64), rows
        top = self.scores.argmax(axis=1)
        return self.scores[rows, top], (top == self.truth).astype(np.float64), rows

    @cached_property
    def _bin_matrices(self) -> tuple[sparse.csr_array, ...]:
        """Per bin of confidence: count, sum of scores, sum of hits."""
        scores, hits, rows = self.confidences
        bins, shape = bin_of(scores), (BINS, len(self))
        values = (np.ones(len(scores)), scores, hits)
        return tuple(sparse.csr_array((value, (bins, rows)), shape=shape) for value in values)


class Weighted:
    """Outcomes under a weights matrix; every property has the resamples on its last axis.

    Args:
        outcomes: n records.
        weights: (n, B), float, not negative.
    """

    def __init__(self, outcomes: Outcomes, weights: np.ndarray) -> None:
        self.outcomes = outcomes
        self.weights = np.ascontiguousarray(weights)

    @property
    def count(self) -> int:
        """Number B of weightings."""
        return int(self.weights.shape[1])

    @cached_property
    def total(self) -> np.ndarray:
        """Sum of the weights: float64 (B,)."""
        return np.asarray(self.weights.sum(axis=0, dtype=np.float64))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Weighted sums of `values` (n,) or (q, n): float64 (B,) or (q, B)."""
        return np.asarray(np.asarray(values, dtype=np.float64) @ self.weights)

    @cached_property
    def confusion(self) -> np.ndarray:
        """float64 (classes, classes, B): truth, predicted."""
        size = len(self.outcomes.classes)
        flat = self.outcomes._confusion_matrix @ self.weights
        return np.asarray(flat, dtype=np.float64).reshape(size, size, -1)

    @cached_property
    def aurocs(self) -> np.ndarray:
        """One-vs-rest AUROC of every class or label: float64 (classes, B)."""
        return np.stack([self.outcomes.rank_plan(c).auroc(self.weights) for c in range(len(self.outcomes.classes))])

    @cached_property
    def average_precisions(self) -> np.ndarray:
        """One-vs-rest average precision of every class or label: float64 (classes, B)."""
        plans = [self.outcomes.rank_plan(c) for c in range(len(self.outcomes.classes))]
        return np.stack([plan.average_precision(self.weights) for plan in plans])

    @cached_property
    def label_counts(self) -> np.ndarray:
        """Multilabel: float64 (4, labels, B) of true positives, predicted, positives, known."""
        return np.stack([np.asarray(m @ self.weights, np.float64) for m in self.outcomes._label_matrices])

    @cached_property
    def calibration_bins(self) -> np.ndarray:
        """float64 (3, bins, B): count, sum of scores, sum of hits."""
        return np.stack([np.asarray(m @ self.weights, np.float64) for m in self.outcomes._bin_matrices])


def _finite(values: np.ndarray, what: str, table: pd.DataFrame) -> None:
    good = np.isfinite(values) if values.ndim == 1 else np.isfinite(values).all(axis=1)
    if not good.all():
        ids = ", ".join(table["record_id"].astype(str).to_numpy()[~good][:5])
        raise EvaluationError(
            f"{int((~good).sum())} records have a {what} that is missing or not finite.", where=f"records {ids}"
        )
