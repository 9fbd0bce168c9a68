"""The pictures of a cohort as small uint8 tensors: all in memory where they fit, else read on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import ReadError, TrainingError
from medfm.core.hashing import sha256_tensors
from medfm.core.progress import ProgressMaker, Silent
from medfm.modalities.record import RecordRef
from medfm.modalities.registry import get_modality
from medfm.training.on_demand import read_while_training


def small_picture(array: np.ndarray, size: int) -> Tensor:
    """A picture squashed to (3, size, size) uint8, bicubic with antialias.

    Args:
        array: uint8 (h, w, 3), RGB.
        size: Side in pixels.
    """
    picture = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)
    return tv.resize(picture, [size, size], interpolation=InterpolationMode.BICUBIC, antialias=True).contiguous()


@dataclass(frozen=True)
class Pictures:
    """Pictures by position.

    Attributes:
        refs: Where the readable pictures are.
        modality: Name of their modality.
        size: Side in pixels.
        held: uint8 (n, 3, size, size) when all are in memory.
        failures: Record id and reason of each unreadable picture that was left out.
    """

    refs: tuple[RecordRef, ...]
    modality: str
    size: int
    held: Tensor | None = None
    failures: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.refs)

    def digest(self) -> str | None:
        """SHA-256 over all pixels; `None` where pictures are read on demand, since that would read all of them."""
        return None if self.held is None else sha256_tensors({"pictures": self.held})

    def __getitem__(self, index: int) -> Tensor:
        """uint8 (3, size, size).

        Raises:
            TrainingError: A picture read on demand cannot be read.
        """
        if self.held is not None:
            return self.held[index]
        ref = self.refs[index]
        with read_while_training(ref, "picture"):
            return small_picture(get_modality(self.modality).read(ref).array, self.size)


def load_pictures(cohort: Cohort, size: int, memory_mb: int, progress: ProgressMaker = Silent) -> Pictures:
    """The pictures of a cohort, decoded now if they fit into `memory_mb`, else on demand.

    Unreadable pictures are left out and listed when decoding now.

    Args:
        cohort: The records to train on.
        size: Side to squash to, in pixels.
        memory_mb: Largest size of the decoded pictures, in MiB.
        progress: Shows the decoding.

    Raises:
        TrainingError: No picture can be read.
    """
    refs = tuple(cohort.refs())
    if len(refs) * 3 * size * size > memory_mb * 2**20:
        return Pictures(refs, cohort.modality, size)
    reader = get_modality(cohort.modality)
    kept: list[RecordRef] = []
    failures: list[tuple[str, str]] = []
    held = torch.empty((len(refs), 3, size, size), dtype=torch.uint8)
    with progress("reading pictures", len(refs), "records") as shown:
        for ref in refs:
            try:
                held[len(kept)] = small_picture(reader.read(ref).array, size)
                kept.append(ref)
            except ReadError as error:
                failures.append((ref.record_id, error.what))
            shown.advance()
    if not kept:
        raise TrainingError(
            f"None of the {len(refs)} pictures can be read.",
            where=f"{failures[0][0]}: {failures[0][1]}" if failures else cohort.name,
            fix="run medfm data check on the table",
        )
    return Pictures(tuple(kept), cohort.modality, size, held[: len(kept)], tuple(failures))


def step_positions(
    count: int, batch: int, step: int, seed: int, rank: int = 0, world: int = 1
) -> list[tuple[int, int]]:
    """Which pictures are in a step: (epoch, index) pairs, a function of the position alone.

    Each epoch is a fresh permutation; its last incomplete batch is left out.

    Args:
        count: Number of pictures, at least ``batch * world``.
        batch: Pictures per process.
        step: Step of the run, from 0.
        seed: Seed of the run.
        rank: This process.
        world: Number of processes.
    """
    per_epoch = count // (batch * world)
    epoch, position = divmod(step, per_epoch)
    order: Sequence[int] = np.random.default_rng(np.random.SeedSequence([seed, epoch])).permutation(count).tolist()
    first = (position * world + rank) * batch
    return [(epoch, index) for index in order[first : first + batch]]
