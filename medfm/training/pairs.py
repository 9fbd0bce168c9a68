"""Pairs of a record and its report, and batches of them whose content is decided by the step alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medfm.core.hashing import sha256_json
from medfm.training.batches import quiet_worker
from medfm.training.pair_texts import TextChoices
from medfm.training.pair_views import PairView
from medfm.training.record_tensors import RecordTensors
from medfm.training.text_windows import TextFigures, TextWindows

Shuffle = Literal["each_epoch", "same_order"]


class PairBatch(NamedTuple):
    """One step's input.

    Attributes:
        records: float32 (b, *shape).
        text: What the model takes for the reports, each with b rows: (token ids, mask), or
            (sentence vectors,) of a frozen tower.
        groups: int64 (b,), the category of each pair; ``None`` where there are none.
    """

    records: Tensor
    text: tuple[Tensor, ...]
    groups: Tensor | None = None


@dataclass(frozen=True)
class Pairs:
    """Records with their reports.

    Attributes:
        records: The records, n of them.
        text: Tensors with one row per *different* report.
        which: int64 (n,): the row of ``text`` that belongs to each record.
        texts: The different reports.
        choices: Several texts per record, of which every step draws one, instead of ``which``.
        view: Changes the pictures while training.
        strata: Positions of the records that become equally frequent, drawn with replacement.
        windows: What a step reads of long reports, instead of the rows of `text`; ``None``: their beginning.
        figures: How long the reports are.
    """

    records: RecordTensors
    text: tuple[Tensor, ...]
    which: Tensor
    texts: tuple[str, ...]
    choices: TextChoices | None = None
    view: PairView | None = None
    strata: tuple[tuple[int, ...], ...] | None = None
    windows: TextWindows | None = None
    figures: TextFigures | None = None

    def __len__(self) -> int:
        return len(self.records)

    def text_of(self, positions: Tensor) -> tuple[Tensor, ...]:
        """The text tensors of the records at `positions`; token ids are cut to the longest of them."""
        return self._rows(self.which[positions], positions)

    def drawn(self, positions: Tensor, seed: int, step: int) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """The text tensors of a step, and the categories (``None`` where there are none)."""
        rows, groups = self.which[positions], None
        if self.choices is not None:
            rows, groups = self.choices.draw([int(i) for i in positions], seed, step)
        return self._rows(rows, positions, (seed, step)), groups

    def _rows(self, rows: Tensor, positions: Tensor, draw: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        if self.windows is not None:
            return self.windows.batch(rows.tolist(), positions.tolist(), draw)
        parts = tuple(part[rows] for part in self.text)
        if len(parts) == 2:
            longest = int(parts[1].sum(dim=1).max())
            return parts[0][:, :longest], parts[1][:, :longest]
        return parts

    def digest(self) -> str | None:
        """SHA-256 over records and reports; `None` where records are read on demand."""
        records = self.records.digest()
        if records is None:
            return None
        content: list[object] = [records, list(self.texts), self.which.tolist()]
        if self.choices is not None:
            content.append([self.choices.options, self.choices.categories])
        return sha256_json(content)


def different(texts: list[str]) -> tuple[tuple[str, ...], Tensor]:
    """The different texts in order of first use, and for each text the position of its like, int64 (n,)."""
    places: dict[str, int] = {}
    which = [places.setdefault(text, len(places)) for text in texts]
    return tuple(places), torch.tensor(which, dtype=torch.int64)


def steps_per_epoch(count: int, batch: int, world: int = 1) -> int:
    """Steps of an epoch; its last incomplete batch is left out."""
    return count // (batch * world)


def pair_positions(
    count: int,
    batch: int,
    step: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    shuffle: Shuffle = "each_epoch",
    strata: Sequence[Sequence[int]] | None = None,
) -> list[int]:
    """Which pairs are in a step, a function of the position alone.

    Args:
        count: Number of pairs, at least ``batch * world``.
        batch: Pairs per process.
        step: Step of the run, from 0.
        seed: Seed of the run.
        rank: This process.
        world: Number of processes.
        shuffle: A fresh permutation per epoch, or the first one again and again (so the pairs left
            out of the last incomplete batch are never seen, as in MERL's published training).
        strata: Sets of positions that come up equally often: item k of the epoch is a random one of set
            k modulo their number, drawn with replacement (FLAIR's balance of data sets).
    """
    epoch, position = divmod(step, steps_per_epoch(count, batch, world))
    source = np.random.SeedSequence([seed, epoch if shuffle == "each_epoch" else 0])
    order = np.random.default_rng(source).permutation(count)
    first = (position * world + rank) * batch
    chosen = [int(i) for i in order[first : first + batch]]
    if strata is None:
        return chosen
    found = []
    for k in chosen:
        own = strata[k % len(strata)]
        found.append(own[int(np.random.default_rng(np.random.SeedSequence([seed, 17, epoch, k])).integers(len(own)))])
    return found


class _Records(Dataset[Tensor]):
    """Items are (position, step): what a step changes is decided by both."""

    def __init__(self, records: RecordTensors, view: PairView | None) -> None:
        self.records = records
        self.view = view

    def __getitem__(self, item: tuple[int, int]) -> Tensor:
        position, step = item
        record = self.records[position]
        return record if self.view is None else self.view(record, step, position)


def pair_batches(
    pairs: Pairs,
    steps: range,
    batch: int,
    seed: int,
    *,
    rank: int = 0,
    world: int = 1,
    shuffle: Shuffle = "each_epoch",
    workers: int = 0,
) -> Iterator[PairBatch]:
    """The batches of `steps`; records that are not in memory are read by `workers` processes."""
    chosen = [pair_positions(len(pairs), batch, step, seed, rank, world, shuffle, pairs.strata) for step in steps]
    held = pairs.records.held
    if held is not None:
        for step, positions in zip(steps, chosen, strict=True):
            index = torch.tensor(positions)
            records = held[index] if pairs.view is None else pairs.view.many(held[index], step, positions)
            yield PairBatch(records, *pairs.drawn(index, seed, step))
        return
    loader = DataLoader(
        _Records(pairs.records, pairs.view),
        batch_sampler=[[(i, step) for i in positions] for step, positions in zip(steps, chosen, strict=True)],
        num_workers=workers,
        worker_init_fn=quiet_worker,
        prefetch_factor=2 if workers else None,
        # The loader draws a base seed even where nothing uses it; keep it off the global state.
        generator=torch.Generator().manual_seed(seed),
    )
    for step, positions, records in zip(steps, chosen, loader, strict=True):
        yield PairBatch(records, *pairs.drawn(torch.tensor(positions), seed, step))
