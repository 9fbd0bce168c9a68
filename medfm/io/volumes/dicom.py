"""A DICOM series as a volume: a folder of slices, or an enhanced multi-frame file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.dicom_pixels import decode_frames
from medfm.io.volumes.dicom_planes import CLASSIC, ENHANCED, Plane, read_planes
from medfm.io.volumes.dicom_series import choose, separate, stack
from medfm.io.volumes.volume import Volume, fits_memory

MOST_FILES = 20_000
_PIXELS = [
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
]  # fmt: skip


def dicom_files(folder: Path, where: str) -> list[Path]:
    """The DICOM files at or below `folder`, sorted by name; hidden and other files are passed over.

    Raises:
        ReadError: There are none, or more than :data:`MOST_FILES`.
    """
    found = []
    for file in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if hidden or file.name.upper() == "DICOMDIR" or not file.is_file() or not marked(file):
            continue
        found.append(file)
        if len(found) > MOST_FILES:
            raise ReadError(
                f"The folder holds more than {MOST_FILES:,} DICOM files.",
                where=where,
                fix="name the folder of one series, not that of a whole archive",
            )
    if not found:
        raise ReadError(
            "The folder holds no DICOM files.",
            where=where,
            expected="the slices of a series, each with the DICOM mark behind 128 bytes",
            fix="unpack archives first; name the folder of the series",
        )
    return found


def marked(path: Path) -> bool:
    """Whether the file has the DICOM mark behind a preamble of 128 bytes."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def is_mr(path: Path) -> bool:
    """Whether a DICOM file, or the first one at or below a folder, says that it is MR of a kind read here."""
    import pydicom

    try:
        first = next((f for f in sorted(path.rglob("*")) if f.is_file() and marked(f)), None) if path.is_dir() else path
        if first is None or not marked(first):
            return False
        header = pydicom.dcmread(first, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except Exception:  # damaged files raise nearly anything, and then are not of this kind
        return False
    return str(header.get("SOPClassUID", "")) in (CLASSIC, *ENHANCED)


def read_series(path: Path, label: str | None, where: str) -> Volume:
    """Read the volume of a folder, or of one enhanced file.

    Args:
        path: Folder or file.
        label: Which of several volumes; see :func:`medfm.io.volumes.dicom_series.choose`.
        where: How errors name it.

    Raises:
        ReadError: Not MR, several series, gaps or doubled slices, a compression that is not read, damaged, too large.
    """
    files = dicom_files(path, where) if path.is_dir() else [path]
    series, others = choose(separate(read_planes(files, where)), label, where)
    ordered = stack(series, where)
    rows, columns = ordered.planes[0].size
    fits_memory((columns, rows, len(ordered.planes)), where)
    array = np.empty((columns, rows, len(ordered.planes)), np.float32, order="F")
    opened: Path | None = None
    decoded: Any = None
    for k, plane in enumerate(ordered.planes):
        place = where if path == plane.file else f"{where}, {plane.file.name}"
        if opened != plane.file:
            opened, decoded = plane.file, _opened(plane.file, place)
        array[:, :, k] = _values(decoded, plane, place).T
    kinds = [plane.kinds for plane in ordered.planes]
    scaled = any((plane.slope, plane.intercept) != (1.0, 0.0) for plane in ordered.planes)
    facts: dict[str, Any] = {
        "format": "dicom",
        "stored": f"{'int' if decoded.PixelRepresentation else 'uint'}{decoded.BitsStored}",
        "scaled": scaled,
        "frames" if ordered.planes[0].frame is not None else "files": len(ordered.planes),
        "orientation_source": "header",
        "left_right": "known",
    }
    if len({(plane.slope, plane.intercept) for plane in ordered.planes}) > 1:
        facts["scaled_per_slice"] = True
    if series.copies:
        facts["copies_left_out"] = series.copies
    if others:
        facts["other_series"] = others
    if any("DERIVED" in kind for kind in kinds):
        facts["derived"] = True
    return Volume(array, ordered.affine, facts)


def _opened(file: Path, where: str) -> Any:
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pydicom.dcmread(file, specific_tags=_PIXELS)
        except Exception as error:
            raise _damaged(error, where) from None


def _values(dataset: Any, plane: Plane, where: str) -> np.ndarray:
    """One plane float64 (rows, columns), scaled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if "PixelData" not in dataset:
                raise ReadError("The DICOM file holds no pixels.", where=where)
            stored = decode_frames(dataset, plane.frame, where)
        except ReadError:
            raise
        except Exception as error:
            raise _damaged(error, where) from None
    if stored.shape != plane.size:
        raise ReadError("The pixels have another size than the DICOM file says.", where=where)
    values = stored.astype(np.float64)
    if plane.inverted:
        low, high = (-(2.0 ** (dataset.BitsStored - 1)), 2.0 ** (dataset.BitsStored - 1) - 1)
        values = (low + high if dataset.PixelRepresentation else 2.0**dataset.BitsStored - 1) - values
    return values * plane.slope + plane.intercept


def _damaged(error: Exception, where: str) -> ReadError:
    # pydicom's own words may hold values of the file.
    return ReadError(
        f"The DICOM file is damaged or cut off ({type(error).__name__}).", where=where, fix="copy or export it again"
    )
