"""The heat strip below an ECG: where an attention pool took its values from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medfm.reporting.drawing import Areas, Drawing, Lines, Text, rectangle
from medfm.reporting.ecg_sheet_layout import SPEED, TRACK

if TYPE_CHECKING:
    from medfm.encoders.attention import TimeAttention

STRIP_HEIGHT = 15.0  # mm with its legend
_HIGH = 5.0  # mm of the strip itself
# White to dark blue in even steps of lightness: one hue, so that no colour vision is needed.
_LEVELS = (
    "#f7fbff",
    "#e3eef9",
    "#cfe1f2",
    "#b5d4e9",
    "#93c3df",
    "#6daed5",
    "#4b97c9",
    "#2f7ebc",
    "#1864aa",
    "#0a4a90",
    "#08306b",
)
_LEAST_TOP = 2.0  # the darkest shade is at least twice an even share: noise shall not look like a pattern
_LEAST_BEYOND = 0.005  # a share of attention worth a word
_UNIT = "times an even spread"
_ROOM = 110.0  # mm for a sentence beside the strip
CAPTION = (
    "The blue strip shows where the encoder's attention pool took its values from, relative to an even spread. "
    "It is not an explanation of the prediction: attention can be high where nothing decides, and each place "
    "stands for a wider stretch of the recording."
)


def attention_strip(drawing: Drawing, attention: TimeAttention, x: float, y: float, start: float) -> None:
    """Add the strip and its legend, aligned with a row whose 10 s begin at `x` mm and `start` s."""
    top = max(float(attention.values.max(initial=0.0)), _LEAST_TOP)
    level = np.minimum((attention.values / top * len(_LEVELS)).astype(int), len(_LEVELS) - 1)
    edges = np.clip((attention.edges - start) * SPEED, 0.0, TRACK)
    areas: dict[int, list[np.ndarray]] = {}
    begin = 0
    for i in range(1, len(level) + 1):
        if i == len(level) or level[i] != level[begin]:
            if edges[i] > edges[begin]:
                box = rectangle(x + edges[begin], y, edges[i] - edges[begin], _HIGH)
                areas.setdefault(int(level[begin]), []).append(box)
            begin = i
    drawing.add(*(Areas(boxes, _LEVELS[number]) for number, boxes in sorted(areas.items())))
    frame = rectangle(x, y, TRACK, _HIGH)
    drawing.add(Lines([np.vstack([frame, frame[:1]])], "#555555", 0.2))
    lost = f"; {attention.beyond:.0%} of the attention fell on" if attention.beyond >= _LEAST_BEYOND else ""
    more = f"{lost} the zeros behind the end" if lost else "; attention is not an explanation"
    if TRACK - edges[-1] >= _ROOM:
        words = "not seen by the encoder" + (f"{lost} the zeros in its place" if lost else "")
        drawing.add(Text(x + edges[-1] + 2, y + 3.6, words, 3.0, colour="#444444"))
        more = "; attention is not an explanation"
    _legend(drawing, x, y + _HIGH + 1.6, f"{top:.1f} {_UNIT}{more}")


def _legend(drawing: Drawing, x: float, y: float, words: str) -> None:
    drawing.add(Text(x, y + 3.0, "where the encoder looked (attention)", 3.0, bold=True))
    bar, width = x + 76.0, 4.0
    drawing.add(Text(bar - 1.5, y + 3.0, "0", 3.0, "end"))
    for number, colour in enumerate(_LEVELS):
        drawing.add(Areas([rectangle(bar + number * width, y, width, 3.6)], colour))
    end = bar + len(_LEVELS) * width
    frame = rectangle(bar, y, end - bar, 3.6)
    drawing.add(Lines([np.vstack([frame, frame[:1]])], "#555555", 0.2))
    drawing.add(Text(end + 1.5, y + 3.0, words, 3.0))


def is_strip(svg: bytes) -> bool:
    """Whether an SVG sheet has a heat strip."""
    return _UNIT.encode() in svg
