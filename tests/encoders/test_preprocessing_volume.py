"""Volumes to arrays: against MONAI, against naive loops, and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medfm.core.errors import ReadError
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.preprocessing_volume import (
    VolumeSteps,
    axes_back,
    axes_of,
    fit_size,
    resample,
    unit_scale,
)
from medfm.modalities.record import Record

STEPS = [
    {"step": "volume_spacing", "mm": 1.5},
    {"step": "volume_size", "size": [12, 10, 9]},
    {"step": "volume_scale"},
    {"step": "slice_first", "plane": "axial"},
]
SIDES = st.tuples(*[st.integers(2, 12)] * 3)


def volume(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def oblique(spacing: tuple[float, ...]) -> np.ndarray:
    """An affine with flips, an offset and a turn about two axes."""
    a, b = 0.2, -0.3
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-spacing[0], spacing[1], spacing[2]])
    affine[:3, 3] = [15, -20, -16]
    return affine


@given(SIDES, st.tuples(*[st.floats(0.6, 4.0)] * 3), st.floats(0.8, 3.0))
@settings(max_examples=15, deadline=None)
def test_resampling_equals_monai(shape, spacing, mm):
    from monai.data import MetaTensor
    from monai.transforms import Spacing

    # Exactly half a voxel over: there the last bit of the arithmetic decides, in MONAI too.
    extents = [(n - 1) * side / mm for n, side in zip(shape, spacing, strict=True)]
    assume(all(abs(extent % 1 - 0.5) > 1e-6 for extent in extents))
    array, affine = volume(shape), oblique(spacing)
    theirs = Spacing(pixdim=mm, padding_mode="border")(
        MetaTensor(torch.from_numpy(array[None]), affine=torch.from_numpy(affine))
    )
    ours, changed = resample(array, affine, mm)
    assert ours.shape == tuple(theirs.shape[1:])
    np.testing.assert_allclose(ours, theirs[0].numpy(), atol=2e-5)
    np.testing.assert_allclose(changed, theirs.affine.numpy(), atol=1e-9)


@pytest.mark.parametrize("spacing", [0.5, 0.75, 0.9375, 1.0, 1.2, 3.0])
def test_usual_spacings_give_the_sizes_of_monai_even_at_half_a_voxel(spacing):
    from monai.data import MetaTensor
    from monai.transforms import Spacing

    affine = np.diag([-spacing, spacing, spacing, 1.0])
    for sides in ((4, 5, 6), (7, 8, 9), (12, 11, 10)):
        tensor = MetaTensor(torch.zeros(1, *sides), affine=torch.from_numpy(affine))
        theirs = Spacing(pixdim=1.5, padding_mode="border")(tensor)
        assert resample(np.zeros(sides, np.float32), affine, 1.5)[0].shape == tuple(theirs.shape[1:])


@given(SIDES, SIDES, st.sampled_from(["line_minimum", "zero"]))
@settings(max_examples=25, deadline=None)
def test_one_size_equals_monai(shape, size, padding):
    from monai.data import MetaTensor
    from monai.transforms import ResizeWithPadOrCrop

    array, affine = volume(shape), oblique((1, 2, 3))
    mode = {"mode": "minimum"} if padding == "line_minimum" else {"mode": "constant"}
    theirs = ResizeWithPadOrCrop(size, **mode)(
        MetaTensor(torch.from_numpy(array[None]), affine=torch.from_numpy(affine))
    )
    ours, changed = fit_size(array, affine, size, padding)
    assert np.array_equal(ours, theirs[0].numpy())
    np.testing.assert_allclose(changed, theirs.affine.numpy(), atol=1e-9)


def test_scaling_equals_monai():
    from monai.transforms import ScaleIntensity

    array = volume((4, 5, 6))
    np.testing.assert_allclose(unit_scale(array), ScaleIntensity(0, 1)(torch.from_numpy(array)).numpy(), atol=1e-7)
    assert unit_scale(array).min() == 0 and unit_scale(array).max() == 1
    assert not unit_scale(np.full((2, 2, 2), 7, np.float32)).any()


@pytest.mark.parametrize("mm", [0.7, 1.5, 4.0])
def test_resampling_voxel_by_voxel(mm):
    array, spacing = volume((4, 5, 3)), (1.0, 1.25, 2.0)
    ours, _ = resample(array, np.diag([*spacing, 1]), mm)
    for index in np.ndindex(ours.shape):
        place = [min(i * mm / s, n - 1) for i, s, n in zip(index, spacing, array.shape, strict=True)]
        low = [int(p) for p in place]
        total = 0.0
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod([(p - lo) if c else 1 - (p - lo) for c, p, lo in zip(corner, place, low, strict=True)])
            at = tuple(min(lo + c, n - 1) for lo, c, n in zip(low, corner, array.shape, strict=True))
            total += weight * array[at]
        assert ours[index] == pytest.approx(total, abs=1e-5)


def test_the_same_spacing_changes_nothing():
    array, affine = volume((6, 5, 4)), oblique((1.5, 1.5, 1.5))
    ours, changed = resample(array, affine, 1.5)
    np.testing.assert_allclose(ours, array, atol=1e-6)
    np.testing.assert_allclose(changed, affine)


def test_a_published_template_has_the_published_size():
    made = resample(np.zeros((182, 218, 182), np.float32), np.diag([-1, 1, 1, 1]), 1.5)[0]
    assert made.shape == (122, 146, 122)
    assert fit_size(made, np.eye(4), (128, 160, 128))[0].shape == (128, 160, 128)


def test_every_voxel_keeps_its_place_in_the_world():
    """A bright voxel lies at the same millimetres before and after."""
    array = np.zeros((9, 9, 9), np.float32)
    array[3, 6, 4] = 1
    affine = oblique((3, 3, 3))
    ours, changed = resample(array, affine, 1.5)
    cut, moved = fit_size(ours, changed, (11, 15, 30))
    for values, frame in ((ours, changed), (cut, moved)):
        at = np.unravel_index(values.argmax(), values.shape)
        np.testing.assert_allclose(frame @ [*at, 1], affine @ [3, 6, 4, 1], atol=1e-9)


def test_padding_is_the_smallest_value_of_the_line():
    array = np.arange(1, 5, dtype=np.float32).reshape(1, 2, 2)
    padded, _ = fit_size(array, np.eye(4), (1, 3, 3))
    # Along the second axis first: columns get their own minimum, then rows theirs.
    assert padded[0].tolist() == [[1, 2, 1], [3, 4, 3], [1, 2, 1]]
    assert fit_size(array, np.eye(4), (1, 3, 3), "zero")[0][0].tolist() == [[1, 2, 0], [3, 4, 0], [0, 0, 0]]


@pytest.mark.parametrize(("plane", "shape"), [("axial", (4, 2, 3)), ("coronal", (3, 2, 4)), ("sagittal", (2, 3, 4))])
def test_planes(plane, shape):
    array = volume((2, 3, 4))
    first = array.transpose(axes_of(plane))
    assert first.shape == shape
    assert np.array_equal(first.transpose(axes_back(plane)), array)
    assert np.array_equal(first[1], {"axial": array[:, :, 1], "coronal": array[:, 1], "sagittal": array[1]}[plane])


def record(array: np.ndarray, **facts: object) -> Record:
    return Record("scan", "brain_mri", array, facts or {"spacing_mm": [1.5, 1.5, 1.5]})


def test_the_steps_as_a_whole():
    steps = Preprocessing(STEPS)
    given_record = record(volume((10, 13, 9)))
    ours = steps.array(given_record)
    assert steps.shape == ours.shape == (1, 9, 12, 10) and ours.dtype == np.float32
    assert ours.flags.c_contiguous and ours.min() == 0 and ours.max() == 1
    assert torch.equal(steps(given_record), torch.from_numpy(ours))
    again = pickle.loads(pickle.dumps(steps))
    assert again == steps and np.array_equal(again.array(given_record), ours)
    row = np.empty((2, 1, 9, 12, 10), np.float32)
    assert steps.array(given_record, out=row[1]) is not None
    assert np.array_equal(row[1], ours)


def test_without_slices_first_the_axes_are_those_of_the_file():
    steps = Preprocessing(STEPS[:3])
    given_record = record(volume((10, 13, 9)))
    assert steps.shape == (1, 12, 10, 9)
    whole = Preprocessing(STEPS).array(given_record)
    assert np.array_equal(steps.array(given_record)[0].transpose(2, 0, 1), whole[0])


def test_an_affine_and_its_spacing_give_the_same_voxels():
    array = volume((8, 8, 8))
    by_spacing = Preprocessing(STEPS).array(record(array, spacing_mm=(1.0, 1.2, 2.0)))
    by_affine = Preprocessing(STEPS).array(record(array, affine=oblique((1.0, 1.2, 2.0)).tolist()))
    np.testing.assert_allclose(by_spacing, by_affine, atol=1e-6)


def test_float64_is_taken_and_the_record_stays_as_it_is():
    array = volume((9, 9, 9)).astype(np.float64)
    before = array.copy()
    assert Preprocessing(STEPS).array(record(array)).dtype == np.float32
    assert np.array_equal(array, before)


@pytest.mark.parametrize(
    ("facts", "array"),
    [
        ({"echo": 1}, volume((4, 4, 4))),
        ({"spacing_mm": [1, 1]}, volume((4, 4, 4))),
        ({"spacing_mm": [1, 0, 1]}, volume((4, 4, 4))),
        ({"spacing_mm": [1, -1, -1]}, volume((4, 4, 4))),
        ({"spacing_mm": [1, float("nan"), 1]}, volume((4, 4, 4))),
        ({"spacing_mm": "1x1x1"}, volume((4, 4, 4))),
        ({"affine": np.zeros((4, 4))}, volume((4, 4, 4))),
        ({"affine": np.eye(3)}, volume((4, 4, 4))),
        ({"affine": [[1], [2, 3]]}, volume((4, 4, 4))),
    ],
)
def test_unknown_voxel_sizes(facts, array):
    with pytest.raises(ReadError, match="size and orientation of the voxels"):
        Preprocessing(STEPS).array(record(array, **facts))


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (volume((4, 4)), "cannot be preprocessed"),
        (volume((4, 4, 4, 2)), "cannot be preprocessed"),
        (np.zeros((0, 4, 4), np.float32), "cannot be preprocessed"),
        (np.zeros((4, 4, 4), np.int16), "int16 cannot be preprocessed"),
        (np.full((4, 4, 4), np.nan, np.float32), "NaN or infinite"),
        (np.full((4, 4, 4), np.inf, np.float32), "NaN or infinite"),
        (np.full((4, 4, 4), 3, np.float32), "one value throughout"),
    ],
)
def test_volumes_that_are_none(array, why):
    with pytest.raises(ReadError, match=why):
        Preprocessing(STEPS).array(record(array))


def test_a_bare_array_is_refused():
    with pytest.raises(ReadError, match="not known"):
        Preprocessing(STEPS).array(volume((4, 4, 4)))


def test_nothing_here_imports_monai():
    import subprocess
    import sys

    code = "import sys; import medfm.encoders.preprocessing; assert not {'monai', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_plane_is_known_to_others():
    assert VolumeSteps(Preprocessing(STEPS).steps).plane == "axial"
    assert VolumeSteps(Preprocessing(STEPS[:3]).steps).plane == "sagittal"
