"""Metrics of scores read as probabilities, and of continuous predictions, vectorised over weightings."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from medfm.evaluation.metrics_labels import mean_defined
from medfm.evaluation.metrics_outcomes import Weighted
from medfm.evaluation.metrics_ranking import indicator_matrix, ratio


def auroc_macro(view: Weighted) -> np.ndarray:
    """Mean one-vs-rest AUROC over the classes (labels) for which it is defined."""
    return mean_defined(view.aurocs)


def auroc_weighted(view: Weighted) -> np.ndarray:
    """One-vs-rest AUROC weighted by the number of records of each class."""
    return mean_defined(view.aurocs, view.confusion.sum(axis=1))


def auroc_ovo_macro(view: Weighted) -> np.ndarray:
    """Hand and Till's mean AUROC over all ordered pairs of classes present."""
    size = len(view.outcomes.classes)
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    return mean_defined(np.stack([view.outcomes.pair_plan(i, j).auroc(view.weights) for i, j in pairs]))


def auroc_micro(view: Weighted) -> np.ndarray:
    """AUROC over all known (record, label) pairs together (multilabel)."""
    return view.outcomes.micro_plan.auroc(view.weights)


def top_accuracy(view: Weighted, k: int = 5) -> np.ndarray:
    """Share of records whose class is among the `k` highest scores, ties as scikit-learn breaks them.

    1 where there are no more than `k` classes.
    """
    scores, truth = view.outcomes.scores, view.outcomes.truth
    highest = np.argsort(scores, axis=1, kind="stable")[:, ::-1][:, :k]
    return ratio(view.sums((highest == truth[:, None]).any(axis=1)), view.total)


def average_precision_macro(view: Weighted) -> np.ndarray:
    """Mean average precision over the classes (labels) for which it is defined."""
    return mean_defined(view.average_precisions)


def brier(view: Weighted) -> np.ndarray:
    """Mean squared error of the probabilities.

    Binary: of the positive class. Multiclass: summed over the classes (range 0 to 2).
    Multilabel: mean over the known (record, label) pairs.
    """
    outcomes = view.outcomes
    if outcomes.task == "multiclass":
        target = np.eye(len(outcomes.classes))[outcomes.truth]
        return ratio(view.sums(((outcomes.scores - target) ** 2).sum(axis=1)), view.total)
    scores, hits, rows = outcomes.confidences
    return _pair_mean(view, (scores - hits) ** 2, rows)


def log_loss(view: Weighted) -> np.ndarray:
    """Mean negative logarithm of the probability of the truth (clipped as scikit-learn does)."""
    outcomes = view.outcomes
    tiny = np.finfo(np.float64).eps
    if outcomes.task == "multiclass":
        given = outcomes.scores[np.arange(len(outcomes)), outcomes.truth]
        return ratio(view.sums(-np.log(np.clip(given, tiny, 1 - tiny))), view.total)
    scores, hits, rows = outcomes.confidences
    clipped = np.clip(scores, tiny, 1 - tiny)
    return _pair_mean(view, -np.where(hits == 1, np.log(clipped), np.log1p(-clipped)), rows)


def calibration_gaps(view: Weighted) -> tuple[np.ndarray, np.ndarray]:
    """Per bin of confidence: |mean hit - mean score| (NaN when empty) and count, both (bins, B)."""
    count, scores, hits = view.calibration_bins
    return np.abs(ratio(hits - scores, count)), count


def ece(view: Weighted) -> np.ndarray:
    """Expected calibration error over 10 equal-width bins (top label for multiclass)."""
    return mean_defined(*calibration_gaps(view))


def mce(view: Weighted) -> np.ndarray:
    """Largest calibration gap of the 10 equal-width bins."""
    gaps, _ = calibration_gaps(view)
    largest = np.where(np.isnan(gaps), -1.0, gaps).max(axis=0)
    return np.where(largest < 0, np.nan, largest)


def r2(view: Weighted) -> np.ndarray:
    """Coefficient of determination; NaN when the truth does not vary."""
    truth, predicted = view.outcomes.truth, view.outcomes.predicted
    # Centring first keeps the sums of squares accurate for values far from zero.
    centred = truth - truth.mean()
    residual = view.sums((truth - predicted) ** 2)
    first, second = view.sums(np.stack([centred, centred**2]))
    return 1.0 - ratio(residual, _spread(second, first, view.total))


def mae(view: Weighted) -> np.ndarray:
    """Mean absolute error, in units of the target."""
    return ratio(view.sums(np.abs(view.outcomes.truth - view.outcomes.predicted)), view.total)


def rmse(view: Weighted) -> np.ndarray:
    """Root mean squared error, in units of the target."""
    return np.sqrt(ratio(view.sums((view.outcomes.truth - view.outcomes.predicted) ** 2), view.total))


def pearson(view: Weighted) -> np.ndarray:
    """Pearson's correlation of truth and prediction."""
    first = view.outcomes.truth - view.outcomes.truth.mean()
    second = view.outcomes.predicted - view.outcomes.predicted.mean()
    sums = view.sums(np.stack([first, second, first**2, second**2, first * second]))
    spread = np.sqrt(_spread(sums[2], sums[0], view.total) * _spread(sums[3], sums[1], view.total))
    return np.clip(ratio(sums[4] - ratio(sums[0] * sums[1], view.total), spread), -1.0, 1.0)


def spearman(view: Weighted) -> np.ndarray:
    """Spearman's correlation: Pearson's on mid-ranks taken anew under each weighting."""
    first, second = (_mid_ranks(values, view.weights) for values in (view.outcomes.truth, view.outcomes.predicted))
    weights, total = view.weights, view.total
    # The weighted mean of mid-ranks is (total + 1) / 2 whatever the ties.
    first -= (total + 1) / 2
    second -= (total + 1) / 2
    products = [np.einsum("nb,nb,nb->b", weights, a, b) for a, b in ((first, second), (first, first), (second, second))]
    return np.clip(ratio(products[0], np.sqrt(products[1] * products[2])), -1.0, 1.0)


def _mid_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    unique, inverse = np.unique(values, return_inverse=True)
    group = indicator_matrix(inverse, np.arange(len(values)), (len(unique), len(values)))
    own = np.asarray(group @ weights, dtype=np.float64)
    ranks = np.cumsum(own, axis=0) - own + (own + 1) / 2
    return np.asarray(ranks[inverse])


def _spread(squares: np.ndarray, sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Sum of squared deviations, exactly 0 where only rounding is left."""
    spread = squares - ratio(sums**2, total)
    return np.where(spread <= 1e-12 * squares, 0.0, spread)


def _pair_mean(view: Weighted, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    size = len(view.outcomes)
    first = np.zeros(len(rows), dtype=np.int64)
    sums = sparse.csr_array((values, (first, rows)), shape=(1, size)) @ view.weights
    counts = indicator_matrix(first, rows, (1, size)) @ view.weights
    return ratio(np.asarray(sums)[0], np.asarray(counts)[0])
