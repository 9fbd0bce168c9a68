"""A radiograph from DICOM: CR, DX and secondary captures as grey shares of the display's range, 0 black to 1 white.

In the order of the standard: decode, padding set aside, modality LUT, VOI LUT or window, MONOCHROME1 turned over once,
padding made black (PS3.3 C.7.6.3, C.11.1, C.11.2, C.11.6; PS3.4 N.2).
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.dicom_pixels import PHOTOMETRICS, decode_frames, syntax_name
from medfm.io.dicom_values import Voi, displayed, stored_range
from medfm.io.radiograph_header import ELEMENTS, OVERLAY_BITS, about, kind_of, whole_number, word

MAX_PIXELS = 100_000_000
# Implicit and explicit little endian, explicit big endian, deflated.
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
# Rec. 601, as Pillow turns RGB into grey.
LUMINANCE = (0.299, 0.587, 0.114)
# Above so many pixels it is quicker to work out every stored value once than every pixel.
_TABLE_FROM = 1 << 14
_ROWS_AT_ONCE = 32
_NO_PADDING = 1 << 40


def has_mark(data: bytes) -> bool:
    """Whether `data` bear the mark of DICOM behind a preamble, whatever the preamble holds."""
    return data[128:132] == b"DICM"


def is_dicom_data(data: bytes) -> bool:
    """Whether `data` begin as a DICOM file: the mark behind a preamble, or without one an element of group 2 or 8."""
    if has_mark(data):
        return True
    if len(data) > 16 and data[:2] in (b"\x00\x02", b"\x00\x08") and data[2] == 0 and data[4:6].isalpha():
        return True  # big endian, which always names the kind of value
    # Group 0002 or 0008, a small element, and behind it either letters (a VR) or a length of four bytes.
    return len(data) > 16 and data[:2] in (b"\x02\x00", b"\x08\x00") and data[3] == 0 and data[2] <= 0x70


def is_radiograph(path: Path) -> bool:
    """Whether a DICOM file says that it is a chest radiograph of a kind read here, by SOP class and modality."""
    import pydicom

    try:
        with path.open("rb") as file:
            if not is_dicom_data(file.read(256)):
                return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(
                path, force=True, stop_before_pixels=True, specific_tags=["SOPClassUID", "Modality"]
            )
        kind = kind_of(header, "")
        # Secondary captures may show anything, so these must say what.
        return kind != "SC" or word(header, "Modality") in ("CR", "DX", "RG", "DR")
    except Exception:  # damaged files raise nearly anything, and then are not of this kind
        return False


def decode_radiograph(data: bytes, voi: Voi, photometric: str | None, where: str) -> tuple[np.ndarray, dict[str, Any]]:
    """A DICOM file as a grey picture.

    Args:
        data: The file's bytes.
        voi: Which window is applied.
        photometric: ``MONOCHROME1`` or ``MONOCHROME2`` for a file that does not say.
        where: How errors name the file.

    Returns:
        float32 (rows, columns) in [0, 1], 0 black, as stored (not turned by the orientation); and facts: ``format,
        kind, photometric, inverted, bits_stored, bits_allocated, transfer_syntax, window_applied, view``, and where they
        apply ``voi_items, modality_lut, view_source, plane, patient_orientation, laterality, spacing_mm, spacing_at,
        pixel_aspect, padded, above_bits_stored, overlay_in_pixels, burned_in, lossy, body_part, notes``.

    Raises:
        ReadError: No radiograph, damaged or cut off, several frames, a compression that is not read, too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(data, voi, photometric, where)
    except ReadError:
        raise
    except MemoryError as error:
        raise ReadError("There is not enough memory to decode this DICOM file.", where=where) from error
    except Exception as error:
        # pydicom's own words may hold values of the file.
        raise ReadError(
            f"The DICOM file is damaged or cut off ({type(error).__name__}).",
            where=where,
            fix="copy or export the file again",
        ) from None


def _decode(data: bytes, voi: Voi, photometric: str | None, where: str) -> tuple[np.ndarray, dict[str, Any]]:
    import pydicom

    if not is_dicom_data(data):
        raise ReadError("This is not a DICOM file.", where=where, expected="the mark DICM behind 128 bytes")
    header = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=ELEMENTS)
    notes: list[str] = []
    if not has_mark(data):
        notes.append("no preamble")
    facts: dict[str, Any] = {"format": "dicom", "kind": kind_of(header, where)}
    _check(header, where)
    syntax = _syntax(header, notes, where)
    kind = _photometric(header, photometric, notes, where)
    _check_colour(header, kind, where)
    stored = decode_frames(header, None, where, unused_bits=True)
    size = (whole_number(header, "Rows", where), whole_number(header, "Columns", where))
    if stored.shape[:2] != size:
        raise ReadError("The pixels have another size than the DICOM file says.", where=where)
    facts |= {
        "photometric": kind,
        "bits_stored": whole_number(header, "BitsStored", where),
        "bits_allocated": whole_number(header, "BitsAllocated", where),
        "transfer_syntax": syntax,
    }
    if stored.ndim == 3:
        array = _grey(stored, facts["bits_stored"], notes)
        facts |= {"inverted": False, "window_applied": "none"}
    else:
        array = _shown(stored, header, voi, kind, facts, notes, where)
    facts |= about(header)
    if facts["kind"] == "DX for processing":
        notes.append("raw values, meant for processing and not for viewing")
    if notes:
        facts["notes"] = notes
    return np.ascontiguousarray(array), facts


def _check(header: Any, where: str) -> None:
    """Refuse what cannot be one radiograph, before any pixel is decoded."""
    from pydicom.dataelem import DataElement

    if "PixelData" not in header:
        kind = "whole numbers" if any(name in header for name in ("FloatPixelData", "DoubleFloatPixelData")) else ""
        raise ReadError(
            "The DICOM file holds no picture, or is cut off before it."
            if not kind
            else "The DICOM file holds floating-point pixels, whose range is not defined.",
            where=where,
            expected=kind or None,
            fix="copy or export the file again",
        )
    frames = whole_number(header, "NumberOfFrames", where, 1)
    if frames > 1:
        raise ReadError(
            f"The DICOM file has {frames} frames, and a radiograph is one.",
            where=where,
            fix="export the frame as a file of its own",
        )
    rows, columns = whole_number(header, "Rows", where), whole_number(header, "Columns", where)
    allocated = whole_number(header, "BitsAllocated", where)
    bits = whole_number(header, "BitsStored", where)
    if rows < 1 or columns < 1 or allocated not in (8, 16) or not 1 <= bits <= allocated:
        raise ReadError(
            "The DICOM picture has no pixels, or not 8 or 16 bits allocated with as many or fewer stored.",
            where=where,
            expected="Rows and Columns from 1 on, BitsAllocated 8 or 16, BitsStored at most that",
            fix="export the file again, or leave the record out",
        )
    # Numbers that were written as text would stop the decoder.
    for name, value in (("Rows", rows), ("Columns", columns), ("BitsAllocated", allocated), ("BitsStored", bits)):
        if header[name].VR != "US":
            header[name] = DataElement(header[name].tag, "US", value)
    if rows * columns > MAX_PIXELS:
        raise ReadError(
            f"The DICOM picture is too large: {columns} x {rows} pixels.",
            where=where,
            expected=f"at most {MAX_PIXELS / 1e6:g} million pixels",
        )


def _syntax(header: Any, notes: list[str], where: str) -> str:
    """Name of the transfer syntax; where the file does not say, it is taken from how the data look."""
    from pydicom.uid import UID

    meta = header.file_meta
    stated = str(meta.get("TransferSyntaxUID", "") or "")
    if not stated:
        stated = _guessed(header, where)
        meta.TransferSyntaxUID = UID(stated)
        notes.append("no transfer syntax in the file; taken from the data")
    return syntax_name(UID(stated)) or "private"


def _guessed(header: Any, where: str) -> str:
    pixels = bytes(header.PixelData[:4096])
    if pixels[:4] == b"\xfe\xff\x00\xe0" and header["PixelData"].is_undefined_length:
        start = pixels.find(b"\xff\xd8\xff")
        if start >= 0:
            for mark, syntax in (
                (b"\xff\xf7", "80"), (b"\xff\xc3", "70"), (b"\xff\xc0", "50"), (b"\xff\xc1", "51"),
            ):  # fmt: skip
                if mark in pixels[start:]:
                    return f"1.2.840.10008.1.2.4.{syntax}"
        if b"\xff\x4f\xff\x51" in pixels:
            return "1.2.840.10008.1.2.4.91"
        raise ReadError(
            "The DICOM file does not say how its pixels are compressed.", where=where, fix="export it again"
        )
    implicit, little = header.original_encoding
    return "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"


def _photometric(header: Any, given: str | None, notes: list[str], where: str) -> str:
    stated = word(header, "PhotometricInterpretation")
    if not stated:
        if whole_number(header, "SamplesPerPixel", where, 1) != 1 or given is None:
            raise ReadError(
                "The DICOM file does not say whether low values are black (no PhotometricInterpretation).",
                where=where,
                expected=", ".join(PHOTOMETRICS[:2]),
                fix="say it in a column 'photometric' (MONOCHROME1: low values are white)",
            )
        notes.append("photometric interpretation from the table")
        stated = given
    header.PhotometricInterpretation = stated
    if "SamplesPerPixel" not in header:
        header.SamplesPerPixel = 1 if stated.startswith("MONO") or stated == "PALETTE COLOR" else 3
    if "PixelRepresentation" not in header:
        header.PixelRepresentation = 0
    return stated


def _check_colour(header: Any, kind: str, where: str) -> None:
    """Refuse colour whose order or palette the file does not say: there is no usual one."""
    if kind == "PALETTE COLOR":
        for colour in ("Red", "Green", "Blue"):
            if any(f"{colour}PaletteColorLookupTable{part}" not in header for part in ("Descriptor", "Data")):
                raise ReadError(
                    f"The DICOM file lacks the {colour.lower()} part of its palette.",
                    where=where,
                    expected="a table for each of red, green and blue",
                    fix="export it again as MONOCHROME2",
                )
    elif kind in ("RGB", "YBR_FULL", "YBR_FULL_422") and str(header.file_meta.TransferSyntaxUID) in NATIVE:
        whole_number(header, "PlanarConfiguration", where)


def _grey(colours: np.ndarray, bits: int, notes: list[str]) -> np.ndarray:
    """RGB of the stored depth as grey float32 in [0, 1]."""
    top = np.float32(255.0 if colours.dtype == np.uint8 else 2.0**bits - 1)
    red = colours[..., 0]
    if (red == colours[..., 1]).all() and (red == colours[..., 2]).all():
        notes.append("three equal channels, read as grey")
        return np.minimum(red.astype(np.float32) / top, np.float32(1))
    notes.append("a colour picture, read as grey by its luminance")
    shares = colours.astype(np.float32) @ np.array(LUMINANCE, np.float32)
    return np.asarray(np.clip(shares / top, 0, 1), np.float32)


def _looked_up(every: np.ndarray, values: np.ndarray, low: int) -> np.ndarray:
    """float32 ``every[values - low]``; every value is in the table.

    Some rows at a time the indices, widened to 8 bytes, stay in the processor's cache: half the time of one call.
    """
    found = np.empty(values.shape, np.float32)
    for begin in range(0, len(values), _ROWS_AT_ONCE):
        rows = values[begin : begin + _ROWS_AT_ONCE]
        # Nothing is clipped: "raise" would only work on a copy of the output.
        np.take(
            every, rows if low == 0 else rows.astype(np.int32) - low, out=found[begin : begin + len(rows)], mode="clip"
        )
    return found


def _shown(
    stored: np.ndarray, header: Any, voi: Voi, kind: str, facts: dict[str, Any], notes: list[str], where: str
) -> np.ndarray:
    values = _own_bits(stored, header, facts, where)
    padding = _padding(values, header, where)
    low, high = (int(end) for end in stored_range(header))
    above = (values > high) | (values < low) if values.min() < low or values.max() > high else None
    if above is not None:
        outside = above & ~padding if padding is not None else above
        if outside.any():
            facts["above_bits_stored"] = float(outside.mean())
        values = np.clip(values, low, high)
    inverse = word(header, "PresentationLUTShape") == "INVERSE"
    inverted = kind == "MONOCHROME1" or inverse
    if inverse and kind != "MONOCHROME1":
        notes.append(f"presentation is INVERSE although the picture is {kind}; turned over once")
    words: dict[str, Any] = {}
    if values.size >= _TABLE_FROM:
        every = displayed(np.arange(low, high + 1), header, where, words, voi, inverted).astype(np.float32)
        array = _looked_up(every, values, low)
    else:
        array = displayed(values, header, where, words, voi, inverted).astype(np.float32)
    if padding is not None:
        array[padding] = 0.0
        facts["padded"] = float(padding.mean())
    facts["inverted"] = inverted
    facts["window_applied"] = "given" if voi.window is not None else words.pop("voi", "none")
    words.pop("voi", None)
    facts |= words
    return array


def _own_bits(stored: np.ndarray, header: Any, facts: dict[str, Any], where: str) -> np.ndarray:
    """The values without overlays in their unused bits, moved where the highest bit is not the usual one."""
    bits, allocated = whole_number(header, "BitsStored", where), whole_number(header, "BitsAllocated", where)
    highest = whole_number(header, "HighBit", where, bits - 1)
    positions = [header[tag].value for tag in OVERLAY_BITS if tag in header]
    packed = any(isinstance(position, int) and position > 0 for position in positions)
    if highest == bits - 1 and not packed:
        return stored
    if not bits - 1 <= highest < allocated or str(header.file_meta.TransferSyntaxUID) not in NATIVE:
        return stored  # nonsense, or values that the compression has put in place already
    # Up to the top, and down again: what is above the highest bit falls off, and the sign is kept.
    facts["overlay_in_pixels"] = packed
    up, down = stored.dtype.itemsize * 8 - 1 - highest, stored.dtype.itemsize * 8 - bits
    return np.asarray((stored << up) >> down, stored.dtype)


def _padding(values: np.ndarray, header: Any, where: str) -> np.ndarray | None:
    """Where the picture was padded, by the stored value; ``None`` where nowhere."""
    if "PixelPaddingValue" not in header:
        return None
    one = whole_number(header, "PixelPaddingValue", where, _NO_PADDING)
    if one == _NO_PADDING:
        return None  # the element is there and empty
    other = whole_number(header, "PixelPaddingRangeLimit", where, one)
    if not whole_number(header, "PixelRepresentation", where, 0):
        # The element may have been written as signed.
        one, other = one & 0xFFFF, other & 0xFFFF
    first, last = min(one, other), max(one, other)
    mask = values == first if first == last else (values >= first) & (values <= last)
    return mask if mask.any() else None
