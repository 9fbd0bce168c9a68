"""What a linear model's score goes with in its inputs: the pattern that belongs to its weights."""

from __future__ import annotations

import numpy as np

from medfm.core.errors import EvaluationError


def pattern(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The pattern of linear weights: the covariance of the inputs with the score, of the weights' shape.

    Weights say how to read a score off inputs; where inputs are correlated they may point anywhere
    that cancels noise. The pattern says how inputs differ between records whose scores differ
    (Haufe et al. 2014, doi 10.1016/j.neuroimage.2013.10.067), so it is what to move inputs along to
    get records like those of another score.

    Args:
        values: float (n, d), the standardised inputs of the training records, n at least 2.
        weights: float (d,) or (rows, d).

    Raises:
        EvaluationError: Shapes that do not fit, or fewer than two records.
    """
    values, weights = np.asarray(values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if values.ndim != 2 or weights.ndim not in (1, 2) or weights.shape[-1] != values.shape[1] or len(values) < 2:
        raise EvaluationError(
            f"Weights of shape {weights.shape} have no pattern in inputs of shape {values.shape}.",
            expected="one weight for each of the inputs' columns, and two records or more",
        )
    centred = values - values.mean(axis=0)
    # (X w) first: the covariance matrix itself is never needed.
    covariance: np.ndarray = (centred @ weights.T).T @ centred / (len(values) - 1)
    return covariance
