"""Boxes around cells, and the size of the smear they are on, read from headers only."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from medfm.core.errors import CohortError


def image_size(file: Path, where: str) -> tuple[int, int]:
    """(width, height) of an image from its header; no pixel is decoded."""
    try:
        with Image.open(file) as picture:
            return picture.size
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise CohortError("The image cannot be read.", where=where, fix="copy or download the file again") from error


def clip(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[tuple[int, int, int, int], bool]:
    """`box` (xmin, ymin, xmax, ymax; maxima exclusive) cut to the image, and whether that changed it."""
    width, height = size
    x0, y0, x1, y1 = box
    cut = (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
    return cut, cut != box
