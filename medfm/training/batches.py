"""Batches of crops and masks whose content is decided by the step alone, so that a run can resume."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medfm.training.augment import multi_crop, sample_generator
from medfm.training.config import PretrainConfig
from medfm.training.masking import batch_masks
from medfm.training.pictures import Pictures, step_positions


class Batch(NamedTuple):
    """One step's input.

    Attributes:
        global_crops: float32 (2 b, 3, S, S): all first crops, then all second crops.
        local_crops: float32 (L b, 3, s, s): all first local crops, then all second ones ...
        masks: bool (2 b, patches), True = hidden from the student.
    """

    global_crops: Tensor
    local_crops: Tensor
    masks: Tensor


class CropData(Dataset[tuple[Tensor, Tensor]]):
    """Random views by (epoch, index)."""

    def __init__(self, pictures: Pictures, config: PretrainConfig) -> None:
        self.pictures = pictures
        self.config = config

    def __getitem__(self, position: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Global (2, 3, S, S) and local (L, 3, s, s) views of one picture in one epoch."""
        epoch, index = position
        views = self.config.views
        return multi_crop(
            self.pictures[index].float() / 255,
            views.changes,
            sample_generator(self.config.seed, epoch, index),
            global_size=views.global_size,
            global_scale=views.global_scale,
            local_crops=views.local_crops,
            local_size=views.local_size,
            local_scale=views.local_scale,
        )


class StepSampler:
    """The positions of every step from `first` on."""

    def __init__(self, config: PretrainConfig, count: int, first: int, rank: int, world: int) -> None:
        self.config, self.count, self.first, self.rank, self.world = config, count, first, rank, world

    def __len__(self) -> int:
        return self.config.steps - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.first, self.config.steps):
            yield step_positions(self.count, self.config.batch_size, step, self.config.seed, self.rank, self.world)


def quiet_worker(_: int) -> None:
    """Ctrl-C reaches all processes of a terminal; the loop alone decides when its workers end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Crop-major: crop 0 of every picture, then crop 1 of every picture ..."""
    globals_, locals_ = zip(*samples, strict=True)
    return torch.stack(globals_, dim=1).flatten(0, 1), torch.stack(locals_, dim=1).flatten(0, 1)


def step_masks(config: PretrainConfig, grid: tuple[int, int], step: int, rank: int = 0) -> Tensor:
    """The masks of a step: bool (2 * batch_size, patches), a function of seed, step and process."""
    source = random.Random(f"{config.seed}/{step}/{rank}")
    rule = config.objective
    masks = batch_masks(2 * config.batch_size, grid, source, probability=rule.mask_probability, ratio=rule.mask_ratio)
    return torch.from_numpy(masks)


def batches(
    config: PretrainConfig, pictures: Pictures, patch: int, *, first: int = 0, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """The batches of the steps `first` to ``config.steps - 1``.

    Args:
        config: The recipe.
        pictures: What to crop from.
        patch: Side of a patch in pixels.
        first: First step.
        rank: This process.
        world: Number of processes.
    """
    workers = config.machine.workers
    loader = DataLoader(
        CropData(pictures, config),
        batch_sampler=StepSampler(config, len(pictures), first, rank, world),
        collate_fn=_collate,
        num_workers=workers,
        worker_init_fn=quiet_worker,
        persistent_workers=False,
        prefetch_factor=2 if workers else None,
        # The loader draws a base seed even where nothing uses it; keep it off the global state.
        generator=torch.Generator().manual_seed(config.seed),
    )
    side = config.views.global_size // patch
    for step, (global_crops, local_crops) in enumerate(loader, start=first):
        yield Batch(global_crops, local_crops, step_masks(config, (side, side), step, rank))
