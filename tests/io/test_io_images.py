import pickle
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from medfm.core.errors import ReadError
from medfm.io.images import read_image

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (20, 31, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (20, 31, 3)).astype(np.uint16)
SMOOTH = np.add.outer(np.arange(20) * 5, np.arange(31) * 4)[..., None].repeat(3, 2).astype(np.uint8)


def refused(path: Path, words: str, **options: object) -> ReadError:
    with pytest.raises(ReadError, match=words) as caught:
        read_image(path, **options)
    return caught.value


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


class TestWhatIsRead:
    @pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
    def test_lossless_files_come_back_exactly(self, tmp_path: Path, ending: str) -> None:
        file = tmp_path / f"a.{ending}"
        Image.fromarray(RGB).save(file)
        array, facts = read_image(file)
        assert array.dtype == np.uint8
        assert np.array_equal(array, RGB)
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert (facts["width"], facts["height"], facts["source_bits"]) == (31, 20, 8)

    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30, "subsampling": 2}])
    def test_jpeg_is_decoded_as_pillow_does(self, tmp_path: Path, options: dict) -> None:
        file = tmp_path / "a.jpg"
        Image.fromarray(RGB).save(file, **options)
        assert np.array_equal(read_image(file)[0], np.asarray(Image.open(file).convert("RGB")))

    @pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
    @pytest.mark.parametrize("ending", ["png", "jpg", "tif", "bmp"])
    def test_other_modes_are_converted_as_pillow_does(self, tmp_path: Path, mode: str, ending: str) -> None:
        file = tmp_path / f"a.{ending}"
        if (mode, ending) in {("P", "jpg"), ("CMYK", "png"), ("CMYK", "bmp")}:
            with pytest.raises(OSError, match="cannot write mode"):
                Image.fromarray(SMOOTH).convert(mode).save(file)
            return
        Image.fromarray(SMOOTH).convert(mode).save(file)
        array, facts = read_image(file)
        assert np.array_equal(array, np.asarray(Image.open(file).convert("RGB")))
        assert facts["format"] == {"jpg": "jpeg", "tif": "tiff"}.get(ending, ending)

    def test_transparent_png_is_laid_on_white(self, tmp_path: Path) -> None:
        rgba = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
        rgba[:, :10, 3] = 255
        Image.fromarray(rgba).save(tmp_path / "a.png")
        array, facts = read_image(tmp_path / "a.png")
        assert np.array_equal(array[:, :10], RGB[:, :10])
        assert (array[:, 10:] == 255).all()
        assert facts["alpha"] == "laid on white"

    def test_palette_with_a_transparent_colour(self, tmp_path: Path) -> None:
        picture = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
        picture.putpalette([9, 8, 7, 100, 110, 120])
        picture.save(tmp_path / "a.png", transparency=0)
        assert read_image(tmp_path / "a.png")[0].tolist() == [[[255] * 3, [100, 110, 120]]]

    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_16_bit_png_is_scaled_not_cut(self, tmp_path: Path, channels: int) -> None:
        values = RNG.integers(0, 65536, (9, 8, channels)).astype(np.uint16)
        if channels in (2, 4):
            values[..., -1] = 65535
        (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values if channels > 1 else values[..., 0]))
        array, facts = read_image(tmp_path / "a.png")
        colour = values[..., :1].repeat(3, 2) if channels < 3 else values[..., :3]
        assert np.array_equal(array, np.rint(colour * (255 / 65535)).astype(np.uint8))
        assert facts["source_bits"] == 16
        assert facts["source_max"] == values.max()

    @pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
    @pytest.mark.parametrize("orientation", [1, 3, 6, 8])
    def test_exif_orientation_is_applied(self, tmp_path: Path, ending: str, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = tmp_path / f"a.{ending}"
        Image.fromarray(SMOOTH).save(file, exif=exif)
        array, facts = read_image(file)
        plain = tmp_path / f"plain.{ending}"
        Image.fromarray(SMOOTH).save(plain)
        turns = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]
        assert np.array_equal(array, np.rot90(read_image(plain)[0], turns))
        assert facts.get("orientation", 1) == orientation

    @pytest.mark.parametrize("deep", [False, True])
    @pytest.mark.parametrize("behind", [False, True])
    def test_exif_of_a_png_before_and_behind_the_pixels(self, tmp_path: Path, deep: bool, behind: bool) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        chunk = b"eXIf" + exif.tobytes()[6:]
        data = imagecodecs.png_encode(DEEP if deep else RGB)
        block = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        place = len(data) - 12 if behind else 33
        (tmp_path / "a.png").write_bytes(data[:place] + block + data[place:])
        array, facts = read_image(tmp_path / "a.png")
        assert array.shape == (31, 20, 3)
        assert facts["orientation"] == 6

    def test_a_png_named_jpg_is_read_by_content_and_noted(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.png")
        (tmp_path / "a.png").rename(tmp_path / "a.jpg")
        array, facts = read_image(tmp_path / "a.jpg")
        assert np.array_equal(array, RGB)
        assert facts["format"] == "png"
        assert "named .jpg" in facts["notes"][0]

    def test_an_unusual_ending_is_no_matter(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.png")
        (tmp_path / "a.png").rename(tmp_path / "a.img")
        assert "notes" not in read_image(tmp_path / "a.img")[1]


class TestWhatIsRefused:
    def test_missing(self, tmp_path: Path) -> None:
        refused(tmp_path / "none.png", "does not exist")

    def test_folder(self, tmp_path: Path) -> None:
        refused(tmp_path, "folder")

    def test_zero_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"")
        refused(tmp_path / "a.png", "empty")

    @pytest.mark.parametrize(
        ("data", "words"),
        [(b"path,label\n1,2\n", "text file"), (b"%PDF-1.4 ...", "PDF"), (b"GIF89a" + b"\0" * 99, "GIF")],
    )
    def test_mislabelled(self, tmp_path: Path, data: bytes, words: str) -> None:
        (tmp_path / "a.png").write_bytes(data)
        error = refused(tmp_path / "a.png", words)
        assert error.expected == "PNG, JPEG, TIFF or BMP"

    @pytest.mark.parametrize("ending", ["png", "jpg", "bmp"])
    @pytest.mark.parametrize("kept", [0.02, 0.1, 0.5, 0.9, 0.99])
    def test_truncated(self, tmp_path: Path, ending: str, kept: float) -> None:
        whole = tmp_path / f"a.{ending}"
        Image.fromarray(RGB).save(whole)
        data = whole.read_bytes()
        whole.write_bytes(data[: int(len(data) * kept)])
        refused(whole, "cut off|damaged|not an image")

    def test_a_truncated_jpeg_is_refused_even_where_pillow_was_told_to_fill_in(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.jpg")
        data = (tmp_path / "a.jpg").read_bytes()
        (tmp_path / "a.jpg").write_bytes(data[: len(data) * 2 // 3])
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        assert np.asarray(Image.open(tmp_path / "a.jpg")).shape == RGB.shape  # what Pillow would do
        refused(tmp_path / "a.jpg", "cut off")

    @pytest.mark.parametrize("bits", [8, 16])
    def test_a_png_with_an_end_mark_but_missing_pixels(self, tmp_path: Path, bits: int) -> None:
        data = imagecodecs.png_encode(RGB if bits == 8 else DEEP)
        end = data[-12:]
        start = data.index(b"IDAT") - 4
        (size,) = struct.unpack(">I", data[start : start + 4])
        pixels = b"IDAT" + data[start + 8 : start + 8 + size // 2]
        block = struct.pack(">I", len(pixels) - 4) + pixels + struct.pack(">I", zlib.crc32(pixels))
        (tmp_path / "a.png").write_bytes(data[:start] + block + end)
        refused(tmp_path / "a.png", "damaged")

    def test_100_megapixels_are_refused_from_the_header(self, tmp_path: Path) -> None:
        # Only a header: had anything been decoded, the error would be another.
        (tmp_path / "a.png").write_bytes(png_header(10_001, 10_000) + b"IEND")
        error = refused(tmp_path / "a.png", "too large: 10001 x 10000")
        assert "100 megapixels" in str(error)

    def test_a_decompression_bomb_is_refused_before_decoding(self, tmp_path: Path) -> None:
        blob = zlib.compress(b"\0" * 50_000_000, 9)
        body = b"IDAT" + blob
        chunk = struct.pack(">I", len(blob)) + body + struct.pack(">I", zlib.crc32(body))
        (tmp_path / "a.png").write_bytes(png_header(60_000, 60_000) + chunk + b"IEND")
        refused(tmp_path / "a.png", "too large")

    def test_a_text_bomb_inside_a_small_png(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.png")
        data = (tmp_path / "a.png").read_bytes()
        body = b"zTXtcomment\0\0" + zlib.compress(b"x" * 300_000_000, 9)
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
        refused(tmp_path / "a.png", "damaged|text")

    @pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif"])
    def test_the_limit_holds_for_every_format(self, tmp_path: Path, ending: str) -> None:
        Image.fromarray(RGB).save(tmp_path / f"a.{ending}")
        assert read_image(tmp_path / f"a.{ending}", max_pixels=620)[0].shape == (20, 31, 3)
        refused(tmp_path / f"a.{ending}", "too large", max_pixels=619)

    def test_animated_png(self, tmp_path: Path) -> None:
        frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())]
        frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
        refused(tmp_path / "a.png", "animated")

    def test_a_page_of_a_format_without_pages(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.png")
        assert np.array_equal(read_image(tmp_path / "a.png", page=0)[0], RGB)
        refused(tmp_path / "a.png", "no page 1", page=1)

    def test_errors_name_what_they_are_told_to_and_survive_pickling(self, tmp_path: Path) -> None:
        error = refused(tmp_path / "none.png", "does not exist", where="record-7")
        assert error.where == "record-7"
        assert str(tmp_path) not in str(error)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)

    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_damage_anywhere_ends_in_an_array_or_a_read_error(self, data: st.DataObject, tmp_path: Path) -> None:
        kind = data.draw(st.sampled_from(["png", "jpg", "bmp", "tif"]))
        file = tmp_path / f"a.{kind}"
        Image.fromarray(SMOOTH).save(file)
        content = bytearray(file.read_bytes())
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(content)))
        file.write_bytes(bytes(content if data.draw(st.booleans()) else content[:cut]))
        try:
            array, facts = read_image(file, max_pixels=1_000_000)
        except ReadError as error:
            assert error.what
        else:
            assert array.shape == (facts["height"], facts["width"], 3)
            assert array.dtype == np.uint8
