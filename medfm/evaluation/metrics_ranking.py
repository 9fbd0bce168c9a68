"""AUROC and average precision under many weightings at once.

One score vector is sorted once. For every weighting the sums of negatives between two
neighbouring positives are one sparse product, and a cumulative sum over the (fewer)
positives does the rest. Ties count one half, exactly. Weights are bootstrap counts, so float32
sums are exact up to 2^24 records (see ``bootstrap.py``, which chooses the precision).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import sparse


def indicator_matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    """Sparse (rows x records) matrix of ones; product with weights (records, B) sums per row."""
    ones = np.ones(len(rows), dtype=np.float32)
    return sparse.csr_array((ones, (rows, columns)), shape=shape)


class RankPlan:
    """What AUROC and average precision of one score vector need, sorted once.

    Args:
        scores: float (m,), higher means more likely positive; finite.
        positive: bool (m,).
        records: int (m,), the row of the weights that belongs to each score; several scores
            may share a row (micro averages).
        n_records: Number of rows of the weights.
    """

    def __init__(self, scores: np.ndarray, positive: np.ndarray, records: np.ndarray, n_records: int) -> None:
        self._positive_scores, self._negative_scores = scores[positive], scores[~positive]
        self._positive_records, self._negative_records = records[positive], records[~positive]
        self._n = n_records

    @property
    def defined(self) -> bool:
        """Whether both kinds are present at all."""
        return len(self._positive_scores) > 0 and len(self._negative_scores) > 0

    @cached_property
    def _auroc_parts(self) -> tuple[sparse.csr_array, sparse.csr_array]:
        # The rarer kind is the reference, which keeps the cumulative sums short. Swapping the
        # kinds and the sign of the scores leaves the AUROC as it is.
        if len(self._positive_scores) <= len(self._negative_scores):
            reference, reference_records = self._positive_scores, self._positive_records
            others, other_records = self._negative_scores, self._negative_records
        else:
            reference, reference_records = -self._negative_scores, self._negative_records
            others, other_records = -self._positive_scores, self._positive_records
        values, inverse = np.unique(reference, return_inverse=True)
        own = indicator_matrix(inverse, reference_records, (len(values), self._n))
        place = np.searchsorted(values, others, side="left")
        tied = place < np.searchsorted(values, others, side="right")
        # Cumulated up to row j: others below value j, plus half of those equal to it.
        rows = np.concatenate([place, place[tied] + 1])
        columns = np.concatenate([other_records, other_records[tied]])
        shares = np.concatenate([np.where(tied, 0.5, 1.0), np.full(int(tied.sum()), 0.5)]).astype(np.float32)
        below = sparse.csr_array((shares, (rows, columns)), shape=(len(values) + 1, self._n))
        return own, below

    def auroc(self, weights: np.ndarray) -> np.ndarray:
        """AUROC for each column of `weights` (records, B): float64 (B,), NaN where undefined."""
        if not self.defined:
            return np.full(weights.shape[1], np.nan)
        own_matrix, below_matrix = self._auroc_parts
        own = own_matrix @ weights
        below = np.cumsum(below_matrix @ weights, axis=0)
        own64 = own.astype(np.float64)
        concordant = np.einsum("mb,mb->b", own64, below[:-1].astype(np.float64))
        pairs = own64.sum(axis=0) * below[-1].astype(np.float64)
        return ratio(concordant, pairs)

    @cached_property
    def _precision_parts(self) -> tuple[sparse.csr_array, sparse.csr_array]:
        values, inverse = np.unique(self._positive_scores, return_inverse=True)
        own = indicator_matrix(inverse, self._positive_records, (len(values), self._n))
        # Cumulated up to row j: negatives strictly below value j.
        place = np.searchsorted(values, self._negative_scores, side="right")
        below = indicator_matrix(place, self._negative_records, (len(values) + 1, self._n))
        return own, below

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Average precision (the step-wise sum, no interpolation) for each column: float64 (B,)."""
        if not self.defined:
            return np.full(weights.shape[1], np.nan)
        own_matrix, below_matrix = self._precision_parts
        own = (own_matrix @ weights).astype(np.float64)
        below = np.cumsum((below_matrix @ weights).astype(np.float64), axis=0)
        positives, negatives = own.sum(axis=0), below[-1]
        true = positives - np.cumsum(own, axis=0) + own
        false = negatives - below[:-1]
        found = true + false
        terms = np.divide(own * true, found, out=np.zeros_like(own), where=found > 0)
        result = ratio(terms.sum(axis=0), positives)
        result[negatives <= 0] = np.nan
        return result


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient in float64, NaN where the denominator is not above zero."""
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)
