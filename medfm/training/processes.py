"""Several processes of one run: how they are started, how they share work, and what ends all of them."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor

from medfm.core.errors import TrainingError
from medfm.training.config import Machine
from medfm.training.sharding import ShardedStrategy, check_fsdp

# What gloo and NCCL say when another process is gone; they have no kind of their own for it.
_GONE = ("connection closed", "connection reset", "timed out", "timeout", "broken pipe", "nccl", "gloo", "socket")
_LOOK_EVERY = 2.0


def strategy_of(machine: Machine, precision: str) -> Any:
    """Fabric's strategy for a machine: one process, DDP or FSDP.

    Raises:
        TrainingError: More devices than there are, FSDP in float16, or a torch without it.
    """
    there = torch.cuda.device_count() if machine.accelerator != "cpu" else 0
    if there and machine.devices > there:
        raise TrainingError(
            f"{machine.devices} CUDA devices are asked for; this machine has {there}.",
            fix=f"--set machine.devices={there}",
        )
    if machine.devices == 1:
        return "auto"
    if machine.strategy == "ddp":
        # A step without a discriminator, or at t = 0, leaves parameters without a gradient.
        return DDPStrategy(find_unused_parameters=True)
    check_fsdp()
    if precision == "16-mixed":
        raise TrainingError(
            "FSDP does not go with float16, whose loss scaling was never tried on shares of gradients.",
            expected="precision bf16-mixed or 32-true",
            fix="--set precision=bf16-mixed, or --set machine.strategy=ddp",
        )
    return ShardedStrategy()


def launch(fabric: Fabric) -> None:
    """Start the further processes; they end when the first one is gone, however it went."""
    fabric.launch()
    environment = getattr(fabric.strategy, "cluster_environment", None)
    alone = fabric.world_size == 1 or environment is None or environment.creates_processes_externally
    if not alone and fabric.global_rank > 0:
        threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True, name="parent-watch").start()


def _leave_with(parent: int) -> None:
    """End this process when `parent` has ended: a collective operation on a GPU waits for many minutes."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def one_fate(world: int) -> Iterator[None]:
    """Say in plain words that another of `world` processes is gone.

    Raises:
        TrainingError: A collective operation failed.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error).lower()
        if world == 1 or not any(word in text for word in _GONE):
            raise
        raise TrainingError(
            "Another process of this run has ended, so this one ends too.",
            where="its own message is above, if it left one (none after kill -9, or when memory ran out)",
            fix="run the same command with --resume: it goes on from the last checkpoint",
        ) from error


def own_rows(count: int, rank: int, world: int) -> list[int]:
    """The records of `count` that one process looks at; equally many in every process, so that all make as many calls.

    Where `count` is no multiple of `world`, the last rows are beyond the end; :func:`in_range` says
    which record to take there, and :func:`collected` ignores them.
    """
    return list(range(rank, math.ceil(count / world) * world, world))


def in_range(rows: Sequence[int], count: int) -> list[int]:
    """`rows` with the first records in place of those beyond the end."""
    return [row % count for row in rows]


def collected(fabric: Fabric, rows: Sequence[int], values: Sequence[Sequence[float]], count: int) -> list[list[float]]:
    """Each list of values of :func:`own_rows` with those of all processes, in the order of the records; collective."""
    found = torch.zeros(len(values), count, dtype=torch.float64)
    inside = [i for i, row in enumerate(rows) if row < count]
    for line, own in zip(found, values, strict=True):
        for i in inside:
            line[rows[i]] = own[i]
    if fabric.world_size == 1:
        return found.tolist()  # type: ignore[no-any-return]
    total: Tensor = fabric.all_reduce(found.to(fabric.device), reduce_op="sum")  # type: ignore[assignment]
    return total.tolist()  # type: ignore[no-any-return]
