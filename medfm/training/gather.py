"""One contrastive batch over several processes: what each sees of the others, and whose gradient counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Gather = Literal["none", "local_gradient", "full"]
# (b, d) -> (world, b, d), without gradient; the same order in every process.
AllGather = Callable[[Tensor], Tensor]


def gathered(own: Tensor, rank: int, all_gather: AllGather) -> Tensor:
    """The rows (world * b, d) of all processes in float32; only the own ones carry a gradient.

    Args:
        own: (b, d) of this process, the same size in every process.
        rank: This process.
        all_gather: Collects `own` of every process.
    """
    with torch.no_grad():
        shares = list(all_gather(own.detach().float()).unbind(0))
    shares[rank] = own.float()
    return torch.cat(shares)


def gradient_factor(rule: Gather, world: int) -> float:
    """What the loss is multiplied by before its gradient is averaged over processes.

    With gathered batches every process computes the loss of the whole batch but only the gradient
    through its own rows; the sum over processes is the gradient of the whole batch. Averaging, as
    DDP does, therefore leaves 1 / world of it. That is what the published MERL code does
    (``local_gradient``); ``full`` takes the factor back, so that the update does not depend on how
    many processes share one batch.
    """
    return float(world) if rule == "full" else 1.0
