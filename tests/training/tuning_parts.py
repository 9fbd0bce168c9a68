"""A small encoder, separable records and short recipes for tests of fine-tuning."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from medfm.core.config import build
from medfm.encoders.encoder import Encoder
from medfm.encoders.load import load_encoder
from medfm.training.finetune_batches import Labelled
from medfm.training.finetune_config import FinetuneRecipe
from medfm.training.finetune_labels import Labels

BINARY = Labels("binary", "binary", ("no", "yes"), "sick")


@cache
def signal_encoder() -> Encoder:
    """The smallest encoder of the package: a one-dimensional ResNet for ECGs, untrained."""
    return load_encoder("merl-tiny", weights="random", device="cpu", architecture={"stem": 8})


@cache
def signals(count: int = 12, seed: int = 0) -> torch.Tensor:
    """float32 (count, 12, 1000): records of odd number carry a faster wave."""
    source = torch.Generator().manual_seed(seed)
    time = torch.linspace(0, 2, 1000)
    waves = torch.stack([torch.sin(2 * torch.pi * (9 if i % 2 else 2) * time) for i in range(count)])
    return waves[:, None] + 0.3 * torch.randn(count, 12, 1000, generator=source)


def data(count: int = 12, seed: int = 0) -> Labelled:
    return Labelled(signals(count, seed), (torch.arange(count) % 2).float())


def recipe(*stages: dict[str, Any], **changes: Any) -> FinetuneRecipe:
    """Stages with one epoch of training the whole encoder by default."""
    given = stages or ({"name": "tune", "epochs": 2, "layers": {"kind": "whole", "lr": 1e-3}},)
    values: dict[str, Any] = {"name": "short", "stages": list(given), "batch_size": 4, **changes}
    return build(FinetuneRecipe, values, where="a test")


def equal_states(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def accuracy(logits: torch.Tensor, y: torch.Tensor) -> float:
    return float(np.mean((logits[:, 0] > 0).numpy() == (y > 0).numpy()))
