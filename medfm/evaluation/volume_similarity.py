"""How alike two volumes are: structural similarity in three dimensions, mean square error, PSNR."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medfm.core.errors import ConfigError
from medfm.core.extras import import_extra

_SIGMA = 1.5


def ssim(first: Tensor, second: Tensor, *, window: int, data_range: float = 1.0) -> Tensor:
    """Structural similarity per volume (n,), by MONAI; Gaussian of sigma 1.5 voxels.

    Args:
        first: float (n, 1, i, j, k).
        second: The same shape.
        window: Side of the window in voxels. It changes the result and so is never a default; LDAE
            most likely used 4, its newest code uses 3, many others 11.
        data_range: Largest possible value minus smallest.

    Raises:
        ConfigError: Another shape, or a window that does not fit.
        MissingExtraError: MONAI is not installed.
    """
    _check(first, second)
    if not 1 <= window <= min(first.shape[2:]):
        raise ConfigError(
            f"A window of {window} voxels does not fit volumes of {tuple(first.shape[2:])}.",
            expected="1 up to the shortest side",
        )
    metrics = import_extra("monai.metrics", "mri", "Structural similarity of volumes")
    metric = metrics.SSIMMetric(
        spatial_dims=3, data_range=data_range, win_size=window, kernel_sigma=_SIGMA, reduction="none"
    )
    values: Tensor = metric(first.float(), second.float())
    return values.reshape(len(first))


def mean_square_error(first: Tensor, second: Tensor) -> Tensor:
    """Mean over voxels of the squared difference, per volume (n,)."""
    _check(first, second)
    return (first.float() - second.float()).square().flatten(1).mean(dim=1)


def psnr(first: Tensor, second: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Peak signal-to-noise ratio in decibels per volume (n,); infinite for equal volumes."""
    return 20 * math.log10(data_range) - 10 * torch.log10(mean_square_error(first, second))


def _check(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape or first.ndim != 5 or not first.numel():
        raise ConfigError(
            f"Volumes of shapes {tuple(first.shape)} and {tuple(second.shape)} cannot be compared.",
            expected="two tensors of one shape (n, 1, i, j, k)",
        )
