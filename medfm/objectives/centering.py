"""Softmax centring: teacher logits minus a moving average, so that no prototype takes all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medfm.objectives.sinkhorn import Reduce, one_process


class Center(nn.Module):
    """The moving average of teacher logits, kept as the buffer ``center`` of shape (1, K).

    Args:
        prototypes: K.
        momentum: Share of the old value at an update, in [0, 1).

    Source: Caron et al., DINO (arXiv 2104.14294), equation 4.
    """

    center: Tensor

    def __init__(self, prototypes: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("center", torch.zeros(1, prototypes))

    @torch.no_grad()
    def probabilities(self, logits: Tensor, temperature: float) -> Tensor:
        """``softmax((logits - center) / temperature)`` over the last axis; float32, shape of `logits`."""
        return torch.softmax((logits.float() - self.center) / temperature, dim=-1)

    @torch.no_grad()
    def update(self, logits: Tensor, reduce: Reduce = one_process) -> None:
        """Move the centre towards the mean of `logits` (n, K) over all processes; n = 0 everywhere leaves it."""
        count = reduce(torch.tensor(float(len(logits)), device=logits.device))
        total = reduce(logits.float().sum(dim=0, keepdim=True))
        if count > 0:
            self.center.mul_(self.momentum).add_(total / count, alpha=1 - self.momentum)
