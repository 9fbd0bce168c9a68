"""TIP-Adapter: the shots as a cache of keys and values beside the text vectors.

logits = scale X text^T + alpha exp(-beta (1 - X keys^T)) values. TIP-Adapter-F trains the keys.
Sources: Zhang et al., ECCV 2022 (arXiv 2111.03930); FLAIR's form and its two quirks (training on
another sum than it predicts with, training queries that move with the keys) at jusiro/FLAIR d6652d5.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from medfm.evaluation.adapters.training import cross_entropy, rows_of, train_stacked
from medfm.evaluation.protocol_adapters import TipAdapter


def cache_logits(X: Tensor, keys: Tensor, values: Tensor, beta: float) -> Tensor:
    """exp(-beta (1 - X keys^T)) values: (..., m, K) of X (..., m, d), keys (..., n, d), values (..., n, K)."""
    return torch.exp(-beta * (1 - X @ keys.transpose(-1, -2))) @ values


def tip_logits(
    X: Tensor, keys: Tensor, values: Tensor, text: Tensor, *, scale: float, alpha: float, beta: float
) -> Tensor:
    """(..., m, K) logits of unit embeddings X (..., m, d)."""
    return scale * X @ text.T + alpha * cache_logits(X, keys, values, beta)


def fit_keys(
    X: Tensor,
    values: Tensor,
    text: Tensor,
    scale: float,
    method: TipAdapter,
    visits: np.ndarray,
    *,
    after_epoch: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Trained keys float32 (P, n, d) of TIP-Adapter-F.

    Args:
        X: float32 (P, n, d) unit embeddings of the shots; the keys begin as a copy.
        values: float32 (P, n, K) one-hot classes.
        text: float32 (K, d) text vectors.
        scale: Multiplier of the cosines while training.
        method: Training settings; the first alpha and beta are trained with.
        visits: int64 (epochs, P, n).
        after_epoch: Called with the number of finished epochs and the keys as they are.
    """
    keys = X.clone()
    y = values.argmax(dim=-1)
    alpha, beta = method.alpha[0], method.beta[0]
    if method.training_logits == "flair":
        alpha = scale / X.shape[1]

    def loss(places: Tensor) -> Tensor:
        queries = rows_of(keys.detach() if method.queries_drift else X, places)
        if method.queries_drift:
            queries = queries.clone()
        logits = tip_logits(queries, keys, values, text, scale=scale, alpha=alpha, beta=beta)
        return cross_entropy(logits, rows_of(y, places))

    hook = None if after_epoch is None else lambda epoch: after_epoch(epoch, keys.detach())
    train_stacked([keys], loss, visits, method.training, after_epoch=hook)
    return keys
