"""Patient-clustered, stratified bootstrap, vectorised.

Patients (clusters) are drawn with replacement within strata (the patient's majority class), so
that all records of a patient come or go together. A resample is a column of counts; metrics take
many columns at once (``metrics_outcomes.Weighted``). Efron and Tibshirani, An Introduction to the
Bootstrap (1993), chapters 13 (percentile) and 14 (BCa); Field and Welsh, JRSS B 69 (2007), for
clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from medfm.core.errors import EvaluationError
from medfm.core.progress import Progress
from medfm.core.randomness import generator
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted

Statistic = Callable[[Weighted], np.ndarray]
# One chunk of float32 counts; small enough to stay in a CPU's cache.
_CHUNK_BYTES = 8 * 2**20
# Half-counts are exact in float32 up to this total weight.
_EXACT_FLOAT32 = 2**23


@dataclass(frozen=True)
class Clusters:
    """Which cluster each record belongs to, and the stratum of each cluster.

    Attributes:
        codes: int64 (n,), cluster of each record, 0 .. clusters - 1.
        strata: int64 (clusters,), stratum of each cluster, 0 .. strata - 1.
    """

    codes: np.ndarray
    strata: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, labels: np.ndarray | None = None) -> Clusters:
        """Clusters from one id per record, stratified by each cluster's most frequent label.

        Args:
            ids: (n,) of any comparable type.
            labels: int (n,) class positions, or ``None`` for a single stratum. Equal counts go
                to the lowest class.
        """
        names, codes = np.unique(np.asarray(ids), return_inverse=True)
        codes = codes.reshape(-1).astype(np.int64)
        if labels is None:
            return cls(codes, np.zeros(len(names), dtype=np.int64))
        size = int(labels.max()) + 1 if len(labels) else 1
        counts = np.bincount(codes * size + labels, minlength=len(names) * size).reshape(len(names), size)
        _, strata = np.unique(counts.argmax(axis=1), return_inverse=True)
        return cls(codes, strata.reshape(-1).astype(np.int64))

    @property
    def count(self) -> int:
        """Number of clusters."""
        return len(self.strata)

    @property
    def single(self) -> bool:
        """Whether every cluster has exactly one record."""
        return self.count == len(self.codes)


def draw(clusters: Clusters, resamples: int, seed: int, *, chunk: int | None = None) -> Iterator[np.ndarray]:
    """Chunks of resampling weights: float32 or float64 (records, b), whole numbers.

    The draws depend on `seed`, the clusters and their strata only, not on the chunk size.

    Raises:
        EvaluationError: There is no record.
    """
    records, size = len(clusters.codes), clusters.count
    if records == 0:
        raise EvaluationError("There are no records to resample.")
    rng = generator(seed)
    # Clusters are laid out stratum by stratum: a uniform number picks one of its own stratum.
    layout = np.argsort(clusters.strata, kind="stable")
    sizes = np.bincount(clusters.strata)
    width = np.repeat(sizes, sizes).astype(np.float64)
    start = np.repeat(np.cumsum(sizes) - sizes, sizes)
    row_of_cluster = np.empty(size, dtype=np.int64)
    row_of_cluster[layout] = np.arange(size)
    gather = row_of_cluster[clusters.codes]
    kind = np.float32 if _heaviest(clusters, sizes) < _EXACT_FLOAT32 else np.float64
    step = chunk if chunk is not None else max(8, min(512, _CHUNK_BYTES // (4 * records)))
    for first in range(0, resamples, step):
        b = min(step, resamples - first)
        picked = (rng.random((b, size)) * width).astype(np.int64) + start
        picked *= b
        picked += np.arange(b)[:, None]
        counts = np.bincount(picked.ravel(), minlength=size * b).reshape(size, b).astype(kind)
        yield counts[gather]


def _heaviest(clusters: Clusters, sizes: np.ndarray) -> int:
    """The largest total weight a resample can have: every draw hits the stratum's largest cluster."""
    records = np.bincount(clusters.codes, minlength=clusters.count)
    largest = np.zeros(len(sizes), dtype=np.int64)
    np.maximum.at(largest, clusters.strata, records)
    return int((sizes * largest).sum())


def collect(
    outcomes: Outcomes,
    clusters: Clusters,
    statistics: Mapping[str, Statistic],
    *,
    resamples: int,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Every statistic under the same resamples: name -> float64 (..., resamples)."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for weights in draw(clusters, resamples, seed):
        view = Weighted(outcomes, weights)
        for name, statistic in statistics.items():
            parts[name].append(statistic(view))
        if progress is not None:
            progress.advance(view.count)
    return {name: np.concatenate(pieces, axis=-1) for name, pieces in parts.items() if pieces}


def jackknife(outcomes: Outcomes, clusters: Clusters, statistic: Statistic) -> np.ndarray:
    """The statistic with each cluster left out in turn: float64 (..., clusters), for BCa."""
    step = max(8, _CHUNK_BYTES // (8 * len(clusters.codes)))
    parts = []
    for first in range(0, clusters.count, step):
        left_out = np.arange(first, min(first + step, clusters.count))
        weights = (clusters.codes[:, None] != left_out[None, :]).astype(np.float64)
        parts.append(statistic(Weighted(outcomes, weights)))
    return np.concatenate(parts, axis=-1)


def percentile_interval(values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval over the last axis, undefined (NaN) resamples left out.

    Returns:
        Lower and upper bound, each of the shape of `values` without its last axis; NaN where no
        resample was defined.
    """
    tails = [(1 - level) / 2, (1 + level) / 2]
    if not np.isnan(values).any():
        low, high = np.quantile(values, tails, axis=-1)
        return low, high
    # np.nanquantile warns on all-NaN rows and is slow; sorting puts the NaN last.
    ordered = np.sort(values, axis=-1)
    defined = (~np.isnan(values)).sum(axis=-1)
    bounds = []
    for tail in tails:
        place = np.maximum(defined - 1, 0) * tail
        floor = np.floor(place).astype(np.int64)
        ceil = np.minimum(floor + 1, np.maximum(defined - 1, 0))
        below = np.take_along_axis(ordered, floor[..., None], axis=-1)[..., 0]
        above = np.take_along_axis(ordered, ceil[..., None], axis=-1)[..., 0]
        bounds.append(below + (above - below) * (place - floor))
    return bounds[0], bounds[1]


def bca_interval(value: float, values: np.ndarray, left_out: np.ndarray, level: float) -> tuple[float, float]:
    """Bias-corrected and accelerated interval of one figure.

    Args:
        value: The point estimate.
        values: float64 (B,), its resamples; NaN are left out.
        left_out: float64 (clusters,), the jackknife values; NaN are left out.
        level: Such as 0.95.

    Returns:
        Bounds, both NaN when fewer than two resamples or jackknife values are defined.
    """
    good, left = values[~np.isnan(values)], left_out[~np.isnan(left_out)]
    if len(good) < 2 or len(left) < 2 or np.isnan(value):
        return float("nan"), float("nan")
    below = (np.sum(good < value) + 0.5 * np.sum(good == value)) / len(good)
    bias = ndtri(np.clip(below, 0.5 / len(good), 1 - 0.5 / len(good)))
    deviation = left.mean() - left
    scale = 6.0 * np.sum(deviation**2) ** 1.5
    acceleration = np.sum(deviation**3) / scale if scale > 0 else 0.0
    shifted = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = np.quantile(good, ndtr(bias + shifted / (1 - acceleration * shifted)))
    return float(low), float(high)
