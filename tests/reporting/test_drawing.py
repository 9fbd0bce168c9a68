from __future__ import annotations

import io
import re
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sheet_records import SVG, parsed, path_lines, paths, texts

from medfm.core.errors import ConfigError, StoreError
from medfm.reporting.drawing import (
    Areas,
    Drawing,
    Lines,
    Picture,
    Text,
    clean,
    contact_sheet,
    hatching,
    rectangle,
)
from medfm.reporting.drawing_page import DPI, check_format, pdf_pages, render, write_drawing

points = st.lists(
    st.tuples(st.floats(-50, 300, allow_nan=False), st.floats(-50, 300, allow_nan=False)), min_size=1, max_size=12
)


def small() -> Drawing:
    drawing = Drawing(50.0, 20.0, "a test")
    drawing.add(Lines([np.array([(5.0, 10.0), (45.0, 10.0)])], "#000000", 0.3), Text(5, 8, "abc", 4.0, halo=True))
    return drawing


@given(st.lists(points, min_size=1, max_size=5))
@settings(max_examples=80, deadline=None)
def test_lines_come_back_within_half_a_unit(lines):
    drawing = Drawing(300.0, 300.0, "t")
    drawing.add(Lines([np.array(line) for line in lines], "#123456", 0.2))
    back = paths(drawing.svg(), "#123456")
    assert len(back) == len(lines)
    for line, own in zip(lines, back, strict=True):
        expected = np.rint(np.array(line) * 20) / 20
        kept = expected[np.insert(np.diff(expected, axis=0).any(axis=1), 0, True)]
        if len(kept) == 1:
            kept = np.vstack([kept, kept + (0.05, 0)])  # a dot is drawn as the shortest line
        np.testing.assert_allclose(own, kept, atol=1e-9)


def test_the_path_data_are_short():
    data = re.search(r'd="(m[^"]*)"', _one([(0, 0), (1, 0)]))
    assert data is not None and data.group(1) == "m0,0h20"
    data = re.search(r'd="(m[^"]*)"', _one([(0, 0), (1, -0.5), (2, 0.25)]))
    assert data is not None and data.group(1) == "m0,0,20-10,20,15"
    assert np.allclose(path_lines(data.group(1))[0], [(0, 0), (1, -0.5), (2, 0.25)])


def _one(line: list[tuple[float, float]]) -> str:
    drawing = Drawing(10, 10, "t")
    drawing.add(Lines([np.array(line)]))
    return drawing.svg()


def test_the_size_is_in_millimetres_and_the_box_matches():
    root = parsed(Drawing(270.0, 167.0, "t").svg())
    assert root.get("width") == "270mm" and root.get("height") == "167mm"
    assert root.get("viewBox") == "0 0 5400 3340"


def test_nothing_runs_and_nothing_is_loaded():
    svg = small().svg()
    assert not re.search(r"<script|<foreignObject|javascript:|on\w+=|<style|url\(", svg)
    assert re.findall(r"https?://[^\"']+", svg) == ["http://www.w3.org/2000/svg"]


@pytest.mark.parametrize("name", ['<script>alert("1")</script>', "a&b", "x\x00\x08y\ud800", "Ünïcode 心電図", "]]>"])
def test_hostile_names_are_text(name):
    drawing = Drawing(10, 10, name)
    drawing.add(Text(1, 1, name))
    svg = drawing.svg()
    svg.encode()  # no lone surrogate is left
    wanted = re.sub(r"[\x00-\x1f\ud800-\udfff]", " ", name)
    assert texts(svg) == [wanted]
    assert parsed(svg).find(f"{SVG}title").text == wanted
    assert len(list(parsed(svg).iter())) == 4


@given(st.text())
def test_any_text_is_well_formed(text):
    assert parsed(f"<a>{clean(text)}</a>").tag == "a"


@given(st.floats(0.3, 60), st.floats(0.3, 60))
@settings(max_examples=50, deadline=None)
def test_hatching_stays_in_its_box_and_is_diagonal(width, height):
    for line in hatching(3.0, 4.0, width, height):
        assert (line >= np.array([3.0, 4.0]) - 1e-9).all()
        assert (line <= np.array([3.0 + width, 4.0 + height]) + 1e-9).all()
        step = line[1] - line[0]
        assert step[0] == pytest.approx(-step[1])
    # Evenly spaced: every diagonal x + y = constant from half a step on.
    sums = [line[0].sum() - 7.0 for line in hatching(3.0, 4.0, width, height)]
    np.testing.assert_allclose(sums, 0.8 + 1.6 * np.arange(len(sums)), atol=1e-9)
    assert len(sums) == int(np.ceil((width + height - 0.8) / 1.6 - 1e-9))


def test_a_png_has_true_dots_per_inch_and_crisp_lines():
    with Image.open(io.BytesIO(render(small(), ".png"))) as image:
        assert image.size == (500, 200)
        assert image.info["dpi"] == pytest.approx((DPI, DPI), abs=0.01)
        pixels = np.asarray(image.convert("L")).astype(int)
    column = pixels[:, 300]
    dark = np.flatnonzero(column < 128)
    assert list(dark) == list(range(dark[0], dark[0] + 3)), "0.3 mm are three pixels"
    assert (column[dark] < 10).all() and abs(dark.mean() - 99.5) <= 1
    assert pixels[0, 0] == 255


def test_a_pdf_page_is_as_large_as_the_drawing():
    wide = Drawing(100.0, 30.0, "b")
    data = pdf_pages([small(), wide])
    boxes = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", data + _inflated(data))
    sizes = [tuple(float(v) * 25.4 / 72 for v in box) for box in boxes]
    assert np.allclose(sizes, [(50, 20), (100, 30)], atol=0.01)


def _inflated(data: bytes) -> bytes:
    found = b""
    for chunk in re.findall(rb"stream\r?\n(.*?)endstream", data, re.S):
        try:
            found += zlib.decompress(chunk)
        except zlib.error:
            continue
    return found


@pytest.mark.parametrize("ending", [".svg", ".png", ".pdf"])
def test_equal_drawings_give_equal_files(ending, tmp_path):
    first = write_drawing(small(), tmp_path / f"a{ending}")
    assert first.read_bytes() == render(small(), ending)
    assert first.is_absolute() and [p.name for p in tmp_path.iterdir()] == [f"a{ending}"]


def test_other_endings_and_places_are_refused(tmp_path):
    assert check_format("A.PDF") == ".pdf"
    for name in ("a.gif", "a", ".png.txt"):
        with pytest.raises(ConfigError, match="cannot be written as"):
            write_drawing(small(), tmp_path / name)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        write_drawing(small(), tmp_path / "file" / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_picture_is_embedded_and_lies_where_it_should():
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 4:] = 255
    drawing = Drawing(30.0, 20.0, "p")
    drawing.add(Picture(5.0, 5.0, 20.0, 10.0, pixels))
    image = parsed(drawing.svg()).find(f"{SVG}image")
    assert image is not None and image.get("href", "").startswith("data:image/png;base64,")
    assert [image.get(k) for k in ("x", "y", "width", "height")] == ["100", "100", "400", "200"]
    with Image.open(io.BytesIO(render(drawing, ".png"))) as png:
        grey = np.asarray(png.convert("L")).astype(int)
    assert grey[100, 70] < 20 and grey[100, 230] > 235 and grey[10, 10] == 255


def test_a_contact_sheet_places_row_by_row():
    parts = [small(), Drawing(30.0, 40.0, "high"), small()]
    parts[1].add(Areas([rectangle(0, 0, 1, 1)], "#abcdef"))
    sheet = contact_sheet(parts, 2, "three")
    assert (sheet.width, sheet.height) == (100.0, 60.0)
    assert np.allclose(paths(sheet.svg(), "#abcdef")[0][0], (50, 0))
    bars = sorted(tuple(line[0]) for line in paths(sheet.svg(), "#000000"))
    assert bars == [(5.0, 10.0), (5.0, 50.0)]
    assert contact_sheet([small()], 3, "one").width == 50.0
    assert contact_sheet([], 3, "none").height == 0.0
