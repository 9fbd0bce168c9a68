"""Heat over a picture: order of colours, what was not seen, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from medfm.core.errors import ConfigError
from medfm.reporting.heat_overlay import overlay

LUMA = np.array([0.299, 0.587, 0.114])


def test_lightness_grows_with_heat_on_a_black_picture():
    heat = np.linspace(0, 3, 50)[None]
    found = overlay(np.zeros((1, 50, 3), np.uint8), heat, opacity=1.0)
    assert found.shape == (1, 50, 3) and found.dtype == np.uint8
    assert (np.diff(found[0] @ LUMA) > 0).all()


def test_the_unit_of_the_heat_does_not_matter_and_zero_is_no_error():
    rng = np.random.default_rng(0)
    picture, heat = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8), rng.random((9, 7))
    np.testing.assert_array_equal(overlay(picture, heat), overlay(picture, heat * 1024))
    even = overlay(np.full((4, 4), 99, np.uint8), np.zeros((4, 4)))
    assert (even == even[0, 0]).all()


def test_what_was_not_seen_is_dark_and_grey_and_opacity_0_shows_the_picture_in_grey():
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    heat = np.ones((8, 8))
    heat[:, :3] = np.nan
    found = overlay(picture, heat)
    unseen = found[:, :3].astype(int)
    assert (unseen.max(axis=2) == unseen.min(axis=2)).all()
    np.testing.assert_allclose(unseen[..., 0], (picture[:, :3] @ LUMA) * 0.35, atol=0.6)
    plain = overlay(picture, np.ones((8, 8)), opacity=0.0)
    np.testing.assert_allclose(plain[..., 0], picture @ LUMA, atol=0.6)
    overlay(picture, np.full((8, 8), np.nan))


@pytest.mark.parametrize(
    ("picture", "heat", "opacity"),
    [
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5)), 0.5),
        (np.zeros((4, 4, 3)), np.zeros((4, 4)), 0.5),
        (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4)), 0.5),
        (np.zeros((4, 4, 3), np.uint8), np.full((4, 4), -1.0), 0.5),
        (np.zeros((4, 4, 3), np.uint8), np.full((4, 4), np.inf), 0.5),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4)), 1.5),
    ],
)
def test_refusals(picture, heat, opacity):
    with pytest.raises(ConfigError):
        overlay(picture, heat, opacity)
