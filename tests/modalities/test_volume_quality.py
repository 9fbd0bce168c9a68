"""Measurements of volumes, on a drawn head and what can go wrong with one."""

from __future__ import annotations

import numpy as np
import pytest
from brain_volumes import head
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.modalities.volume_quality import VolumeQuality, _coarse, body_centre, measure, otsu, overflowed

HEAD = head()
FACTS = {"spacing_mm": [4, 4, 4], "left_right": "known"}


def of(array: np.ndarray, **facts: object) -> VolumeQuality:
    return measure(array.astype(np.float32), {**FACTS, **facts})


def test_a_head_is_measured() -> None:
    quality = of(HEAD)
    np.testing.assert_allclose(quality.extent, (156, 212, 228), atol=10)
    assert quality.cut_top == 0 and quality.cut_sides == 0 and not quality.constant
    assert 0.3 < quality.filled < 0.8 and quality.symmetry[0] > 0.98
    assert max(quality.symmetry[1:]) < quality.symmetry[0] - 0.02
    assert quality.left_right and quality.wrapped == quality.clipped == 0 and quality.not_finite == 0


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_the_axis_of_symmetry_is_found_wherever_it_is(axes: tuple[int, int, int]) -> None:
    quality = of(np.transpose(HEAD, axes))
    assert int(np.argmax(quality.symmetry)) == axes.index(0)


def test_a_mirrored_head_looks_alike() -> None:
    # That left and right are exchanged cannot be seen, and no measure may pretend it.
    one, other = of(HEAD), of(HEAD[::-1])
    np.testing.assert_allclose(one.symmetry, other.symmetry, atol=1e-6)
    assert one.extent == other.extent


@settings(max_examples=12, deadline=None)
@given(st.floats(0.1, 1e4), st.integers(0, 3))
def test_no_measure_depends_on_the_scale_of_the_values(factor: float, seed: int) -> None:
    array = head(8.0, seed=seed)
    one, other = (measure(a, {**FACTS, "spacing_mm": [8, 8, 8]}) for a in (array, array * np.float32(factor)))
    assert one.extent == other.extent
    np.testing.assert_allclose(one.symmetry, other.symmetry, atol=1e-4)
    assert other.snr == pytest.approx(one.snr, rel=1e-3)


def test_fine_voxels_give_the_measures_of_coarse_ones() -> None:
    coarse, fine = of(HEAD), measure(head(2.0), {**FACTS, "spacing_mm": [2, 2, 2]})
    np.testing.assert_allclose(fine.extent, coarse.extent, atol=9)
    np.testing.assert_allclose(fine.symmetry, coarse.symmetry, atol=0.03)


def test_blocks_are_means() -> None:
    array = np.random.default_rng(0).normal(size=(9, 7, 5))
    blocks, sides = _coarse(array, (2.0, 1.0, 5.0))
    assert blocks.shape == (4, 1, 5) and sides.tolist() == [4.0, 4.0, 5.0]
    assert blocks[1, 0, 3] == pytest.approx(array[2:4, :4, 3].mean())


def test_otsu_parts_two_heaps() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(10, 1, 900), np.random.default_rng(1).normal(50, 3, 300)])
    assert 13 < otsu(values) < 42
    assert otsu(np.full(5, 3.0)) == 3.0


def test_the_middle_of_the_head_is_found() -> None:
    centre = np.array(body_centre(HEAD, (4, 4, 4))) * 4 - np.array([100, 124, 120])
    assert abs(centre[0]) <= 4 and abs(centre[1] - 8) <= 12
    assert 25 <= centre[2] <= 45  # 72 mm below the top at 107
    shifted = np.roll(HEAD, 3, 0)
    assert body_centre(shifted, (4, 4, 4))[0] == body_centre(HEAD, (4, 4, 4))[0] + 3
    assert body_centre(np.zeros((6, 8, 10), np.float32), (4, 4, 4)) == (3, 4, 5)


class TestDamage:
    def test_constant(self) -> None:
        quality = of(np.full((8, 8, 8), 3.0))
        assert quality.constant and quality.snr is None

    def test_tiny_volumes_do_not_fall_over(self) -> None:
        for shape in ((2, 2, 2), (2, 60, 60), (3, 3, 50)):
            quality = of(np.random.default_rng(0).random(shape))
            assert np.isfinite(quality.symmetry).all() and not quality.constant

    def test_voxels_that_are_no_numbers(self) -> None:
        array = HEAD.copy()
        array[10, 10, 10], array[20, 20, 20] = np.nan, np.inf
        quality = of(array, not_finite=2)
        assert quality.not_finite == 2 and np.isfinite(quality.symmetry).all()

    def test_overflow(self) -> None:
        bright = (head(noise=0) * 50).astype(np.int64)
        ramp = bright + (np.arange(bright.shape[0]) * 120)[:, None, None] * (bright > 20000)
        wrapped = ramp.astype(np.int16)
        assert of(wrapped, stored="int16", scaled=False).wrapped > 1e-4
        assert of(wrapped, stored="int16", scaled=True).wrapped == 0
        assert of(np.minimum(ramp, 32767), stored="int16", scaled=False).wrapped == 0
        normalised = (HEAD - HEAD.mean()) / HEAD.std()
        assert of(normalised, stored="float32").wrapped == 0

    def test_clipping(self) -> None:
        assert of(HEAD).clipped == 0
        assert of(np.minimum(HEAD, 600)).clipped > 0.05
        single = HEAD.copy()
        single[5, 5, 5] = 5000  # one bright vessel is no clipping
        assert of(single).clipped == 0

    def test_noise(self) -> None:
        ratios = [measure(head(2.0, noise), {**FACTS, "spacing_mm": [2, 2, 2]}).snr for noise in (0.02, 0.1, 0.3)]
        assert ratios[0] > ratios[1] > ratios[2]
        # Of the brain alone the ratio is 1 / noise; scalp and skull lower it.
        assert 0.4 / 0.02 < ratios[0] < 1.1 / 0.02 and 0.4 / 0.1 < ratios[1] < 1.1 / 0.1

    def test_ghosts_reach_the_border(self) -> None:
        still = measure(head(2.0), {**FACTS, "spacing_mm": [2, 2, 2]})
        array = head(2.0, noise=0)
        phase = np.exp(1j * 1.0 * np.sin(2 * np.pi * np.arange(array.shape[1]) / 16))
        moved = np.abs(np.fft.ifft(np.fft.fft(array, axis=1) * phase[None, :, None], axis=1))
        generator = np.random.default_rng(0)
        moved = np.hypot(moved + generator.normal(0, 7, moved.shape), generator.normal(0, 7, moved.shape))
        streaked = measure(moved.astype(np.float32), {**FACTS, "spacing_mm": [2, 2, 2]})
        assert still.streaks is not None and abs(still.streaks) < 1
        assert streaked.streaks is not None and streaked.streaks > 2

    def test_without_air_streaks_are_not_judged(self) -> None:
        assert of(np.where(HEAD > 60, HEAD, 0)).streaks is None

    def test_cuts(self) -> None:
        assert of(HEAD[:, :, :40]).cut_top > 0.2
        assert of(HEAD[:25]).cut_sides > 0.2
        assert of(HEAD[:, :, 25:32]).extent[2] < 40


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"stored": "int16", "scaled": False}, True),
        ({"stored": "int16", "scaled": True}, False),
        ({"stored": "int32", "scaled": False}, False),  # its largest number is far away
        ({"stored": "uint16", "scaled": False}, False),
        ({"stored": "float32"}, False),
        ({}, False),
    ],
)
def test_overflow_is_told_from_the_kind_of_number(facts: dict[str, object], says: bool) -> None:
    bright = (HEAD * 50).astype(np.int64).astype(np.uint16).view(np.int16).astype(np.float32)
    facts = {**facts, "range": [float(bright.min()), float(bright.max())]}
    assert overflowed(bright, facts) is says
    # As the check sees it, with all its other measures.
    assert (of(bright, **facts).wrapped > 1e-5) is says


def test_values_below_zero_far_from_bright_ones_are_no_overflow() -> None:
    array = np.full((8, 8, 8), 100.0, np.float32)
    array[0, 0, 0], array[7, 7, 7] = -5.0, 30000.0
    facts = {"stored": "int16", "scaled": False, "range": [-5.0, 30000.0]}
    assert not overflowed(array, facts)
    array[7, 7, 6] = -5.0
    assert overflowed(array, facts)
    assert not overflowed(array, {**facts, "range": [-5.0, 19000.0]})  # nothing near the largest number
