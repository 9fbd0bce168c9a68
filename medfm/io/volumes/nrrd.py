"""NRRD: the format's own text header (teem.sourceforge.net/nrrd/format.html), voxels raw or packed by gzip."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.volumes.stream import opened, read_voxels
from medfm.io.volumes.volume import Volume, check_grid, sound_affine

_MOST = 1 << 16  # bytes of a header
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    "float": "f4",
    "double": "f8",
}
_FIELDS = {"centerings": "centers", "data file": "datafile", "byte skip": "byteskip", "line skip": "lineskip"}
# What the world of each space is multiplied with to become right, front, top.
_SPACES = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (1, 1, 1)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1, 1, 1)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1, -1, 1)),
}


def is_nrrd(head: bytes) -> bool:
    """Whether the first bytes are those of an NRRD header."""
    return head.startswith(b"NRRD0")


def data_file(path: Path, where: str) -> Path | None:
    """The file of the voxels where the header names one beside it; ``None`` where they follow the header."""
    with opened(path, where) as stream:
        name = _fields(stream, where).get("datafile")
    return None if name is None else _beside(path, name, where)


def check_nrrd_size(path: Path, where: str) -> None:
    """Refuse from the header what is 4D, a single slice or does not fit into memory.

    Raises:
        ReadError: It is one of these, or the header is damaged.
    """
    with opened(path, where) as stream:
        check_grid([int(n) for n in _numbers(_fields(stream, where), "sizes", where)], where)


def read_nrrd(path: Path, where: str) -> Volume:
    """Read a volume.

    Raises:
        ReadError: Damaged or cut off, 4D, colours, no spacing, a list of voxel files, bzip2 or text, too large.
    """
    with opened(path, where) as stream:
        fields = _fields(stream, where)
        sizes = _numbers(fields, "sizes", where)
        shape = check_grid([int(n) for n in sizes], where)
        kinds = fields.get("kinds", "").lower().split()[:3]
        if any(
            kind in ("complex", "rgb-color", "rgba-color", "vector", "list", "3-vector", "3-color") for kind in kinds
        ):
            raise ReadError("The voxels are colours, vectors or complex numbers, not grey values.", where=where)
        dtype = _dtype(fields, where)
        affine, facts = _geometry(fields, shape, where)
        detached = fields.get("datafile")
        if detached is None:
            array = _voxels(stream, fields, shape, dtype, where)
    if detached is not None:
        # The bytes as they are: packing is said by the header, not guessed.
        try:
            with _beside(path, detached, where).open("rb") as plain:
                array = _voxels(plain, fields, shape, dtype, where)
        except OSError as error:
            raise ReadError("The file of the voxels cannot be read.", where=where) from error
    return Volume(array, affine, {"format": "nrrd", "stored": dtype.name, "scaled": False} | facts)


def _fields(stream: IO[bytes], where: str) -> dict[str, str]:
    """``field: value`` lines up to the empty line; ``key:=value`` lines (free text) are passed over."""
    if not is_nrrd(stream.readline(64)):
        raise ReadError("The file is not NRRD.", where=where)
    fields: dict[str, str] = {}
    read = 0
    while line := stream.readline(_MOST):
        read += len(line)
        if read > _MOST:
            raise ReadError("The NRRD header does not end.", where=where)
        text = line.decode("latin-1").strip("\r\n")
        if not text.strip():
            break
        if text.startswith("#") or ":=" in text:
            continue
        name, found, value = text.partition(":")
        if not found:
            raise ReadError("The NRRD header has a line that is no field.", where=where)
        key = name.strip().lower()
        fields[_FIELDS.get(key, key)] = value.strip()
    return fields


def _beside(path: Path, name: str, where: str) -> Path:
    if name.upper().startswith("LIST") or "%" in name:
        raise ReadError("The voxels are spread over several files.", where=where, fix="write them into one .nrrd file")
    if "/" in name or "\\" in name or name in ("", ".", ".."):
        raise ReadError(
            "The header names a file of voxels in another folder.", where=where, expected="a file beside the header"
        )
    return path.with_name(name)


def _voxels(
    stream: IO[bytes], fields: Mapping[str, str], shape: tuple[int, int, int], dtype: np.dtype, where: str
) -> np.ndarray:
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz"):
        known = encoding in ("bzip2", "bz2", "ascii", "text", "txt", "hex")
        raise ReadError(
            f"The voxels are stored as '{encoding if known else '?'}', which is not read.",
            where=where,
            expected="raw or gzip",
            fix="save the volume again with gzip",
        )
    if int(fields.get("lineskip") or 0) or int(fields.get("byteskip") or 0) > 0:
        raise ReadError("Voxels after skipped lines or bytes are not read.", where=where, fix="save the volume again")
    if encoding == "raw":
        return read_voxels(stream, shape, dtype, where)
    try:
        with gzip.GzipFile(fileobj=stream) as unpacked:
            return read_voxels(unpacked, shape, dtype, where)  # type: ignore[arg-type]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError("The packed voxels are damaged or cut off.", where=where) from error


def _dtype(fields: Mapping[str, str], where: str) -> np.dtype:
    code = _TYPES.get(fields.get("type", "").lower())
    if code is None:
        raise ReadError(
            "The header names no kind of number that is read.", where=where, expected="8 to 32 bits, float or double"
        )
    endian = fields.get("endian", "").lower()
    if code[1] != "1" and endian not in ("little", "big"):
        raise ReadError("The header does not say the order of bytes.", where=where, expected="endian: little or big")
    return np.dtype(("<" if endian == "little" else ">") + code)


def _geometry(fields: Mapping[str, str], shape: tuple[int, int, int], where: str) -> tuple[np.ndarray, dict[str, str]]:
    affine = np.eye(4)
    if "space directions" in fields:
        vectors = re.findall(r"\(([^)]*)\)", fields["space directions"])
        world = _SPACES.get(fields.get("space", "").lower())
        origin = re.findall(r"\(([^)]*)\)", fields.get("space origin", "(0,0,0)"))
        try:
            if len(vectors) != 3 or not origin:
                raise ValueError
            affine[:3, :3] = np.array([[float(v) for v in vector.split(",")] for vector in vectors]).T
            affine[:3, 3] = [float(v) for v in origin[0].split(",")]
        except ValueError as error:
            raise ReadError("The directions of the axes in the header are no three vectors.", where=where) from error
        affine[:3] *= np.reshape(world or (1, 1, 1), (3, 1))
        source, known = ("header", "known") if world else ("none", "not known")
    elif "spacings" in fields:
        sides = np.array(_numbers(fields, "spacings", where)[:3], np.float64)
        if len(sides) == 3:
            affine[:3, :3] = np.diag(sides)
            affine[:3, 3] = -sides * (np.asarray(shape) - 1) / 2
        source, known = "none", "not known"
    else:
        affine[:] = np.nan
        source = known = ""
    if not sound_affine(affine):
        raise ReadError(
            "The header has no spacing: the size of the voxels is not known.",
            where=where,
            expected="'space directions' or 'spacings' with numbers above 0",
            fix="save the volume again with its geometry",
        )
    return affine, {"orientation_source": source, "left_right": known}


def _numbers(fields: Mapping[str, str], name: str, where: str) -> list[float]:
    try:
        found = [float(v) for v in fields[name].split()]
    except (KeyError, ValueError) as error:
        raise ReadError(f"The header has no valid '{name}'.", where=where) from error
    if name == "sizes" and any(not np.isfinite(n) or n != int(n) or n > 1 << 31 for n in found):
        raise ReadError("The sizes in the header are no whole numbers.", where=where)
    return found
