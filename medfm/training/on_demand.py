"""Records that are read while training goes on: one that cannot be read ends the run with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from medfm.core.errors import ReadError, TrainingError
from medfm.modalities.record import RecordRef


@contextmanager
def read_while_training(ref: RecordRef, what: str = "record") -> Iterator[None]:
    """Raise TrainingError in place of the ReadError of a block that reads `ref`; `what` is its kind in words."""
    try:
        yield
    except ReadError as error:
        raise TrainingError(
            f"A {what} cannot be read: {error.what}",
            where=f"record {ref.record_id}",
            fix="leave the record out of the table (medfm data check names all of them), then resume",
        ) from error
