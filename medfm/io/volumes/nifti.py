"""NIfTI-1, NIfTI-2 and Analyze 7.5, single files and pairs; headers are parsed by nibabel.

Geometry: the sform where its code is above 0, else the qform where its code is, else the spacing alone.
Left and right are then not known, and neither are they in an Analyze file.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.core.extras import import_extra
from medfm.io.volumes.stream import opened, read_voxels, skip
from medfm.io.volumes.volume import Volume, check_grid, sound_affine

PAIRS = (".hdr", ".img")
_UNITS_MM = {1: 1000.0, 3: 0.001}  # metres and micrometres; 2 are millimetres, 0 says nothing
_HEADER_BYTES = 544


def nifti_kind(head: bytes) -> str | None:
    """``"nifti1"``, ``"nifti2"`` or ``"analyze"`` by the first (unpacked) bytes of a header, else ``None``."""
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        return "nifti1"
    if head[4:8] in (b"n+2\0", b"ni2\0"):
        return "nifti2"
    sizes = (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    if 348 in sizes and len(head) >= 348:
        order = "little" if sizes[0] == 348 else "big"
        axes = int.from_bytes(head[40:42], order)  # type: ignore[arg-type]
        return "analyze" if 1 <= axes <= 7 else None
    return None


def pair_of(path: Path) -> tuple[Path, Path]:
    """Header and voxel file of a pair, either of which may be named; one packed by gzip ends in ``.gz`` too."""
    name, packed = path.name, ""
    if name.lower().endswith(".gz"):
        name, packed = name[:-3], name[-3:]
    stem, ending = name[:-4], name[-4:]
    other = {".hdr": ".img", ".img": ".hdr", ".HDR": ".IMG", ".IMG": ".HDR"}.get(ending, ".img")
    beside = path.with_name(stem + other + packed)
    if not beside.exists():
        swapped = path.with_name(stem + other + ("" if packed else ".gz"))
        beside = swapped if swapped.exists() else beside
    return (path, beside) if ending.lower() == ".hdr" else (beside, path)


def is_pair(path: Path) -> bool:
    """Whether the name is one of a pair of header and voxels."""
    return path.name.lower().removesuffix(".gz").endswith(PAIRS)


def check_nifti_size(head: bytes, where: str) -> None:
    """Refuse from the first bytes what is 4D, a single slice or does not fit into memory.

    Raises:
        ReadError: It is one of these, or the header is damaged.
    """
    if (kind := nifti_kind(head)) is not None:
        check_grid(_header(head, kind, where).get_data_shape(), where)


def read_nifti(path: Path, spacing: list[float] | None, where: str) -> Volume:
    """Read a volume; `spacing` (mm) counts only where the header has none.

    Raises:
        ReadError: Damaged or cut off, 4D, no spacing, colours or complex numbers, too large.
    """
    header_file, voxel_file = pair_of(path) if is_pair(path) else (path, path)
    with opened(header_file, where) as stream:
        head = stream.read(_HEADER_BYTES)
        kind = nifti_kind(head)
        if kind is None:
            raise ReadError("The header is none of NIfTI or Analyze.", where=where)
        header = _header(head, kind, where)
        shape = check_grid(header.get_data_shape(), where)
        dtype = _dtype(header, where)
        slope, inter = _scaling(header, kind, where)
        affine, facts = _geometry(header, kind, spacing, where)
        offset = max(_offset(header, where), 0)
        if voxel_file == header_file:
            rest = _Rest(head, stream)
            skip(rest, offset or len(head), where)  # type: ignore[arg-type]
            array = read_voxels(rest, shape, dtype, where, slope, inter)  # type: ignore[arg-type]
    if voxel_file != header_file:
        with opened(voxel_file, f"{where}, {voxel_file.suffix} of the pair") as stream:
            skip(stream, offset, where)
            array = read_voxels(stream, shape, dtype, where, slope, inter)
    facts = {"format": kind, "stored": dtype.name, "scaled": (slope, inter) != (1.0, 0.0)} | facts
    return Volume(array, affine, facts)


class _Rest:
    """The bytes already read, then those of the stream."""

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        self._head, self._stream, self._at = head, stream, 0

    def tell(self) -> int:
        return self._at if self._at < len(self._head) else self._stream.tell()

    def read(self, size: int) -> bytes:
        if self._at < len(self._head):
            part = self._head[self._at : self._at + size]
            self._at += len(part)
            return part
        return self._stream.read(size)


def _header(head: bytes, kind: str, where: str) -> Any:
    nibabel = import_extra("nibabel", "mri", "Reading NIfTI, Analyze and MGH volumes")
    maker = {
        "nifti1": nibabel.Nifti1Header,
        "nifti2": nibabel.Nifti2Header,
        "analyze": nibabel.Spm99AnalyzeHeader,  # Analyze with the scale factor where SPM keeps it
    }[kind]
    try:
        # Unchecked: nibabel's own repairs are written to the error stream; what matters is checked here. The fixed
        # part alone: extensions hold text.
        return maker(binaryblock=head[: _SIZES[kind]], check=False)
    except Exception as error:  # nibabel raises its own and numpy's errors on damaged headers
        raise ReadError(f"The {_NAMES[kind]} header is damaged or cut off.", where=where) from error


_SIZES = {"nifti1": 348, "nifti2": 540, "analyze": 348}
_NAMES = {"nifti1": "NIfTI-1", "nifti2": "NIfTI-2", "analyze": "Analyze"}


def _dtype(header: Any, where: str) -> np.dtype:
    try:
        dtype = np.dtype(header.get_data_dtype())
    except Exception as error:
        raise ReadError("The header names a kind of number that does not exist.", where=where) from error
    if dtype.names is not None or dtype.kind not in "iuf" or dtype.itemsize > 16:
        raise ReadError(
            "The voxels are colours, complex numbers or bits, not grey values.",
            where=where,
            expected="whole or floating-point numbers",
            fix="export magnitudes as int16 or float32",
        )
    return dtype


def _scaling(header: Any, kind: str, where: str) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 or NaN means none."""
    if kind == "analyze":
        slope, inter = float(header["scl_slope"]), 0.0
    else:
        slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    if not math.isfinite(inter):
        raise ReadError("The intercept of the scaling in the header is no number.", where=where)
    return slope, inter


def _offset(header: Any, where: str) -> int:
    offset = float(header["vox_offset"])
    if not math.isfinite(offset) or offset > 1 << 40:
        raise ReadError("The header does not say where its voxels begin.", where=where)
    return int(offset)


def _geometry(header: Any, kind: str, spacing: list[float] | None, where: str) -> tuple[np.ndarray, dict[str, Any]]:
    facts: dict[str, Any] = {}
    if kind != "analyze":
        unit = _UNITS_MM.get(int(header["xyzt_units"]) & 7, 1.0)
        affines = {}
        if int(header["sform_code"]) > 0:
            affines["sform"] = np.asarray(header.get_sform(), np.float64)
        if int(header["qform_code"]) > 0:
            try:
                affines["qform"] = np.asarray(header.get_qform(), np.float64)
            except Exception:  # a quaternion that is none: as good as absent
                facts["qform_broken"] = True
        for affine in affines.values():
            affine[:3] *= unit
        sound = {name: affine for name, affine in affines.items() if sound_affine(affine)}
        if affines and not sound:
            raise _no_spacing(where, "The geometry in the header is degenerate: it does not span a volume.")
        if len(sound) == 2:
            facts["sform_against_qform_mm"] = _apart(sound["sform"], sound["qform"], header.get_data_shape()[:3])
            facts["same_codes"] = int(header["sform_code"]) == int(header["qform_code"])
            mirrored = np.sign([np.linalg.det(a[:3, :3]) for a in sound.values()])
            if mirrored[0] != mirrored[1]:
                facts["sform_mirrors_qform"] = True
        if sound:
            name = next(iter(sound))
            return sound[name], facts | {"orientation_source": name, "left_right": "known"}
    else:
        unit = 1.0
    sides = np.abs(np.asarray(header["pixdim"][1:4], np.float64)) * unit
    if not (np.isfinite(sides).all() and (sides > 0).all()):
        if spacing is None:
            raise _no_spacing(where, "The header has no spacing: the size of the voxels is not known.")
        sides = np.asarray(spacing, np.float64)
        facts["spacing_source"] = "table"
    affine = np.diag(np.append(sides, 1.0))
    if kind == "analyze":
        affine[0, 0] *= -1  # the customary order of Analyze files; some sites use the other
    centre = (np.asarray(header.get_data_shape()[:3]) - 1) / 2
    affine[:3, 3] = -affine[:3, :3] @ centre
    return affine, facts | {"orientation_source": "none", "left_right": "not known"}


def _no_spacing(where: str, what: str) -> ReadError:
    return ReadError(
        what,
        where=where,
        expected="an sform, a qform, or pixdim with three numbers above 0",
        fix="convert the original again; or state the voxels in the column (option) spacing_mm, such as 1x1x1.2",
    )


def _apart(one: np.ndarray, other: np.ndarray, shape: Any) -> float:
    """Largest distance in mm between the places that two affines give the corners of a volume."""
    ends = np.array(np.meshgrid(*[(0, int(n) - 1) for n in shape], indexing="ij")).reshape(3, -1)
    return round(float(np.linalg.norm((one - other)[:3, :3] @ ends + (one - other)[:3, 3:], axis=0).max()), 4)
