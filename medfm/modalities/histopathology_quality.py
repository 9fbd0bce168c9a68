"""What can be measured of one tissue patch: background, sharpness, colours that no H&E stain makes.

Numbers only; what counts as wrong is decided in :mod:`medfm.cohorts.checks.patches`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Every channel above this is empty glass: an optical density (natural logarithm) below 0.15 of white 240.
GLASS = 206
_LARGEST = 512
_SMOOTHING = 11


@dataclass(frozen=True)
class PatchQuality:
    """Measurements of one patch.

    Attributes:
        background: Share of pixels that are empty glass.
        blur: Crete-Roffet's measure, 0 (sharp) to 1 (blurred); ``None`` where the patch has no contrast.
        ink: Share of pixels per colour of ink: ``green``, ``blue``, ``black``.
        mpp: Micrometres per pixel; ``None`` where the table does not say.
    """

    background: float
    blur: float | None
    ink: Mapping[str, float]
    mpp: float | None


def measure(array: np.ndarray, facts: Mapping[str, Any]) -> PatchQuality:
    """Measure the canonical array, RGB uint8 (height, width, 3), with its facts.

    Of a side above 512 pixels the middle 512 are measured, in native pixels: resizing would change sharpness.
    """
    rows, columns = array.shape[:2]
    top, left = max((rows - _LARGEST) // 2, 0), max((columns - _LARGEST) // 2, 0)
    part = array[top : top + _LARGEST, left : left + _LARGEST]
    mpp = facts.get("mpp")
    return PatchQuality(
        background=float((part.min(axis=2) > GLASS).mean()),
        blur=blur(part),
        ink=ink(part),
        mpp=None if mpp is None else float(mpp),
    )


def blur(array: np.ndarray) -> float | None:
    """How blurred RGB uint8 (h, w, 3) is, 0 to 1, after Crete-Roffet et al. (SPIE 6492, 2007).

    A sharp picture loses much of the differences between neighbours when it is smoothed, a blurred one little.
    The worse of both directions; the border of the smoothing is left out. ``None`` for a picture without contrast
    or smaller than the smoothing.
    """
    from scipy import ndimage

    grey = array.astype(np.float32) @ np.array([0.2125, 0.7154, 0.0721], np.float32)
    if min(grey.shape) <= _SMOOTHING + 4:
        return None
    inner = (slice(2, -1), slice(2, -1))
    worst = None
    for axis in (0, 1):
        smooth = ndimage.uniform_filter1d(grey, _SMOOTHING, axis=axis, mode="reflect")
        sharp = np.abs(ndimage.sobel(grey, axis=axis))
        lost = np.maximum(0, sharp - np.abs(ndimage.sobel(smooth, axis=axis)))
        total = float(sharp[inner].sum())
        if total <= 4.0 * sharp[inner].size:
            continue  # differences below a grey level (Sobel weighs one by four): noise or one colour
        value = (total - float(lost[inner].sum())) / total
        worst = value if worst is None else max(worst, value)
    return worst


def ink(array: np.ndarray) -> dict[str, float]:
    """Share of pixels (h, w, 3, RGB uint8) with the colour of a pen.

    Green and turquoise to blue are hues that haematoxylin and eosin do not reach; black is dark without a hue, which
    dark nuclei keep.
    Red ink is not told from eosin and red blood cells, violet ink not from haematoxylin.
    """
    red, green, blue_ = (array[..., channel].astype(np.int16) for channel in range(3))
    high = np.maximum(np.maximum(red, green), blue_)
    low = np.minimum(np.minimum(red, green), blue_)
    strong = (high - low) * 10 > high * 3
    return {
        "green": float((strong & (green == high) & (green > red + 20)).mean()),
        # Hue from 180 to about 225 degrees: blue leads, and green is nearer to blue than red is to green.
        "blue": float((strong & (blue_ == high) & (green - red > (blue_ - red) * 0.25) & (blue_ > red + 50)).mean()),
        "black": float(((high < 80) & (high - low < 30)).mean()),
    }
