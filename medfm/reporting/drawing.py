"""Drawings to scale: a few kinds of parts in millimetres, written as SVG, PNG or PDF.

A drawing knows nothing of what it shows. SVG is written here by hand, with whole numbers of
1/20 mm and without scripts or outside resources; PNG and PDF are in
:mod:`medfm.reporting.drawing_page`.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Literal

import numpy as np

PER_MM = 20  # SVG units in a millimetre: 0.05 mm is finer than a printer draws and keeps numbers short
FONT = "DejaVu Sans,Verdana,Arial,Helvetica,sans-serif"
INK = "#111111"

Anchor = Literal["start", "middle", "end"]
_ANCHORS = {"start": "", "middle": ' text-anchor="middle"', "end": ' text-anchor="end"'}


@dataclass(frozen=True)
class Lines:
    """Open lines of one pen: each float (points, 2), x to the right and y downwards, mm."""

    lines: Sequence[np.ndarray]
    colour: str = INK
    width: float = 0.3  # mm


@dataclass(frozen=True)
class Areas:
    """Filled polygons of one colour: each float (points, 2), mm."""

    areas: Sequence[np.ndarray]
    colour: str = INK


@dataclass(frozen=True)
class Text:
    """One line of text at its baseline; `size` is the font size in mm."""

    x: float
    y: float
    text: str
    size: float = 3.0
    anchor: Anchor = "start"
    bold: bool = False
    halo: bool = False  # a white edge, to be read on top of lines
    colour: str = INK


@dataclass(frozen=True)
class Picture:
    """A picture uint8 (h, w, 3) laid into a box, mm."""

    x: float
    y: float
    width: float
    height: float
    pixels: np.ndarray


Part = Lines | Areas | Text | Picture


@dataclass
class Drawing:
    """A sheet of `width` x `height` mm; parts are painted in order, later ones on top.

    Attributes:
        width: mm.
        height: mm.
        title: What it shows, in words, for those who cannot see it.
        parts: What is painted.
    """

    width: float
    height: float
    title: str
    parts: list[Part] = field(default_factory=list)

    def add(self, *parts: Part) -> None:
        """Paint these next."""
        self.parts.extend(parts)

    def svg(self) -> str:
        """The drawing as one SVG text whose size is given in millimetres."""
        width, height = units(self.width), units(self.height)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width:g}mm" height="{self.height:g}mm" '
            f'viewBox="0 0 {width} {height}" font-family="{FONT}">'
            f"<title>{clean(self.title)}</title>"
            f'<path fill="#fff" d="M0,0h{width}v{height}H0z"/>'
        )
        return head + "".join(_element(part) for part in self.parts) + "</svg>\n"


def units(mm: float) -> int:
    """Millimetres in whole SVG units."""
    return round(mm * PER_MM)


def clean(text: str) -> str:
    """`text` for XML: escaped, without the control characters that XML forbids."""
    return escape(re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", " ", text))


def rectangle(x: float, y: float, width: float, height: float) -> np.ndarray:
    """The corners (4, 2) of a box."""
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], dtype=np.float64)


def hatching(x: float, y: float, width: float, height: float, step: float = 1.6) -> list[np.ndarray]:
    """Diagonal lines that fill a box, each (2, 2)."""
    lines = []
    for shift in np.arange(step / 2, width + height, step):
        # The line x + y = shift, from the left or lower edge to the upper or right one.
        start = (0.0, shift) if shift <= height else (shift - height, height)
        stop = (shift, 0.0) if shift <= width else (width, shift - width)
        lines.append(np.array([start, stop]) + (x, y))
    return lines


def _element(part: Part) -> str:
    if isinstance(part, Lines):
        path = _path(part.lines)
        if not path:
            return ""
        return (
            f'<path fill="none" stroke="{part.colour}" stroke-width="{part.width * PER_MM:g}" '
            f'stroke-linejoin="round" d="{path}"/>'
        )
    if isinstance(part, Areas):
        path = _path(part.areas, close=True)
        return f'<path fill="{part.colour}" d="{path}"/>' if path else ""
    if isinstance(part, Text):
        style = _ANCHORS[part.anchor] + (' font-weight="bold"' if part.bold else "")
        if part.halo:
            style += f' stroke="#fff" stroke-width="{part.size * PER_MM / 4:g}" paint-order="stroke"'
        return (
            f'<text x="{units(part.x)}" y="{units(part.y)}" font-size="{part.size * PER_MM:g}" '
            f'fill="{part.colour}"{style}>{clean(part.text)}</text>'
        )
    uri = "data:image/png;base64," + base64.b64encode(_png(part.pixels)).decode("ascii")
    box = f'x="{units(part.x)}" y="{units(part.y)}" width="{units(part.width)}" height="{units(part.height)}"'
    return f'<image {box} preserveAspectRatio="none" href="{uri}"/>'  # a voxel need not be square


def _path(lines: Iterable[np.ndarray], close: bool = False) -> str:
    """Path data in relative whole units; runs of zero length are left out."""
    pieces: list[str] = []
    at = np.zeros(2, dtype=np.int64)
    for line in lines:
        points = np.rint(np.asarray(line, dtype=np.float64) * PER_MM).astype(np.int64)
        if len(points) == 0:
            continue
        steps = np.diff(points, axis=0)
        steps = steps[steps.any(axis=1)]
        if len(steps) == 0:
            steps = np.array([[1, 0]])  # a single point still leaves a dot
            points = np.array([points[0], points[0] + (1, 0)])
        pieces.append("m" + _pair(*(points[0] - at)))
        if len(steps) == 1 and not steps.all():
            dx, dy = steps[0]
            pieces.append(f"h{dx}" if dx else f"v{dy}")
        else:
            # After "m" further pairs are lines; a minus sign separates numbers as well as a comma.
            pieces += [("," if dx >= 0 else "") + _pair(dx, dy) for dx, dy in steps.tolist()]
        if close:
            pieces.append("z")
            at = points[0]
        else:
            at = points[-1]
    return "".join(pieces)


def _pair(x: int, y: int) -> str:
    return f"{x}{y}" if y < 0 else f"{x},{y}"


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def contact_sheet(drawings: Sequence[Drawing], columns: int, title: str) -> Drawing:
    """Several drawings on one sheet, row by row, each at its own scale."""
    width = max((drawing.width for drawing in drawings), default=0.0)
    sheet = Drawing(width * min(columns, max(len(drawings), 1)), 0.0, title)
    for first in range(0, len(drawings), columns):
        row = drawings[first : first + columns]
        for place, drawing in enumerate(row):
            sheet.add(*(moved(part, place * width, sheet.height) for part in drawing.parts))
        sheet.height += max(drawing.height for drawing in row)
    return sheet


def moved(part: Part, right: float, down: float) -> Part:
    """The part at another place, mm."""
    if isinstance(part, Lines):
        return replace(part, lines=[np.asarray(line) + (right, down) for line in part.lines])
    if isinstance(part, Areas):
        return replace(part, areas=[np.asarray(area) + (right, down) for area in part.areas])
    return replace(part, x=part.x + right, y=part.y + down)
