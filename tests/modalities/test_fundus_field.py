"""The field of view on drawn pictures of known truth, and on real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fundus_pictures import fundus, true_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy import ndimage

from medfm.modalities.fundus_field import crop_field, field_of_view, reduced

RETINA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "retina"


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("surround", [(0, 0, 0), (8, 6, 12), (255, 255, 255), (0, 0, 160), (40, 160, 60)])
def test_dark_and_coloured_surrounds(surround: tuple[int, int, int]) -> None:
    field = field_of_view(fundus(surround=surround))
    assert field.found and field.cut == ()
    assert overlap(field.mask(), true_mask(200, 300, (149.5, 99.5), 90)) > 0.97
    assert field.radius == pytest.approx(90, abs=1.5)


@pytest.mark.parametrize(
    ("centre", "radius", "cut"),
    [
        ((149.5, 99.5), 120, ("top", "bottom")),
        ((149.5, 150.0), 90, ("bottom",)),
        ((60.0, 99.5), 90, ("left",)),
        ((240.0, 60.0), 90, ("top", "right")),
    ],
)
def test_circles_cut_off_at_the_edge(centre: tuple[float, float], radius: float, cut: tuple[str, ...]) -> None:
    field = field_of_view(fundus(centre=centre, radius=radius))
    assert field.found and field.cut == cut
    assert field.centre == pytest.approx(centre, abs=2)
    assert overlap(field.mask(), true_mask(200, 300, centre, radius)) > 0.97


def test_a_circle_cut_straight_inside_the_picture() -> None:
    picture = fundus(rows=240, columns=260, radius=110)
    picture[:40], picture[-40:] = 0, 0
    field = field_of_view(picture)
    assert field.found and set(field.cut) == {"top", "bottom"}
    assert abs(field.box[0] - 40) <= 2 and abs(field.box[1] - 200) <= 2
    assert field.radius == pytest.approx(110, abs=2)


def test_text_burned_into_the_surround_does_not_count() -> None:
    image = Image.fromarray(fundus(rows=220, columns=340, radius=95))
    ImageDraw.Draw(image).text((4, 4), "OD 12.03.2019", fill=(255, 255, 255))
    field = field_of_view(np.asarray(image))
    assert field.found
    assert overlap(field.mask(), true_mask(220, 340, (169.5, 109.5), 95)) > 0.96


def test_a_crop_inside_the_retina_has_no_surround() -> None:
    inner = fundus(radius=200)[60:140, 100:200]
    field = field_of_view(inner)
    assert not field.found and field.mask().all() and field.box == (0, 80, 0, 100)
    np.testing.assert_array_equal(crop_field(inner)[0], inner)


def test_what_is_round_nowhere_is_not_called_a_circle() -> None:
    square = np.zeros((120, 160, 3), np.uint8)
    square[30:90, 30:130] = 180
    assert not field_of_view(square).found
    assert not field_of_view(np.zeros((100, 100, 3), np.uint8)).found
    random = np.random.default_rng(5).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    assert not field_of_view(random).found


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (15, 15), (16, 16)])
def test_tiny_pictures(shape: tuple[int, int]) -> None:
    field = field_of_view(np.full((*shape, 3), 7, np.uint8))
    assert not field.found and field.box == (0, shape[0], 0, shape[1])


def test_the_crop_is_tight_and_masked() -> None:
    picture = fundus(surround=(0, 0, 160))
    cut, field = crop_field(picture)
    assert abs(cut.shape[0] - 181) <= 3 and abs(cut.shape[1] - 181) <= 3
    assert (cut[0, 0] == 0).all() and (cut[-1, -1] == 0).all()
    kept, _ = crop_field(picture, fill=None)
    assert kept[0, 0, 2] > 100
    top, bottom, left, right = field.box
    np.testing.assert_array_equal(kept, picture[top:bottom, left:right])


def test_the_picture_itself_is_left_alone() -> None:
    picture = fundus()
    before = picture.copy()
    crop_field(picture)
    np.testing.assert_array_equal(picture, before)


@settings(max_examples=15, deadline=None)
@given(st.floats(60, 150), st.floats(-30, 30), st.floats(-30, 30), st.integers(0, 60), st.integers(0, 99))
def test_any_circle_on_any_dark_surround(radius: float, dx: float, dy: float, grey: int, seed: int) -> None:
    centre = (159.5 + dx, 119.5 + dy)
    picture = fundus(240, 320, centre, radius, (grey // 3, grey // 4, grey // 3), 3.0, seed=seed)
    field = field_of_view(picture)
    assert field.found
    assert overlap(field.mask(), true_mask(240, 320, centre, radius)) > 0.95


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([2, 3, 4]))
def test_a_larger_copy_has_the_same_field(times: int) -> None:
    picture = fundus()
    small, large = field_of_view(picture), field_of_view(picture.repeat(times, 0).repeat(times, 1))
    assert large.radius == pytest.approx(small.radius * times, rel=0.02)


def test_mirrored_pictures_have_mirrored_fields() -> None:
    picture = fundus(centre=(130, 90), radius=80)
    one, two = field_of_view(picture), field_of_view(picture[:, ::-1])
    assert overlap(one.mask()[:, ::-1], two.mask()) > 0.985


def test_reduction_averages_areas() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    wanted = picture.reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    assert np.abs(reduced(picture, 2.0) - wanted).max() <= 1


@pytest.mark.skipif(not RETINA.is_dir(), reason="the real photographs beside the repository are absent")
def test_real_photographs_against_a_plain_threshold() -> None:
    files = sorted(RETINA.glob("idrid/test/*/*.jpg"))[::8]
    assert len(files) > 10
    for file in files:
        picture = np.asarray(Image.open(file))
        field = field_of_view(picture)
        bright = ndimage.binary_fill_holes(picture.max(axis=2) > 25)
        assert field.found and field.cut == ("top", "bottom")
        assert overlap(field.mask(), bright) > 0.97, file.name


@pytest.mark.skipif(not RETINA.is_dir(), reason="the real photographs beside the repository are absent")
def test_an_original_and_its_small_copy_agree() -> None:
    name = "te_IDRiD_016.jpg"
    large = np.asarray(Image.open(RETINA / "idrid/original" / name))
    small = np.asarray(Image.open(RETINA / "idrid/test/grade3" / name))
    one, two = field_of_view(large), field_of_view(small)
    assert one.radius / large.shape[1] == pytest.approx(two.radius / small.shape[1], rel=0.01)
