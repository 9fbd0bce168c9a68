"""One picture out of a stack inside an HDF5 file, as PatchCamelyon is published.

Only the rows asked for are read, so memory does not grow with the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.pixels import to_rgb8

SUFFIXES = (".h5", ".hdf5")
_MAGIC = b"\x89HDF\r\n\x1a\n"
_USUAL = ("x", "images", "image", "data")
# A chunk is what a read decompresses at least; beyond this, one patch would cost gigabytes.
MAX_CHUNK_BYTES = 1_000_000_000


def is_hdf5(path: Path) -> bool:
    """Whether the file begins as an HDF5 file does; false where it cannot be read."""
    try:
        with path.open("rb") as handle:
            return handle.read(8) == _MAGIC
    except OSError:
        return False


def read_stacked(
    path: Path, index: int, dataset: str | None = None, *, where: str | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Row `index` of a stack of pictures.

    Args:
        path: The HDF5 file.
        index: Which picture, counted from 0.
        dataset: Name of the stack; when ``None``: ``x``, ``images``, ``image`` or ``data``, else the only one.
        where: How errors name the record.

    Returns:
        RGB uint8 (height, width, 3) and the facts ``format``, ``source_bits``, ``width``, ``height``.

    Raises:
        ReadError: Missing or damaged file, no such stack or row, pixels that are not 8- or 16-bit.
    """
    name = where if where is not None else str(path)
    stored = _row(path, index, dataset, name)
    facts: dict[str, Any] = {"format": "hdf5", "source_bits": stored.dtype.itemsize * 8}
    array = to_rgb8(stored, name, facts)
    return array, {**facts, "height": array.shape[0], "width": array.shape[1]}


def stacked_digest(path: Path, index: int, dataset: str | None = None, *, where: str | None = None) -> str:
    """SHA-256 over the stored pixels of one row, their shape and type: equal pictures share it in any file.

    Raises:
        ReadError: As :func:`read_stacked`.
    """
    stored = _row(path, index, dataset, where if where is not None else str(path))
    head = f"hdf5 picture {stored.dtype.str} {stored.shape}|".encode()
    return hashlib.sha256(head + np.ascontiguousarray(stored).tobytes()).hexdigest()


def _row(path: Path, index: int, dataset: str | None, where: str) -> np.ndarray:
    with _stack(path, dataset, where) as stack:
        if not 0 <= index < stack.shape[0]:
            raise ReadError(
                f"There is no picture {index} in '{stack.name}'.", where=where, expected=f"0 to {stack.shape[0] - 1}"
            )
        return np.asarray(stack[index])


@contextmanager
def _stack(path: Path, dataset: str | None, where: str) -> Iterator[Any]:
    import h5py

    if not path.is_file():
        raise ReadError("The file does not exist.", where=where)
    if not is_hdf5(path):
        raise ReadError(
            "This is not an HDF5 file.", where=where, fix="unpack it if it is packed (.gz), or download it again"
        )
    try:
        with h5py.File(path, "r") as file:
            stack = _find(file, dataset, where)
            if stack.dtype.kind != "u" or stack.dtype.itemsize > 2:
                raise ReadError(
                    f"'{stack.name}' holds pixels of type {stack.dtype}.", where=where, expected="uint8 or uint16"
                )
            if stack.chunks and int(np.prod(stack.chunks)) * stack.dtype.itemsize > MAX_CHUNK_BYTES:
                raise ReadError(
                    f"'{stack.name}' is stored in chunks above {MAX_CHUNK_BYTES // 1_000_000} MB.",
                    where=where,
                    fix="store it again with one picture per chunk",
                )
            yield stack
    except OSError as error:
        raise ReadError(
            "The HDF5 file is damaged or cut off.", where=where, fix="copy or download the file again"
        ) from error


def _find(file: Any, dataset: str | None, where: str) -> Any:
    import h5py

    def pictures(item: Any) -> bool:
        return isinstance(item, h5py.Dataset) and item.ndim in (3, 4)

    if dataset is not None:
        # Links to other files could read anything on the machine.
        if isinstance(file.get(dataset, getlink=True), h5py.ExternalLink) or not pictures(file.get(dataset)):
            raise ReadError(f"There is no stack of pictures '{dataset}'.", where=where, expected=_listed(file))
        return file[dataset]
    stacks = [
        key
        for key in file
        if not isinstance(file.get(key, getlink=True), h5py.ExternalLink) and pictures(file.get(key))
    ]
    chosen = next((key for key in _USUAL if key in stacks), stacks[0] if len(stacks) == 1 else None)
    if chosen is None:
        raise ReadError(
            f"The file holds {len(stacks)} stacks of pictures.",
            where=where,
            expected="one, or its name in a column 'dataset'",
        )
    return file[chosen]


def _listed(file: Any) -> str:
    return ", ".join(sorted(str(key) for key in file)[:8]) or "the file is empty"
