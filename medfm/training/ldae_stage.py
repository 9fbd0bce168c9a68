"""What the loop of LDAE's recipes needs of a stage, and what the stages share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from medfm.core.errors import TrainingError
from medfm.training.ldae_config import LdaeRecipe


@dataclass(frozen=True)
class Draw:
    """The random numbers of one optimiser step in one process: the same whether the run was stopped before or not."""

    seed: int
    step: int
    rank: int

    def generator(self, purpose: str = "noise") -> torch.Generator:
        """A CPU generator that depends on seed, step, process and purpose alone."""
        text = f"{self.seed}/{self.step}/{self.rank}/{purpose}"
        return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))


class Stage(Protocol):
    """One stage of training.

    Attributes:
        records: Number of training records.
        may_judge: Whether there are validation records to judge by.
        optimizers: Made by :func:`adam`.
    """

    records: int
    may_judge: bool
    optimizers: list[torch.optim.Optimizer]

    def setup(self, fabric: Fabric) -> None:
        """Hand networks and optimisers to Fabric; once, after :meth:`load_state` where a run resumes."""
        ...

    def step(self, fabric: Fabric, batches: Sequence[Sequence[int]], draw: Draw) -> dict[str, Tensor]:
        """One optimiser step over the records at the positions of each batch; the terms before it, ``total`` among them."""
        ...

    def judge(self) -> dict[str, float]:
        """Values on the validation records for the log; ``val_total`` is to be small."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that goes on: weights, optimisers, averages."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave, before :meth:`setup`."""
        ...

    def kept(self) -> dict[str, Any]:
        """The weights to keep if this epoch is the best."""
        ...

    def load_kept(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`kept` gave, at the end."""
        ...


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """The order of `count` records in one epoch, from 0."""
    generator = Draw(seed, epoch, 0).generator("order")
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order


def steps_per_epoch(count: int, config: LdaeRecipe, world: int) -> int:
    """Whole optimiser steps in an epoch; the records that are left over take their turn in other epochs."""
    return count // (config.batch_size * config.accumulate * world)


def positions_of(step: int, count: int, config: LdaeRecipe, rank: int, world: int) -> list[list[int]]:
    """The records of every batch of one step in one process."""
    per_epoch = steps_per_epoch(count, config, world)
    epoch, within = divmod(step, per_epoch)
    order = epoch_order(count, config.seed, epoch)
    batch, many = config.batch_size, config.accumulate
    begin = (within * world + rank) * batch * many
    return [order[begin + i * batch : begin + (i + 1) * batch] for i in range(many)]


def adam(parameters: Sequence[nn.Parameter], config: LdaeRecipe, lr: float | None = None) -> torch.optim.Optimizer:
    """Adam at one rate, without weight decay."""
    rule = config.optimisation
    found = torch.optim.Adam(list(parameters), lr=rule.lr if lr is None else lr, betas=rule.betas)
    for group in found.param_groups:
        group["full_lr"] = group["lr"]
    return found


def set_rate(optimizers: Sequence[torch.optim.Optimizer], factor: float) -> None:
    """Multiply the full rate of every optimiser of :func:`adam` by `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["full_lr"] * factor


def clip_and_step(fabric: Fabric, module: nn.Module, optimizer: Any, clip: float, precision: str, step: int) -> Tensor:
    """Limit the gradient's norm, take the step, clear the gradients; the norm before.

    With float16 a step whose gradient overflowed is left out by the scaler, which then scales less.

    Raises:
        TrainingError: The gradient is not finite (other precisions).
    """
    limit = clip if clip > 0 else math.inf
    norm = fabric.clip_gradients(module, optimizer, max_norm=limit, error_if_nonfinite=False)
    assert norm is not None
    if precision != "16-mixed" and not bool(torch.isfinite(norm)):
        raise TrainingError(
            f"The gradient is not finite at step {step + 1}.",
            where="the checkpoint in the output folder is from before this step",
            fix="start again with a smaller optimisation.lr or precision 32-true",
        )
    optimizer.step()
    optimizer.zero_grad()
    return norm.detach()


def mean_terms(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of every term over the batches of a step."""
    return {name: torch.stack([part[name].detach() for part in parts]).mean() for name in parts[0]}
