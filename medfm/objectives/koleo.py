"""KoLeo: spreads the embeddings of a batch by pushing nearest neighbours apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def koleo_loss(embeddings: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Minus the mean log distance of every normalised row to its nearest neighbour.

    The neighbour is found by the largest dot product; the gradient flows through the distance
    to it, on both sides. The loss is negative where neighbours are more than 1 apart.

    Args:
        embeddings: (n, d), n at least 2; computed in float32.
        epsilon: Added to the difference vector, to the distance and to the norm.

    Returns:
        Scalar.

    Source: Sablayrolles et al., Spreading vectors for similarity search (arXiv 1806.03198), section 3.3.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        rows = functional.normalize(embeddings.float(), dim=-1, eps=epsilon)
        with torch.no_grad():
            # Below every cosine; with the published -1 a row exactly opposite to all others is its own neighbour.
            nearest = (rows @ rows.T).fill_diagonal_(-2).argmax(dim=1)
        distances = functional.pairwise_distance(rows, rows[nearest], p=2, eps=epsilon)
        return -torch.log(distances + epsilon).mean()
