"""Pixel arithmetic of the image reader: bit depth, transparency, orientation."""

from __future__ import annotations

from typing import Any

import numpy as np

from medfm.core.errors import ReadError


def scale_16_to_8(values: np.ndarray) -> np.ndarray:
    """uint16 -> uint8 by round(value * 255 / 65535), exact in integers (half rounds up)."""
    # 65535 = 255 * 257, so value * 255 / 65535 = value / 257; adding 128 before the division rounds.
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def over_white(rgba: np.ndarray, *, premultiplied: bool = False) -> np.ndarray:
    """RGBA uint8 (h, w, 4) laid on a white ground: RGB uint8 (h, w, 3), rounded to nearest."""
    colour, alpha = rgba[..., :3].astype(np.uint32), rgba[..., 3:].astype(np.uint32)
    if not premultiplied:
        colour = (colour * alpha + 127) // 255
    return np.minimum(colour + 255 - alpha, 255).astype(np.uint8)


def to_rgb8(array: np.ndarray, name: str, facts: dict[str, Any], *, premultiplied: bool = False) -> np.ndarray:
    """Grey, grey + alpha, RGB or RGBA in 8 or 16 bits as RGB uint8 (h, w, 3).

    Adds ``source_max`` (16-bit sources) and ``alpha`` to `facts`.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise ReadError(
            f"The image has the shape {array.shape}.", where=name, expected="1 to 4 channels per pixel (grey or RGB)"
        )
    if array.dtype == np.uint16:
        facts["source_max"] = int(array.max())
        array = scale_16_to_8(array)
    if array.dtype != np.uint8:
        raise ReadError(f"Pixels of type {array.dtype} are not read.", where=name, expected="8 or 16 bits, unsigned")
    channels = array.shape[2]
    if channels in (2, 4):
        if array[..., -1].min() < 255:
            facts["alpha"] = "laid on white"
        colour = array[..., :1].repeat(3, axis=2) if channels == 2 else array[..., :3]
        return over_white(np.concatenate([colour, array[..., -1:]], axis=2), premultiplied=premultiplied)
    return array.repeat(3, axis=2) if channels == 1 else np.ascontiguousarray(array)


def orient(array: np.ndarray, orientation: int, facts: dict[str, Any]) -> np.ndarray:
    """Turn `array` upright by the EXIF/TIFF `orientation` (1 to 8; anything else counts as 1)."""
    turned = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a[::-1].transpose(1, 0, 2),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: a[:, ::-1].transpose(1, 0, 2),
    }.get(orientation)
    if turned is None:
        return array
    facts["orientation"] = int(orientation)
    return np.ascontiguousarray(turned(array))
