from __future__ import annotations

import base64
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from medfm.reporting.figures import COLOURS, MARKERS, WIDTH, colour, draw, marker, short, unit_axes


def paint(fig: Figure) -> None:
    axes = fig.subplots()
    axes.plot([0, 1], [0, 1], label="a $x_1$ label")
    axes.legend()
    unit_axes(axes)


def svg(uri: str) -> str:
    head, _, data = uri.partition(",")
    assert head == "data:image/svg+xml;base64"
    return base64.b64decode(data).decode()


def test_a_figure_is_an_svg_of_its_size():
    root = ElementTree.fromstring(svg(draw(paint, 3.0)))
    assert root.tag.endswith("svg")
    assert root.attrib["viewBox"] == f"0 0 {WIDTH * 72:g} 216"


def test_the_same_figure_gives_the_same_bytes():
    assert draw(paint, 3.0) == draw(paint, 3.0)


def test_no_date_no_font_no_program():
    text = svg(draw(paint, 3.0))
    for word in ("<dc:date", "font-family", "<text", "Creator"):
        assert word not in text, word


def test_the_users_own_settings_are_left_alone_and_without_effect():
    before = draw(paint, 3.0)
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9}):
        assert mpl.rcParams["font.size"] == 30
        draw(paint, 3.0)
        assert mpl.rcParams["font.size"] == 30
    assert draw(paint, 3.0) == before


def test_groups_are_told_apart_by_colour_then_shape():
    styles = {(colour(i), marker(i)) for i in range(len(COLOURS) * len(MARKERS))}
    assert len(styles) == len(COLOURS) * len(MARKERS)


def test_colours_stand_out_on_white():
    """Luminance contrast against white of at least 1.7 for shapes (text is black)."""

    def luminance(code: str) -> float:
        parts = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert all(1.05 / (luminance(code) + 0.05) >= 1.7 for code in COLOURS)


def test_long_names_are_cut():
    assert short("abc", 3) == "abc"
    assert short("abcdef", 4) == "abc…"
