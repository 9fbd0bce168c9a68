"""The steps on volumes about the brain and about percentiles: against MONAI, by hand, and as part of a card."""

from __future__ import annotations

import numpy as np
import pytest
from brain_volumes import t1_head
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from medfm.core.errors import ReadError
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.preprocessing_steps import STEPS, check_order
from medfm.encoders.preprocessing_volume import VolumeSteps, brain_bounds, cut, robust_scale
from medfm.encoders.preprocessing_volume_steps import VolumeCropBrain
from medfm.io.volumes.volume import to_axes
from medfm.modalities.record import Record
from medfm.modalities.volume_quality import head_box, head_mask

HEAD, BRAIN = t1_head(8.0)
MM = np.diag([8.0, 8.0, 8.0, 1.0])
SIZE = {"step": "volume_size", "size": [24, 28, 24]}
ROBUST = {"step": "volume_robust_scale"}
CROP = {"step": "volume_crop_brain"}


def record(array: np.ndarray = HEAD, affine: np.ndarray = MM, axes: str = "PIR") -> Record:
    return Record("r", "brain_mri", array, {"affine": affine.tolist(), "axes_in_file": axes})


@given(st.integers(0, 1000), st.floats(0, 40), st.floats(60, 100))
@settings(max_examples=10, deadline=None)
def test_percentiles_equal_monais(seed: int, lower: float, upper: float) -> None:
    from monai.transforms import ScaleIntensityRangePercentiles

    volume = np.random.default_rng(seed).normal(50, 30, (6, 5, 4)).astype(np.float32)
    theirs = ScaleIntensityRangePercentiles(lower, upper, 0.0, 1.0, clip=True)(volume)
    np.testing.assert_allclose(robust_scale(volume, lower, upper), np.asarray(theirs), atol=2e-6)


def test_of_nonzero_voxels_the_background_does_not_count() -> None:
    volume = np.zeros(1000, np.float32).reshape(10, 10, 10)
    volume.flat[:100] = np.arange(1, 101)
    scaled = robust_scale(volume, 10, 90, "nonzero")
    low, high = np.percentile(np.arange(1, 101), (10, 90))
    np.testing.assert_allclose(scaled.flat[:100], np.clip((np.arange(1, 101) - low) / (high - low), 0, 1), atol=1e-6)
    assert not scaled.flat[100:].any() and scaled.dtype == np.float32
    assert robust_scale(volume, 10, 80).max() == 1 and set(np.unique(robust_scale(volume, 0, 50))) == {0, 1}
    assert not robust_scale(np.zeros((2, 2, 2), np.float32), 1, 99, "nonzero").any()


@pytest.mark.parametrize(
    "step",
    [
        {**ROBUST, "lower": 60, "upper": 40},
        {**ROBUST, "lower": 50, "upper": 50},
        {**ROBUST, "upper": 101},
        {**ROBUST, "of": "brain"},
        {**CROP, "about": "centre_of_mass"},
        {**CROP, "size_mm": [10, 10, 10]},
        {**CROP, "about": "centre_of_mass", "size_mm": [10, 0, 10]},
        {**CROP, "margin_mm": -1},
        {"step": "volume_reorient", "axes": "LPS"},
    ],
)
def test_bad_arguments(step: dict) -> None:
    with pytest.raises(ValidationError):
        STEPS.validate_python([step])


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([SIZE, {"step": "volume_reorient"}], "in the order"),
        ([SIZE, CROP], "in the order"),
        ([SIZE, {"step": "volume_scale"}, ROBUST], "exclude each other"),
        ([{"step": "volume_reorient"}, CROP], "must hold volume_size"),
        ([{"step": "volume_bias_field"}, SIZE], "volume_bias_field"),
    ],
)
def test_orders_without_a_meaning(steps: list[dict], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_order(STEPS.validate_python(steps))


def test_a_card_may_hold_them_all() -> None:
    steps = [
        {"step": "volume_reorient"},
        {"step": "volume_spacing", "mm": 8},
        CROP,
        SIZE,
        ROBUST,
        {"step": "slice_first"},
    ]
    made = Preprocessing(steps)
    result = made.array(record())
    assert result.shape == made.shape == (1, 24, 24, 28) and (result.min(), result.max()) == (0, 1)


@pytest.mark.parametrize("letters", ["RAS", "PIR", "LSA"])
def test_reorienting_forgets_the_file(letters: str) -> None:
    array, affine = to_axes(HEAD, MM, letters)
    steps = VolumeSteps(STEPS.validate_python([{"step": "volume_reorient"}, SIZE]))  # type: ignore[arg-type]
    expected, where = steps.prepared(record())
    found, there = steps.prepared(record(np.ascontiguousarray(array), affine, letters))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(there, where)


def test_the_order_of_the_file_comes_back() -> None:
    steps = VolumeSteps(STEPS.validate_python([{"step": "volume_reorient", "axes": "file"}, SIZE]))  # type: ignore[arg-type]
    array, affine = to_axes(HEAD, MM, "PIR")
    ras = Record("r", "brain_mri", HEAD, {"affine": MM.tolist(), "axes_in_file": "PIR"})
    plain = VolumeSteps(STEPS.validate_python([SIZE]))  # type: ignore[arg-type]
    np.testing.assert_array_equal(
        steps.prepared(ras)[0], plain.prepared(record(np.ascontiguousarray(array), affine))[0]
    )
    with pytest.raises(ReadError, match="axes of the file are not known") as caught:
        steps.prepared(Record("r", "brain_mri", HEAD, {"affine": MM.tolist()}))
    assert "axes_in_file" in str(caught.value.expected)


def test_cropping_brings_the_head_to_the_middle() -> None:
    far, near = np.pad(HEAD, [(20, 0), (0, 12), (0, 0)]), np.pad(HEAD, [(0, 20), (12, 0), (0, 0)])
    affine = MM.copy()
    affine[:3, 3] = [-160.0, 96.0, 0]
    steps = VolumeSteps(STEPS.validate_python([{**CROP, "margin_mm": 0}, SIZE]))  # type: ignore[arg-type]
    moved, there = steps.prepared(record(far, affine))
    still, where = steps.prepared(record(near))
    np.testing.assert_array_equal(moved, still)
    np.testing.assert_allclose(there, where, atol=1e-9)


def test_the_box_of_a_head() -> None:
    box = head_box(HEAD, (8.0, 8.0, 8.0))
    assert box is not None
    filled = [np.flatnonzero((HEAD > 0).any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    for axis in range(3):
        assert abs(box[0][axis] - filled[axis][0] * 8) <= 16
        assert abs(box[1][axis] - (filled[axis][-1] + 1) * 8) <= 16
    assert head_box(np.zeros((9, 9, 9)), (4.0, 4.0, 4.0)) is None
    found = head_mask(HEAD[:-1], MM)
    assert found.shape == HEAD[:-1].shape and found[BRAIN[:-1]].mean() > 0.95


@given(
    st.tuples(*[st.integers(-4, 3)] * 3),
    st.tuples(*[st.integers(4, 9)] * 3),
)
@settings(max_examples=20, deadline=None)
def test_a_voxel_that_is_kept_keeps_its_place(starts: tuple[int, ...], stops: tuple[int, ...]) -> None:
    volume = np.random.default_rng(0).normal(size=(6, 5, 7)).astype(np.float32)
    found, affine = cut(volume, MM, starts, stops)
    assert found.shape == tuple(b - a for a, b in zip(starts, stops, strict=True))
    for place in np.ndindex(found.shape):
        there = [p + s for p, s in zip(place, starts, strict=True)]
        inside = all(0 <= t < n for t, n in zip(there, volume.shape, strict=True))
        assert found[place] == (volume[tuple(there)] if inside else volume.min())
    np.testing.assert_allclose(affine @ [0, 0, 0, 1], MM @ [*starts, 1])


def test_bounds_by_hand() -> None:
    mask = np.zeros((10, 8, 6), bool)
    mask[2:5, 3, 4] = True
    sides = np.diag([2.0, 1.0, 5.0, 1.0])
    assert brain_bounds(mask, sides, VolumeCropBrain(margin_mm=3)) == ([0, 0, 3], [7, 7, 6])
    step = VolumeCropBrain(about="centre_of_mass", size_mm=(8, 3, 20))
    assert brain_bounds(mask, sides, step) == ([2, 2, 2], [6, 5, 6])
    assert brain_bounds(mask & False, sides, step) is None
