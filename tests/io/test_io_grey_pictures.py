"""Grey pictures with all their bits, against Pillow and tifffile."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from medfm.core.errors import ReadError
from medfm.io.grey_pictures import decode_grey, read_bytes


def grey(bits: int = 8) -> np.ndarray:
    values = np.linspace(0, 2**bits - 1, 30 * 20).reshape(30, 20)
    return np.rint(values).astype(np.uint8 if bits == 8 else np.uint16)


def encoded(pixels: np.ndarray, kind: str, **more: object) -> bytes:
    buffer = io.BytesIO()
    if kind == "TIFF" and pixels.dtype == np.uint16:
        tifffile.imwrite(buffer, pixels, **more)
    else:
        Image.fromarray(pixels).save(buffer, kind, **more)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "name"), [("PNG", "a.png"), ("BMP", "a.bmp"), ("TIFF", "a.tif")])
def test_eight_bits_are_divided_by_255(kind: str, name: str) -> None:
    array, facts = decode_grey(encoded(grey(), kind), name)
    np.testing.assert_array_equal(array, grey().astype(np.float32) / np.float32(255))
    assert array.dtype == np.float32 and facts["bits_stored"] == 8 and "notes" not in facts


@pytest.mark.parametrize(("kind", "name"), [("PNG", "a.png"), ("TIFF", "a.tif")])
def test_sixteen_bits_keep_them_all(kind: str, name: str) -> None:
    array, facts = decode_grey(encoded(grey(16), kind), name)
    np.testing.assert_allclose(array, grey(16) / 65535, atol=1e-7)
    assert len(np.unique(array)) == 600 and facts["bits_stored"] == 16


def test_jpeg_is_that_of_pillow_and_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(grey(), "JPEG", quality=95, exif=exif)
    array, _ = decode_grey(data, "a.jpg")
    stored = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(array, np.rot90(stored, -1).astype(np.float32) / np.float32(255))


def test_colour_becomes_grey_by_luminance_and_is_noted() -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (9, 7, 3)).astype(np.uint8)
    array, facts = decode_grey(encoded(colours, "PNG"), "a.png")
    np.testing.assert_allclose(array, colours @ np.array([0.299, 0.587, 0.114]) / 255, atol=1e-6)
    assert "luminance" in facts["notes"][0]
    equal = np.repeat(grey()[..., None], 3, axis=2)
    array, facts = decode_grey(encoded(equal, "PNG"), "a.png")
    np.testing.assert_array_equal(array, grey() / np.float32(255))
    assert "notes" not in facts
    deep = decode_grey(imagecodecs.png_encode(colours.astype(np.uint16) * 257), "a.png")
    np.testing.assert_allclose(deep[0], array_of(colours), atol=1e-6)
    assert "16 bits read as 8" in deep[1]["notes"][-1]


def array_of(colours: np.ndarray) -> np.ndarray:
    return colours @ np.array([0.299, 0.587, 0.114]) / 255


def test_white_is_zero_tiffs_and_names() -> None:
    data = encoded(grey(16), "TIFF", photometric="miniswhite")
    array, facts = decode_grey(data, "a.tif")
    np.testing.assert_allclose(array, 1 - grey(16) / 65535, atol=1 / 255)
    assert facts["bits_stored"] == 16
    assert "named .jpg" in decode_grey(encoded(grey(), "PNG"), "a.jpg")[1]["notes"][0]


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.float32), np.zeros((4, 4), np.int16)])
def test_floats_and_signs_are_refused(pixels: np.ndarray) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels)
    with pytest.raises(ReadError, match="range"):
        decode_grey(buffer.getvalue(), "a.tif")


def test_cut_files_are_refused() -> None:
    for kind, name, bits in (("PNG", "a.png", 16), ("PNG", "a.png", 8), ("JPEG", "a.jpg", 8), ("TIFF", "a.tif", 16)):
        data = encoded(grey(bits), kind)
        for share in (0.0, 0.3, 0.9):
            with pytest.raises(ReadError):
                decode_grey(data[: int(len(data) * share)], name)


def test_reading_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", "r", 5) == b"12345"
    for path, words in ((tmp_path / "b", "does not exist"), (tmp_path, "folder"), (tmp_path / "a", "too large")):
        with pytest.raises(ReadError, match=words):
            read_bytes(path, "r", 4)
