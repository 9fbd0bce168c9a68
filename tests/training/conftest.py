"""A small network, recipe and set of pictures that train in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medfm.core.config import build, merge
from medfm.modalities.record import RecordRef
from medfm.training.config import PretrainConfig
from medfm.training.dinov2 import Dinov2
from medfm.training.pictures import Pictures

PATCH = 4
WIDTH = 12

TINY = {
    "name": "test",
    "steps": 6,
    "batch_size": 4,
    "picture_size": 24,
    "views": {"global_size": 16, "local_crops": 2, "local_size": 8},
    "heads": {"prototypes": 16, "hidden": 16, "bottleneck": 8},
    "teacher": {"momentum": [0.9, 1.0], "temperature_warmup": 2},
    "optimisation": {"lr": 1e-3, "warmup": 1},
    "machine": {"accelerator": "cpu", "checkpoint_every": 2},
}


class TinyBackbone(nn.Module):
    """Patch embedding, mask token, one mixing layer: the interface of the real network."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.mask_token = nn.Parameter(torch.zeros(1, WIDTH))
        self.mix = nn.Linear(WIDTH, WIDTH)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator)

    def features(self, x: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2)
        if masks is not None:
            tokens = torch.where(masks.unsqueeze(-1), self.mask_token, tokens)
        tokens = tokens + torch.tanh(self.mix(tokens.mean(dim=1, keepdim=True)))
        return tokens.mean(dim=1), tokens


@pytest.fixture
def recipe() -> Callable[..., PretrainConfig]:
    """The tiny recipe with changes laid over it."""

    def make(**changes: Any) -> PretrainConfig:
        return build(PretrainConfig, merge(TINY, changes), where="test recipe")

    return make


@pytest.fixture
def model() -> Callable[[PretrainConfig], Dinov2]:
    """A fresh model of a recipe, always with the same first weights."""

    def make(config: PretrainConfig) -> Dinov2:
        generator = torch.Generator().manual_seed(config.seed)
        return Dinov2(TinyBackbone(generator), WIDTH, 0, config, generator)

    return make


@pytest.fixture
def pictures() -> Pictures:
    """Twelve coloured pictures in memory."""
    source = np.random.default_rng(5)
    base = source.integers(0, 256, (12, 3, 1, 1))
    held = np.clip(base + source.integers(-40, 40, (12, 3, 24, 24)), 0, 255).astype(np.uint8)
    refs = tuple(RecordRef(f"r{i}", Path(f"r{i}.png")) for i in range(12))
    return Pictures(refs, "blood_cell", 24, torch.from_numpy(held))
