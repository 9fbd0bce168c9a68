"""The second stage of the pipeline: read and preprocess in worker processes."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from medfm.core.errors import ConfigError, MedfmError, ReadError
from medfm.embeddings.lookup import Item, record_files, stamp_of
from medfm.modalities.record import Modality, Record

_LOG = logging.getLogger(__name__)
_SHARED_MEMORY = Path("/dev/shm")
_SHARED_MEMORY_NEEDED = 256 << 20


@dataclass
class Decoded:
    """Preprocessed records of one batch.

    Attributes:
        keys: One 32-byte key per row of `batch`.
        batch: float32 (n, ...), or `None` when no record of the batch could be read.
        failures: (key, reason) of the others.
        notes: (key, note) of what the reader noted on a record that it read.
        glances: (key, bits) of what the modality saw at a glance, where it takes one.
        error: What must end the run; carried, since raising it in a worker would bury it in a traceback.
    """

    keys: list[bytes] = field(default_factory=list)
    batch: torch.Tensor | None = None
    failures: list[tuple[bytes, str]] = field(default_factory=list)
    notes: list[tuple[bytes, str]] = field(default_factory=list)
    glances: list[tuple[bytes, int]] = field(default_factory=list)
    error: ConfigError | None = None

    def pin_memory(self) -> Decoded:
        """The same with the batch in page-locked memory, for quick copies to a GPU."""
        batch = self.batch if self.batch is None else self.batch.pin_memory()
        return Decoded(self.keys, batch, self.failures, self.notes, self.glances, self.error)


class Decoder(Dataset[Decoded]):
    """Reads and preprocesses lists of items; runs in the worker processes.

    Args:
        modality: Reader of the records.
        preprocess: The encoder's preprocessing: record -> float32 tensor, always of one shape.
    """

    def __init__(self, modality: Modality, preprocess: Callable[[Record], torch.Tensor]) -> None:
        self.modality = modality
        self.preprocess = preprocess

    def __getitem__(self, index: Any) -> Decoded:
        """As :meth:`__getitems__` for a single item."""
        return self.__getitems__([index])

    def __getitems__(self, items: list[Item]) -> Decoded:
        """Decode the `items`; a record that cannot be read becomes a failure with its reason."""
        done = Decoded()
        rows: list[torch.Tensor] = []
        for item in items:
            try:
                tensor, notes, seen = self._tensor(item)
                rows.append(tensor)
                done.keys.append(item.key)
                done.notes += [(item.key, note) for note in notes]
                done.glances += [(item.key, seen)] if seen else []
            except MedfmError as error:
                done.failures.append((item.key, error.line))
            # A reader that trips over a strange file must not end a run of a million records.
            except Exception as error:
                _LOG.debug("Unexpected error while reading a record", exc_info=True)
                done.failures.append((item.key, f"Unexpected {type(error).__name__} while reading."))
        if rows:
            if len({row.shape for row in rows}) > 1:
                shapes = sorted({tuple(row.shape) for row in rows})
                done.error = ConfigError(
                    f"The encoder's preprocessing gave tensors of several shapes: {shapes}.",
                    expected="one shape for all records",
                    fix="add a step to the encoder's preprocessing that brings records to one size",
                )
            else:
                done.batch = torch.stack(rows)
        return done

    def _tensor(self, item: Item) -> tuple[torch.Tensor, list[str], int]:
        record = self.modality.read(item.ref)
        if stamp_of(record_files(self.modality, item.ref)) != item.stamp:
            raise ReadError("The file changed while it was being read.", where=item.ref.record_id)
        tensor = self.preprocess(record).to(torch.float32)
        # One pass: the sum is finite unless an element is not, or (rarely) it overflows.
        if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
            raise ReadError("Preprocessing gave values that are not finite.", where=item.ref.record_id)
        look = getattr(self.modality, "glance", None)
        return tensor, list(record.facts.get("notes", ())), 0 if look is None else look(record)


def decoded_batches(
    decoder: Decoder, batches: Iterable[list[Item]], *, workers: int, pin: bool = False, ahead: int = 2
) -> Generator[Decoded, None, None]:
    """Decode lists of items with `workers` processes (0: in this one), in order.

    `batches` is consumed lazily: at most `workers` x `ahead` lists are under way.

    Raises:
        ConfigError: The encoder's preprocessing gives tensors of several shapes.
        ReadError: A worker process died (out of memory, or a crash inside a library).
    """
    loader: DataLoader[Any] = DataLoader(
        decoder,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=_as_is,
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        pin_memory=pin,
        # Linux forks: at once ready, and scripts need no main guard. Elsewhere that is unsafe.
        multiprocessing_context=("fork" if sys.platform == "linux" else "spawn") if workers else None,
        worker_init_fn=_start_worker if workers else None,
        # A generator of its own: the loader must not draw from the global one.
        generator=torch.Generator().manual_seed(0),
    )
    try:
        for decoded in loader:
            if decoded.error is not None:
                raise decoded.error
            yield decoded
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ReadError(
            "A worker process that reads the files died; perhaps the memory ran out.",
            fix="run the same command again with fewer workers (0 reads in the main process); what was finished is kept",
        ) from error


def usable_workers(wanted: int) -> int:
    """`wanted`, or 0 where the shared memory is too small to pass batches between processes."""
    if wanted and sys.platform == "linux" and _SHARED_MEMORY.is_dir():
        free = shutil.disk_usage(_SHARED_MEMORY).free
        if free < _SHARED_MEMORY_NEEDED:
            _LOG.warning(
                "Only %d MiB of shared memory are free: files are read in the main process. "
                "In a container, start it with --shm-size=1g.",
                free >> 20,
            )
            return 0
    return wanted


def _as_is(decoded: Any) -> Any:
    return decoded


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    sys.excepthook = _unless_left_alone


def _unless_left_alone(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Nothing for a broken connection: Ctrl-C may end the main process while a worker hands it a batch.

    The worker's sender would print a traceback below the message that says how to go on.
    """
    if not issubclass(kind, (EOFError, ConnectionError)):
        sys.__excepthook__(kind, error, trace)
