"""Odd and broken picture files in every reader: the right pixels, or a refusal; never a gap filled without a word."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from eye_files import eye_file
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_hazards import BROKEN, ODD, SIDE, plain, png, put_broken, put_odd, strips_never_written, wide_profile
from PIL import Image, ImageCms

from medfm.core.errors import ReadError
from medfm.io.images import read_image
from medfm.io.tiff import _deflate_ends
from medfm.modalities.registry import read_record

MODALITIES = ("retina", "histopathology", "blood_cell")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    put_odd(folder)
    put_broken(folder)
    return folder


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("name", [n for n, far in ODD.items() if far is not None])
def test_odd_files_are_the_plain_picture(files: Path, name: str, modality: str) -> None:
    record = read_record(files / name, modality)
    assert record.array.dtype == np.uint8 and record.array.shape == (SIDE, SIDE, 3)
    away = np.abs(record.array.astype(int) - plain()).mean()
    assert away <= (ODD[name] or 0)


def test_grey_bits_and_holes(files: Path) -> None:
    grey = np.asarray(Image.fromarray(plain()).convert("L"))
    for name in ("grey.png", "grey_deep.png"):
        assert np.array_equal(read_image(files / name)[0], np.dstack([grey] * 3))
    assert set(np.unique(read_image(files / "bits.png")[0])) == {0, 255}
    array, facts = read_image(files / "holes.png")
    assert (array[:20] == 255).all() and np.array_equal(array[20:], plain()[20:]) and facts["alpha"] == "laid on white"


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("name", list(BROKEN))
def test_broken_files_are_refused_with_their_reason(files: Path, name: str, modality: str) -> None:
    with pytest.raises(ReadError) as caught:
        read_record(files / name, modality)
    assert BROKEN[name] in str(caught.value) and name in str(caught.value)


def test_the_profile_of_these_files_would_change_pixels_if_it_were_applied() -> None:
    """So that "not applied" says something."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(wide_profile()))
    applied = ImageCms.profileToProfile(Image.fromarray(plain()), source, ImageCms.createProfile("sRGB"))
    assert applied is not None
    assert np.abs(np.asarray(applied).astype(int) - plain()).mean() > 5


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_wide_gamut_profile_is_stated_and_not_applied_by_any_reader(files: Path, modality: str) -> None:
    for name in ("wide.png", "wide.tif", "wide_deep.tif", "wide.jpg"):
        record = read_record(files / name, modality)
        assert record.facts["icc_profile"] == "embedded, not applied", name
        if ODD[name] == 0:
            assert np.array_equal(record.array, plain()), name
    assert "icc_profile" not in read_record(files / "plain.png", modality).facts


def test_a_profile_in_dicom_and_in_a_deep_png_is_treated_the_same(tmp_path: Path) -> None:
    path = eye_file(tmp_path / "eye.dcm", plain(), elements={"ICCProfile": wide_profile() + b"\0"})
    record = read_record(path, "retina")
    assert record.facts["icc_profile"] == "embedded, not applied" and np.array_equal(record.array, plain())
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in plain().astype(np.uint16) * 257)
    whole = png(SIDE, SIDE, rows, bits=16)
    body = b"wide\0\0" + zlib.compress(wide_profile())
    chunk = len(body).to_bytes(4, "big") + b"iCCP" + body + zlib.crc32(b"iCCP" + body).to_bytes(4, "big")
    (tmp_path / "deep.png").write_bytes(whole[:33] + chunk + whole[33:])
    array, facts = read_image(tmp_path / "deep.png")
    assert facts["icc_profile"] == "embedded, not applied" and np.array_equal(array, plain())


# Half-written pages


@pytest.mark.parametrize("written", range(1, 8))
@pytest.mark.parametrize("deep", [False, True])
def test_a_page_is_read_only_when_every_strip_was_written(tmp_path: Path, written: int, deep: bool) -> None:
    array = plain().astype(np.uint16) * 257 if deep else plain()
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", rowsperstrip=8)
    assert np.array_equal(read_image(tmp_path / "a.tif")[0], plain())
    strips_never_written(tmp_path / "a.tif", written)
    with pytest.raises(ReadError, match=f"{8 - written} of its 8 strips hold no data"):
        read_image(tmp_path / "a.tif")


def test_a_tile_that_was_never_written(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", plain(), photometric="rgb", tile=(16, 16))
    assert np.array_equal(read_image(tmp_path / "a.tif")[0], plain())
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        tags = [tiff.pages[0].tags[code] for code in (324, 325)]
        places = [(t.valueoffset, {3: 2, 4: 4}[int(t.dtype)]) for t in tags]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    for offset, size in places:
        data[offset + 15 * size : offset + 16 * size] = bytes(size)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(ReadError, match="1 of its 16 tiles hold no data"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_whole_pages_of_any_layout_are_still_read(tmp_path: Path, planar: str, rows: int) -> None:
    array = plain() if planar == "contig" else np.moveaxis(plain(), -1, 0)
    tifffile.imwrite(
        tmp_path / "a.tif", array, photometric="rgb", planarconfig=planar, rowsperstrip=min(rows, SIDE),
        compression="zlib",
    )  # fmt: skip
    assert np.array_equal(read_image(tmp_path / "a.tif")[0], plain())


def test_the_other_page_of_a_half_written_file_is_read(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for seed in (0, 1):
            tiff.write(plain(seed), photometric="rgb", rowsperstrip=16, metadata=None)
    strips_never_written(tmp_path / "a.tif", 1)
    with pytest.raises(ReadError, match="half-written"):
        read_image(tmp_path / "a.tif", page=0)
    assert np.array_equal(read_image(tmp_path / "a.tif", page=1)[0], plain(1))


# Streams


@given(st.binary(min_size=1, max_size=4000), st.data())
@settings(max_examples=60, deadline=None)
def test_a_stream_ends_exactly_when_nothing_is_missing(content: bytes, data: st.DataObject) -> None:
    stream = zlib.compress(content)
    assert _deflate_ends(stream, len(content))
    assert _deflate_ends(stream + b"\0\0", len(content)), "padding behind the stream is allowed"
    cut = data.draw(st.integers(0, len(stream) - 5))
    assert not _deflate_ends(stream[:cut], len(content))


def test_a_stream_that_never_ends_is_not_unpacked_whole() -> None:
    bomb = zlib.compress(bytes(60_000_000))[:-8]
    assert _deflate_ends(bomb, 1000), "more than a page can hold: the decoder takes what it needs"


@pytest.mark.parametrize("rows", [0, 1, 30, 63])
def test_a_png_that_ends_properly_but_too_early(tmp_path: Path, rows: int) -> None:
    (tmp_path / "a.png").write_bytes(png(SIDE, SIDE, b"".join(b"\0" + row.tobytes() for row in plain()[:rows])))
    with pytest.raises(ReadError, match="damaged or cut off"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_a_whole_png_with_a_black_lower_half_is_fine(tmp_path: Path, mode: str) -> None:
    array = plain()
    array[30:] = 0
    Image.fromarray(array).convert(mode).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")[0]
    assert np.array_equal(found, np.asarray(Image.fromarray(array).convert(mode).convert("RGB")))
