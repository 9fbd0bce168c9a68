"""The preprocessed records of a cohort: all in memory where they fit, else read on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import ReadError, TrainingError
from medfm.core.hashing import sha256_tensors
from medfm.core.progress import ProgressMaker, Silent
from medfm.encoders.preprocessing import Preprocessing
from medfm.modalities.record import RecordRef
from medfm.modalities.registry import get_modality
from medfm.training.on_demand import read_while_training


@dataclass(frozen=True)
class RecordTensors:
    """Preprocessed records by position.

    Attributes:
        refs: Where the readable records are.
        modality: Name of their modality.
        preprocess: Record -> float32 tensor of one shape.
        held: float32 (n, *shape) when all are in memory.
        rows: Their rows in the cohort they were loaded from.
        failures: Record id and reason of each unreadable record that was left out.
    """

    refs: tuple[RecordRef, ...]
    modality: str
    preprocess: Preprocessing
    held: Tensor | None
    rows: tuple[int, ...]
    failures: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.refs)

    def digest(self) -> str | None:
        """SHA-256 over all values; `None` where records are read on demand, since that would read all of them."""
        return None if self.held is None else sha256_tensors({"records": self.held})

    def take(self, positions: Sequence[int]) -> RecordTensors:
        """The records at `positions`, in that order."""
        return replace(
            self,
            refs=tuple(self.refs[i] for i in positions),
            held=None if self.held is None else self.held[list(positions)],
            rows=tuple(self.rows[i] for i in positions),
        )

    def __getitem__(self, index: int) -> Tensor:
        """float32 tensor of one record.

        Raises:
            TrainingError: A record read on demand cannot be read.
        """
        if self.held is not None:
            return self.held[index]
        ref = self.refs[index]
        with read_while_training(ref):
            return self.preprocess(get_modality(self.modality).read(ref))


def load_record_tensors(
    cohort: Cohort, preprocess: Preprocessing, memory_mb: int, progress: ProgressMaker = Silent
) -> RecordTensors:
    """The preprocessed records of a cohort, decoded now if they fit into `memory_mb`, else on demand.

    Unreadable records are left out and listed when decoding now.

    Raises:
        TrainingError: No record can be read.
    """
    refs = tuple(cohort.refs())
    shape = preprocess.shape
    if len(refs) * 4 * torch.Size(shape).numel() > memory_mb * 2**20:
        return RecordTensors(refs, cohort.modality, preprocess, None, tuple(range(len(refs))))
    reader = get_modality(cohort.modality)
    rows: list[int] = []
    failures: list[tuple[str, str]] = []
    held = torch.empty((len(refs), *shape), dtype=torch.float32)
    with progress("reading records", len(refs), "records") as shown:
        for row, ref in enumerate(refs):
            try:
                held[len(rows)] = preprocess(reader.read(ref))
                rows.append(row)
            except ReadError as error:
                failures.append((ref.record_id, error.what))
            shown.advance()
    if not rows:
        raise TrainingError(
            f"None of the {len(refs)} records can be read.",
            where=f"{failures[0][0]}: {failures[0][1]}" if failures else cohort.name,
            fix="run medfm data check on the table",
        )
    kept = tuple(refs[row] for row in rows)
    return RecordTensors(kept, cohort.modality, preprocess, held[: len(rows)].clone(), tuple(rows), tuple(failures))
