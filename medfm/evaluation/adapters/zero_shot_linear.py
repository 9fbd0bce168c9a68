"""A linear probe held to the zero-shot classifier instead of to zero.

Minimises  C sum_i s_i loss_i(X W^T) + 1/2 ||W - scale T||^2  without an intercept: as C falls the
zero-shot classifier remains, as C grows the texts are forgotten. With T = 0 it is scikit-learn's
multinomial logistic regression. The idea (zero-shot-initialised probes, class-adaptive penalties
around the text vectors) is that of Silva-Rodriguez et al., CVPR 2024 (CLAP, arXiv 2312.12730); the
convex form solved here is ours.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from medfm.core.errors import EvaluationError


def fit_zero_shot_linear(
    X: np.ndarray, y: np.ndarray, start: np.ndarray, strengths: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """float64 (G, K, d) classifiers, one per strength, each at the optimum of its convex problem.

    The change W - start lies in the span of the n shots, so n x K numbers are solved for instead
    of d x K; neighbouring strengths start from each other's solution.

    Args:
        X: float (n, d) unit embeddings of the shots.
        y: int (n,) classes.
        start: float (K, d), scale x text vectors.
        strengths: float (G,) positive values of C.
        weights: float (n,) sample weights; ones when ``None``.

    Raises:
        EvaluationError: A strength is not positive.
    """
    strengths = np.asarray(strengths, dtype=np.float64)
    if not (np.isfinite(strengths).all() and (strengths > 0).all()):
        raise EvaluationError("C must be positive and finite.", where="method.grid")
    X = np.asarray(X, dtype=np.float64)
    n, classes = len(X), len(start)
    s = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    # X = reduced basis^T with orthonormal rows of the basis: penalties are equal in both.
    u, singular, basis = np.linalg.svd(X, full_matrices=False)
    kept = singular > 1e-10 * singular.max(initial=0)
    reduced, basis = u[:, kept] * singular[kept], basis[kept]
    offset = X @ np.asarray(start, dtype=np.float64).T
    onehot = np.eye(classes)[y]

    def objective(flat: np.ndarray, C: float) -> tuple[float, np.ndarray]:
        change = flat.reshape(classes, -1)
        logits = offset + reduced @ change.T
        logits -= logits.max(axis=1, keepdims=True)
        total = np.log(np.exp(logits).sum(axis=1))
        value = C * float(s @ (total - (logits * onehot).sum(axis=1))) + 0.5 * float(flat @ flat)
        residual = s[:, None] * (np.exp(logits - total[:, None]) - onehot)
        return value, (C * residual.T @ reduced + change).ravel()

    found = np.empty((len(strengths), classes, X.shape[1]))
    flat = np.zeros(classes * reduced.shape[1])
    for g in np.argsort(strengths, kind="stable"):
        C = float(strengths[g])
        # Scaled so that the stopping rule means the same for every strength.
        size = 1 / max(1.0, C)
        done = minimize(
            lambda v, C=C, size=size: tuple(size * part for part in objective(v, C)),
            flat,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 5000, "ftol": 1e-14, "gtol": 1e-7},
        )
        flat = done.x
        found[g] = start + flat.reshape(classes, -1) @ basis
    return found
