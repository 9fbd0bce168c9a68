"""The crop to the field of view as a step of a card, and FLAIR's variants that a user can choose by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from medfm.core.errors import CardError, UnknownNameError
from medfm.encoders.encoder import preprocessing_steps
from medfm.encoders.explain_picture import frame_of
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.registry import get_card
from medfm.modalities.fundus_field import crop_field, field_of_view

UNIT = {"step": "to_unit_range"}
CROP = {"step": "crop_field_of_view"}
FIT = [{"step": "resize_float", "size": 96, "antialias": True}, {"step": "canvas", "size": [96, 96]}]
FLAIR = ("flair-resnet50", "flair-resnet50-pooled")


def eye(rows: int = 180, columns: int = 260, centre: tuple[float, float] = (140.0, 84.0), radius: float = 66.0,
        surround: int = 3, tab: bool = False) -> np.ndarray:  # fmt: skip
    """A shaded disc with vessels on a dark surround; a bright tab in the upper left corner if asked for."""
    y, x = np.mgrid[:rows, :columns]
    away = np.hypot(x - centre[0], y - centre[1]) / radius
    wave = np.sin(x / 3.0) * np.cos(y / 4.0)
    picture = np.stack([170 - 30 * away**2 + 12 * wave, 90 - 15 * away**2 + 10 * wave, 40 + 5 * wave], axis=-1)
    picture[away > 1] = surround
    picture = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    if tab:
        picture[4:16, 20:60] = 255
    return picture


def test_the_step_cuts_to_the_box_and_blackens_outside_the_circle() -> None:
    picture = eye(tab=True)
    found = field_of_view(picture)
    assert found.found and abs(found.radius - 66) < 2
    made = Preprocessing([{"step": "to_rgb"}, CROP, UNIT, *FIT]).array(picture)
    by_hand = Preprocessing([UNIT, *FIT]).array(crop_field(picture, 0)[0])
    assert made.shape == (3, 96, 96)
    np.testing.assert_array_equal(made, by_hand)
    # The corners of the box lie outside the circle.
    assert float(made[:, :6, :6].max()) == 0.0


def test_kept_leaves_the_corners_as_they_are() -> None:
    picture = eye(surround=9)
    kept = Preprocessing([{**CROP, "surround": "kept"}, UNIT, *FIT]).array(picture)
    black = Preprocessing([CROP, UNIT, *FIT]).array(picture)
    np.testing.assert_array_equal(kept, Preprocessing([UNIT, *FIT]).array(crop_field(picture, None)[0]))
    assert np.allclose(kept[:, :4, :4], 9 / 255, atol=1e-6) and float(black[:, :4, :4].max()) == 0.0


def test_a_picture_without_a_circle_stays_whole() -> None:
    picture = np.random.default_rng(0).integers(60, 200, (90, 90, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        Preprocessing([CROP, UNIT, *FIT]).array(picture), Preprocessing([UNIT, *FIT]).array(picture)
    )


@settings(max_examples=15, deadline=None)
@given(
    left=st.integers(0, 60), right=st.integers(0, 60), top=st.integers(0, 40), bottom=st.integers(0, 40)
)  # fmt: skip
def test_a_wider_surround_changes_nothing_that_the_network_sees(left: int, right: int, top: int, bottom: int) -> None:
    """What the crop is for: without it a black border makes the eye smaller."""
    picture = eye()
    wider = np.pad(picture, ((top, bottom), (left, right), (0, 0)), constant_values=3)
    steps = Preprocessing([CROP, UNIT, *FIT])
    # The circle is found on copies of different size, so its box may move by a pixel or two of the original.
    one, other = steps.array(picture), steps.array(wider)
    assert float(np.abs(one - other).mean()) < 0.03


def test_without_the_crop_a_wider_surround_makes_the_eye_smaller() -> None:
    picture = eye()
    wider = np.pad(picture, ((60, 60), (90, 90), (0, 0)), constant_values=3)
    lit = [
        (Preprocessing([*steps, UNIT, *FIT]).array(p)[0] > 0.2).sum()
        for steps in ([], [CROP])
        for p in (picture, wider)
    ]
    assert lit[1] < 0.6 * lit[0]
    assert abs(int(lit[3]) - int(lit[2])) < 0.04 * lit[2]


def test_the_published_crop_is_another_one() -> None:
    picture = eye(tab=True)
    ours = Preprocessing([CROP, UNIT, *FIT])
    published = Preprocessing([{"step": "crop_foreground"}, UNIT, *FIT])
    assert ours.digest != published.digest
    assert not np.array_equal(ours.array(picture), published.array(picture))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([UNIT, *FIT, CROP], "may follow to_unit_range"),
        ([{**CROP, "surround": "white"}, UNIT, *FIT], "'black' or 'kept'"),
        ([{**CROP, "fill": 0}, UNIT, *FIT], "fill"),
    ],
)
def test_wrong_steps_are_refused(steps: list[dict[str, object]], message: str) -> None:
    with pytest.raises((ValidationError, ValueError), match=message):
        Preprocessing(steps)


def test_the_frame_of_the_crop_leads_back_to_the_picture() -> None:
    picture = eye()
    steps = Preprocessing([{"step": "to_rgb"}, CROP, UNIT, *FIT]).steps
    frame = frame_of(steps, picture)
    top, bottom, left, right = field_of_view(picture).box
    assert frame.shape == picture.shape[:2] and frame.start == (top, left)
    longest = max(bottom - top, right - left)
    assert frame.scale == pytest.approx((longest / 96, longest / 96), rel=0.03)
    grey = frame_of(steps, picture[:, :, 0])
    assert grey.shape == picture.shape[:2]


@pytest.mark.parametrize(
    "before", [{"step": "resize", "size": [64, 64]}, {"step": "crop_foreground"}, {"step": "crop_field_of_view"}]
)
def test_a_crop_behind_another_change_cannot_be_traced_back(before: dict[str, object]) -> None:
    steps = Preprocessing([before, CROP, UNIT, *FIT]).steps
    with pytest.raises(CardError, match="traced back"):
        frame_of(steps, eye())


@pytest.mark.parametrize("name", FLAIR)
def test_flairs_usual_and_dated_preprocessing_do_not_crop(name: str) -> None:
    card = get_card(name)
    crops = {
        variant: [s.step for s in preprocessing_steps(card, variant) if s.step.startswith("crop")]
        for variant in (None, *card.spec.preprocessing_variants)
    }
    assert crops == {
        None: [],
        "before-2025-11-27": [],
        "foreground-crop": ["crop_foreground"],
        "field-of-view": ["crop_field_of_view"],
    }
    usual = [s.to_dict() for s in preprocessing_steps(card)]
    ours = [s.to_dict() for s in preprocessing_steps(card, "field-of-view") if s.step != "crop_field_of_view"]
    assert ours == usual
    with pytest.raises(UnknownNameError, match="field-of-view"):
        preprocessing_steps(card, "field-of-vew")


@pytest.mark.parametrize("name", FLAIR)
def test_every_variant_of_flair_gives_other_input(name: str) -> None:
    card = get_card(name)
    picture = np.kron(eye(tab=True), np.ones((4, 4, 1), np.uint8))  # larger than 512, so that shrinking smooths
    made = {v: Preprocessing(preprocessing_steps(card, v)) for v in (None, *card.spec.preprocessing_variants)}
    assert len({p.digest for p in made.values()}) == 4
    arrays = [p.array(picture) for p in made.values()]
    for i, one in enumerate(arrays):
        assert one.shape == (3, 512, 512)
        for other in arrays[i + 1 :]:
            assert not np.array_equal(one, other)
