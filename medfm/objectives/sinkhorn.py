"""Sinkhorn-Knopp: teacher logits as soft assignments that use all prototypes equally."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Sums a tensor over all processes of a run; the identity where there is only one.
Reduce = Callable[[Tensor], Tensor]


def one_process(value: Tensor) -> Tensor:
    """The sum over one process: `value` itself."""
    return value


@torch.no_grad()
def sinkhorn_knopp(logits: Tensor, temperature: float, iterations: int = 3, reduce: Reduce = one_process) -> Tensor:
    """Turn teacher logits into probabilities whose sums over the batch are nearly equal for all prototypes.

    ``exp(logits / temperature)`` is rescaled in turn: every prototype to a share of 1/K, then
    every sample to a share of 1/n. The last step makes every row sum to one.

    Args:
        logits: (n, K) teacher outputs of this process; logits / temperature must stay below 88
            (float32 exponential), which cosine logits and temperatures above 0.02 do.
        temperature: Teacher temperature, above 0.
        iterations: Number of alternations; SwAV and DINOv2 use 3.
        reduce: Sums over processes; n may differ between them.

    Returns:
        float32 (n, K), rows sum to 1. An empty input gives an empty output; the sums are still
        reduced, so that processes with and without samples stay in step.

    Source: Caron et al., SwAV (arXiv 2006.09882), section 3.1 and appendix A; DINOv2 (arXiv 2304.07193), section 4.
    """
    prototypes = logits.shape[1]
    samples = reduce(torch.tensor(float(len(logits)), device=logits.device))
    shares = torch.exp(logits.float() / temperature)
    shares = shares / reduce(shares.sum())
    for _ in range(iterations):
        shares = shares / (reduce(shares.sum(dim=0, keepdim=True)) * prototypes)
        shares = shares / (shares.sum(dim=1, keepdim=True) * samples)
    return shares * samples
