"""The bright part of a picture on a dark surround, as FLAIR's evaluation crops it.

Threshold: minimum cross entropy, iterated (Li and Lee, Pattern Recognition 26 (1993) 617; Li and
Tam, Pattern Recognition Letters 19 (1998) 771). Then the bounding box of the largest component.
"""

from __future__ import annotations

import numpy as np


def li_threshold(counts: np.ndarray) -> float:
    """The threshold of a histogram, in levels; pixels strictly above it are foreground.

    Args:
        counts: Number of pixels at every level 0, 1, 2 ...; at least one pixel.
    """
    levels = np.flatnonzero(counts)
    low = float(levels[0])
    if len(levels) == 1:
        return low
    weights = counts[levels].astype(np.float64)
    values = levels - low
    # Stops when a step is smaller than half the smallest gap between levels that occur.
    tolerance = float(np.diff(levels).min()) / 2
    following = float(weights @ values / weights.sum())
    current = -2 * tolerance
    while abs(following - current) > tolerance:
        current = following
        above = values > current
        back, front = (float(np.average(values[part], weights=weights[part])) for part in (~above, above))
        if back == 0:
            break
        following = (back - front) / (np.log(back) - np.log(front))
    return following + low


def foreground_box(red: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the largest bright component of a channel, uint8 (H, W); all where none is.

    Pixels that touch at a corner belong together; of two components of equal size the upper one
    counts.
    """
    from scipy import ndimage

    bright = red > li_threshold(np.bincount(red.ravel(), minlength=256))
    labels, count = ndimage.label(bright, structure=np.ones((3, 3)))
    if count == 0:
        return slice(0, red.shape[0]), slice(0, red.shape[1])
    largest = int(np.bincount(labels.ravel())[1:].argmax())
    rows, columns = ndimage.find_objects(labels)[largest]
    return rows, columns
