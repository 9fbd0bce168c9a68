"""Ridge regression for continuous targets: every penalty from one decomposition.

Minimises  C ||y - X w - b||^2 + ||w||^2  (scikit-learn's ``Ridge`` with alpha = 1 / C), with an
unpenalised intercept, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medfm.core.errors import EvaluationError


@dataclass(frozen=True)
class RidgePath:
    """Solutions for G values of C: `coef` float64 (G, d), `intercept` float64 (G,).

    `leave_one_out` float64 (G,) is the mean squared leave-one-out error of each (exact, from the
    hat matrix).
    """

    coef: np.ndarray
    intercept: np.ndarray
    leave_one_out: np.ndarray

    def predict(self, X: np.ndarray, g: int) -> np.ndarray:
        """float64 (m,) predictions of solution `g` for the rows of `X`."""
        return np.asarray(X, dtype=np.float64) @ self.coef[g] + self.intercept[g]


def fit_ridge(X: np.ndarray, y: np.ndarray, C: np.ndarray | float) -> RidgePath:
    """Ridge solutions for every value of C.

    Args:
        X: (n, d) features.
        y: float (n,) targets.
        C: Inverse penalties, positive.

    Raises:
        EvaluationError: Fewer than two rows, or C is not positive.
    """
    grid = np.atleast_1d(np.asarray(C, dtype=np.float64))
    if len(X) < 2:
        raise EvaluationError("A ridge regression needs at least two training records.")
    if not (np.isfinite(grid).all() and (grid > 0).all()):
        raise EvaluationError("C must be positive and finite.")
    X = np.asarray(X, dtype=np.float64)
    y = np.asarray(y, dtype=np.float64)
    mean, level = X.mean(axis=0), float(y.mean())
    left, sizes, right = np.linalg.svd(X - mean, full_matrices=False)
    # Directions that are rounding of zero would otherwise be amplified by a large C.
    keep = sizes > (sizes[0] if len(sizes) else 0.0) * max(X.shape) * np.finfo(np.float64).eps
    left, sizes, right = left[:, keep], sizes[keep], right[keep]
    projected = left.T @ (y - level)
    shrink = sizes / (sizes**2 + 1.0 / grid[:, None])
    coef = (shrink * projected) @ right
    fitted = (shrink * sizes * projected) @ left.T
    # The intercept takes 1/n of every leverage beside the penalised directions.
    leverage = (shrink * sizes) @ (left**2).T + 1.0 / len(y)
    errors = (y - level - fitted) / np.maximum(1.0 - leverage, 1e-12)
    return RidgePath(coef, level - coef @ mean, np.square(errors).mean(axis=1))
