"""Ophthalmic DICOM: photographs of 8 and 16 bit and tomography volumes (PS3.3 A.41, A.52).

Only the elements named below are parsed: those of the pixels, the eye and the geometry. Patient,
study and device attributes are never read, so none can end in a record, an error or a log.
"""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.dicom_pixels import decode_frames, to_eight_bits
from medfm.io.dicom_values import displayed, stored_range

PHOTOGRAPHS = {
    "1.2.840.10008.5.1.4.1.1.77.1.5.1": "ophthalmic photography 8 bit",
    "1.2.840.10008.5.1.4.1.1.77.1.5.2": "ophthalmic photography 16 bit",
    "1.2.840.10008.5.1.4.1.1.77.1.5.5": "wide field, stereographic projection",
    "1.2.840.10008.5.1.4.1.1.77.1.5.6": "wide field, 3D coordinates",
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL photographic",
    "1.2.840.10008.5.1.4.1.1.7": "secondary capture",
    "1.2.840.10008.5.1.4.1.1.7.4": "secondary capture, multi-frame colour",
}
TOMOGRAPHY = "1.2.840.10008.5.1.4.1.1.77.1.5.4"
MAX_PIXELS = 100_000_000
MAX_VOLUME = 400_000_000
MAX_BYTES = 2_000_000_000
_PIXELS = [
    "SOPClassUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "ICCProfile", "BurnedInAnnotation", "LossyImageCompression",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "VOILUTFunction",
    "WindowCenter", "WindowWidth", "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
]  # fmt: skip
_PLACE = [
    "ImageLaterality", "Laterality", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "HorizontalFieldOfView", "PupilDilated", "SharedFunctionalGroupsSequence",
]  # fmt: skip


def is_dicom(path: Path) -> bool:
    """Whether the file at `path` has the DICOM mark behind a preamble of 128 bytes."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def is_ophthalmic(path: Path) -> bool:
    """Whether a DICOM file says that it is of a kind read here: by its SOP class, and no radiograph by its modality."""
    import pydicom

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "Modality"])
    except Exception:  # damaged files raise nearly anything, and then are not of this kind
        return False
    sop = str(header.get("SOPClassUID", ""))
    # A secondary capture may be of anything.
    return (sop == TOMOGRAPHY or sop in PHOTOGRAPHS) and str(header.get("Modality", "")) not in ("CR", "DX", "RG", "DR")


def read_ophthalmic(path: Path, frame: int | None, where: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a photograph, a volume, or with `frame` (from 0) one frame of either as a picture.

    Returns:
        A photograph or frame as RGB uint8 (height, width, 3), a volume as uint8 or uint16
        (B-scans, depth, width) with the stored values; and facts: ``format, sop_class, kind``
        (``"photograph"`` or ``"oct"``), ``photometric, source_bits, width, height``, and where known
        ``laterality_file`` (``R``, ``L`` or ``B``), ``frames, frame, modality_lut, voi, spacing_mm,
        burned_in, lossy, icc_profile, field_of_view_deg, pupil_dilated``.

    Raises:
        ReadError: Not an ophthalmic picture, damaged, too large, several frames without a choice.
    """
    data = _bytes(path, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(data, frame, where)
    except ReadError:
        raise
    except MemoryError as error:
        raise ReadError("There is not enough memory to decode this DICOM file.", where=where) from error
    except Exception as error:
        # pydicom raises nearly anything on damaged files, sometimes with values of the file in the text.
        raise ReadError(
            f"The DICOM file is damaged or cut off ({type(error).__name__}).",
            where=where,
            fix="copy or export the file again",
        ) from None


def _bytes(path: Path, where: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ReadError(f"The file cannot be read: {error.strerror or 'unknown reason'}.", where=where) from error
    if len(data) > MAX_BYTES:
        raise ReadError("The DICOM file is too large.", where=where, expected=f"at most {MAX_BYTES} bytes")
    return data


def _read(data: bytes, frame: int | None, where: str) -> tuple[np.ndarray, dict[str, Any]]:
    import pydicom

    header = pydicom.dcmread(io.BytesIO(data), specific_tags=[*_PIXELS, *_PLACE])
    sop = str(header.get("SOPClassUID", ""))
    if sop != TOMOGRAPHY and sop not in PHOTOGRAPHS:
        raise ReadError(
            "The DICOM file is neither an ophthalmic photograph nor a tomography volume by its SOP class.",
            where=where,
            expected="Ophthalmic Photography 8 or 16 Bit, Wide Field, VL Photographic, Secondary Capture, or Ophthalmic Tomography",
        )
    if "PixelData" not in header:
        raise ReadError("The DICOM file holds no picture.", where=where)
    frames = max(int(header.get("NumberOfFrames") or 1), 1)
    rows, columns, bits = int(header.Rows), int(header.Columns), int(header.BitsStored)
    volume = sop == TOMOGRAPHY
    _check_size(rows, columns, frames if volume and frame is None else 1, bits, where)
    if frame is not None and not 0 <= frame < frames:
        raise ReadError(f"There is no frame {frame}.", where=where, expected=f"0 to {frames - 1}")
    if frame is None and frames > 1 and not volume:
        raise ReadError(
            f"The DICOM file has {frames} frames; which one is the record cannot be guessed.",
            where=where,
            expected="one photograph per file, or a 'frame' column (counted from 0)",
        )
    photometric = str(header.get("PhotometricInterpretation", ""))
    facts: dict[str, Any] = {
        "format": "dicom",
        "sop_class": "ophthalmic tomography" if volume else PHOTOGRAPHS[sop],
        "kind": "oct" if volume else "photograph",
    }
    pixels = decode_frames(header, frame, where)
    facts |= {"photometric": photometric, "source_bits": bits} | _about(header)
    if frames > 1:
        facts["frames"] = frames
    if frame is not None:
        facts["frame"] = frame
    if volume and frame is None:
        array = _volume(pixels, header, where)
    elif pixels.ndim == 3:
        array = to_eight_bits(pixels, header) if photometric != "PALETTE COLOR" else pixels
    else:
        grey = np.rint(displayed(pixels, header, where, facts) * 255).astype(np.uint8)
        array = np.repeat(grey[:, :, None], 3, axis=2)
    facts["height"], facts["width"] = (
        int(n) for n in (array.shape[1:] if volume and frame is None else array.shape[:2])
    )
    return np.ascontiguousarray(array), facts


def _check_size(rows: int, columns: int, frames: int, bits: int, where: str) -> None:
    if rows < 1 or columns < 1 or not 1 <= bits <= 16:
        raise ReadError("The DICOM picture has no pixels, or more than 16 bits.", where=where, expected="1 to 16 bits")
    limit = MAX_PIXELS if frames == 1 else MAX_VOLUME
    if rows * columns * frames > limit:
        raise ReadError(
            f"The DICOM picture is too large: {columns} x {rows} pixels, {frames} frames.",
            where=where,
            expected=f"at most {limit / 1e6:g} million pixels",
            fix="name one frame in a 'frame' column" if frames > 1 else "export it smaller",
        )


def _volume(pixels: np.ndarray, header: Any, where: str) -> np.ndarray:
    """Stored grey values (frames, rows, columns), bright is much light, unsigned."""
    if pixels.ndim == 2:
        pixels = pixels[None]
    if pixels.ndim != 3 or not str(header.PhotometricInterpretation).startswith("MONO"):
        raise ReadError("A tomography volume is grey.", where=where, expected="MONOCHROME1 or MONOCHROME2")
    low, high = stored_range(header)
    values = pixels.astype(np.int32) - int(low)
    if str(header.PhotometricInterpretation) == "MONOCHROME1":
        values = int(high - low) - values
    return values.astype(np.uint8 if high - low < 256 else np.uint16)


def _about(header: Any) -> dict[str, Any]:
    """Facts of the eye and of the geometry; values of another form than the standard's are passed over."""
    facts: dict[str, Any] = {}
    shared = _first(header.get("SharedFunctionalGroupsSequence"))
    anatomy = _first(shared.get("FrameAnatomySequence")) if shared is not None else None
    measures = _first(shared.get("PixelMeasuresSequence")) if shared is not None else None
    sides = [
        header.get("ImageLaterality"),
        anatomy.get("FrameLaterality") if anatomy is not None else None,
        header.get("Laterality"),
    ]
    side = next((str(s).strip().upper() for s in sides if s), "")
    if side in ("R", "L", "B"):
        facts["laterality_file"] = side
    spacing = _spacing(measures if measures is not None else header) or _spacing(header)
    if spacing:
        facts["spacing_mm"] = spacing
    for name, keyword in (("burned_in", "BurnedInAnnotation"), ("pupil_dilated", "PupilDilated")):
        if str(header.get(keyword, "")).upper() in ("YES", "NO"):
            facts[name] = str(header.get(keyword)).upper() == "YES"
    if str(header.get("LossyImageCompression", "")) in ("00", "01"):
        facts["lossy"] = str(header.LossyImageCompression) == "01"
    field = _positive(header.get("HorizontalFieldOfView"))
    if field is not None and field <= 360:
        facts["field_of_view_deg"] = field
    if header.get("ICCProfile"):
        facts["icc_profile"] = "embedded, not applied"
    return facts


def _spacing(item: Any) -> dict[str, float]:
    """Millimetres between rows, between columns and between slices, as far as they are given."""
    pair = item.get("PixelSpacing")
    rows, columns = (_positive(v) for v in pair) if pair is not None and len(pair) == 2 else (None, None)
    slices = _positive(item.get("SpacingBetweenSlices")) or _positive(item.get("SliceThickness"))
    given = {"rows": rows, "columns": columns, "slices": slices}
    return {name: value for name, value in given.items() if value is not None} if rows else {}


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _first(items: Any) -> Any:
    return items[0] if items else None
