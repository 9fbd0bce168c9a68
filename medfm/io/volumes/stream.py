"""Voxels of a file in slabs: a volume is never in memory twice."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from medfm.core.errors import ReadError

GZIP = b"\x1f\x8b"
_SLAB = 8 << 20  # bytes


@contextmanager
def opened(path: Path, where: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where it is gzip by content; errors of either come out as :class:`ReadError`.

    Raises:
        ReadError: The file is missing, damaged or cut off.
    """
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == GZIP
            plain.seek(0)
            if not packed:
                yield plain
                return
            with gzip.GzipFile(fileobj=plain) as unpacked:
                yield unpacked  # type: ignore[misc]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError(
            "The packed file is damaged or cut off.", where=where, fix="copy or download it again"
        ) from error
    except FileNotFoundError as error:
        raise ReadError("The file does not exist.", where=where, fix="check the path and the root folder") from error
    except IsADirectoryError as error:
        raise ReadError("This is a folder, not a file.", where=where) from error
    except OSError as error:
        raise ReadError(f"The file cannot be read: {error.strerror or type(error).__name__}.", where=where) from error


def skip(stream: IO[bytes], offset: int, where: str) -> None:
    """Go to byte `offset`; raises :class:`ReadError` where the header says nonsense or the file ends before."""
    here = stream.tell()
    if offset < here:
        raise ReadError("The header says that the voxels begin inside the header.", where=where)
    while here < offset:
        passed = len(stream.read(min(offset - here, _SLAB)))
        if not passed:
            raise _short(where)
        here += passed


def read_voxels(
    stream: IO[bytes],
    shape: tuple[int, int, int],
    dtype: np.dtype,
    where: str,
    slope: float = 1.0,
    inter: float = 0.0,
) -> np.ndarray:
    """Voxels stored first axis fastest, as float32 with stored * `slope` + `inter` computed in float64.

    Raises:
        ReadError: The file ends too early.
    """
    result = np.empty(shape, np.float32, order="F")
    plane = shape[0] * shape[1] * dtype.itemsize
    step = max(_SLAB // plane, 1)
    scaled = (slope, inter) != (1.0, 0.0)
    for first in range(0, shape[2], step):
        last = min(first + step, shape[2])
        data = _exactly(stream, plane * (last - first), where)
        stored = np.frombuffer(data, dtype).reshape((*shape[:2], last - first), order="F")
        with np.errstate(over="ignore", invalid="ignore"):
            result[:, :, first:last] = stored.astype(np.float64) * slope + inter if scaled else stored
    return result


def _exactly(stream: IO[bytes], size: int, where: str) -> bytes:
    parts, missing = [], size
    while missing:
        part = stream.read(missing)
        if not part:
            raise _short(where)
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _short(where: str) -> ReadError:
    return ReadError(
        "The file ends before its last voxel: it is cut off.", where=where, fix="copy or download it again"
    )
