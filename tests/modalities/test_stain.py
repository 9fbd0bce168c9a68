"""Stains: against drawn pictures with known stains, a second implementation by SVD, and degenerate patches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.modalities import stain


def drawn(matrix: np.ndarray, seed: int = 0, side: int = 96, light: float = 240.0, scale: float = 1.0) -> np.ndarray:
    """A picture whose pixels are pure haematoxylin, pure eosin, both, or glass, in known amounts."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 4, (side, side))
    amount = rng.uniform(0.8, 1.8, (side, side, 2)) * scale
    amount[kind == 0, 1] = 0.0
    amount[kind == 1, 0] = 0.0
    amount[kind == 3] = 0.0
    return np.rint((light * np.exp(-(amount @ matrix)) - 1).clip(0, 255)).astype(np.uint8)


def unit(*rows: tuple[float, float, float]) -> np.ndarray:
    matrix = np.array(rows)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


STAINS = [
    stain.REFERENCE.matrix,
    unit((0.65, 0.70, 0.29), (0.27, 0.90, 0.35)),
    unit((0.70, 0.60, 0.40), (0.25, 0.85, 0.45)),
]


def by_svd(rgb: np.ndarray) -> np.ndarray:
    """Macenko's vectors by singular values of the centred densities, pixel by pixel angles: another way."""
    kept = []
    for pixel in rgb.reshape(-1, 3).astype(float):
        density = [-np.log((value + 1) / 240) for value in pixel]
        if min(density) >= 0.15:
            kept.append(density)
    points = np.array(kept)
    _, _, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    first, second = (axis if axis.sum() > 0 else -axis for axis in axes[:2])
    angles = sorted(float(np.arctan2(p @ second, p @ first)) for p in points)
    ends = [np.percentile(angles, q) for q in (1, 99)]
    vectors = [np.cos(a) * first + np.sin(a) * second for a in ends]
    return np.array(sorted(vectors, key=lambda v: -v[0]))


@pytest.mark.parametrize("matrix", STAINS, ids=["reference", "lilac", "warm"])
def test_known_stains_are_found_again(matrix: np.ndarray) -> None:
    found = stain.estimate(drawn(matrix))
    assert found is not None
    angles = np.degrees(np.arccos((found.matrix * unit(*matrix)).sum(axis=1).clip(-1, 1)))
    assert (angles < 2.0).all()
    assert np.allclose(np.linalg.norm(found.matrix, axis=1), 1.0)
    assert found.matrix[0, 0] > found.matrix[1, 0]  # haematoxylin absorbs more red


@pytest.mark.parametrize("matrix", STAINS, ids=["reference", "lilac", "warm"])
def test_estimation_equals_a_second_implementation(matrix: np.ndarray) -> None:
    picture = drawn(matrix, side=40)
    found = stain.estimate(picture)
    assert found is not None
    np.testing.assert_allclose(found.matrix, by_svd(picture), atol=1e-9)


def test_amounts_solve_the_mixture() -> None:
    matrix = STAINS[1]
    true = np.random.default_rng(1).uniform(0, 2, (50, 2))
    np.testing.assert_allclose(stain.amounts(true @ matrix, matrix), true, atol=1e-12)
    noisy = true @ matrix + np.random.default_rng(2).normal(0, 0.1, (50, 3))
    expected = np.linalg.lstsq(matrix.T, noisy.T, rcond=None)[0].T
    np.testing.assert_allclose(stain.amounts(noisy, matrix), expected, atol=1e-12)


def test_two_laboratories_look_alike_after_macenko() -> None:
    one, other = (drawn(matrix, seed=3) for matrix in STAINS[1:])
    before = np.abs(one.astype(float) - other).mean()
    after = np.abs(stain.macenko(one).astype(float) - stain.macenko(other)).mean()
    assert after < before / 3


def test_macenko_brings_the_targets_stains() -> None:
    again = stain.estimate(stain.macenko(drawn(STAINS[1])))
    assert again is not None
    reference = unit(*stain.REFERENCE.matrix)
    assert (np.degrees(np.arccos((again.matrix * reference).sum(axis=1).clip(-1, 1))) < 3).all()
    np.testing.assert_allclose(again.strongest, stain.REFERENCE.strongest, rtol=0.1)


def test_glass_stays_glass() -> None:
    picture = drawn(STAINS[1])
    bare = (picture > 235).all(axis=2)
    assert bare.any()
    assert stain.macenko(picture)[bare].min() > 225
    target = stain.colour_statistics(drawn(STAINS[2]))
    assert target is not None
    assert np.array_equal(stain.reinhard(picture, target)[bare], picture[bare])


def one_stain() -> np.ndarray:
    shade = np.random.default_rng(0).uniform(0.5, 2, (64, 64, 1))
    return np.rint((240 * np.exp(-shade * STAINS[0][0])).clip(0, 255)).astype(np.uint8)


DEGENERATE = {
    "white": np.full((64, 64, 3), 255, np.uint8),
    "glass": np.full((64, 64, 3), 238, np.uint8),
    "black": np.zeros((64, 64, 3), np.uint8),
    "one colour": np.full((64, 64, 3), (180, 90, 160), np.uint8),
    "one stain": one_stain(),
    "grey ramp": np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 3, 64, 0).repeat(3, 2),
    "one pixel": np.full((1, 1, 3), 90, np.uint8),
    "few pixels of tissue": np.pad(np.full((4, 4, 3), 90, np.uint8), ((30, 30), (30, 30), (0, 0)), constant_values=250),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_patches_come_back_as_they_are(name: str) -> None:
    picture = DEGENERATE[name]
    assert stain.estimate(picture) is None
    with np.errstate(all="raise"):
        assert np.array_equal(stain.macenko(picture), picture)


@pytest.mark.parametrize("name", ["white", "glass", "black", "one colour", "one pixel", "few pixels of tissue"])
def test_reinhard_leaves_pictures_without_colours_alone(name: str) -> None:
    target = stain.colour_statistics(drawn(STAINS[2]))
    assert target is not None
    assert stain.colour_statistics(DEGENERATE[name]) is None
    assert np.array_equal(stain.reinhard(DEGENERATE[name], target), DEGENERATE[name])


def test_opponent_colours_by_hand_and_back() -> None:
    # Reinhard et al. 2001: LMS = 0.3811 R + 0.5783 G + 0.0402 B ..., then logarithms, then the three sums.
    red, green, blue = 200 / 255, 100 / 255, 150 / 255
    long = np.log10(0.3811 * red + 0.5783 * green + 0.0402 * blue)
    middle = np.log10(0.1967 * red + 0.7244 * green + 0.0782 * blue)
    short = np.log10(0.0241 * red + 0.1288 * green + 0.8444 * blue)
    by_hand = [
        (long + middle + short) / np.sqrt(3),
        (long + middle - 2 * short) / np.sqrt(6),
        (long - middle) / np.sqrt(2),
    ]
    values = stain.opponent(np.array([[200, 100, 150]], np.uint8))
    np.testing.assert_allclose(values[0], by_hand, atol=1e-12)
    np.testing.assert_allclose(stain.from_opponent(values)[0], [200, 100, 150], atol=1e-9)


def test_reinhard_reaches_the_targets_statistics() -> None:
    # Dense tissue without glass: nothing is blended, so mean and spread must be the target's but for clipping.
    rng = np.random.default_rng(5)
    dense = np.rint(240 * np.exp(-(rng.uniform(0.7, 1.3, (80, 80, 2)) @ STAINS[1]))).astype(np.uint8)
    target = stain.colour_statistics(np.rint(240 * np.exp(-(rng.uniform(0.7, 1.3, (80, 80, 2)) @ STAINS[2]))))
    assert target is not None
    after = stain.colour_statistics(stain.reinhard(dense, target))
    assert after is not None
    np.testing.assert_allclose(after.mean, target.mean, atol=0.01)
    np.testing.assert_allclose(after.std, target.std, rtol=0.1)


def test_statistics_are_over_the_tissue_only() -> None:
    picture = drawn(STAINS[1])
    wide = np.concatenate([picture, np.full_like(picture, 245)])
    one, other = stain.colour_statistics(picture), stain.colour_statistics(wide)
    assert one is not None and other is not None
    np.testing.assert_allclose(one.mean, other.mean)
    np.testing.assert_allclose(one.std, other.std)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_any_pixels_give_bytes_and_the_same_ones_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (12, 15, 3)).astype(np.uint8)
    kept = picture.copy()
    target = stain.ColourStatistics(np.array([-0.3, 0.0, 0.0]), np.array([0.1, 0.05, 0.02]))
    for change in (stain.macenko, lambda p: stain.reinhard(p, target)):
        first, second = change(picture), change(picture)
        assert first.dtype == np.uint8 and first.shape == picture.shape
        assert np.array_equal(first, second)
        assert np.array_equal(picture, kept)


def test_jitter_without_change_is_the_picture() -> None:
    picture = drawn(STAINS[0]).clip(1, 255) / 255
    np.testing.assert_allclose(stain.jitter(picture, np.ones(3), np.zeros(3)), picture, atol=1e-12)


def test_jitter_changes_one_stain_by_its_factor() -> None:
    amounts = np.random.default_rng(0).uniform(0.2, 0.6, (10, 10, 3))
    picture = np.exp(-(amounts @ stain.RUIFROK))
    changed = stain.jitter(picture, np.array([1.5, 1.0, 1.0]), np.zeros(3))
    expected = np.exp(-((amounts * [1.5, 1, 1]) @ stain.RUIFROK))
    np.testing.assert_allclose(changed, expected, atol=1e-9)
    assert stain.jitter(picture, np.full(3, 5.0), np.ones(3)).min() >= 0
    assert stain.jitter(picture, np.zeros(3), -np.ones(3)).max() <= 1
