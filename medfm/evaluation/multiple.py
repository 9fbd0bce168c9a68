"""Corrections of p-values for many comparisons: Bonferroni, Holm (1979), Benjamini-Hochberg (1995)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medfm.core.errors import EvaluationError


def bonferroni(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Each p times their number, at most 1: float64 (m,)."""
    values = _checked(p)
    return np.minimum(values * len(values), 1.0)


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's step-down p-values, which control the chance of any false claim: float64 (m,)."""
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    result = np.empty_like(values)
    result[order] = np.minimum(steps, 1.0)
    return result


def benjamini_hochberg(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg p-values, which control the share of false claims: float64 (m,)."""
    values = _checked(p)
    order = np.argsort(values, kind="stable")[::-1]
    steps = np.minimum.accumulate(values[order] * len(values) / np.arange(len(values), 0, -1))
    result = np.empty_like(values)
    result[order] = np.minimum(steps, 1.0)
    return result


def _checked(p: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise EvaluationError("P-values must be a list of numbers between 0 and 1.")
    return values
