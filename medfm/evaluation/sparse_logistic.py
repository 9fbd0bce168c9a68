"""L1 logistic regression: few features with a weight, all others exactly zero.

Minimises  mean of -log p(class)  +  penalty * sum |W|  over softmax weights W (classes, features) and an
unpenalised intercept, by accelerated proximal gradient steps with restarts (Beck and Teboulle, SIAM J.
Imaging Sciences 2 (2009) 183; O'Donoghue and Candes, Found. Comput. Math. 15 (2015) 715).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medfm.core.errors import EvaluationError

_MOST_STEPS = 20000


@dataclass(frozen=True)
class SparseFit:
    """One solution.

    Attributes:
        coef: float64 (classes, features), exact zeros where a feature is not used.
        intercept: float64 (classes,), mean 0.
        penalty: What it was solved for.
        violation: Largest violation of the optimality conditions, in units of the gradient.
        converged: Whether that is below the tolerance.
    """

    coef: np.ndarray
    intercept: np.ndarray
    penalty: float
    violation: float
    converged: bool

    def probabilities(self, X: np.ndarray) -> np.ndarray:
        """float64 (m, classes), rows sum to 1."""
        return _softmax(np.asarray(X, dtype=np.float64) @ self.coef.T + self.intercept)


def largest_penalty(X: np.ndarray, y: np.ndarray, classes: int) -> float:
    """The smallest penalty at which every weight is zero: all larger ones give the class shares alone."""
    shares = np.bincount(y, minlength=classes) / len(y)
    return float(np.abs((np.eye(classes)[y] - shares).T @ np.asarray(X, dtype=np.float64)).max() / len(y))


def fit_sparse(
    X: np.ndarray, y: np.ndarray, penalties: Sequence[float], *, classes: int, tol: float = 1e-6
) -> list[SparseFit]:
    """Solve for every penalty, each solution starting the next smaller one; in the order given.

    Args:
        X: (n, d) features, finite; of like scale, as one penalty serves all.
        y: int (n,) class positions, each of `classes` at least once.
        penalties: 0 or more.
        classes: Number of classes, 2 or more. Two classes get weights of opposite sign.
        tol: Largest violation of the optimality conditions.

    Raises:
        EvaluationError: A class without records, a negative penalty, or features that are not finite.
    """
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.int64)
    if X.ndim != 2 or len(X) != len(y) or not np.isfinite(X).all():
        raise EvaluationError(f"Features of shape {X.shape} cannot be fitted.", expected=f"({len(y)}, d), finite")
    if len(np.unique(y)) != classes or y.min() < 0 or y.max() >= classes or classes < 2:
        raise EvaluationError("A class has no record to train on.", expected=f"all of {classes} classes, at least two")
    if not all(np.isfinite(p) and p >= 0 for p in penalties):
        raise EvaluationError("A penalty must be 0 or more.", where=str(list(penalties)))
    hot = np.eye(classes)[y]
    full = np.hstack([X, np.ones((len(X), 1))])
    # The softmax's curvature is at most 1/2 in every direction.
    step = 2.0 * len(X) / float(np.linalg.norm(full, 2)) ** 2
    W = np.zeros((classes, full.shape[1]))
    W[:, -1] = np.log(hot.mean(axis=0)) - np.log(hot.mean(axis=0)).mean()
    found: dict[float, SparseFit] = {}
    for penalty in sorted(set(penalties), reverse=True):
        W, violation = _solve(full, hot, W, penalty, step, tol)
        intercept = W[:, -1] - W[:, -1].mean()
        found[penalty] = SparseFit(W[:, :-1].copy(), intercept, float(penalty), violation, violation <= tol)
    return [found[p] for p in penalties]


def _solve(
    X: np.ndarray, hot: np.ndarray, W: np.ndarray, penalty: float, step: float, tol: float
) -> tuple[np.ndarray, float]:
    ahead, pace = W, 1.0
    violation = np.inf
    for turn in range(_MOST_STEPS):
        moved = ahead - step * _slope(X, hot, ahead)
        moved[:, :-1] = np.sign(moved[:, :-1]) * np.maximum(np.abs(moved[:, :-1]) - step * penalty, 0.0)
        # Momentum that points away from where the last step went is dropped.
        if ((ahead - moved) * (moved - W)).sum() > 0:
            pace = 1.0
        following = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        ahead = moved + (pace - 1) / following * (moved - W)
        W, pace = moved, following
        if turn % 10 == 9:
            violation = _violation(_slope(X, hot, W), W, penalty)
            if violation <= tol:
                break
    return W, violation


def _slope(X: np.ndarray, hot: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Gradient of the mean loss (classes, features + 1)."""
    slope: np.ndarray = (_softmax(X @ W.T) - hot).T @ X / len(X)
    return slope


def _violation(slope: np.ndarray, W: np.ndarray, penalty: float) -> float:
    inner, weights = slope[:, :-1], W[:, :-1]
    off = np.where(weights != 0, np.abs(inner + penalty * np.sign(weights)), np.maximum(np.abs(inner) - penalty, 0))
    return float(max(off.max(initial=0.0), np.abs(slope[:, -1]).max()))


def _softmax(logits: np.ndarray) -> np.ndarray:
    out: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
    out /= out.sum(axis=1, keepdims=True)
    return out
