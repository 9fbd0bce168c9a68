"""Many small models trained at once: one AdamW over stacked weights, the same steps for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from medfm.evaluation.protocol_adapters import Training


def orders(count: int, epochs: int, sources: Sequence[np.random.Generator], reshuffle: bool) -> np.ndarray:
    """int64 (epochs, problems, count): which training row each problem visits when."""
    if not reshuffle:
        return np.stack([np.stack([source.permutation(count) for source in sources])] * epochs)
    return np.stack([np.stack([source.permutation(count) for source in sources]) for _ in range(epochs)])


def train_stacked(
    parameters: Sequence[Tensor],
    loss: Callable[[Tensor], Tensor],
    visits: np.ndarray,
    settings: Training,
    *,
    after_epoch: Callable[[int], None] | None = None,
) -> None:
    """Change `parameters` in place by AdamW on the sum of the problems' losses.

    The problems share no weights, so the sum's gradient is each problem's own, and AdamW treats
    every number by itself: stacked training equals training one by one.

    Args:
        parameters: Leaves of shape (problems, ...).
        loss: Positions int64 (problems, batch) -> mean loss of each problem, (problems,).
        visits: int64 (epochs, problems, count), see :func:`orders`.
        settings: Learning rate, decay, schedule, batch size; `epochs` is taken from `visits`.
        after_epoch: Called with the number of finished epochs.
    """
    epochs, _, count = visits.shape
    device = parameters[0].device
    leaves = [p.requires_grad_(True) for p in parameters]
    optimiser = torch.optim.AdamW(leaves, lr=settings.lr, eps=settings.eps, weight_decay=settings.weight_decay)
    starts = range(0, count, settings.batch_size)
    steps = epochs * len(starts)
    step = 0
    # Shots that are fitted perfectly leave gradients too small for a normal float, which cost a CPU many
    # times the work of a zero.
    torch.set_flush_denormal(True)
    try:
        for epoch in range(epochs):
            places = torch.from_numpy(visits[epoch]).to(device)
            for start in starts:
                if settings.schedule == "cosine":
                    for group in optimiser.param_groups:
                        group["lr"] = 0.5 * settings.lr * (1 + math.cos(math.pi * step / steps))
                optimiser.zero_grad(set_to_none=True)
                with torch.enable_grad():
                    loss(places[:, start : start + settings.batch_size]).sum().backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                step += 1
            if after_epoch is not None:
                after_epoch(epoch + 1)
    finally:
        torch.set_flush_denormal(False)
    for leaf in leaves:
        leaf.requires_grad_(False)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of each problem, (problems,), of logits (problems, m, K) and classes (problems, m)."""
    return -torch.log_softmax(logits, dim=-1).gather(-1, y[..., None])[..., 0].mean(dim=-1)


def rows_of(values: Tensor, places: Tensor) -> Tensor:
    """(problems, m, ...) from values (problems, n, ...) and positions (problems, m)."""
    return values[torch.arange(len(values), device=values.device)[:, None], places]


def unit(values: Tensor) -> Tensor:
    """Rows of length 1; a row of zeros stays one."""
    return values / values.norm(dim=-1, keepdim=True).clamp_min(1e-12)
