"""Scaling of volumes by the voxels above 0, and slices kept as pictures are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ReadError
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.preprocessing_steps import STEPS
from medfm.encoders.preprocessing_volume import above_zero_scale, axes_back, axes_of
from medfm.modalities.record import Record

SIZE = {"step": "volume_size", "size": [6, 5, 4], "padding": "zero"}
SCALE = {"step": "volume_scale", "method": "z_score_above_zero"}


def head(shape: tuple[int, ...] = (4, 5, 3), seed: int = 0) -> np.ndarray:
    """Positive values, a background of zeros, and a few values below 0."""
    random = np.random.default_rng(seed)
    values = random.normal(80, 30, shape)
    values[random.random(shape) < 0.4] = 0
    return values.astype(np.float32)


def naive(volume: np.ndarray) -> np.ndarray:
    """Voxel by voxel, as Tencent/MedicalNet, datasets/brains18.py, but 0 in place of its noise."""
    bright = [float(value) for value in volume.ravel() if value > 0]
    mean = sum(bright) / len(bright)
    spread = (sum((value - mean) ** 2 for value in bright) / len(bright)) ** 0.5
    return np.array([0 if value == 0 else (value - mean) / spread for value in volume.ravel()]).reshape(volume.shape)


@pytest.mark.parametrize("seed", range(3))
def test_scaling_written_out(seed):
    volume = head(seed=seed)
    volume[0, 0, 0] = -5
    ours = above_zero_scale(volume)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, naive(volume), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(gain=st.floats(0.01, 500), seed=st.integers(0, 500))
def test_the_gain_of_the_scanner_does_not_matter(gain, seed):
    volume = head(seed=seed)
    scaled = above_zero_scale(volume)
    np.testing.assert_allclose(above_zero_scale((volume * gain).astype(np.float32)), scaled, atol=2e-3)
    bright = scaled[volume > 0].astype(np.float64)
    assert abs(bright.mean()) < 1e-5 and abs(bright.std() - 1) < 1e-5


def test_the_amount_of_background_does_not_matter():
    """Padding with zeros changes no voxel of the head; a minimum and maximum would not notice either, a mean would."""
    volume = head()
    padded = np.pad(volume, 3)
    assert np.array_equal(above_zero_scale(padded)[3:-3, 3:-3, 3:-3], above_zero_scale(volume))
    assert not above_zero_scale(padded)[:3].any()


def test_large_values_lose_nothing():
    """int16-like values summed over many voxels: float32 sums would be off."""
    volume = np.full((60, 60, 60), 30000, np.float32)
    volume[0] = 30001
    ours = above_zero_scale(volume)
    share = 1 / 60
    assert float(ours[1, 0, 0]) == pytest.approx(-share / (share * (1 - share)) ** 0.5, rel=1e-4)


def test_the_volume_given_stays_as_it_is():
    volume = head()
    before = volume.copy()
    above_zero_scale(volume)
    assert np.array_equal(volume, before)


@pytest.mark.parametrize("volume", [-head(), np.eye(3)[None] * 7, np.eye(3)[None] - 1])
def test_nothing_to_scale_by(volume):
    with pytest.raises(ReadError, match="no two different values above 0") as caught:
        Preprocessing([{**SIZE, "size": list(volume.shape)}, SCALE]).array(record(volume.astype(np.float32)))
    assert "scan-7" in str(caught.value)


def record(volume: np.ndarray) -> Record:
    return Record("scan-7", "brain_mri", volume, {"spacing_mm": [1.0, 1.0, 1.0]})


def test_padding_comes_before_scaling_and_counts_as_background():
    steps = Preprocessing([SIZE, SCALE])
    volume = head()
    ours = steps.array(record(volume))
    assert ours.shape == (1, 6, 5, 4)
    np.testing.assert_allclose(ours[0, 1:5, :, :3], naive(volume), atol=1e-5)
    assert not ours[0, 0].any() and not ours[0, 5].any() and not ours[0, :, :, 3].any()


def test_rows_before_columns():
    """Entry (slice, row, column) of the result is voxel (column, row, slice) of the file."""
    steps = Preprocessing([{**SIZE, "size": [4, 5, 3]}, {"step": "slice_first", "plane": "axial_rows"}])
    volume = head()
    ours = steps.array(record(volume))[0]
    assert steps.shape == (1, 3, 5, 4) and ours.flags.c_contiguous
    for i, j, k in np.ndindex(4, 5, 3):
        assert ours[k, j, i] == volume[i, j, k]
    assert axes_of("axial_rows") == axes_back("axial_rows") == (2, 1, 0)


def test_other_methods_are_no_steps():
    for step in ({**SCALE, "method": "z_score"}, {"step": "slice_first", "plane": "rows"}):
        with pytest.raises(ValueError, match="should be"):
            STEPS.validate_python([step])


def test_the_default_is_what_it_was_and_so_are_digests():
    """Cards and caches made before know only these fields."""
    (step,) = STEPS.validate_python([{"step": "volume_scale"}])
    assert step.to_dict() == {"step": "volume_scale", "method": "min_max"}
    (step,) = STEPS.validate_python([{"step": "slice_first"}])
    assert step.to_dict() == {"step": "slice_first", "plane": "axial"}
