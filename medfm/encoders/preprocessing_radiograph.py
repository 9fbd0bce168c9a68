"""From a radiograph to the array a network takes; see :mod:`medfm.encoders.preprocessing`.

A radiograph is float32 (height, width), 0 black, 1 the largest value that the file could store.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medfm.core.errors import ReadError
from medfm.encoders.preprocessing_radiograph_steps import (
    RadiographScale,
    RadiographSize,
    RadiographSquare,
    RadiographStep,
)
from medfm.modalities.record import Record

_SLACK = 1e-6  # a division by the largest value may end a rounding above 1


class RadiographSteps:
    """The steps of a card on one radiograph; the record's array is not changed."""

    def __init__(self, steps: Sequence[RadiographStep]) -> None:
        self.steps = tuple(steps)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (1, height, width) of every result."""
        return (1, *next(step.size for step in self.steps if isinstance(step, RadiographSize)))

    def run(self, item: Record | np.ndarray) -> np.ndarray:
        """The float32 array (1, height, width).

        Raises:
            ReadError: Another kind of array, or values outside 0..1.
        """
        where = item.record_id if isinstance(item, Record) else None
        values = unit_radiograph(item.array if isinstance(item, Record) else item, where)
        for step in self.steps:
            if isinstance(step, RadiographScale):
                values = values * np.float32(step.high - step.low) + np.float32(step.low)
            elif isinstance(step, RadiographSquare):
                values = middle_square(values)
            else:
                values = resized(values, step.size)
        return values[None]


def unit_radiograph(array: np.ndarray, where: str | None = None) -> np.ndarray:
    """The radiograph as float32 (height, width) from 0 to 1; grey uint8 is divided by 255.

    Raises:
        ReadError: It is of another shape or type, holds no pixel, or leaves 0..1.
    """
    array = np.asarray(array)
    expected = "float32 (height, width), 0 black to 1 the largest storable value"
    fix = "read the file with medfm.read_record(FILE, 'chest_xray'), which brings every format to this form"
    if array.ndim != 2 or array.size == 0 or array.dtype not in (np.float32, np.uint8):
        raise ReadError(
            f"A radiograph of shape {array.shape} and type {array.dtype} cannot be preprocessed.",
            where=where,
            expected=expected,
            fix=fix,
        )
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    low, high = float(array.min()), float(array.max())
    if not (low >= -_SLACK and high <= 1 + _SLACK):  # also NaN
        raise ReadError(f"The radiograph has values from {low:g} to {high:g}.", where=where, expected=expected, fix=fix)
    return array


def eight_bits(array: np.ndarray, where: str | None = None) -> np.ndarray:
    """A radiograph as uint8, for networks that were trained on 8-bit pictures.

    Raises:
        ReadError: See :func:`unit_radiograph`.
    """
    return np.rint(unit_radiograph(array, where).clip(0, 1) * np.float32(255)).astype(np.uint8)


def middle_square(values: np.ndarray) -> np.ndarray:
    """The middle square; of an odd rest the smaller half is cut off at the top or left."""
    rows, columns = values.shape
    side = min(rows, columns)
    top, left = rows // 2 - side // 2, columns // 2 - side // 2
    return values[top : top + side, left : left + side]


def resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear with antialias, as ``torch.nn.functional.interpolate`` does it (corners not aligned)."""
    import torch

    if values.shape == size:
        return values
    flat = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    out: np.ndarray = torch.nn.functional.interpolate(
        flat, size=size, mode="bilinear", align_corners=False, antialias=True
    )[0, 0].numpy()
    return out
