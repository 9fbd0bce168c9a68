"""Metrics of predicted labels, from confusion matrices or label counts, vectorised over weightings.

Definitions are scikit-learn's. Each function takes a :class:`Weighted` and returns float64 (B,)
or, for the per-class ones, (classes, B); NaN marks what is undefined.
"""

from __future__ import annotations

import numpy as np

from medfm.evaluation.metrics_outcomes import Weighted
from medfm.evaluation.metrics_ranking import ratio


def mean_defined(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean over the first axis of the defined values: (B,), NaN where none is defined."""
    good = ~np.isnan(values)
    share = good.astype(np.float64) if weights is None else np.where(good, weights, 0.0)
    return ratio((np.where(good, values, 0.0) * share).sum(axis=0), share.sum(axis=0))


def class_recall(view: Weighted) -> np.ndarray:
    """Sensitivity of each class: (classes, B)."""
    return ratio(_diagonal(view.confusion), view.confusion.sum(axis=1))


def class_specificity(view: Weighted) -> np.ndarray:
    """Specificity of each class against the rest: (classes, B)."""
    matrix = view.confusion
    true, predicted, hit = matrix.sum(axis=1), matrix.sum(axis=0), _diagonal(matrix)
    negatives = view.total - true
    return ratio(negatives - (predicted - hit), negatives)


def class_precision(view: Weighted) -> np.ndarray:
    """Positive predictive value of each class: (classes, B), NaN where it was never predicted."""
    return ratio(_diagonal(view.confusion), view.confusion.sum(axis=0))


def class_f1(view: Weighted) -> np.ndarray:
    """F1 of each class: (classes, B), NaN where the class is neither present nor predicted."""
    matrix = view.confusion
    return ratio(2 * _diagonal(matrix), matrix.sum(axis=1) + matrix.sum(axis=0))


def accuracy(view: Weighted) -> np.ndarray:
    """Share of records with the right class."""
    return ratio(_diagonal(view.confusion).sum(axis=0), view.total)


def balanced_accuracy(view: Weighted) -> np.ndarray:
    """Mean sensitivity over the classes present."""
    return mean_defined(class_recall(view))


def specificity_macro(view: Weighted) -> np.ndarray:
    """Mean specificity, each class against the rest, over the classes that have negatives."""
    return mean_defined(class_specificity(view))


def f1_macro(view: Weighted) -> np.ndarray:
    """Mean F1 over the classes present or predicted."""
    return mean_defined(class_f1(view))


def f1_weighted(view: Weighted) -> np.ndarray:
    """F1 weighted by the number of records of each class."""
    return mean_defined(class_f1(view), view.confusion.sum(axis=1))


def sensitivity(view: Weighted) -> np.ndarray:
    """True positives among the positives (binary)."""
    return class_recall(view)[1]


def specificity(view: Weighted) -> np.ndarray:
    """True negatives among the negatives (binary)."""
    return class_recall(view)[0]


def ppv(view: Weighted) -> np.ndarray:
    """True positives among those predicted positive (binary)."""
    return class_precision(view)[1]


def npv(view: Weighted) -> np.ndarray:
    """True negatives among those predicted negative (binary)."""
    return class_precision(view)[0]


def f1_binary(view: Weighted) -> np.ndarray:
    """F1 of the positive class (binary)."""
    return class_f1(view)[1]


def selection_rate(view: Weighted) -> np.ndarray:
    """Share of records predicted positive (binary)."""
    return ratio(view.confusion[:, 1].sum(axis=0), view.total)


def matthews(view: Weighted) -> np.ndarray:
    """Matthews correlation coefficient; 0 when all predictions or all truths are one class."""
    matrix = view.confusion
    true, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    total = view.total
    covariance = _diagonal(matrix).sum(axis=0) * total - (true * predicted).sum(axis=0)
    product = (total**2 - (true**2).sum(axis=0)) * (total**2 - (predicted**2).sum(axis=0))
    result = np.divide(covariance, np.sqrt(np.maximum(product, 0)), out=np.zeros_like(total), where=product > 0)
    result[total <= 0] = np.nan
    return result


def kappa(view: Weighted, power: int = 0) -> np.ndarray:
    """Cohen's kappa; disagreement unweighted (0), linear (1) or quadratic (2) in the class order."""
    matrix = view.confusion
    size = len(matrix)
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(np.float64)
    cost = (distance > 0).astype(np.float64) if power == 0 else distance**power
    seen = np.einsum("ij,ijb->b", cost, matrix)
    expected = np.einsum("ij,ib,jb->b", cost, matrix.sum(axis=1), matrix.sum(axis=0))
    return 1.0 - ratio(seen * view.total, expected)


def label_f1(view: Weighted) -> np.ndarray:
    """F1 of each label of a multilabel task; 0 where it is neither present nor predicted."""
    hit, predicted, true, known = view.label_counts
    size = true + predicted
    result = np.divide(2 * hit, size, out=np.zeros_like(size), where=size > 0)
    result[known <= 0] = np.nan
    return result


def label_f1_micro(view: Weighted) -> np.ndarray:
    """F1 over all (record, label) pairs of a multilabel task."""
    hit, predicted, true, _ = view.label_counts.sum(axis=1)
    return ratio(2 * hit, true + predicted)


def label_f1_samples(view: Weighted) -> np.ndarray:
    """Mean over records with a known label of the F1 of its labels; 0 for one with none true and none predicted."""
    truth = view.outcomes.truth
    known = ~np.isnan(truth)
    true, predicted = truth == 1, (view.outcomes.predicted == 1) & known
    size = true.sum(axis=1) + predicted.sum(axis=1)
    hit = 2.0 * (true & predicted).sum(axis=1)
    told = known.any(axis=1)
    return ratio(view.sums(np.divide(hit, size, out=np.zeros(len(size)), where=size > 0)), view.sums(told))


def hamming_loss(view: Weighted) -> np.ndarray:
    """Share of the known (record, label) pairs that are wrong."""
    hit, predicted, true, known = view.label_counts.sum(axis=1)
    return ratio(true + predicted - 2 * hit, known)


def subset_accuracy(view: Weighted) -> np.ndarray:
    """Share of records with a known label of which every known label is right."""
    truth = view.outcomes.truth
    unknown = np.isnan(truth)
    right, told = (unknown | (truth == view.outcomes.predicted)).all(axis=1), ~unknown.all(axis=1)
    return ratio(view.sums(right & told), view.sums(told))


def _diagonal(matrix: np.ndarray) -> np.ndarray:
    return np.einsum("iib->ib", matrix)
