"""Random numbers: a generator is handed down, never taken from global state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def generator(seed: int) -> np.random.Generator:
    """A fresh generator for `seed`."""
    return np.random.default_rng(seed)


def torch_generator(source: np.random.Generator, device: str = "cpu") -> torch.Generator:
    """A torch generator seeded by one draw from `source`."""
    import torch

    return torch.Generator(device=device).manual_seed(int(source.integers(0, 2**63 - 1)))
