"""Measurements of a chest radiograph that the deep checks judge: polarity, which way up, borders, clipping, writing.

A frontal radiograph is compared with a drawn one: two dark lungs that stand apart towards their feet, a bright middle
that widens to the patient's left, a bright belly, dark corners above the shoulders. The comparison uses ranks of grey
values in 32 x 32 fields, so neither exposure nor grey scale matters. docs/chest_xray.md says how often it is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

_FIELDS = 32
_LONGEST = 768  # pixels of the longer side when looking for writing
_BAND = 0.2  # of the shorter side: where writing is looked for
_RISE = 0.25  # of the range, that a letter is brighter than its surroundings

_UPRIGHT = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class ChestQuality:
    """What the checks need to know of a radiograph.

    Attributes:
        size: Height and width in pixels.
        likeness: Correlation with the drawn radiograph, -1 to 1.
        upside_down: The same of the picture turned over top to bottom.
        turned: The larger of those of the picture turned by a quarter to either side.
        spread: From the 2nd to the 98th percentile of the inner three quarters, as a share of the range.
        clipped: Share of the inner three quarters at the largest value that occurs.
        brightest: Largest value.
        border: Share of the picture in rows and columns along the edges that hold one value each.
        letters: Longest row of letter-like bright spots near the edges.
        view: As of the facts.
        plane: ``"frontal"``, ``"lateral"`` or empty.
        sides: Whether the file says where the patient's right is.
        orientation: Where rows and columns run to, by the header; empty where it does not say.
        burned_in: What the header says of text in the pixels; ``None`` where it says nothing.
        raw: Whether these are values for processing, not for viewing.
        above_bits: Share of values above the bits stored.
        bits: Bits stored.
        notes: Of the reader.
    """

    size: tuple[int, int]
    likeness: float
    upside_down: float
    turned: float
    spread: float
    clipped: float
    brightest: float
    border: float
    letters: int
    view: str = "unknown"
    plane: str = ""
    sides: bool = False
    orientation: tuple[str, ...] = ()
    burned_in: bool | None = None
    raw: bool = False
    above_bits: float = 0.0
    bits: int = 8
    notes: tuple[str, ...] = ()


def measure(array: np.ndarray, facts: Mapping[str, Any]) -> ChestQuality:
    """Measure a radiograph float32 (height, width) in [0, 1] with its facts; a crop counts as upright."""
    height, width = array.shape
    inner = array[height // 8 : height - height // 8, width // 8 : width - width // 8]
    low, high = np.percentile(inner[:: max(height // 256, 1), :: max(width // 256, 1)], [2, 98])
    # The drawn radiograph is a whole one: of a crop the position cannot be told by it.
    likeness = _UPRIGHT if "crop" in facts else _likeness(array)
    return ChestQuality(
        size=(height, width),
        likeness=likeness[0],
        upside_down=likeness[1],
        turned=max(likeness[2:]),
        spread=float(high - low),
        clipped=float((inner >= inner.max() - 1e-6).mean()),
        brightest=float(array.max()),
        border=_border(array),
        letters=letters(array),
        **_of_header(facts),
    )


def at_a_glance(array: np.ndarray, facts: Mapping[str, Any]) -> ChestQuality:
    """As :func:`measure`, without what takes long: border, writing and the use of grey values are not looked at."""
    likeness = _UPRIGHT if "crop" in facts else _likeness(np.ascontiguousarray(array))
    return ChestQuality(
        size=(int(array.shape[0]), int(array.shape[1])),
        likeness=likeness[0],
        upside_down=likeness[1],
        turned=max(likeness[2:]),
        spread=1.0,
        clipped=0.0,
        brightest=1.0,
        border=0.0,
        letters=0,
        **_of_header(facts),
    )


def _of_header(facts: Mapping[str, Any]) -> dict[str, Any]:
    orientation = tuple(facts.get("patient_orientation", ()))
    return {
        "view": str(facts.get("view", "unknown")),
        "plane": str(facts.get("plane", "")),
        "sides": bool(orientation) and orientation[0][:1] in ("L", "R"),
        "orientation": orientation,
        "burned_in": facts.get("burned_in"),
        "raw": facts.get("kind") == "DX for processing",
        "above_bits": float(facts.get("above_bits_stored", 0.0)),
        "bits": int(facts.get("bits_stored", 8)),
        "notes": tuple(facts.get("notes", ())),
    }


@cache
def drawn() -> np.ndarray:
    """The drawn radiograph float64 (32, 32)."""
    rows, columns = np.mgrid[0:_FIELDS, 0:_FIELDS]
    x, y = (2 * columns + 1 - _FIELDS) / _FIELDS, (2 * rows + 1 - _FIELDS) / _FIELDS
    side = np.abs(x)
    lungs = _step(6 * (1 - ((side - 0.40 - 0.22 * (y + 0.1)) / 0.2) ** 2 - ((y + 0.08) / 0.62) ** 2))
    middle = np.exp(-(((x - 0.04) / (0.14 + 0.16 * np.clip(y + 0.3, 0, 1))) ** 2))
    belly = _step((y - 0.6) / 0.06) * _step((0.8 - side) / 0.05)
    corners = _step((side - 0.5) / 0.05) * _step((-0.75 - y) / 0.04)
    beside = _step((side - 0.9) / 0.03)
    return np.asarray(0.5 - lungs + 0.9 * middle + 0.5 * belly * (1 - middle) - 0.6 * corners - 0.5 * beside)


def _step(z: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -50, 50))))


def _likeness(array: np.ndarray) -> tuple[float, float, float, float]:
    """Correlation with the drawn radiograph as it is, upside down, and turned by a quarter to either side."""
    small = np.asarray(Image.fromarray(array).resize((_FIELDS, _FIELDS), Image.Resampling.BOX), np.float64)
    flat = small.ravel()
    if float(flat.max() - flat.min()) < 1e-6:
        return 0.0, 0.0, 0.0, 0.0
    # Equal values share a rank, so that plain areas have no order of their own.
    _, place, counts = np.unique(flat, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2)[place].reshape(_FIELDS, _FIELDS)
    template = drawn()
    turned = (ranks, ranks[::-1], np.rot90(ranks), np.rot90(ranks, 3))
    first, second, third, fourth = (float(np.corrcoef(one.ravel(), template.ravel())[0, 1]) for one in turned)
    return first, second, third, fourth


def _border(array: np.ndarray) -> float:
    height, width = array.shape

    def plain(rows: np.ndarray) -> int:
        level = (rows.max(axis=1) - rows.min(axis=1)) < 0.03
        return int(np.argmin(level)) if not level.all() else len(level)

    down = plain(array) + plain(array[::-1])
    across = plain(array.T) + plain(array.T[::-1])
    return 1.0 - max(height - down, 0) * max(width - across, 0) / (height * width)


def letters(array: np.ndarray) -> int:
    """The longest row of letter-like spots near the edges: bright, small, of equal height, side by side.

    One or two are a marker of the side; four and more are writing.
    """
    from scipy import ndimage

    height, width = array.shape
    scale = max(height, width) / _LONGEST
    if scale > 1:
        smaller = (max(round(width / scale), 1), max(round(height / scale), 1))
        array = np.asarray(Image.fromarray(array).resize(smaller, Image.Resampling.BOX))
        height, width = array.shape
    short = min(height, width)
    reach, band = max(round(short / 14) | 1, 5), max(int(_BAND * short), 1)
    longest = 0
    strips = (array[:band], array[-band:], array[band:-band, :band], array[band:-band, -band:])
    for strip in strips:
        if min(strip.shape) < 5:
            continue
        ground = ndimage.maximum_filter(ndimage.minimum_filter(strip, reach), reach)
        marked, number = ndimage.label(strip - ground > _RISE, np.ones((3, 3)))
        if number:
            longest = max(longest, _row(marked, strip.shape, short))
    return longest


def _row(marked: np.ndarray, shape: tuple[int, ...], short: int) -> int:
    from scipy import ndimage

    boxes = []
    for label, (rows, columns) in enumerate(ndimage.find_objects(marked), 1):
        high, wide = rows.stop - rows.start, columns.stop - columns.start
        if not max(short / 110, 5) <= high <= short / 14 or wide > 1.6 * high:
            continue
        # What runs out of the strip is an edge of something larger.
        if rows.start == 0 or columns.start == 0 or rows.stop == shape[0] or columns.stop == shape[1]:
            continue
        if wide > 2 and not 0.2 <= float((marked[rows, columns] == label).mean()) <= 0.9:
            continue
        boxes.append(((rows.start + rows.stop) / 2, high, columns.start, columns.stop))
    boxes.sort(key=lambda box: box[2])
    longest = 0
    for position, first in enumerate(boxes):
        run, last = 1, first
        for box in boxes[position + 1 :]:
            level = abs(box[0] - last[0]) <= 0.3 * last[1] and abs(box[1] - last[1]) <= 0.35 * last[1]
            if level and 0 <= box[2] - last[3] <= 1.2 * last[1]:
                run, last = run + 1, box
        longest = max(longest, run)
    return longest
