"""MERL's objectives: signal against report (CMA) and signal against itself (UMA).

Source: Liu et al., Zero-Shot ECG Classification with Multimodal Learning and Test-time Clinical
Knowledge Enhancement (ICML 2024, arXiv 2403.06659). Two things differ from the usual
contrastive loss: the two directions are added, not averaged, and the temperature is fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

TEMPERATURE = 0.07


@dataclass(frozen=True)
class MerlLosses:
    """The parts and their sum, each a scalar with gradient."""

    total: Tensor
    cma: Tensor
    uma: Tensor


def paired_loss(left: Tensor, right: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Cross-entropy of finding the partner of every row, left to right plus right to left.

    Args:
        left: (n, d); rows need not have length 1. Computed in float32.
        right: (n, d); row i belongs to row i of `left`.
        temperature: Divides the cosines; not learned.

    Returns:
        Scalar: the sum of two means over n.
    """
    logits = _cosines(left, right) / temperature
    target = torch.arange(len(logits), device=logits.device)
    return functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)


def cma_loss(signal: Tensor, text: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Cross-modal alignment: embeddings (n, d) of signals against those of their reports."""
    return paired_loss(signal, text, temperature)


def uma_loss(view1: Tensor, view2: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Uni-modal alignment: two views (n, d) of one signal, made by two heads with dropout."""
    return paired_loss(view1, view2, temperature)


def merl_losses(
    signal: Tensor, text: Tensor, view1: Tensor, view2: Tensor, temperature: float = TEMPERATURE
) -> MerlLosses:
    """CMA plus UMA with equal weight; all inputs (n, d), rows in the same order."""
    cma, uma = cma_loss(signal, text, temperature), uma_loss(view1, view2, temperature)
    return MerlLosses(cma + uma, cma, uma)


@torch.no_grad()
def retrieval_accuracy(left: Tensor, right: Tensor, top: int = 1) -> float:
    """Share of rows (0 to 1) whose partner is among the `top` most similar, mean of both directions.

    Args:
        left: (n, d).
        right: (n, d); row i belongs to row i of `left`.
        top: At most n; more counts as n.
    """
    cosines = _cosines(left, right)
    own = cosines.diagonal()
    # Partners that tie with another row count as found, as they would at either order of the two.
    forward = (cosines > own[:, None]).sum(dim=1) < top
    backward = (cosines > own[None, :]).sum(dim=0) < top
    return float(torch.cat([forward, backward]).float().mean())


def _cosines(left: Tensor, right: Tensor) -> Tensor:
    with torch.autocast(left.device.type, enabled=False):
        rows = functional.normalize(left.float(), dim=-1)
        return rows @ functional.normalize(right.float(), dim=-1).T
