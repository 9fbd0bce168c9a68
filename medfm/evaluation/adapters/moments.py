"""Moment features: mean and second moments of a record's patch tokens, for a linear probe.

After Gao et al., "Tuning pre-trained model via moment probing" (ICCV 2023, arXiv 2307.11342): the
second moments of the tokens say how features vary and occur together within a record, which their
mean forgets. There the projection and the classifier are trained together; here the projection is
random and fixed, so that the features are computed once and the probe has a unique optimum.
"""

from __future__ import annotations

import numpy as np

from medfm.core.errors import ConfigError
from medfm.core.progress import Progress, Silent
from medfm.evaluation.protocol_adapters import MomentProbe

_BLOCK = 16


def moment_features(tokens: np.ndarray, method: MomentProbe, progress: Progress | None = None) -> np.ndarray:
    """float32 (n, d + w (w + 1) / 2): token mean, then the upper triangle of the projected covariance.

    The covariance is that of the tokens within one record (divisor T), of their projection to
    w = ``method.width`` columns, each number x as sign(x) |x|^power; off-diagonal numbers are
    multiplied by sqrt(2) before, so that distances are those of the whole matrix when power is 1.

    Args:
        tokens: float (n, T, d), may be memory-mapped; read in blocks of 16 records.
        method: Width, power, seed of the projection.
        progress: Advanced by one per record.

    Raises:
        ConfigError: The width is larger than that of a token.
    """
    n, _, dim = tokens.shape
    width = method.width
    if width > dim:
        raise ConfigError(
            f"Tokens of width {dim} cannot be projected to {width}.",
            where="method.width",
            fix=f"--set method.width={dim} or less",
        )
    progress = progress or Silent("moments", n, "records")
    projection = random_projection(dim, width, method.seed)
    upper = np.triu_indices(width)
    root = np.where(upper[0] == upper[1], 1.0, np.sqrt(2.0))
    found = np.empty((n, dim + len(root)), dtype=np.float32)
    for start in range(0, n, _BLOCK):
        block = np.asarray(tokens[start : start + _BLOCK], dtype=np.float64)
        mean = block.mean(axis=1)
        part = (block - mean[:, None]) @ projection
        covariance = np.einsum("ntu,ntv->nuv", part, part) / part.shape[1]
        second = covariance[:, upper[0], upper[1]] * root
        found[start : start + len(block), :dim] = mean
        found[start : start + len(block), dim:] = np.sign(second) * np.abs(second) ** method.power
        progress.advance(len(block))
    return found


def random_projection(dim: int, width: int, seed: int) -> np.ndarray:
    """float64 (dim, width) with orthonormal columns, the same for the same seed."""
    values = np.random.default_rng(seed).standard_normal((dim, width))
    q, r = np.linalg.qr(values)
    return np.asarray(q * np.sign(np.diag(r)))  # the sign makes the decomposition unique
