"""CLIP-Adapter: a bottleneck on the image embedding, mixed with the embedding itself.

X' = unit(r A(X) + (1 - r) X) with A(X) = relu(W2 relu(W1 X)), logits = scale X' text^T. Sources:
Gao et al., IJCV 2024 (arXiv 2110.04544); settings of FLAIR's transfer code as in its protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medfm.evaluation.adapters.training import cross_entropy, orders, rows_of, train_stacked, unit
from medfm.evaluation.protocol_adapters import ClipAdapter


@dataclass(frozen=True)
class ClipAdapters:
    """Trained adapters of P problems.

    Attributes:
        down: float32 (P, h, d).
        up: float32 (P, d, h).
        ratio: float32 (P,).
        text: float32 (K, d).
        scale: Multiplier of cosines.
    """

    down: Tensor
    up: Tensor
    ratio: Tensor
    text: Tensor
    scale: float

    def logits(self, X: Tensor) -> Tensor:
        """(P, m, K) of unit embeddings (P, m, d) or (m, d)."""
        hidden = torch.relu(X @ self.down.transpose(-1, -2))
        adapted = torch.relu(hidden @ self.up.transpose(-1, -2))
        share = self.ratio[:, None, None]
        return self.scale * unit(share * adapted + (1 - share) * X) @ self.text.T


def first_weights(dim: int, reduction: int, sources: Sequence[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
    """float32 (P, h, d) and (P, d, h), uniform in +-1/sqrt(inputs) as PyTorch's linear layers begin."""
    width = max(1, dim // reduction)
    down = np.stack([s.uniform(-1, 1, (width, dim)) for s in sources]) / np.sqrt(dim)
    up = np.stack([s.uniform(-1, 1, (dim, width)) for s in sources]) / np.sqrt(width)
    return down.astype(np.float32), up.astype(np.float32)


def fit_clip_adapter(
    X: Tensor,
    y: Tensor,
    text: Tensor,
    scale: float,
    ratio: Sequence[float],
    method: ClipAdapter,
    weights: tuple[np.ndarray, np.ndarray],
    visits: np.ndarray,
) -> ClipAdapters:
    """Train one adapter per problem.

    Args:
        X: float32 (P, n, d) unit embeddings.
        y: int64 (P, n) classes.
        text: float32 (K, d) text vectors.
        scale: Multiplier of cosines.
        ratio: P shares of the adapted embedding.
        method: Its training settings.
        weights: The first weights, see :func:`first_weights`.
        visits: int64 (epochs, P, n), see :func:`medfm.evaluation.adapters.training.orders`.
    """
    down, up = (torch.from_numpy(w.copy()).to(X.device) for w in weights)
    found = ClipAdapters(down, up, torch.tensor(ratio, dtype=torch.float32, device=X.device), text, scale)
    train_stacked(
        [down, up],
        lambda places: cross_entropy(found.logits(rows_of(X, places)), rows_of(y, places)),
        visits,
        method.training,
    )
    return found


def clip_adapter_orders(n: int, method: ClipAdapter, sources: Sequence[np.random.Generator]) -> np.ndarray:
    """The visiting orders of `method`'s training."""
    return orders(n, method.training.epochs, sources, method.training.reshuffle)
