from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from medfm.core.errors import ReadError
from medfm.io.images import read_image

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (18, 27, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (18, 27, 3)).astype(np.uint16)


def eight(values: np.ndarray) -> np.ndarray:
    return np.rint(values.astype(np.float64) * 255 / 65535).astype(np.uint8)


def write(tmp_path: Path, values: np.ndarray, **options: object) -> Path:
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, values, **options)
    return file


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("deep", [False, True])
def test_rgb_in_every_lossless_wrapping(tmp_path: Path, compression: str | None, tile: object, deep: bool) -> None:
    file = write(tmp_path, DEEP if deep else RGB, photometric="rgb", compression=compression, tile=tile)
    array, facts = read_image(file)
    assert np.array_equal(array, eight(DEEP) if deep else RGB)
    assert facts["source_bits"] == (16 if deep else 8)


@pytest.mark.parametrize("deep", [False, True])
def test_channels_in_separate_planes(tmp_path: Path, deep: bool) -> None:
    values = (DEEP if deep else RGB).transpose(2, 0, 1).copy()
    file = write(tmp_path, values, photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_image(file)[0], eight(DEEP) if deep else RGB)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_byte_order_and_bigtiff(tmp_path: Path, byteorder: str, big: bool) -> None:
    file = write(tmp_path, DEEP, photometric="rgb", byteorder=byteorder, bigtiff=big)
    assert np.array_equal(read_image(file)[0], eight(DEEP))


@pytest.mark.parametrize("deep", [False, True])
def test_grey_where_zero_is_white_is_inverted(tmp_path: Path, deep: bool) -> None:
    values = (DEEP if deep else RGB)[..., 0]
    array, _ = read_image(write(tmp_path, values, photometric="miniswhite"))
    expected = 255 - (eight(values) if deep else values)
    assert np.array_equal(array, expected[..., None].repeat(3, 2))


def test_grey_of_16_bits(tmp_path: Path) -> None:
    array, facts = read_image(write(tmp_path, DEEP[..., 0], photometric="minisblack"))
    assert np.array_equal(array[..., 2], eight(DEEP[..., 0]))
    assert facts["source_max"] == DEEP[..., 0].max()


def test_12_bit_data_in_16_bits_stay_dark_and_are_noticed(tmp_path: Path) -> None:
    array, facts = read_image(write(tmp_path, DEEP >> 4, photometric="rgb"))
    assert facts["source_max"] <= 4095
    assert array.max() <= 16


@pytest.mark.parametrize(("kind", "expected"), [("unassalpha", 200), ("assocalpha", 255)])
def test_both_kinds_of_transparency(tmp_path: Path, kind: str, expected: int) -> None:
    values = np.zeros((4, 4, 4), np.uint16)
    values[..., :3] = 145 * 257
    values[..., 3] = 128 * 257
    array, facts = read_image(write(tmp_path, values, photometric="rgb", extrasamples=[kind]))
    # 145 * 128 / 255 + 127 = 200 (rounded); already multiplied: 145 + 127, at most 255.
    assert array[0, 0, 0] == expected
    assert facts["alpha"] == "laid on white"


def test_cmyk_of_16_bits(tmp_path: Path) -> None:
    values = np.zeros((2, 2, 4), np.uint16)
    values[0, 0] = (65535, 0, 0, 0)
    values[1, 1] = (0, 0, 0, 65535)
    array, _ = read_image(write(tmp_path, values, photometric="separated"))
    assert array[0, 0].tolist() == [0, 255, 255]
    assert array[1, 1].tolist() == [0, 0, 0]
    assert array[0, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_orientation_is_the_same_for_8_and_16_bits(tmp_path: Path, orientation: int) -> None:
    tag = [(274, 3, 1, orientation, True)]
    shallow, facts = read_image(write(tmp_path, RGB, photometric="rgb", extratags=tag))
    deep, deep_facts = read_image(write(tmp_path, RGB.astype(np.uint16) * 257, photometric="rgb", extratags=tag))
    assert np.array_equal(shallow, deep)
    assert facts["orientation"] == deep_facts["orientation"] == orientation
    assert shallow.shape == ((27, 18, 3) if orientation > 4 else (18, 27, 3))


def test_several_pages_are_refused_unless_one_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, np.stack([RGB, RGB[::-1], DEEP.astype(np.uint8)]), photometric="rgb")
    with pytest.raises(ReadError, match="3 pages") as caught:
        read_image(file)
    assert "'page' column" in str(caught.value)
    for page, expected in enumerate([RGB, RGB[::-1], DEEP.astype(np.uint8)]):
        array, facts = read_image(file, page=page)
        assert np.array_equal(array, expected)
        assert facts["page"] == page
    with pytest.raises(ReadError, match="no page 3"):
        read_image(file, page=3)


def test_a_thumbnail_is_not_a_second_page(tmp_path: Path) -> None:
    file = tmp_path / "a.tif"
    with tifffile.TiffWriter(file) as writer:
        writer.write(RGB, photometric="rgb")
        writer.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)
    assert np.array_equal(read_image(file)[0], RGB)


def test_an_imagej_stack_in_one_page_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, np.zeros((5, 8, 9), np.uint8), imagej=True)
    with pytest.raises(ReadError, match="5 pages"):
        read_image(file)


@pytest.mark.parametrize(
    ("dtype", "words"),
    [(np.float32, "floating-point"), (np.float64, "floating-point"), (np.int16, "signed"), (np.uint32, "unusual")],
)
def test_pixels_without_a_defined_range_are_refused(tmp_path: Path, dtype: type, words: str) -> None:
    values = np.ones((8, 8, 3), dtype)
    if words == "floating-point":
        values[0, 0] = np.nan
    with pytest.raises(ReadError, match=words) as caught:
        read_image(write(tmp_path, values, photometric="rgb"))
    assert caught.value.fix is not None


def test_five_channels_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, np.zeros((8, 8, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    with pytest.raises(ReadError, match="5 channels"):
        read_image(file)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("missing", [1, 100, 1000])
def test_truncated_tiffs_are_refused(tmp_path: Path, deep: bool, compression: str | None, missing: int) -> None:
    file = write(tmp_path, DEEP if deep else RGB, photometric="rgb", compression=compression)
    file.write_bytes(file.read_bytes()[:-missing])
    with pytest.raises(ReadError):
        read_image(file)


def test_jpeg_inside_tiff_is_as_pillow_decodes_it(tmp_path: Path) -> None:
    file = tmp_path / "a.tif"
    Image.fromarray(RGB).save(file, compression="jpeg")
    assert np.array_equal(read_image(file)[0], np.asarray(Image.open(file).convert("RGB")))
