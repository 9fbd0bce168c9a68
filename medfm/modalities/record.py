"""What every modality shares: a reference to a record, the record as read, and the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medfm.core.hashing import canonical_json, sha256_bytes, sha256_file

# Bytes of a record from which on its header is looked at before it is hashed: seconds of work, else minutes.
LARGE_FILE = 1 << 30


@dataclass(frozen=True)
class RecordRef:
    """Where one record is and how to read it; small and picklable, so workers can receive it.

    Attributes:
        record_id: The cohort's own id.
        path: Absolute path of the file.
        options: What the reader needs beside the file, such as ``{"box": [x0, y0, x1, y1]}``
            in pixels for one cell of a smear. Part of the content key.
    """

    record_id: str
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)

    def content_key(self) -> str:
        """SHA-256 over the file's bytes and the options: two files of equal content share it."""
        return self.content_key_for(sha256_file(self.path))

    def content_key_for(self, file_digest: str) -> str:
        """As :meth:`content_key`, with the file's SHA-256 already known."""
        return sha256_bytes(f"{file_digest}|{canonical_json(dict(self.options))}".encode())


def own_key(modality: object, ref: RecordRef) -> str | None:
    """The content key where a modality tells it itself, by a method ``content_key(ref)``; else ``None``.

    For records inside a container that holds many: its bytes as a whole say nothing about one of them.

    Raises:
        ReadError: The record cannot be read.
    """
    told = getattr(modality, "content_key", None)
    return None if told is None else told(ref)


def check_size(modality: object, ref: RecordRef, size: int) -> None:
    """Let a modality with a method ``check_size(ref)`` refuse a record of `size` bytes before these are hashed.

    Small files go by unasked: hashing them takes a moment, and their vectors may be in the store.

    Raises:
        ReadError: The record is larger than this machine can read.
    """
    refuse = getattr(modality, "check_size", None)
    if refuse is not None and size >= LARGE_FILE:
        refuse(ref)


@dataclass(frozen=True)
class Record:
    """One sample as read. `facts` holds acquisition facts only, never a patient identifier.

    Attributes:
        record_id: The cohort's own id (or the file name for a record read by hand).
        modality: Name of the modality.
        array: The data in the modality's canonical form (see its contract).
        facts: Acquisition facts, such as ``{"source_bits": 16, "mpp": 0.25}``.
    """

    record_id: str
    modality: str
    array: np.ndarray
    facts: Mapping[str, Any] = field(default_factory=dict)


class Modality(Protocol):
    """The physical contract of a modality and its reader.

    ``name`` is the modality's word; ``title`` what people call it; ``contract`` one sentence
    on the canonical array (shape, dtype, units, order); ``suffixes`` the file endings read;
    ``option_columns`` the cohort columns that become :attr:`RecordRef.options`. A method ``glance(record)``, where there is
    one, returns 16 bits (0: none) on what is worth a warning wherever the record is used; a store keeps them.
    """

    name: str
    title: str
    contract: str
    suffixes: tuple[str, ...]
    option_columns: tuple[str, ...]

    def options(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The reader options of one cohort row (JSON-like values only)."""
        ...

    def read(self, ref: RecordRef) -> Record:
        """Read one record.

        Raises:
            ReadError: The file is missing, damaged, of another format, too large, or its
                content contradicts the contract.
        """
        ...
