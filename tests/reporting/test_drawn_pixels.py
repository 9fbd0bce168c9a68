"""What sheets and films of drawn scans look like once they are pixels: places, proportions, colours, frames."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from medfm.reporting.drawing import Areas, Drawing, Picture, Text
from medfm.reporting.drawing_page import render
from medfm.reporting.moving_picture import write_moving
from medfm.reporting.volume_sheets import WIDTH, Sheet, Shown, panel_rows, strip
from medfm.reporting.volume_slices import diverging, grey, reach_of, slices

SHAPE = (12, 16, 8)
DPI = 60
PER_MM = DPI / 25.4


def affine(*spacing: float) -> np.ndarray:
    return np.diag([*(spacing or (4.0, 4.0, 4.0)), 1.0])


def block(value: float = 1.0) -> np.ndarray:
    """A bright block at the right, front and top of a dark volume."""
    array = np.full(SHAPE, 0.2)
    array[8:, 10:, 5:] = value
    return array


def pixels(drawing: Drawing) -> np.ndarray:
    with Image.open(io.BytesIO(render(drawing, ".png", dpi=DPI))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def cut(page: np.ndarray, part: Picture) -> np.ndarray:
    """The pixels within a picture of the page, without its edge."""
    top, left = round(part.y * PER_MM), round(part.x * PER_MM)
    high, wide = round(part.height * PER_MM), round(part.width * PER_MM)
    return page[top + 2 : top + high - 2, left + 2 : left + wide - 2]


def pictures(drawing: Drawing) -> list[Picture]:
    return [part for part in drawing.parts if isinstance(part, Picture)]


def texts(drawing: Drawing) -> list[Text]:
    return [part for part in drawing.parts if isinstance(part, Text)]


@pytest.fixture(scope="module")
def sheet():
    return strip(
        [Shown("scan\n ", block()), Shown("drawn\n4 steps", block(0.6), block(0.6) - block())],
        Sheet("record-1", affine(), difference="drawn minus scan"),
        centre=(9, 12, 6),
    )


@pytest.fixture(scope="module")
def page(sheet):
    return pixels(sheet)


def test_the_page_has_the_stated_size(sheet, page):
    assert page.shape[1] == pytest.approx(WIDTH * PER_MM, abs=1)
    assert page.shape[0] == pytest.approx(sheet.height * PER_MM, abs=1)
    assert (page[0, 0] == 255).all() and (page[-1, -1] == 255).all()


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_what_is_at_the_right_front_and_top_is_drawn_at_the_left_and_above(sheet, page, plane):
    part = cut(page, _volumes(sheet)[plane])
    high, wide = part.shape[:2]
    corner, other = part[: high // 6, : wide // 6], part[-high // 6 :, -wide // 6 :]
    assert corner.mean() > 230 and other.mean() < 80, plane


def _volumes(sheet: Drawing) -> list[Picture]:
    """The first column's slice of every plane."""
    rows: dict[float, list[Picture]] = {}
    for part in pictures(sheet):
        rows.setdefault(part.y, []).append(part)
    return [min(row, key=lambda p: p.x) for row in rows.values() if len(row) == 2]


def test_a_volume_is_grey_and_a_negative_difference_blue(sheet, page):
    for part in pictures(sheet):
        inside = cut(page, part)
        coloured = np.ptp(inside, axis=2).max() > 40
        if coloured:
            red, _, blue = inside.reshape(-1, 3)[inside.reshape(-1, 3).sum(axis=1).argmin()]
            assert blue > red + 30  # the drawn block is darker than the scan's
    assert sum(np.ptp(cut(page, part), axis=2).max() > 40 for part in pictures(sheet)) == 3


def test_where_nothing_differs_the_page_is_white(sheet, page):
    below = [p for p in pictures(sheet) if np.ptp(cut(page, p), axis=2).max() > 40]
    for part in below:
        inside = cut(page, part)
        assert (inside[-3:, -3:] == 255).all()


def test_the_colour_bar_is_symmetric_about_white(sheet):
    bar = [p for p in sheet.parts if isinstance(p, Areas)]
    colours = [tuple(int(p.colour[i : i + 2], 16) for i in (1, 3, 5)) for p in bar]
    reach = reach_of(block(0.6) - block())
    assert reach == 0.5 and len(colours) == 60
    assert colours[0] == tuple(diverging(np.array(-reach), reach)) and colours[-1] == tuple(
        diverging(np.array(reach), reach)
    )
    lightest = [sum(c) for c in colours]
    assert lightest.index(max(lightest)) in (29, 30) and lightest[29] == pytest.approx(lightest[30], abs=40)
    assert colours[0][2] > colours[0][0] and colours[-1][0] > colours[-1][2]
    said = [t.text for t in texts(sheet)]
    assert {"−0.5", "0", "+0.5", "drawn minus scan"} <= set(said)


def test_the_two_lines_of_a_title_stand_above_their_column(sheet):
    volumes = [p for p in pictures(sheet) if p.y == min(q.y for q in pictures(sheet))]
    for name, below, part in (("scan", " ", volumes[0]), ("drawn", "4 steps", volumes[1])):
        first = next(t for t in texts(sheet) if t.text == name)
        assert first.x == pytest.approx(part.x + part.width / 2, abs=0.5) and first.bold
        second = next(t for t in texts(sheet) if t.text == below and abs(t.x - first.x) < 0.5)
        assert first.y < second.y < part.y and not second.bold


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 5.0), (0.8, 2.5, 1.1)])
def test_pixels_of_panels_are_in_true_proportion(spacing):
    """Of a bright ellipsoid with half axes in millimetres, width and height on the page are those of the head."""
    i, j, k = np.meshgrid(*(np.arange(n) for n in (30, 30, 30)), indexing="ij")
    mm = [(g - 14.5) * s for g, s in zip((i, j, k), spacing, strict=True)]
    half = [12 * s for s in spacing]
    array = (sum((m / h) ** 2 for m, h in zip(mm, half, strict=True)) < 1).astype(float)
    drawing = panel_rows([Shown("scan", array)], Sheet("s", affine(*spacing)), centre=(15, 15, 15))
    whole = pixels(drawing)
    per_mm = pictures(drawing)[2].width / (30 * spacing[0])
    for part, (across, up) in zip(pictures(drawing), ((1, 2), (0, 2), (0, 1)), strict=True):
        bright = np.argwhere(cut(whole, part).mean(axis=2) > 128)
        high, wide = np.ptp(bright, axis=0) + 1
        assert wide == pytest.approx(2 * half[across] * per_mm * PER_MM, rel=0.12, abs=3)
        assert high == pytest.approx(2 * half[up] * per_mm * PER_MM, rel=0.12, abs=3)


def test_unknown_sides_are_said_on_strips_too():
    known = strip([Shown("a", block())], Sheet("s", affine()))
    unknown = strip([Shown("a", block())], Sheet("s", affine(), sides_known=False))
    assert {"R", "L"} <= {t.text for t in texts(known)}
    words = [t.text for t in texts(unknown)]
    assert "R" not in words and "L" not in words and words.count("?") == 4
    assert any(w.startswith("LEFT AND RIGHT ARE NOT KNOWN") for w in words)
    assert {"A", "P"} <= set(words)  # these are known all the same


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_strips_of_any_number_of_columns_stay_on_the_page(count):
    base = block()
    made = strip(
        [Shown(f"k = {i}", base, base * i / 9 - base) for i in range(count)], Sheet("s", affine(), difference="d")
    )
    assert len(pictures(made)) == 6 * count
    for part in pictures(made):
        assert part.x >= 0 and part.x + part.width <= WIDTH and part.y + part.height < made.height
        assert part.width / part.height == pytest.approx(part.pixels.shape[1] / part.pixels.shape[0], rel=1e-6)
    for text in texts(made):
        assert 0 <= text.x <= WIDTH and 0 < text.y < made.height


def test_all_differences_of_a_sheet_share_one_scale():
    base = np.zeros(SHAPE)
    small, large = np.full(SHAPE, 0.04), np.full(SHAPE, 0.4)
    made = strip(
        [Shown("a", base + 0.5), Shown("b", base, small), Shown("c", base, large)], Sheet("s", affine(), difference="d")
    )
    reach = reach_of(small, large)
    coloured = [p.pixels for p in pictures(made) if np.ptp(p.pixels.astype(int), axis=2).max() > 0]
    assert {tuple(p[0, 0]) for p in coloured} == {
        tuple(diverging(np.array(0.04), reach)), tuple(diverging(np.array(0.4), reach)),
    }  # fmt: skip


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_none_do_not_spoil_a_picture(bad):
    array = block()
    array[0, 0, 0] = bad
    assert grey(array[0]).dtype == np.uint8 and np.isfinite(reach_of(array))
    expected = {np.inf: 255}.get(bad, 0)
    assert (grey(np.array([[bad]])) == expected).all()
    if np.isnan(bad):
        assert (diverging(np.array([bad]), 1.0) == 255).all()


@pytest.mark.parametrize("seed", range(4))
def test_opposite_differences_have_colours_of_opposite_ends(seed):
    values = np.random.default_rng(seed).uniform(-2, 2, 50)
    there, back = diverging(values, 1.0).astype(int), diverging(-values, 1.0).astype(int)
    for value, one, other in zip(values, there, back, strict=True):
        if abs(value) > 0.2:
            assert (one[0] > one[2]) == (value > 0) and (other[0] > other[2]) == (value < 0)
        assert (one == diverging(np.array(np.clip(value, -1, 1)), 1.0)).all()


def test_the_slice_that_is_named_is_the_slice_that_is_drawn():
    array = np.random.default_rng(0).random(SHAPE)
    sagittal, coronal, axial = slices(array, affine(), (3, 7, 2))
    for part, at, total in ((sagittal, 3, 12), (coronal, 7, 16), (axial, 2, 8)):
        assert part.at == (at, total)
    rows, columns = coronal.values.shape
    for row in range(rows):
        for column in range(columns):
            assert coronal.values[row, column] == array[SHAPE[0] - 1 - column, 7, SHAPE[2] - 1 - row]
    drawing = strip([Shown("a", array)], Sheet("s", affine()), centre=(3, 7, 2))
    assert {"slice 4 of 12", "slice 8 of 16", "slice 3 of 8"} <= {t.text for t in texts(drawing)}


@pytest.mark.parametrize(
    ("frames", "back", "expected"), [(1, True, 1), (2, True, 2), (3, True, 4), (5, True, 8), (5, False, 5)]
)
def test_a_film_has_as_many_frames_as_it_swings_through(tmp_path, frames, back, expected):
    drawn = []
    for number in range(frames):
        drawing = Drawing(10.0, 5.0, "frame")
        drawing.add(Picture(1 + number, 1, 2, 2, np.zeros((2, 2, 3), np.uint8)))
        drawn.append(drawing)
    path = write_moving(drawn, tmp_path / "a.gif", seconds=0.1, back=back)
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == expected
        places = []
        for number in range(expected):
            image.seek(number)
            dark = np.argwhere(np.asarray(image.convert("L")) < 100)
            places.append(round(float(dark[:, 1].mean()) / image.width * 10 - 2))
    there = list(range(frames))
    assert places == (there + there[-2:0:-1] if back else there)
