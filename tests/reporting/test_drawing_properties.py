"""Drawings against a reader of their SVG: nothing is lost, moved or left out of its box."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sheet_records import SVG, ecg_record

from medfm.core.errors import ConfigError
from medfm.modalities.ecg import LEADS
from medfm.modalities.record import Record
from medfm.reporting.drawing import (
    PER_MM,
    Areas,
    Drawing,
    Lines,
    Picture,
    Text,
    clean,
    contact_sheet,
    hatching,
    moved,
    rectangle,
    units,
)
from medfm.reporting.ecg_sheet import ecg_sheet
from medfm.reporting.ecg_sheet_layout import SPEED, TRACK, SheetSettings, plan_sheet
from medfm.reporting.ecg_sheet_trace import COLUMN, TOLERANCE, thinned, trace
from medfm.reporting.show import facts_table, shower
from medfm.reporting.show_picture import PICTURE, PictureSettings

POINTS = st.lists(st.tuples(st.floats(-50, 300), st.floats(-50, 300)), min_size=1, max_size=12)


def read_path(data: str) -> list[np.ndarray]:
    """The polylines of path data with m, h, v and implied l, in units; written from the SVG standard."""
    lines: list[list[tuple[int, int]]] = []
    x = y = 0
    for command, rest in re.findall(r"([mhvzl])([^mhvzl]*)", data):
        numbers = [int(n) for n in re.findall(r"-?\d+", rest)]
        if command == "m":
            x, y = x + numbers[0], y + numbers[1]
            lines.append([(x, y)])
            numbers = numbers[2:]
        if command == "z":
            x, y = lines[-1][0]
        elif command in "hv":
            for n in numbers:
                x, y = (x + n, y) if command == "h" else (x, y + n)
                lines[-1].append((x, y))
        else:
            for a, b in zip(numbers[::2], numbers[1::2], strict=True):
                x, y = x + a, y + b
                lines[-1].append((x, y))
    return [np.array(line) for line in lines]


def paths(drawing: Drawing) -> list[str]:
    root = ElementTree.fromstring(drawing.svg())
    return [element.get("d", "") for element in root.iter(f"{SVG}path")][1:]


def without_repeats(points: np.ndarray) -> np.ndarray:
    kept = [points[0], *(b for a, b in pairwise(points) if (a != b).any())]
    return np.array(kept)


@settings(max_examples=60, deadline=None)
@given(lines=st.lists(POINTS, min_size=1, max_size=4), closed=st.booleans())
def test_every_line_comes_back(lines: list[list[tuple[float, float]]], closed: bool) -> None:
    arrays = [np.array(line) for line in lines]
    drawing = Drawing(100, 100, "t")
    drawing.add(Areas(arrays) if closed else Lines(arrays))
    (data,) = paths(drawing)
    found = read_path(data)
    assert len(found) == len(arrays)
    for line, points in zip(found, arrays, strict=True):
        expected = without_repeats(np.rint(points * PER_MM).astype(int))
        if len(expected) == 1:
            expected = np.array([expected[0], expected[0] + (1, 0)])  # a point leaves a dot
        np.testing.assert_array_equal(line, expected)


@settings(max_examples=40, deadline=None)
@given(points=POINTS, right=st.integers(-20, 20), down=st.integers(-20, 20))
def test_moving_there_and_back(points: list[tuple[float, float]], right: int, down: int) -> None:
    line = np.rint(np.array(points) * PER_MM) / PER_MM
    parts = [Lines([line]), Areas([line]), Text(1, 2, "a"), Picture(0, 0, 3, 3, np.zeros((2, 2, 3), np.uint8))]
    for part in parts:
        there = Drawing(9, 9, "t", [moved(part, right, down)])
        back = Drawing(9, 9, "t", [moved(moved(part, right, down), -right, -down)])
        here = Drawing(9, 9, "t", [part])
        assert back.svg() == here.svg()
        assert (there.svg() == here.svg()) == (right == down == 0)


@given(st.text(max_size=60))
def test_cleaned_text_is_itself_in_xml(text: str) -> None:
    root = ElementTree.fromstring(f"<a>{clean(text)}</a>".encode())
    visible = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", " ", text)
    assert (root.text or "") == visible


@settings(max_examples=40, deadline=None)
@given(x=st.floats(0, 50), y=st.floats(0, 50), width=st.floats(0.5, 60), height=st.floats(0.5, 60))
def test_hatching_fills_the_box_and_nothing_else(x: float, y: float, width: float, height: float) -> None:
    lines = np.array(hatching(x, y, width, height, 1.0)) if hatching(x, y, width, height, 1.0) else np.zeros((0, 2, 2))
    for points in lines:
        assert (points[:, 0] >= x - 1e-6).all() and (points[:, 0] <= x + width + 1e-6).all()
        assert (points[:, 1] >= y - 1e-6).all() and (points[:, 1] <= y + height + 1e-6).all()
    assert abs(len(lines) - (width + height)) <= 1
    corners = rectangle(x, y, width, height)
    area = 0.5 * abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)))
    assert area == pytest.approx(width * height)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=9), columns=st.integers(1, 4))
def test_a_contact_sheet_has_room_for_all_and_no_overlap(sizes: list[tuple[int, int]], columns: int) -> None:
    drawings = []
    for number, (width, height) in enumerate(sizes):
        drawing = Drawing(width, height, "t")
        drawing.add(Areas([rectangle(0, 0, width, height)]), Text(0, 0, str(number)))
        drawings.append(drawing)
    sheet = contact_sheet(drawings, columns, "all")
    boxes = [part.areas[0] for part in sheet.parts if isinstance(part, Areas)]
    assert [p.text for p in sheet.parts if isinstance(p, Text)] == [str(i) for i in range(len(sizes))]
    for box in boxes:
        assert (box >= 0).all() and (box[:, 0] <= sheet.width).all() and (box[:, 1] <= sheet.height).all()
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            apart = (a.max(0) <= b.min(0)).any() or (b.max(0) <= a.min(0)).any()
            assert apart


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(1, 400), step=st.floats(0.01, 1.0), spread=st.floats(0.01, 8))
def test_a_thinned_line_stays_within_reach_of_every_sample(seed: int, n: int, step: float, spread: float) -> None:
    """Between kept points the line passes each column's extremes within the tolerance."""
    rng = np.random.default_rng(seed)
    x, y = np.arange(n) * step, rng.normal(0, spread, n).cumsum() / 3
    kept = thinned(x, y)
    assert (kept[0] == 0 and kept[-1] == n - 1 and (np.diff(kept) > 0).all()) or n == 1
    if step >= COLUMN:  # every sample has a column of its own
        between = np.interp(x, x[kept], y[kept])
        assert np.abs(between - y).max() <= TOLERANCE + 1e-9
    assert y[kept].max() >= y.max() - TOLERANCE - 1e-9 and y[kept].min() <= y.min() + TOLERANCE + 1e-9


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(2, 200))
def test_lines_and_gaps_share_the_time_between_them(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = np.arange(n) * 0.05, rng.normal(0, 3, n)
    y[rng.random(n) < 0.3] = np.nan
    found = trace(x, y, 4.0, -4.0)
    missing = np.isnan(y)
    assert len(found.gaps) == int((np.diff(missing.astype(int), prepend=0) == 1).sum())
    for line in found.lines:
        assert line[:, 1].max() <= 4.0 and line[:, 1].min() >= -4.0
        assert not missing[np.searchsorted(x, line[:, 0])].any()
    assert bool(found.above) == bool((np.nan_to_num(y) > 4.0).any())
    assert bool(found.below) == bool((np.nan_to_num(y) < -4.0).any())


@settings(max_examples=30, deadline=None)
@given(
    layout=st.sampled_from(["3x4", "6x2", "12x1"]), order=st.sampled_from(["standard", "cabrera"]),
    seconds=st.floats(0.1, 60), start=st.floats(0, 30),
)  # fmt: skip
def test_every_lead_stands_once_and_lanes_do_not_overlap(layout: str, order: str, seconds: float, start: float) -> None:
    plan = plan_sheet(SheetSettings(layout=layout, order=order, start=start), seconds)  # type: ignore[arg-type]
    assert sorted(lane.lead for lane in plan.lanes if not lane.strip) == sorted(LEADS)
    for row in range(plan.rows):
        lanes = sorted((lane for lane in plan.lanes if lane.row == row), key=lambda lane: lane.x)
        assert lanes and lanes[0].x == 0 and lanes[-1].x + lanes[-1].width == pytest.approx(TRACK)
        for left, right in pairwise(lanes):
            assert left.x + left.width == pytest.approx(right.x)
            assert right.begin == pytest.approx(left.end if plan.consecutive else left.begin)
    assert all(
        lane.begin >= start and lane.end - lane.begin == pytest.approx(lane.width / SPEED) for lane in plan.lanes
    )
    assert sum(lane.turned for lane in plan.lanes) == (order == "cabrera")


def test_turning_all_signs_mirrors_every_trace() -> None:
    """The same sheet upside down: what rises above the baseline falls as far below it."""
    record = ecg_record()
    flipped = Record(record.record_id, "ecg", -record.array, record.facts)
    settings_ = SheetSettings(gain="10")
    first, second = (ecg_sheet(r, settings_) for r in (record, flipped))
    assert first.svg() != second.svg()
    assert ecg_sheet(Record("rec-1", "ecg", -flipped.array, record.facts), settings_).svg() == first.svg()


def test_units_are_whole_and_scale() -> None:
    assert [units(mm) for mm in (0, 0.05, 1, 25.4)] == [0, 1, 20, 508]


@settings(max_examples=20, deadline=None)
@given(high=st.integers(1, 40), wide=st.integers(1, 40), name=st.text(max_size=80))
def test_any_picture_fits_its_sheet_in_its_own_proportions(high: int, wide: int, name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (high, wide, 3)).astype(np.uint8)
    drawing = PICTURE.draw(Record(name, "blood_cell", pixels, {}), PictureSettings())
    (picture,) = [part for part in drawing.parts if isinstance(part, Picture)]
    assert picture.width / picture.height == pytest.approx(wide / high)
    assert max(picture.width, picture.height) == pytest.approx(80)
    assert picture.x + picture.width <= drawing.width and picture.y + picture.height <= drawing.height
    np.testing.assert_array_equal(picture.pixels, pixels)
    ElementTree.fromstring(drawing.svg().encode("utf-8", "surrogatepass").decode("utf-8", "replace"))


def test_a_synthetic_picture_says_so_and_others_do_not() -> None:
    record = Record("a", "blood_cell", np.zeros((4, 4, 3), np.uint8), {})
    said = ["SYNTHETIC" in PICTURE.draw(record, PictureSettings(), synthetic=s).svg() for s in (True, False)]
    assert said == [True, False]


def test_facts_of_any_kind_are_words_without_holes() -> None:
    facts = {"none": None, "empty": [], "no text": "", "zero": 0, "share": 0.1 + 0.2, "pairs": [[1, 2], [3, 4]],
             "group": {"a": 1.5, "b": "x"}, "many": list(range(20)), "yes": True}  # fmt: skip
    rows = dict(facts_table(Record("r", "ecg", np.zeros((12, 5), np.float32), facts)))
    assert "none" not in rows and "empty" not in rows and "no text" not in rows
    assert rows["zero"] == "0" and rows["share"] == "0.3" and rows["pairs"] == "1 2, 3 4"
    assert rows["group"] == "a 1.5, b x" and rows["many"].endswith("11 and 8 more") and rows["yes"] == "True"
    assert rows["shape"] == "12 x 5, float32"


def test_a_modality_nobody_draws() -> None:
    with pytest.raises(ConfigError, match="'ecgs' cannot be drawn") as caught:
        shower("ecgs")
    assert "did you mean 'ecg'" in str(caught.value.fix) and "blood_cell" in caught.value.expected
