"""What every ECG reader returns: the channels as the file holds them, in the file's own units."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import ReadError

MAX_BYTES = 1_000_000_000


@dataclass
class RawECG:
    """Channels of one recording, before leads are matched and units converted.

    Attributes:
        format: The carrier, such as ``"wfdb"`` or ``"dicom"``.
        values: float (channels, samples) in `units`; NaN where the file marks samples as missing.
        names: Channel names as written; empty when the format has none. They may hold anything,
            so they never go into a fact or an error as they are.
        units: Unit of each channel as written, ``None`` where the file says nothing.
        sampling_hz: Samples per second, ``None`` where the file says nothing.
        units_source: Who says the units: ``"file"``, or the rule of the format that fills the gap.
        facts: Acquisition facts of the format, none of them free text from the file.
    """

    format: str
    values: np.ndarray
    names: list[str]
    units: list[str | None]
    sampling_hz: float | None
    units_source: str = "file"
    facts: dict[str, Any] = field(default_factory=dict)


Options = Mapping[str, Any]
"""What the cohort states about a file: ``sampling_hz``, ``units``, ``leads``, ``dataset``."""


def read_bytes(path: Path, where: str, what: str = "The file") -> bytes:
    """The bytes of the file at `path`; `what` names it in errors, where `where` is the file that led to it.

    Raises:
        ReadError: The file is missing, a folder, empty, unreadable, or above 1 GB.
    """
    try:
        # Unbuffered, and read at once: records are small and many.
        with path.open("rb", buffering=0) as handle:
            size = os.fstat(handle.fileno()).st_size
            data = handle.read() if size <= MAX_BYTES else b""
    except FileNotFoundError as error:
        raise ReadError(f"{what} does not exist.", where=where, fix="check the path and the root folder") from error
    except IsADirectoryError as error:
        raise ReadError(f"{what} is a folder.", where=where, expected="a recording") from error
    except (OSError, ValueError) as error:
        raise ReadError(f"{what} cannot be read: {type(error).__name__}.", where=where) from error
    if size > MAX_BYTES:
        raise ReadError(f"{what} is too large for an ECG.", where=where, expected=f"at most {MAX_BYTES} bytes")
    if not data:
        raise ReadError(f"{what} is empty (0 bytes).", where=where, fix="copy or download the file again")
    return data


def number(text: Any, what: str, where: str, *, positive: bool = False) -> float:
    """`text` as a finite float; the error names the field, never the text found in it."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        # Not chained: the text of the cause would repeat what the file holds.
        raise ReadError(f"The {what} is not a number.", where=where) from None
    if not np.isfinite(value) or (positive and value <= 0):
        raise ReadError(
            f"The {what} is {value:g}.", where=where, expected="a number above 0" if positive else "a number"
        )
    return value


def truncated(what: str, where: str, promised: float, held: float, unit: str = "bytes") -> ReadError:
    """The error of a file that holds less than its header promises."""
    return ReadError(
        f"{what} is cut off: the header promises {promised:.12g} {unit}, the file holds {held:.12g}.",
        where=where,
        fix="copy or download the file again",
    )


def stack(rows: Iterable[np.ndarray], where: str) -> np.ndarray:
    """The channels as one float64 array (channels, samples); they must have one length."""
    channels = [np.asarray(row, np.float64) for row in rows]
    if not channels:
        raise ReadError("The file holds no ECG channel.", where=where)
    lengths = {len(row) for row in channels}
    if len(lengths) > 1:
        raise ReadError(
            f"The channels have different lengths ({min(lengths)} to {max(lengths)} samples).",
            where=where,
            expected="one length for all channels",
        )
    return np.stack(channels)
