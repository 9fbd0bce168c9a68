"""Batches of fine-tuning: order, views and mixing are a function of seed, stage, epoch and place alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medfm.objectives.mixing import Mixed, draw_cutmix, draw_mixup, unmixed
from medfm.training.finetune_config import Mixing
from medfm.training.finetune_views import view

# Keep draws for different purposes apart.
_ORDER, _VIEW, _MIX = 21, 22, 23


class Inputs(Protocol):
    """Preprocessed records by position, such as :class:`medfm.training.record_tensors.RecordTensors`."""

    def __len__(self) -> int:
        """Number of records."""

    def __getitem__(self, index: int, /) -> Tensor:
        """float32 tensor of one record."""


@dataclass(frozen=True)
class Labelled:
    """Records with their labels.

    Attributes:
        inputs: Preprocessed records.
        targets: As :mod:`medfm.objectives.labels` says, one row per record.
    """

    inputs: Inputs
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


class Batch(NamedTuple):
    """One step's input: mixed records, the targets before mixing, and which records they are."""

    mixed: Mixed
    targets: Tensor
    rows: Tensor


def epoch_order(count: int, seed: int, stage: int, epoch: int, weights: Tensor | None = None) -> np.ndarray:
    """int64: the records of an epoch in order.

    Args:
        count: Number of records; an epoch is as long.
        seed: Of the run.
        stage: Number of the stage.
        epoch: Of the stage.
        weights: Drawn with replacement in proportion to these; a permutation when ``None``.
    """
    source = np.random.default_rng(np.random.SeedSequence([seed, _ORDER, stage, epoch]))
    if weights is None:
        return source.permutation(count)
    shares = weights.double().numpy()
    return source.choice(count, size=count, replace=True, p=shares / shares.sum())


def steps_per_epoch(count: int, batch: int) -> int:
    """Batches of an epoch: all records, but for a single one left over (BatchNorm cannot take it)."""
    whole, rest = divmod(count, batch)
    return whole + (rest > 1) if whole else 1


class _Views(Dataset[Tensor]):
    def __init__(self, inputs: Inputs, steps: Sequence[Any], key: tuple[int, ...]) -> None:
        self.inputs, self.steps, self.key = inputs, tuple(steps), key

    def __getitem__(self, place: tuple[int, int]) -> Tensor:
        slot, row = place
        record = self.inputs[row]
        if not self.steps:
            return record
        return view(record, self.steps, np.random.default_rng(np.random.SeedSequence([*self.key, slot])))


def _quiet(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)


def epoch_batches(
    data: Labelled,
    *,
    batch: int,
    seed: int,
    stage: int,
    epoch: int,
    steps: Sequence[Any] = (),
    mixing: Mixing | None = None,
    weights: Tensor | None = None,
    workers: int = 0,
) -> Iterator[Batch]:
    """The batches of one epoch.

    Args:
        data: The training records.
        batch: Records per batch.
        seed: Of the run.
        stage: Number of the stage.
        epoch: Of the stage.
        steps: Augmentation.
        mixing: CutMix or MixUp.
        weights: For drawing with replacement.
        workers: Processes that read and change records.
    """
    order = epoch_order(len(data), seed, stage, epoch, weights)
    slots = list(enumerate(order.tolist()))
    lots = [slots[i * batch : (i + 1) * batch] for i in range(steps_per_epoch(len(data), batch))]
    loader = DataLoader(
        _Views(data.inputs, steps, (seed, _VIEW, stage, epoch)),
        batch_sampler=lots,  # type: ignore[arg-type]
        num_workers=workers,
        worker_init_fn=_quiet,
        # The loader draws a base seed even where nothing uses it; keep it off the global state.
        generator=torch.Generator().manual_seed(seed),
    )
    for number, (lot, inputs) in enumerate(zip(lots, loader, strict=True)):
        rows = torch.tensor([row for _, row in lot])
        source = np.random.default_rng(np.random.SeedSequence([seed, _MIX, stage, epoch, number]))
        yield Batch(_mix(inputs, mixing, source), data.targets[rows], rows)


def _mix(inputs: Tensor, mixing: Mixing | None, source: np.random.Generator) -> Mixed:
    if mixing is None or source.random() >= mixing.probability:
        return unmixed(inputs)
    return (draw_cutmix if mixing.kind == "cutmix" else draw_mixup)(inputs, source, mixing.alpha)
