"""One image file -> one RGB uint8 array, or a clear reason why not.

PNG, JPEG, TIFF and BMP, 8 and 16 bit, RGB, RGBA, grey, grey with alpha, CMYK, palette. The
format is judged by content, the size is checked before any pixel is decoded, and a file of
which a part is missing is refused as a whole: half an image never reaches an encoder.
8-bit files are decoded by Pillow, as the published pipelines do, so pixels are bit-identical
to theirs.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin

from medfm.core.errors import ReadError
from medfm.io.formats import IMAGE_SUFFIXES, describe, image_format
from medfm.io.pixels import orient, to_rgb8

MAX_PIXELS = 100_000_000
MAX_BYTES = 2_000_000_000
# The published pipelines see the numbers as stored, so no colour is converted; the reader says so.
ICC = "embedded, not applied"

_KNOWN_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


def read_image(
    path: str | Path, *, page: int | None = None, max_pixels: int = MAX_PIXELS, where: str | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Read the image file at `path`.

    Args:
        path: The file.
        page: Which page of a multi-page TIFF to read, counted from 0.
        max_pixels: Width times height above which the file is refused before decoding.
        where: How errors name the file; its path when ``None``.

    Returns:
        The image as RGB uint8 of shape (height, width, 3), upright (EXIF orientation applied),
        transparency laid on white, 16-bit values scaled by round(value * 255 / 65535); and its
        facts: ``format``, ``source_mode``, ``source_bits``, ``width`` and ``height`` of the array,
        and where they apply ``orientation``, ``alpha``, ``page``, ``source_max``, ``icc_profile``, ``notes``.

    Raises:
        ReadError: Missing, empty, truncated or damaged file; not one of the formats; too large;
            several pages or frames; floating-point or signed pixels.
    """
    file = Path(path)
    name = where if where is not None else str(file)
    return decode_image(_read_bytes(file, name), file.name, page=page, max_pixels=max_pixels, where=name)


def decode_image(
    data: bytes, file_name: str, *, page: int | None = None, max_pixels: int = MAX_PIXELS, where: str | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """As :func:`read_image` for the bytes of a file called `file_name`, such as a member of a shard."""
    name = where if where is not None else file_name
    if not data:
        raise ReadError("The file is empty (0 bytes).", where=name, fix="copy or download the file again")
    kind = image_format(data)
    if kind is None:
        raise ReadError(
            f"This is {describe(data)}, not an image medfm reads.",
            where=name,
            expected="PNG, JPEG, TIFF or BMP",
            fix="export the image again as PNG or TIFF (renaming does not convert it)",
        )
    facts: dict[str, Any] = {"format": kind}
    suffix = Path(file_name).suffix.lower()
    if suffix not in IMAGE_SUFFIXES[kind] and any(suffix in known for known in IMAGE_SUFFIXES.values()):
        facts["notes"] = [f"named {suffix} but contains {kind.upper()}; read by content"]
    try:
        array = _decode(kind, data, name, page, max_pixels, facts)
    except ReadError:
        raise
    except MemoryError as error:
        raise ReadError("There is not enough memory to decode this image.", where=name) from error
    except Exception as error:
        # Decoders of damaged files raise nearly anything (SyntaxError, struct.error, KeyError ...).
        raise ReadError(
            f"The {kind.upper()} data are damaged or cut off: {_short(error)}.",
            where=name,
            fix="copy or download the file again",
        ) from error
    facts["height"], facts["width"] = int(array.shape[0]), int(array.shape[1])
    return array, facts


def _read_bytes(file: Path, name: str) -> bytes:
    try:
        with file.open("rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ReadError("The file does not exist.", where=name, fix="check the path and the root folder") from error
    except IsADirectoryError as error:
        raise ReadError("This is a folder, not an image file.", where=name) from error
    except (OSError, ValueError) as error:
        raise ReadError(f"The file cannot be read: {_short(error)}.", where=name) from error
    if len(data) > MAX_BYTES:
        raise ReadError("The file is too large for an image.", where=name, expected=f"at most {MAX_BYTES} bytes")
    return data


def _decode(kind: str, data: bytes, name: str, page: int | None, limit: int, facts: dict[str, Any]) -> np.ndarray:
    if kind == "tiff":
        from medfm.io.tiff import decode_tiff

        return decode_tiff(data, name, page, limit, facts)
    if page not in (None, 0):
        raise ReadError(f"There is no page {page}: a {kind.upper()} has one picture.", where=name)
    if kind == "png":
        return _decode_png(data, name, limit, facts)
    if kind == "jpeg":
        return _decode_jpeg(data, name, limit, facts)
    # The plug-in classes are called directly: no probing of other formats, and no global pixel limit.
    bitmap = BmpImagePlugin.BmpImageFile(io.BytesIO(data))
    check_size(bitmap.width, bitmap.height, limit, name)
    facts["source_bits"] = 8
    return decode_pillow(bitmap, name, facts)


def _decode_png(data: bytes, name: str, limit: int, facts: dict[str, Any]) -> np.ndarray:
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise ReadError("The PNG header is cut off.", where=name, fix="copy or download the file again")
    width, height, bits = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), data[24]
    check_size(width, height, limit, name)
    if data.rfind(b"IEND") < 0:
        raise ReadError(
            "The PNG is cut off: its end mark is missing.", where=name, fix="copy or download the file again"
        )
    facts["source_bits"] = bits
    picture = PngImagePlugin.PngImageFile(io.BytesIO(data))
    if picture.is_animated:
        raise ReadError("This is an animated PNG.", where=name, expected="one picture per file")
    import imagecodecs

    if bits < 16:
        array = decode_pillow(picture, name, facts)
        if (array[-1] == array[-1, :1]).all():
            # Pillow leaves rows blank that a properly ended stream does not hold; this decoder counts them.
            imagecodecs.png_decode(data)
        return array
    orientation = picture.getexif().get(0x0112, 1)
    if picture.info.get("icc_profile"):
        facts["icc_profile"] = ICC
    picture.close()
    facts["source_mode"] = {0: "L;16", 2: "RGB;16", 4: "LA;16", 6: "RGBA;16"}.get(data[25], "?")
    return orient(to_rgb8(imagecodecs.png_decode(data), name, facts), orientation, facts)


def _decode_jpeg(data: bytes, name: str, limit: int, facts: dict[str, Any]) -> np.ndarray:
    # Inside compressed data FF is always followed by 00 or a restart mark, so the last start of scan (FFDA)
    # must be followed by an end of image (FFD9). Checked here because Pillow can be told, process-wide, to
    # fill missing parts with grey.
    if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise ReadError(
            "The JPEG is cut off: its end mark is missing.", where=name, fix="copy or download the file again"
        )
    picture = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    check_size(picture.width, picture.height, limit, name)
    facts["source_bits"] = 8
    return decode_pillow(picture, name, facts)


def check_size(width: int, height: int, limit: int, name: str) -> None:
    """Refuse an image above the pixel `limit`, or without any pixel; called before decoding."""
    if width < 1 or height < 1:
        raise ReadError("The image has no pixels.", where=name)
    if width * height > limit:
        raise ReadError(
            f"The image is too large: {width} x {height} pixels, more than the {limit / 1e6:g} million allowed.",
            where=name,
            expected=f"at most {limit / 1e6:g} megapixels",
            fix="cut it into fields or cells first; whole slides belong to histopathology",
        )


def decode_pillow(picture: Image.Image, name: str, facts: dict[str, Any]) -> np.ndarray:
    """An opened 8-bit Pillow image as RGB uint8, upright, transparency laid on white."""
    mode = picture.mode
    facts["source_mode"] = mode
    if picture.info.get("icc_profile"):
        # Published pipelines look at the stored numbers; applying it would change them.
        facts["icc_profile"] = ICC
    if mode not in _KNOWN_MODES:
        raise ReadError(
            f"Pixels of kind '{mode}' are not read.", where=name, expected="8- or 16-bit RGB, grey, palette or CMYK"
        )
    if mode == "RGB" and "transparency" not in picture.info:
        array = np.array(picture)
    elif mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        array = to_rgb8(np.array(picture.convert("RGBA")), name, facts)
    else:
        array = np.array(picture.convert("RGB"))
    # After decoding, since a PNG may hold its EXIF behind the pixels.
    orientation = 1
    if picture.format != "TIFF" and ("exif" in picture.info or "Raw profile type exif" in picture.info):
        # Pillow turns TIFF pictures upright by itself while loading.
        orientation = picture.getexif().get(0x0112, 1)
    return orient(array, orientation, facts)


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(". ")[:160]
