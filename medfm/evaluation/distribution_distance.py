"""How far apart two sets of images lie, measured on features: maximum mean discrepancy and Fréchet distance.

For generated against real images the features come from an encoder that had no part in generating
(the papers on brain MRI take a MedicalNet ResNet). Values of different encoders cannot be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.spatial.distance import cdist, pdist

from medfm.core.errors import EvaluationError
from medfm.evaluation.bootstrap import percentile_interval
from medfm.evaluation.summary import Estimate

_MOST_FOR_WIDTH = 2000


@dataclass(frozen=True)
class Kernel:
    """A kernel of two features x, y of d numbers.

    Attributes:
        name: ``gaussian``, exp(-||x - y||^2 / (2 s^2)), or ``polynomial``, (x.y / d + 1)^3, that of the
            kernel inception distance (Binkowski et al., ICLR 2018).
        width: s, for the Gaussian.
    """

    name: str
    width: float = 1.0

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """float64 (n, m)."""
        if self.name == "gaussian":
            return np.exp(-cdist(x, y, "sqeuclidean") / (2 * self.width**2))
        return (x @ y.T / x.shape[1] + 1.0) ** 3

    def words(self) -> str:
        """For a report."""
        return f"Gaussian kernel, width {self.width:.4g}" if self.name == "gaussian" else "kernel (x.y / d + 1)^3"


def median_width(real: np.ndarray, *, seed: int = 0) -> float:
    """Median distance between two real features (of at most 2000, drawn by `seed`): the usual Gaussian width.

    Raises:
        EvaluationError: All features are equal.
    """
    rows = np.random.default_rng(seed).permutation(len(real))[:_MOST_FOR_WIDTH]
    width = float(np.median(pdist(np.asarray(real, np.float64)[rows]))) if len(rows) > 1 else 0.0
    if not width > 0:
        raise EvaluationError("More than half of the real features are equal, so a kernel has no width.")
    return width


def mmd2(x: np.ndarray, y: np.ndarray, kernel: Kernel) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy (Gretton et al., JMLR 13, 2012, lemma 6).

    It is 0 on average where both sets come from one distribution, and then often slightly negative.

    Args:
        x: (n, d) features of one set, n at least 2.
        y: (m, d) features of the other.
        kernel: Which kernel.
    """
    x, y = _checked(x, y)
    return _mmd2(kernel(x, x), kernel(y, y), kernel(x, y), np.ones(len(x)), np.ones(len(y)))


def _mmd2(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray, u: np.ndarray, v: np.ndarray) -> float:
    """With counts `u` (n,) and `v` (m,): pairs of one and the same record are left out."""

    def within(K: np.ndarray, w: np.ndarray) -> float:
        # Copies of a record, which only a resample has, are no pair either: they would fake closeness.
        pairs = float(w.sum() ** 2 - (w**2).sum())
        return float(w @ K @ w - (w**2 * np.diag(K)).sum()) / pairs

    return within(xx, u) + within(yy, v) - 2 * float(u @ xy @ v) / float(u.sum() * v.sum())


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Squared Fréchet (Wasserstein-2) distance of the Gaussians fitted to two sets of features.

    ||m_x - m_y||^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)), covariances with n - 1: what FID computes on
    Inception features (Heusel et al., NeurIPS 2017). Biased upwards for few records: compare only sets of
    one size, with more records than dimensions.

    Args:
        x: (n, d) features of one set, n at least 2.
        y: (m, d) features of the other.
    """
    x, y = _checked(x, y)
    means = float(np.square(x.mean(axis=0) - y.mean(axis=0)).sum())
    a = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
    b = (y - y.mean(axis=0)) / np.sqrt(len(y) - 1)
    # tr (S_x S_y)^(1/2) is the nuclear norm of a b^T: exact, real, and small where records are few.
    if min(len(x), len(y)) <= x.shape[1]:
        cross = float(np.linalg.svd(a @ b.T, compute_uv=False).sum())
    else:
        values, vectors = eigh(a.T @ a)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        cross = float(np.linalg.svd(b @ root, compute_uv=False).sum())
    return max(means + float((a**2).sum() + (b**2).sum()) - 2 * cross, 0.0)


def distance_estimates(
    real: np.ndarray,
    other: np.ndarray,
    *,
    kernel: Kernel | None = None,
    real_patients: np.ndarray | None = None,
    other_patients: np.ndarray | None = None,
    resamples: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[Estimate, Estimate]:
    """MMD^2 and Fréchet distance with bootstrap intervals over patients.

    The Fréchet distance is biased upwards, in a resample more than in the sample: its interval is the
    basic one (twice the value minus the percentiles), which takes the resample's bias back.

    Args:
        real: (n, d) features of the real images.
        other: (m, d) features of the generated or other images.
        kernel: The Gaussian with the median width of `real` by default.
        real_patients: (n,): whose images come and go together; each its own by default.
        other_patients: (m,), likewise.
        resamples: Number of resamples; 0 gives no interval.
        seed: Of the resamples.
        level: Of the intervals.

    Returns:
        ``mmd2`` (its ``note`` states the kernel) and ``frechet``.
    """
    x, y = _checked(real, other)
    kernel = kernel or Kernel("gaussian", median_width(x, seed=seed))
    rng = np.random.default_rng(seed)
    groups = [_rows(len(x), real_patients), _rows(len(y), other_patients)]
    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    values = _mmd2(xx, yy, xy, np.ones(len(x)), np.ones(len(y))), frechet_distance(x, y)
    drawn = np.full((2, resamples), np.nan)
    for b in range(resamples):
        rows = [np.concatenate([g[i] for i in rng.integers(0, len(g), len(g))]) for g in groups]
        u, v = (np.bincount(r, minlength=n).astype(np.float64) for r, n in zip(rows, (len(x), len(y)), strict=True))
        if (u > 0).sum() < 2 or (v > 0).sum() < 2:
            continue
        drawn[:, b] = _mmd2(xx, yy, xy, u, v), frechet_distance(x[rows[0]], y[rows[1]])
    made = []
    for name, value, resampled, note in zip(
        ("mmd2", "frechet"), values, drawn, (kernel.words(), "of Gaussians fitted to the features"), strict=True
    ):
        low = high = None
        if resamples and not np.isnan(resampled).all():
            lower, upper = (float(v) for v in percentile_interval(resampled, level))
            low, high = (max(2 * value - upper, 0.0), 2 * value - lower) if name == "frechet" else (lower, upper)
            if high <= low:
                low = high = None
        clustered = real_patients is not None or other_patients is not None
        made.append(
            Estimate(
                metric=name,
                value=value,
                low=low,
                high=high,
                level=level,
                method=f"{'patient-clustered' if clustered else 'record-level'} bootstrap, B={resamples}"
                + (", basic" if name == "frechet" else ""),
                n_records=len(x) + len(y),
                n_patients=sum(len(g) for g in groups),
                note=note,
            )
        )
    return made[0], made[1]


def _rows(n: int, patients: np.ndarray | None) -> list[np.ndarray]:
    """Positions of each patient's records."""
    if patients is None:
        return [np.array([i]) for i in range(n)]
    if len(patients) != n:
        raise EvaluationError(f"There are {n} features but {len(patients)} patients.")
    codes = np.unique(np.asarray(patients).astype(str), return_inverse=True)[1].reshape(-1)
    return [np.flatnonzero(codes == c) for c in range(int(codes.max()) + 1)]


def _checked(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise EvaluationError(
            f"Features of shape {x.shape} and {y.shape} cannot be compared.",
            expected="two tables with one number of columns, from one encoder",
        )
    if min(len(x), len(y)) < 2:
        raise EvaluationError("A distance of distributions needs at least two records on both sides.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise EvaluationError("Some features are missing or not finite.", fix="leave these records out")
    return x, y
