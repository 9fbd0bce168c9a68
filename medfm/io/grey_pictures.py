"""Grey pictures from PNG, JPEG, TIFF and BMP with all their bits, as shares of the largest storable value."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.images import MAX_PIXELS, decode_image
from medfm.io.pixels import orient

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601, as Pillow turns RGB into grey


def decode_grey(
    data: bytes, file_name: str, *, page: int | None = None, max_pixels: int = MAX_PIXELS, where: str | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """The bytes of a picture file as float32 (height, width) in [0, 1].

    8 bits are divided by 255, 16 by 65535, whatever values occur. Colour becomes grey by its luminance and is noted;
    transparency is laid on white, EXIF orientation applied.

    Returns:
        The array, and facts as of :func:`medfm.io.images.read_image` with ``bits_stored`` beside them.

    Raises:
        ReadError: As of :func:`medfm.io.images.decode_image`.
    """
    rgb, facts = decode_image(data, file_name, page=page, max_pixels=max_pixels, where=where)
    notes = list(facts.pop("notes", []))
    bits = int(facts.get("source_bits", 8))
    deep = _sixteen(data, facts) if bits == 16 else None
    if deep is not None:
        array = deep.astype(np.float32) / np.float32(65535)
    else:
        red = rgb[..., 0]
        if (red == rgb[..., 1]).all() and (red == rgb[..., 2]).all():
            array = red.astype(np.float32) / np.float32(255)
        else:
            notes.append("a colour picture, read as grey by its luminance")
            array = np.clip(rgb.astype(np.float32) @ _LUMINANCE / np.float32(255), 0, 1)
        if bits > 8:
            notes.append(f"{bits} bits read as 8")
    facts["bits_stored"] = bits
    if notes:
        facts["notes"] = notes
    return np.ascontiguousarray(array, np.float32), facts


def _sixteen(data: bytes, facts: dict[str, Any]) -> np.ndarray | None:
    """The 16-bit values (h, w) of a plain grey PNG or TIFF, upright; ``None`` for other kinds.

    The file has been decoded and judged before, so only the depth is fetched here.
    """
    import imagecodecs
    import tifffile

    if facts["format"] == "png" and data[25] == 0:
        array = np.asarray(imagecodecs.png_decode(data))
    elif facts["format"] == "tiff" and str(facts.get("source_mode", "")).startswith("MINISBLACK"):
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            array = np.asarray(tiff.pages[int(facts.get("page", 0))].asarray())
    else:
        return None
    if array.dtype != np.uint16 or array.ndim != 2:
        return None
    return orient(array, int(facts.get("orientation", 1)), {})


def read_bytes(path: Path, where: str, most: int) -> bytes:
    """All bytes of a file of at most `most`.

    Raises:
        ReadError: It is missing, a folder, too large or cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError as error:
        raise ReadError("The file does not exist.", where=where, fix="check the path and the root folder") from error
    except IsADirectoryError as error:
        raise ReadError("This is a folder, not a picture.", where=where) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ReadError(f"The file cannot be read: {reason}.", where=where) from error
    if len(data) > most:
        raise ReadError("The file is too large for a picture.", where=where, expected=f"at most {most} bytes")
    return data
