"""Measurements of patches: background, blur against a naive loop, inks."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medfm.modalities.histopathology_quality import blur, ink, measure


def texture(seed: int = 0, side: int = 64) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = gaussian_filter(rng.normal(size=(side, side)), 2.0)
    pink = np.array([200, 120, 180.0]) + (coarse / coarse.std())[..., None] * np.array([25, 30, 20])
    return pink.clip(0, 255).astype(np.uint8)


def naive_blur(array: np.ndarray) -> float:
    """Crete-Roffet's measure by loops over whole pixels."""
    grey = array.astype(np.float64) @ [0.2125, 0.7154, 0.0721]
    padded = np.pad(grey, 5, mode="symmetric")
    edge = lambda a: np.pad(a, 1, mode="symmetric")  # noqa: E731
    results = []
    for axis in (0, 1):
        smooth = np.zeros_like(grey)
        for shift in range(-5, 6):
            rows = slice(5 + (shift if axis == 0 else 0), 5 + (shift if axis == 0 else 0) + grey.shape[0])
            columns = slice(5 + (shift if axis == 1 else 0), 5 + (shift if axis == 1 else 0) + grey.shape[1])
            smooth += padded[rows, columns] / 11
        sums = []
        for image in (edge(grey), edge(smooth)):
            slope = np.zeros_like(grey)
            for i in range(grey.shape[0]):
                for j in range(grey.shape[1]):
                    part = image[i : i + 3, j : j + 3]
                    part = part if axis == 0 else part.T
                    slope[i, j] = abs((part[2] - part[0]) @ [1, 2, 1])
            sums.append(slope)
        sharp, soft = (s[2:-1, 2:-1] for s in (sums[0], np.maximum(0, sums[0] - sums[1])))
        results.append((sharp.sum() - soft.sum()) / sharp.sum())
    return max(results)


def test_blur_equals_a_naive_loop() -> None:
    for seed in range(3):
        picture = texture(seed, 40)
        assert blur(picture) == pytest.approx(naive_blur(picture), abs=1e-4)


def test_more_blur_measures_more() -> None:
    picture = np.random.default_rng(0).integers(80, 220, (96, 96, 3)).astype(np.uint8)
    values = [blur(gaussian_filter(picture.astype(float), (s, s, 0)).astype(np.uint8)) for s in (0, 1, 2, 3)]
    assert values == sorted(values)
    assert values[0] < 0.3 < 0.45 < values[-1] <= 1


@pytest.mark.parametrize(
    "picture", [np.full((64, 64, 3), 200, np.uint8), texture(0, 12), np.zeros((1, 1, 3), np.uint8)]
)
def test_blur_of_nothing_is_unknown(picture: np.ndarray) -> None:
    assert blur(picture) is None


def test_background_counts_bright_pixels() -> None:
    picture = texture()
    picture[:16] = 240
    picture[16:20] = (240, 150, 240)  # bright but pink: tissue
    quality = measure(picture, {"mpp": 0.5})
    assert quality.background == pytest.approx(0.25)
    assert quality.mpp == 0.5
    assert measure(picture, {}).mpp is None


def test_inks_have_their_names_and_tissue_has_none() -> None:
    assert max(ink(texture()).values()) == 0
    for name, colour in {"green": (20, 140, 70), "blue": (30, 90, 190), "black": (10, 10, 15)}.items():
        picture = texture()
        picture[:16] = colour
        shares = ink(picture)
        assert shares.pop(name) == pytest.approx(0.25)
        assert max(shares.values()) == 0


@pytest.mark.parametrize("colour", [(60, 40, 120), (90, 60, 150), (230, 100, 170), (200, 60, 80), (245, 245, 245)])
def test_colours_of_the_stains_are_no_ink(colour: tuple[int, int, int]) -> None:
    assert max(ink(np.full((8, 8, 3), colour, np.uint8)).values()) == 0


def test_large_patches_are_measured_in_their_middle() -> None:
    picture = np.full((600, 700, 3), 240, np.uint8)
    picture[44:556, 94:606] = texture(0, 512)
    middle = measure(picture, {}).background
    assert middle == pytest.approx(measure(picture[44:556, 94:606], {}).background, abs=0)
    assert middle < 0.01 < (picture.min(axis=2) > 206).mean()
