"""Networks as they are before any training: made without memory, then filled from a generator that is handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from medfm.core.config import StrictConfig, build

A = TypeVar("A", bound=StrictConfig)
M = TypeVar("M", bound=nn.Module)


def checked_args(kind: type[A], args: A | Mapping[str, Any], where: str = "architecture arguments") -> A:
    """`args` as a `kind`; a mapping is validated.

    Raises:
        ConfigError: A key is unknown or a value does not fit.
    """
    return args if isinstance(args, kind) else build(kind, args, where=where)


def untrained(
    make: Callable[[], M],
    fill: Callable[[M, torch.Generator], object],
    generator: torch.Generator | None = None,
    device: str = "cpu",
    *,
    buffers: Callable[[M], object] | None = None,
) -> M:
    """The module that `make` builds, in training mode, with first weights.

    Args:
        make: Constructs the module; what its layers draw from the global random state is never drawn,
            for they are made on the meta device.
        fill: Gives every parameter and running statistic its first value, on the CPU.
        generator: CPU generator for `fill`; seed 0 when absent.
        device: ``"cpu"``, ``"cuda"``..., or ``"meta"`` for shapes without memory (then nothing is filled).
        buffers: Gives buffers their values that no checkpoint holds, on the meta device too: a network
            that is filled by assignment would otherwise keep them empty.
    """
    with torch.device("meta"):
        module = make()
    if device != "meta":
        module.to_empty(device="cpu")
        fill(module, generator if generator is not None else torch.Generator().manual_seed(0))
    if buffers is not None:
        buffers(module)
    return module.train() if device in ("cpu", "meta") else module.to(device).train()
