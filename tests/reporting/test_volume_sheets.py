"""Slices, colours and sheets of several volumes: orientation, scale, letters, what is written where."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.modalities.record import Record
from medfm.reporting.drawing import Drawing, Lines, Picture, Text
from medfm.reporting.show_volume import panels
from medfm.reporting.volume_sheets import WIDTH, Sheet, Shown, panel_rows, strip
from medfm.reporting.volume_slices import centre_of, diverging, grey, reach_of, slices

SHAPE = (10, 14, 8)


def affine(spacing: tuple[float, float, float] = (2.0, 2.0, 2.0)) -> np.ndarray:
    return np.diag([*spacing, 1.0])


def volume(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE).astype(np.float32)


def texts(drawing: Drawing) -> list[str]:
    return [part.text for part in drawing.parts if isinstance(part, Text)]


def pictures(drawing: Drawing) -> list[Picture]:
    return [part for part in drawing.parts if isinstance(part, Picture)]


def test_the_right_is_at_the_left_and_the_top_above():
    array = np.zeros(SHAPE)
    array[9, 13, 7] = 1  # right, front, top
    sagittal, coronal, axial = slices(array, affine(), (9, 13, 7))
    for part in (sagittal, coronal, axial):
        assert part.values[0, 0] == 1 and part.values.sum() == 1, part.name
    assert (sagittal.sides, coronal.sides, axial.sides) == ("AP", "RL", "RL")
    assert (sagittal.ends, coronal.ends, axial.ends) == ("SI", "SI", "AP")


def test_the_order_of_the_axes_in_the_file_does_not_matter():
    array, to_mm = volume(), affine((1.0, 2.0, 3.0))
    expected = slices(array, to_mm, (3, 4, 5))
    # The same voxels stored as (k, i, j) with i running to the left.
    stored = array[::-1].transpose(2, 0, 1)
    changed = np.eye(4)
    changed[:3, 0], changed[:3, 1], changed[:3, 2] = (0, 0, 3), (-1, 0, 0), (0, 2, 0)
    changed[0, 3] = SHAPE[0] - 1
    for one, other in zip(expected, slices(stored, changed, (3, 4, 5)), strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        assert one.size == other.size and one.at == other.at


def test_sizes_are_millimetres():
    sagittal, coronal, axial = slices(volume(), affine((1.0, 2.0, 4.0)), (5, 5, 5))
    assert sagittal.size == (28, 32) and coronal.size == (10, 32) and axial.size == (10, 28)
    assert sagittal.values.shape == (8, 14) and sagittal.at == (5, 10)


def test_unknown_sides_are_question_marks():
    found = slices(volume(), affine(), sides_known=False)
    assert [part.sides for part in found] == ["AP", "??", "??"]


def test_panels_of_a_record_run_through_the_same_slices():
    array = np.zeros((24, 24, 24), np.float32)
    array[6:20, 4:18, 5:22] = 1
    facts = {"affine": affine((8.0, 8.0, 8.0)), "spacing_mm": [8.0] * 3, "left_right": "known"}
    made = panels(Record("r", "brain_mri", array, facts))
    found = slices(array, facts["affine"])
    assert [p.at for p in made] == [s.at for s in found] and centre_of(array, facts["affine"])[0] == found[0].at[0]
    assert [p.values.shape for p in made] == [s.values.shape for s in found]


def test_grey_is_clipped_and_has_no_holes():
    values = np.array([[-1.0, 0.0, 0.5, 1.0, 9.0, np.nan, np.inf, -np.inf]])
    assert grey(values)[0, :, 0].tolist() == [0, 0, 128, 255, 255, 0, 255, 0]
    assert grey(values, 0, 2)[0, 3, 0] == 128


def test_no_difference_is_white_and_the_ends_are_blue_and_red():
    low, zero, high = diverging(np.array([-1.0, 0.0, 1.0]), 1.0)
    assert zero.tolist() == [255, 255, 255] and low[2] > low[0] and high[0] > high[2]
    assert (diverging(np.array([-9.0, 9.0]), 1.0) == np.stack([low, high])).all()
    assert diverging(np.array([np.nan]), 1.0).tolist() == [[255, 255, 255]]


@settings(max_examples=40, deadline=None)
@given(st.floats(0.001, 3), st.floats(0.01, 2))
def test_colours_are_symmetric_in_strength(value, reach):
    """A difference and its opposite are equally far from white, more or less, and never swapped."""
    minus, plus = diverging(np.array([-value, value]), reach).astype(int)
    if value / reach > 0.05:
        assert minus[2] >= minus[0] and plus[0] >= plus[2]
        assert minus.sum() < 765 and plus.sum() < 765


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-5, 1e4))
def test_the_scale_ends_at_a_round_number_above_the_differences(top):
    reach = reach_of(np.array([top] * 10))
    assert top * (1 - 1e-6) <= reach <= 2.5 * top + 1e-5
    digits = f"{reach:.0e}"
    assert digits[0] in "125"


def test_the_scale_without_differences():
    assert reach_of() == reach_of(np.zeros(5)) == 0.01
    assert reach_of(np.array([np.nan, 0.3])) == 0.5
    # One voxel in a thousand does not stretch the scale.
    assert reach_of(np.array([0.1] * 999 + [50.0])) == pytest.approx(0.1)


def test_a_strip_has_a_picture_per_volume_and_plane():
    first, second = volume(0), volume(1)
    columns = [Shown("k = 0", first), Shown("k = +1", second, second - first)]
    drawing = strip(columns, Sheet("scan-1", affine(), difference="minus k = 0", lines=("tiny, 4 steps",)))
    assert len(pictures(drawing)) == 3 * 2 + 3 and drawing.width == WIDTH
    said = texts(drawing)
    for word in (
        "k = 0",
        "k = +1",
        "sagittal",
        "coronal",
        "axial",
        "A",
        "P",
        "R",
        "L",
        "scan-1",
        "tiny, 4 steps",
        "50 mm",
    ):
        assert word in said, word
    assert "minus k = 0" in said and "−1" in said and "+1" in said and "0" in said
    for part in drawing.parts:
        if isinstance(part, Picture):
            assert part.x >= 0 and part.x + part.width <= WIDTH and part.y + part.height <= drawing.height
        if isinstance(part, Text):
            assert 0 <= part.x <= WIDTH and 0 < part.y < drawing.height
    assert "SYNTHETIC" not in said


def test_pictures_keep_the_proportions_of_the_head():
    drawing = strip([Shown("a", volume())], Sheet("s", affine((1.0, 3.0, 2.0))))
    sagittal, coronal, axial = pictures(drawing)
    assert sagittal.width / sagittal.height == pytest.approx(42 / 16)
    assert coronal.width / coronal.height == pytest.approx(10 / 16)
    assert axial.width / axial.height == pytest.approx(10 / 42)
    assert sagittal.height / axial.height == pytest.approx(16 / 42)


def test_columns_do_not_overlap_and_differences_stand_below_their_volume():
    base = volume()
    drawing = strip([Shown(str(i), base, None if i == 2 else base * i - base) for i in range(5)], Sheet("s", affine()))
    made = pictures(drawing)
    rows: dict[float, list[Picture]] = {}
    for part in made:
        rows.setdefault(part.y, []).append(part)
    assert [len(row) for _, row in sorted(rows.items())] == [5, 4] * 3
    for row in rows.values():
        ordered = sorted(row, key=lambda part: part.x)
        for one, other in pairwise(ordered):
            assert one.x + one.width < other.x
    above, below = (row for _, row in sorted(rows.items())[:2])
    assert {part.x for part in below} < {part.x for part in above}


def test_an_empty_place_stays_empty():
    drawing = strip([Shown("a", volume()), Shown("b", None)], Sheet("s", affine()))
    assert len(pictures(drawing)) == 3


def test_panels_have_letters_on_all_sides_and_a_bar_of_the_right_length():
    before, after = volume(0), volume(1)
    sheet = Sheet("scan-1", affine((10.0, 10.0, 10.0)), sides_known=False, difference="b minus a", synthetic=True)
    drawing = panel_rows([Shown("scan", before), Shown("again", after, after - before)], sheet)
    assert len(pictures(drawing)) == 9
    said = texts(drawing)
    assert said.count("?") == 4 * 3 and said.count("S") == 2 * 3 and "SYNTHETIC" in said
    assert "LEFT AND RIGHT ARE NOT KNOWN: the file does not say which side is which" in said
    assert "difference: b minus a" in said and "sagittal, 6 of 10" in said
    scale = pictures(drawing)[0].width / 140
    bars = [p.lines[0] for p in drawing.parts if isinstance(p, Lines) and len(p.lines[0]) == 2]
    assert any(line[1][0] - line[0][0] == pytest.approx(50 * scale) for line in bars)


def test_nothing_is_subtracted_no_colour_bar():
    drawing = panel_rows([Shown("scan", volume())], Sheet("s", affine()))
    assert len(pictures(drawing)) == 3 and not any("minus" in text or text.startswith("−") for text in texts(drawing))


def test_slices_run_through_the_place_that_is_named():
    array = volume()
    drawing = panel_rows([Shown("scan", array)], Sheet("s", affine()), centre=(2, 3, 4))
    np.testing.assert_array_equal(pictures(drawing)[0].pixels, grey(array[2].T[::-1, ::-1]))


def test_a_few_bright_voxels_do_not_leave_the_head_dark():
    """All volumes of a sheet share one window, that of the first; a drawing that fills its range keeps 0 to 1."""
    array = np.full(SHAPE, 0.4, np.float32)
    array[0, 0, 0] = 1
    drawing = strip([Shown("a", array), Shown("b", array / 2)], Sheet("s", affine()), centre=(5, 5, 5))
    first, second = pictures(drawing)[:2]
    assert first.pixels.max() == 255 and second.pixels.max() == 128
    full = panel_rows([Shown("a", array / 0.4)], Sheet("s", affine()), centre=(5, 5, 5))
    assert pictures(full)[0].pixels.max() == 255
