"""TIFF: 8-bit through Pillow, 16-bit through tifffile, everything else refused with the reason."""

from __future__ import annotations

import io
import logging
import zlib
from typing import Any

import numpy as np
import tifffile
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from medfm.core.errors import ReadError
from medfm.io.pixels import orient, to_rgb8

# What it logs about damaged files is said by the errors below, with the record's name.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

_ORIENTATION = 274  # TIFF 6.0, section 8
_ICC = 34675
_JPEG, _DEFLATE = 7, (8, 32946)


def decode_tiff(data: bytes, name: str, page: int | None, limit: int, facts: dict[str, Any]) -> np.ndarray:
    """The TIFF in `data` as RGB uint8 (h, w, 3); see :func:`medfm.io.images.read_image`."""
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        index = _choose_page(tiff, page, name)
        chosen = tiff.pages[index]
        if not isinstance(chosen, tifffile.TiffPage):
            chosen = chosen.aspage()
        if page is not None:
            facts["page"] = index
        return _decode_page(chosen, data, index, name, limit, facts)


def _choose_page(tiff: tifffile.TiffFile, page: int | None, name: str) -> int:
    count = len(tiff.pages)
    if count == 0:
        raise ReadError("The TIFF has no page.", where=name)
    if page is not None:
        if not 0 <= page < count:
            raise ReadError(f"There is no page {page}.", where=name, expected=f"0 to {count - 1}")
        return page
    # Reduced copies (overviews, thumbnails) and masks are not pictures of their own.
    pictures = [i for i in range(count) if not int(tiff.pages[i].aspage().subfiletype or 0) & 0b101]
    stack = int((tiff.imagej_metadata or {}).get("images", 1)) if tiff.is_imagej else 1
    if len(pictures) > 1 or stack > 1:
        raise ReadError(
            f"The TIFF has {max(len(pictures), stack)} pages; which one is the record cannot be guessed.",
            where=name,
            expected="one page per file, or a 'page' column (counted from 0)",
        )
    return pictures[0] if pictures else 0


def _decode_page(
    chosen: tifffile.TiffPage, data: bytes, index: int, name: str, limit: int, facts: dict[str, Any]
) -> np.ndarray:
    from medfm.io.images import check_size, decode_pillow

    check_size(chosen.imagewidth, chosen.imagelength, limit, name)
    dtype = chosen.dtype
    bits = int(np.max(chosen.bitspersample))
    facts["source_bits"] = bits
    if dtype is None or dtype.kind not in "ub" or bits > 16:
        kind = {"f": "floating-point", "c": "complex", "i": "signed"}.get(dtype.kind if dtype is not None else "", "")
        raise ReadError(
            f"The TIFF holds {kind or 'unusual'} pixels ({dtype if dtype is not None else f'{bits} bits'}), whose range "
            "is not defined.",
            where=name,
            expected="unsigned 8- or 16-bit pixels",
            fix="export the image with 8 or 16 bits per channel (values outside the range and NaN have no colour)",
        )
    if chosen.samplesperpixel > 4 or chosen.imagedepth > 1:
        raise ReadError(
            f"The TIFF has {chosen.samplesperpixel} channels per pixel.", where=name, expected="grey, RGB or CMYK"
        )
    _check_whole(chosen, data, name)
    if bits <= 8:
        picture = _open_pillow(data, index)
        if picture is not None:
            orientation = int(chosen.tags[_ORIENTATION].value) if _ORIENTATION in chosen.tags else 1
            if 2 <= orientation <= 8:
                facts["orientation"] = orientation  # Pillow turns TIFF pictures upright while loading
            return decode_pillow(picture, name, facts)
    return _decode_tifffile(chosen, name, facts)


def _check_whole(chosen: tifffile.TiffPage, data: bytes, name: str) -> None:
    """Refuse a page of which a strip or tile is missing or ends early: decoders fill the gap without a word."""
    again = "copy or download the file again"
    parts = list(zip(chosen.dataoffsets, chosen.databytecounts, strict=False))
    if not parts or max(start + size for start, size in parts) > len(data):
        raise ReadError("The TIFF is cut off.", where=name, fix=again)
    expected = _part_count(chosen)
    written = sum(start > 0 and size > 0 for start, size in parts)
    if written < max(expected, len(parts)):
        raise ReadError(
            f"The TIFF page is half-written: {max(expected, len(parts)) - written} of its {max(expected, len(parts))} "
            f"{'tiles' if chosen.is_tiled else 'strips'} hold no data.",
            where=name,
            fix=again,
        )
    compression = int(chosen.compression)
    most = chosen.imagewidth * chosen.imagelength * chosen.samplesperpixel * 2
    for start, size in parts:
        part = data[start : start + size]
        if compression in _DEFLATE and not _deflate_ends(part, most):
            raise ReadError("The TIFF page is damaged: compressed data end too early.", where=name, fix=again)
        if compression == _JPEG and part.rfind(b"\xff\xd9") <= part.rfind(b"\xff\xda"):
            raise ReadError("The TIFF page is damaged: a JPEG part lacks its end mark.", where=name, fix=again)


def _part_count(chosen: tifffile.TiffPage) -> int:
    """How many strips or tiles the header promises."""
    planes = chosen.samplesperpixel if int(chosen.planarconfig) == 2 else 1
    if chosen.is_tiled:
        across = -(-chosen.imagewidth // max(chosen.tilewidth, 1))
        return across * -(-chosen.imagelength // max(chosen.tilelength, 1)) * planes
    rows = min(max(int(chosen.rowsperstrip or chosen.imagelength), 1), chosen.imagelength)
    return -(-chosen.imagelength // rows) * planes


def _deflate_ends(part: bytes, most: int) -> bool:
    """Whether a stream comes to its end, or to more than `most` bytes (a decoder asks for no more)."""
    inflate, rest, total = zlib.decompressobj(), part, 0
    try:
        while not inflate.eof and total <= most:
            piece = inflate.decompress(rest, 1 << 20)
            rest, total = inflate.unconsumed_tail, total + len(piece)
            if not piece and not rest:
                return False
    except zlib.error:
        return False
    return True


def _open_pillow(data: bytes, index: int) -> Image.Image | None:
    """The page opened by Pillow, or ``None`` for a layout it does not know (tifffile may)."""
    try:
        picture = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
        if index:
            picture.seek(index)
    except (SyntaxError, UnidentifiedImageError, KeyError, ValueError):
        return None
    return picture


def _decode_tifffile(chosen: tifffile.TiffPage, name: str, facts: dict[str, Any]) -> np.ndarray:
    if _ICC in chosen.tags:
        from medfm.io.images import ICC

        facts["icc_profile"] = ICC
    array = np.asarray(chosen.asarray())
    photometric = int(chosen.photometric)
    orientation = int(chosen.tags[_ORIENTATION].value) if _ORIENTATION in chosen.tags else 1
    extra = [int(e) for e in (chosen.extrasamples or ())]
    if array.ndim == 3 and int(chosen.planarconfig) == 2 and chosen.samplesperpixel > 1:
        array = np.moveaxis(array, 0, -1)
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    bits = int(facts["source_bits"])
    if array.dtype == np.uint16 and bits < 16:
        # 10-, 12- or 14-bit samples declared as such use their whole declared range.
        array = np.rint(array.astype(np.float64) * (65535 / (2**bits - 1))).astype(np.uint16)
    facts["source_mode"] = f"{tifffile.PHOTOMETRIC(photometric).name};{bits}"
    if photometric == int(tifffile.PHOTOMETRIC.MINISWHITE):
        array = np.iinfo(array.dtype).max - array
    elif photometric == int(tifffile.PHOTOMETRIC.SEPARATED):
        array = _cmyk_to_rgb(array, name)
    elif photometric not in (int(tifffile.PHOTOMETRIC.MINISBLACK), int(tifffile.PHOTOMETRIC.RGB)):
        raise ReadError(
            f"A TIFF of colour kind {facts['source_mode']} is not read.", where=name, expected="RGB, grey or CMYK"
        )
    # Extra sample kind 1 is associated (premultiplied) alpha, 2 unassociated, 0 unspecified.
    rgb = to_rgb8(array, name, facts, premultiplied=bool(extra) and extra[-1] == 1)
    return orient(rgb, orientation, facts)


def _cmyk_to_rgb(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim != 3 or array.shape[2] != 4:
        raise ReadError("A CMYK TIFF must have four channels.", where=name)
    top = float(np.iinfo(array.dtype).max)
    ink = array.astype(np.float64) / top
    return np.rint((1 - ink[..., :3]) * (1 - ink[..., 3:]) * top).astype(array.dtype)
