import numpy as np
import pytest
from PIL import Image, ImageOps

from medfm.core.errors import ReadError
from medfm.io.pixels import orient, over_white, scale_16_to_8, to_rgb8


def test_all_16_bit_values_are_rounded_to_the_nearest_of_256() -> None:
    values = np.arange(65536, dtype=np.uint16)
    exact = values.astype(np.float64) * 255 / 65535
    # No value lies exactly between two: 65535 / 255 = 257 is odd.
    assert np.array_equal(scale_16_to_8(values), np.rint(exact).astype(np.uint8))


def test_values_widened_by_257_come_back() -> None:
    values = np.arange(256, dtype=np.uint16)
    assert np.array_equal(scale_16_to_8(values * 257), values.astype(np.uint8))


def test_transparency_is_laid_on_white() -> None:
    pixel = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 200, 51]]], np.uint8)
    expected = [[10, 20, 30], [255, 255, 255], [204, 224, 244]]
    assert over_white(pixel)[0].tolist() == expected


def test_premultiplied_colours_are_not_multiplied_again() -> None:
    assert over_white(np.array([[[0, 20, 40, 51]]], np.uint8), premultiplied=True).tolist() == [[[204, 224, 244]]]


def test_alpha_is_noted_only_where_something_shows_through() -> None:
    opaque, clear = {}, {}
    to_rgb8(np.full((2, 2, 4), 255, np.uint8), "x", opaque)
    to_rgb8(np.zeros((2, 2, 4), np.uint8), "x", clear)
    assert "alpha" not in opaque
    assert clear["alpha"] == "laid on white"


def test_grey_and_grey_with_alpha_become_rgb() -> None:
    grey = np.array([[0, 128, 255]], np.uint8)
    assert to_rgb8(grey, "x", {}).tolist() == [[[0] * 3, [128] * 3, [255] * 3]]
    both = np.stack([grey, np.full_like(grey, 255)], axis=2)
    assert to_rgb8(both, "x", {}).tolist() == [[[0] * 3, [128] * 3, [255] * 3]]


@pytest.mark.parametrize("shape", [(4,), (4, 4, 5), (2, 4, 4, 3)])
def test_strange_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ReadError, match="shape"):
        to_rgb8(np.zeros(shape, np.uint8), "x", {})


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32])
def test_other_pixel_types_are_refused(dtype: type) -> None:
    with pytest.raises(ReadError, match="type"):
        to_rgb8(np.zeros((4, 4, 3), dtype), "x", {})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_agree_with_pillow(orientation: int) -> None:
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    picture = Image.fromarray(array)
    picture.getexif()[0x0112] = orientation
    facts: dict[str, object] = {}
    turned = orient(array, orientation, facts)
    assert np.array_equal(turned, np.asarray(ImageOps.exif_transpose(picture)))
    assert turned.flags.c_contiguous
    assert facts.get("orientation", 1) == orientation


@pytest.mark.parametrize("orientation", [0, 9, -1])
def test_unknown_orientations_change_nothing(orientation: int) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert orient(array, orientation, {}) is array
