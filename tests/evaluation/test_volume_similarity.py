"""Similarity of volumes: against scipy and formulas, and what cannot be compared."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from medfm.core.errors import ConfigError
from medfm.evaluation.volume_similarity import mean_square_error, psnr, ssim

GENERATOR = torch.Generator().manual_seed(0)
FIRST = torch.rand(2, 1, 9, 8, 10, generator=GENERATOR)
SECOND = (FIRST + 0.1 * torch.randn(FIRST.shape, generator=GENERATOR)).clip(0, 1)


def naive_ssim(first: np.ndarray, second: np.ndarray, window: int) -> float:
    """Wang et al. 2004 with a Gaussian of sigma 1.5, over the windows that lie wholly inside."""
    places = np.arange(window) - (window - 1) / 2
    kernel = np.exp(-((places / 1.5) ** 2) / 2)
    kernel /= kernel.sum()

    def smooth(values: np.ndarray) -> np.ndarray:
        for axis in range(3):
            values = np.apply_along_axis(lambda line: np.convolve(line, kernel[::-1], mode="valid"), axis, values)
        return values

    mean1, mean2 = smooth(first), smooth(second)
    var1, var2 = smooth(first**2) - mean1**2, smooth(second**2) - mean2**2
    cov = smooth(first * second) - mean1 * mean2
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean1 * mean2 + c1) * (2 * cov + c2)
    return float((top / ((mean1**2 + mean2**2 + c1) * (var1 + var2 + c2))).mean())


@pytest.mark.parametrize("window", [3, 4, 7])
def test_ssim_against_its_definition(window):
    ours = ssim(FIRST, SECOND, window=window)
    assert ours.shape == (2,)
    for i in range(2):
        expected = naive_ssim(FIRST[i, 0].double().numpy(), SECOND[i, 0].double().numpy(), window)
        assert float(ours[i]) == pytest.approx(expected, abs=1e-4)


def test_the_window_matters_and_is_never_a_default():
    values = [float(ssim(FIRST, SECOND, window=window)[0]) for window in (3, 4, 7)]
    assert min(abs(a - b) for a, b in itertools.pairwise(values)) > 1e-4
    with pytest.raises(TypeError):
        ssim(FIRST, SECOND)


def test_equal_volumes():
    torch.testing.assert_close(ssim(FIRST, FIRST, window=4), torch.ones(2))
    assert not mean_square_error(FIRST, FIRST).any()
    assert bool((psnr(FIRST, FIRST) == math.inf).all())


def test_mse_and_psnr():
    for i in range(2):
        expected = ((FIRST[i] - SECOND[i]).numpy() ** 2).mean()
        assert float(mean_square_error(FIRST, SECOND)[i]) == pytest.approx(expected, rel=1e-5)
        assert float(psnr(FIRST, SECOND)[i]) == pytest.approx(10 * math.log10(1 / expected), abs=1e-3)
    scaled = psnr(100 * FIRST, 100 * SECOND, data_range=100)
    torch.testing.assert_close(scaled, psnr(FIRST, SECOND), atol=1e-3, rtol=1e-5)


def test_more_noise_is_less_alike():
    noise = torch.randn(FIRST.shape, generator=torch.Generator().manual_seed(5))
    values = [float(ssim(FIRST, FIRST + size * noise, window=4)[0]) for size in (0.0, 0.05, 0.2, 0.8)]
    assert values == sorted(values, reverse=True)


def test_smoothing_lowers_it_too():
    blurred = torch.from_numpy(correlate1d(FIRST.numpy(), np.ones(3) / 3, axis=2))
    assert float(ssim(FIRST, blurred, window=4)[0]) < 0.95


@pytest.mark.parametrize("function", [lambda a, b: ssim(a, b, window=4), mean_square_error, psnr])
@pytest.mark.parametrize("other", [FIRST[:1], FIRST[:, :, :8], FIRST[0]])
def test_volumes_that_cannot_be_compared(function, other):
    with pytest.raises(ConfigError, match="cannot be compared"):
        function(FIRST, other)


@pytest.mark.parametrize("window", [0, 9])
def test_windows_that_do_not_fit(window):
    with pytest.raises(ConfigError, match="does not fit"):
        ssim(FIRST, SECOND, window=window)
