"""The colour-histogram baseline: exact bins, exact hue, and an encoder like any other."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from medfm.core.errors import ConfigError, WeightsError
from medfm.encoders.histogram import ColorHistogram, hsv
from medfm.encoders.histogram_args import HistogramArgs
from medfm.encoders.load import load_encoder


def test_hsv_equals_colorsys() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (200, 3)).astype(np.float64) / 255
    colours[:4] = [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0]]
    ours = hsv(torch.from_numpy(colours).reshape(200, 3, 1, 1)).reshape(200, 3).numpy()
    expected = np.array([colorsys.rgb_to_hsv(*c) for c in colours])
    np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_red_green_and_blue_bins_equal_numpy() -> None:
    picture = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(1))
    picture[0, 0, 0, 0] = 1.0  # the last bin holds its upper end
    picture[0, 0, 0, 1] = 0.0
    bins = 8
    ours = ColorHistogram(HistogramArgs(bins=bins))(picture).reshape(2, 6, bins)
    for n in range(2):
        for channel in range(3):
            counts = np.histogram(picture[n, channel].numpy(), bins=bins, range=(0, 1))[0]
            np.testing.assert_allclose(ours[n, channel].numpy(), counts / 600, atol=1e-6)


def test_each_histogram_sums_to_one() -> None:
    encoder = load_encoder("color-histogram")
    vectors = encoder(torch.rand(3, 3, 224, 224, generator=torch.Generator().manual_seed(2)))
    assert vectors.shape == (3, 96)
    np.testing.assert_allclose(vectors.reshape(3, 6, 16).sum(dim=2).numpy(), 1.0, atol=1e-5)


def test_it_sees_colour_but_not_where_it_is() -> None:
    encoder = load_encoder("color-histogram")
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    mixed = picture.flatten(2)[:, :, torch.randperm(64 * 64, generator=torch.Generator().manual_seed(4))]
    assert torch.equal(encoder(picture), encoder(mixed.reshape(picture.shape)))
    assert not torch.equal(encoder(picture), encoder(picture.flip(1)))


def test_it_needs_no_weights_and_says_so() -> None:
    encoder = load_encoder("color-histogram")
    assert encoder.weights_kind == "no weights"
    assert encoder.fingerprint == load_encoder("color-histogram", seed=5).fingerprint
    assert not encoder.has_tokens
    with pytest.raises(WeightsError, match="takes no weights"):
        load_encoder("color-histogram", weights="file.pth")


def test_a_wrong_number_of_bins_is_refused() -> None:
    from medfm.encoders.families import family_args

    with pytest.raises(ConfigError, match="bins"):
        family_args("color-histogram", {"bins": 1}, "card.md")
