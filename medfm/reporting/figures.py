"""How figures look and how they get into a page: SVG without system fonts, as data URIs.

Text is drawn as outlines of the font that Matplotlib ships, so a figure looks the same on every
machine and rebuilding it gives the same bytes. Colours are those of Okabe and Ito (2008), told
apart by people with any common colour blindness; more groups than colours also differ in shape.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#767676"
WIDTH = 4.4  # inches; 10 pt text is then about 12 px on a phone

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "svg.fonttype": "path",
    "svg.hashsalt": "medfm",
    "figure.dpi": 100,
    "path.simplify": True,
    "text.parse_math": False,  # a record id or class name with a dollar sign is not a formula
}


@dataclass(frozen=True)
class Plot:
    """A finished figure for a page.

    Attributes:
        title: Heading above it.
        uri: ``data:image/svg+xml;base64,...``.
        alt: What the figure shows, for those who cannot see it.
        caption: How to read it.
    """

    title: str
    uri: str
    alt: str
    caption: str


def draw(paint: Callable[[Figure], None], height: float, width: float = WIDTH) -> str:
    """Run `paint` on an empty figure of `width` x `height` inches; return the SVG as a data URI."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure)
        buffer = io.BytesIO()
        # No date and no program version: the same figures give the same bytes.
        figure.savefig(buffer, format="svg", dpi=180, metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def colour(position: int) -> str:
    """The colour of group number `position`."""
    return COLOURS[position % len(COLOURS)]


def marker(position: int) -> str:
    """The shape of group number `position`: changes once the colours are used up."""
    return MARKERS[(position // len(COLOURS)) % len(MARKERS)]


def unit_axes(axes: Axes) -> None:
    """Both axes from 0 to 1 with few ticks, square."""
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_box_aspect(1)


def short(text: str, length: int = 22) -> str:
    """`text` cut to `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
