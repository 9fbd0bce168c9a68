"""A drawing as PNG or PDF, true to scale: 25 mm on the sheet are 25 mm on paper."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from medfm.core.errors import ConfigError
from medfm.core.files import atomic_open
from medfm.reporting.drawing import Areas, Drawing, Lines, Picture

DPI = 254  # exactly 10 pixels to the millimetre, so that grid lines fall on pixels
FORMATS = (".svg", ".png", ".pdf")
_POINTS = 72 / 25.4  # to the millimetre
_STYLE: Any = {"font.family": "DejaVu Sans", "text.parse_math": False, "pdf.fonttype": 42, "path.simplify": False}


def check_format(path: str | Path) -> str:
    """The ending of `path`, in lower case.

    Raises:
        ConfigError: It is not one that a drawing can be written as.
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise ConfigError(
            f"A drawing cannot be written as '{ending or Path(path).name}'.",
            where=str(path),
            expected=", ".join(FORMATS),
            fix="end the name of the file in one of them",
        )
    return ending


def write_drawing(drawing: Drawing | Sequence[Drawing], path: str | Path) -> Path:
    """Write the drawing in the format that the ending of `path` names; whole or not at all.

    Several drawings become the pages of one PDF.

    Raises:
        ConfigError: Another ending than ``.svg``, ``.png`` or ``.pdf``.
        StoreError: The file cannot be written.
    """
    ending = check_format(path)
    data = render(drawing, ending) if isinstance(drawing, Drawing) else pdf_pages(drawing)
    with atomic_open(path) as handle:
        handle.write(data)
    return Path(path).absolute()


def render(drawing: Drawing, ending: str, dpi: int = DPI) -> bytes:
    """The bytes of the drawing; equal drawings give equal bytes."""
    if ending == ".svg":
        return drawing.svg().encode()
    if ending == ".pdf":
        return pdf_pages([drawing])
    with mpl.rc_context(_STYLE):
        buffer = io.BytesIO()
        # No program version: the same drawing gives the same bytes.
        about = {"Title": drawing.title, "Software": None}
        _painted(drawing).savefig(buffer, format="png", dpi=dpi, metadata=about)
    return buffer.getvalue()


def pdf_pages(drawings: Sequence[Drawing]) -> bytes:
    """One PDF with a page as large as the drawing for each."""
    from matplotlib.backends.backend_pdf import PdfPages

    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE):
        about = {"Title": drawings[0].title, "CreationDate": None, "Producer": None, "Creator": None}
        with PdfPages(buffer, metadata=about) as pages:
            for drawing in drawings:
                pages.savefig(_painted(drawing))
    return buffer.getvalue()


def _painted(drawing: Drawing) -> Figure:
    figure = Figure(figsize=(drawing.width / 25.4, drawing.height / 25.4))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    for order, part in enumerate(drawing.parts):
        _paint(axes, part, order)
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    return figure


def _paint(axes: Any, part: Any, order: int) -> None:
    if isinstance(part, Lines):
        lines = [np.asarray(line) for line in part.lines]
        upright = all(len(line) == 2 and (line[0] == line[1]).any() for line in lines)
        drawn = LineCollection(
            lines, colors=part.colour, linewidths=part.width * _POINTS, zorder=order, capstyle="butt", joinstyle="round"
        )
        drawn.set_snap(upright)
        axes.add_collection(drawn, autolim=False)
    elif isinstance(part, Areas):
        # No antialiasing seam between areas that touch.
        filled = PolyCollection(
            [np.asarray(area) for area in part.areas], facecolors=part.colour, edgecolors="none", zorder=order
        )
        axes.add_collection(filled, autolim=False)
    elif isinstance(part, Picture):
        box = (part.x, part.x + part.width, part.y + part.height, part.y)
        axes.imshow(part.pixels, extent=box, zorder=order, aspect="auto", interpolation="lanczos")
    else:
        text = axes.text(
            part.x,
            part.y,
            part.text,
            fontsize=part.size * _POINTS,
            ha={"start": "left", "middle": "center", "end": "right"}[part.anchor],
            va="baseline",
            color=part.colour,
            fontweight="bold" if part.bold else "normal",
            zorder=order,
        )
        if part.halo:
            text.set_path_effects([withStroke(linewidth=part.size * _POINTS / 4, foreground="white")])
