"""From samples to the few points of a drawn line, with gaps and clipping marked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medfm.io.ecg.resample import runs

COLUMN = 0.2  # mm; a pen of 0.3 mm cannot show more than one sweep up and down in it
TOLERANCE = 0.05  # mm; 5 microvolts at 10 mm/mV, a sixth of the pen
_MARK_GAP = 2.5  # mm between two clip marks


@dataclass(frozen=True)
class Trace:
    """One lead drawn between two borders.

    Attributes:
        lines: Drawn lines, each float (points, 2): mm from the start and mm upwards from the baseline.
        gaps: Missing stretches (start, stop), mm from the start.
        above: Where the trace leaves through the upper border, mm from the start.
        below: Where it leaves through the lower border.
    """

    lines: list[np.ndarray]
    gaps: list[tuple[float, float]]
    above: list[float]
    below: list[float]


def trace(x: np.ndarray, y: np.ndarray, upper: float, lower: float) -> Trace:
    """The drawn form of one lead.

    Args:
        x: mm from the start, increasing, float (n,).
        y: mm from the baseline, upwards positive, NaN where missing, float (n,).
        upper: Upper border in mm above the baseline.
        lower: Lower border (a negative number where it is below the baseline).
    """
    missing = ~np.isfinite(y)
    step = float(x[1] - x[0]) if len(x) > 1 else 0.0
    gaps = [(max(float(x[a]) - step, float(x[0])), float(x[b - 1]) + step) for a, b in runs(missing)]
    clipped = np.clip(y, lower, upper)
    lines = []
    for start, stop in runs(~missing):
        kept = thinned(x[start:stop], clipped[start:stop])
        lines.append(np.column_stack([x[start:stop][kept], clipped[start:stop][kept]]))
    with np.errstate(invalid="ignore"):
        above, below = _places(x, y > upper), _places(x, y < lower)
    return Trace(lines, gaps, above, below)


def thinned(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points to keep, int64, increasing: the ends, and what cannot be left out unseen.

    In every column of :data:`COLUMN` mm the lowest and the highest point stay, so that no spike
    is lost; then these are dropped as long as the line passes each of them at a vertical
    distance of at most :data:`TOLERANCE` mm.
    """
    if len(x) <= 2:
        return np.arange(len(x))
    column = np.floor((x - x[0]) / COLUMN).astype(np.int64)
    order = np.lexsort((y, column))
    first = np.flatnonzero(np.diff(column[order], prepend=-1))
    lowest, highest = order[first], order[np.append(first[1:], len(order)) - 1]
    kept = np.unique(np.concatenate([[0, len(x) - 1], lowest, highest]))
    return kept[_within(x[kept].tolist(), y[kept].tolist())]


def _within(x: list[float], y: list[float]) -> list[int]:
    """Positions of a line that stays within the tolerance of all points, in one pass."""
    chosen, pivot = [0], 0
    low, high = -np.inf, np.inf  # slopes from the pivot that pass all points since
    for i in range(1, len(x)):
        width = x[i] - x[pivot]
        slope = (y[i] - y[pivot]) / width
        if not low <= slope <= high:
            pivot = i - 1
            chosen.append(pivot)
            width = x[i] - x[pivot]
            low, high = -np.inf, np.inf
        low = max(low, (y[i] - TOLERANCE - y[pivot]) / width)
        high = min(high, (y[i] + TOLERANCE - y[pivot]) / width)
    return [*chosen, len(x) - 1]


def _places(x: np.ndarray, outside: np.ndarray) -> list[float]:
    """The middle of each stretch outside, those close together counted once."""
    found: list[float] = []
    for start, stop in runs(outside):
        middle = float(x[start] + x[stop - 1]) / 2
        if not found or middle - found[-1] >= _MARK_GAP:
            found.append(middle)
    return found
