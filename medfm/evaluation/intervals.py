"""Intervals of a proportion: Wilson's score (JASA 22, 1927; no continuity correction), Clopper and Pearson's exact one."""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv, ndtri

from medfm.core.errors import EvaluationError


def normal_quantile(level: float) -> float:
    """Two-sided standard normal quantile, 1.96 for 0.95.

    Raises:
        EvaluationError: `level` is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise EvaluationError(f"An interval cannot have level {level}.", expected="a number between 0 and 1")
    return float(ndtri((1 + level) / 2))


def wilson_interval(
    successes: float | np.ndarray, total: float | np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson interval of ``successes / total``, elementwise; NaN where `total` is 0.

    Raises:
        EvaluationError: More successes than trials, or negative counts.
    """
    hits, count = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(total, np.float64))
    if (hits < 0).any() or (hits > count + 1e-9).any():
        raise EvaluationError("Successes must lie between 0 and the number of trials.")
    z2 = normal_quantile(level) ** 2
    rate = np.divide(hits, count, out=np.full(hits.shape, np.nan), where=count > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = (rate + z2 / (2 * count)) / (1 + z2 / count)
        half = np.sqrt(z2 * (rate * (1 - rate) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    # At the ends the bound is exact; the formula leaves a rounding error there.
    low = np.where((hits == 0) & (count > 0), 0.0, np.maximum(centre - half, 0.0))
    high = np.where((hits == count) & (count > 0), 1.0, np.minimum(centre + half, 1.0))
    return low, high


def clopper_pearson_interval(
    successes: float | np.ndarray, total: float | np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Exact interval of ``successes / total`` (Biometrika 26, 1934), elementwise; NaN where `total` is 0.

    It covers at least `level`, usually more; Wilson's is shorter and covers it on average.

    Raises:
        EvaluationError: More successes than trials, or negative counts.
    """
    hits, count = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(total, np.float64))
    if (hits < 0).any() or (hits > count).any():
        raise EvaluationError("Successes must lie between 0 and the number of trials.")
    if not 0 < level < 1:
        raise EvaluationError(f"An interval cannot have level {level}.", expected="a number between 0 and 1")
    tail = (1 - level) / 2
    # At the ends one of the beta distribution's parameters would be 0; the bound is exact there.
    low = np.where(hits == 0, 0.0, betaincinv(np.maximum(hits, 1), count - hits + 1, tail))
    high = np.where(hits == count, 1.0, betaincinv(hits + 1, np.maximum(count - hits, 1), 1 - tail))
    return np.where(count > 0, low, np.nan), np.where(count > 0, high, np.nan)
