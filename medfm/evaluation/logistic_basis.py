"""An orthogonal basis in which many logistic regressions on one matrix are well conditioned.

The features are centred and rotated into their principal axes, each axis scaled to unit
variance. The L2 penalty of the original weights becomes a diagonal one, directions without
variance (constant or collinear features, n < d) drop out because their optimal weight is zero,
and the Hessian of every problem is close to a multiple of the identity plus that diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

_DOUBLE_ONLY_BELOW = 1 << 20  # values; small problems gain nothing from single precision


@dataclass(frozen=True)
class Basis:
    """The whitened matrix and the way back.

    Attributes:
        exact: float64 (n, r + 1), unit-variance columns and a last column of ones.
        fast: The same in float32 for Hessian products, or `exact` itself for small problems.
        penalty: float64 (r + 1,), factor of the squared weight of each column; 0 for the last.
        back: float64 (d, r); original weights = back @ whitened weights.
        mean: float64 (d,), subtracted from the features.
    """

    exact: torch.Tensor
    fast: torch.Tensor
    penalty: torch.Tensor
    back: torch.Tensor
    mean: torch.Tensor


def whiten(X: np.ndarray, device: torch.device) -> Basis:
    """The basis of the rows of `X` (n, d), on `device`."""
    values = torch.from_numpy(np.ascontiguousarray(X)).to(device=device, dtype=torch.float64)
    n, d = values.shape
    mean = values.mean(dim=0)
    centred = values - mean
    axes, spread = _axes_by_gram(centred) if n > d else _axes_by_svd(centred)
    if n > d and axes.shape[1] < d:
        # The Gram matrix squares the condition number; decide on weak directions without it.
        axes, spread = _axes_by_svd(torch.linalg.qr(centred, mode="r").R)
    scale = spread / n**0.5
    back = axes / scale
    ones = torch.ones(n, 1, dtype=torch.float64, device=device)
    exact = torch.cat([centred @ back, ones], dim=1)
    fast = exact if exact.numel() < _DOUBLE_ONLY_BELOW else exact.float()
    penalty = torch.cat([scale.pow(-2), torch.zeros(1, dtype=torch.float64, device=device)])
    return Basis(exact, fast, penalty, back, mean)


def _axes_by_gram(centred: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Principal axes (d, r) and singular values (r,) from the eigenvectors of X'X."""
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    keep = values > values[-1].clamp_min(0) * len(values) * torch.finfo(torch.float64).eps
    return vectors[:, keep], values[keep].sqrt()


def _axes_by_svd(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Principal axes (d, r) and singular values (r,) of a centred matrix or its R factor."""
    _, values, rows = torch.linalg.svd(matrix, full_matrices=False)
    top = values[0] if len(values) else torch.zeros((), dtype=torch.float64, device=matrix.device)
    keep = values > top * max(matrix.shape) * torch.finfo(torch.float64).eps
    return rows[keep].T, values[keep]
