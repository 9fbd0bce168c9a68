"""Retina: files of every kind to one contract, the eye from table and header."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from fundus_pictures import fundus
from PIL import Image, ImageCms

from medfm.cohorts.load import load_cohort
from medfm.core.errors import MedfmError, ReadError
from medfm.modalities.record import RecordRef
from medfm.modalities.retina import RETINA, eye

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "io"))
from eye_files import OCT, eye_file


def read(path: Path, **options: object):
    return RETINA.read(RecordRef("eye 1", path, options))


@pytest.fixture
def picture() -> np.ndarray:
    return fundus(60, 80, radius=28)


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp", ".dcm"])
def test_lossless_files_give_the_same_array(tmp_path: Path, picture: np.ndarray, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    if ending == ".dcm":
        eye_file(path, picture)
    else:
        Image.fromarray(picture).save(path)
    record = read(path)
    np.testing.assert_array_equal(record.array, picture)
    assert record.facts["kind"] == "photograph"
    assert "laterality" not in record.facts


def test_cmyk_comes_out_as_colour_and_says_where_from(tmp_path: Path, picture: np.ndarray) -> None:
    for ending in (".jpg", ".tif"):
        path = tmp_path / f"a{ending}"
        Image.fromarray(picture).convert("CMYK").save(path, **({"quality": 98} if ending == ".jpg" else {}))
        record = read(path)
        assert record.facts["source_mode"].startswith("CMYK")
        assert np.abs(record.array.astype(int) - picture).mean() < 6


def test_a_colour_profile_is_stated_and_not_applied(tmp_path: Path, picture: np.ndarray) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for ending in (".jpg", ".png", ".tif"):
        path = tmp_path / f"a{ending}"
        Image.fromarray(picture).save(path, icc_profile=profile)
        assert read(path).facts["icc_profile"] == "embedded, not applied"
        Image.fromarray(picture).save(path)
        assert "icc_profile" not in read(path).facts


def test_a_profile_of_a_deep_tiff_is_stated_too(tmp_path: Path, picture: np.ndarray) -> None:
    import tifffile

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture.astype(np.uint16) * 257, photometric="rgb", iccprofile=b"x" * 200)
    record = read(path)
    np.testing.assert_array_equal(record.array, picture)
    assert record.facts["icc_profile"] == "embedded, not applied"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, picture: np.ndarray, orientation: int) -> None:
    # The writer undoes what the reader has to do.
    undo = {
        1: picture, 2: picture[:, ::-1], 3: picture[::-1, ::-1], 4: picture[::-1],
        5: picture.transpose(1, 0, 2), 6: picture.transpose(1, 0, 2)[::-1],
        7: picture.transpose(1, 0, 2)[::-1, ::-1], 8: picture.transpose(1, 0, 2)[:, ::-1],
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(undo)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "a.png").array, picture)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_half_written_tiff_pages_are_refused(tmp_path: Path, picture: np.ndarray, share: float) -> None:
    buffer = io.BytesIO()
    pages = [Image.fromarray(picture), Image.fromarray(picture[::-1])]
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    data = buffer.getvalue()
    (tmp_path / "whole.tif").write_bytes(data)
    np.testing.assert_array_equal(read(tmp_path / "whole.tif", page=1).array, picture[::-1])
    with pytest.raises(ReadError, match="2 pages"):
        read(tmp_path / "whole.tif")
    (tmp_path / "cut.tif").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ReadError):
        read(tmp_path / "cut.tif", page=1)


@pytest.mark.parametrize(
    ("word", "side"), [("OD", "R"), ("od", "R"), ("Right", "R"), ("OS", "L"), ("l", "L"), (" left ", "L")]
)
def test_ways_to_name_an_eye(word: str, side: str) -> None:
    assert eye(word) == side
    assert RETINA.options({"laterality": word}) == {"laterality": side}


@pytest.mark.parametrize("word", ["OU", "both", "x", 3, "MUSTERMANN"])
def test_other_words_are_refused_without_being_repeated(word: object) -> None:
    with pytest.raises(ReadError, match="laterality") as caught:
        RETINA.options({"laterality": word})
    assert "MUSTERMANN" not in str(caught.value)


def test_empty_cells_say_nothing() -> None:
    assert RETINA.options({"laterality": float("nan"), "page": "", "frame": None}) == {}


def test_table_before_file(tmp_path: Path, picture: np.ndarray) -> None:
    path = eye_file(tmp_path / "a.dcm", picture, elements={"ImageLaterality": "L"})
    assert read(path).facts["laterality_source"] == "file"
    both = read(path, laterality="R").facts
    assert (both["laterality"], both["laterality_source"], both["laterality_file"]) == ("R", "table", "L")


def test_both_eyes_in_one_picture_are_not_one_eye(tmp_path: Path, picture: np.ndarray) -> None:
    facts = read(eye_file(tmp_path / "a.dcm", picture, elements={"ImageLaterality": "B"})).facts
    assert facts["laterality_file"] == "B" and "laterality" not in facts


def test_frames_and_pages_are_not_mixed_up(tmp_path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(tmp_path / "a.png")
    with pytest.raises(ReadError, match="frames"):
        read(tmp_path / "a.png", frame=0)
    with pytest.raises(ReadError, match="not pages"):
        read(eye_file(tmp_path / "a.dcm", picture), page=0)
    with pytest.raises(ReadError, match="no option 'eye'"):
        read(tmp_path / "a.png", eye="R")


def test_a_volume_reaches_no_encoder_by_mistake(tmp_path: Path) -> None:
    from medfm.encoders.preprocessing import Preprocessing

    volume = np.random.default_rng(0).integers(0, 255, (4, 20, 30), dtype=np.uint8)
    path = eye_file(tmp_path / "a.dcm", volume, sop=OCT, photometric="MONOCHROME2")
    steps = Preprocessing([{"step": "to_rgb"}, {"step": "resize", "size": [16, 16]}, {"step": "to_unit_range"}])
    record = read(path)
    assert record.array.shape == (4, 20, 30)
    with pytest.raises(ReadError):
        steps(record)
    assert steps(read(path, frame=2)).shape == (3, 16, 16)


def test_a_cohort_with_eyes(tmp_path: Path, picture: np.ndarray) -> None:
    for name in ("a", "b"):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text("path,label,laterality\na.png,0,OD\nb.png,1,OS\n")
    refs = list(load_cohort(tmp_path / "t.csv", modality="retina").refs())
    assert [ref.options for ref in refs] == [{"laterality": "R"}, {"laterality": "L"}]
    (tmp_path / "t.csv").write_text("path,label,laterality\na.png,0,OD\nb.png,1,OX\n")
    with pytest.raises(MedfmError, match="laterality"):
        list(load_cohort(tmp_path / "t.csv", modality="retina").refs())


def test_its_own_dicom_files_are_known_by_content(tmp_path: Path, picture: np.ndarray) -> None:
    assert RETINA.owns(eye_file(tmp_path / "a.dcm", picture))
    assert not RETINA.owns(eye_file(tmp_path / "b.dcm", picture, sop="1.2.840.10008.5.1.4.1.1.9.1.1"))
    (tmp_path / "c.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"xx")
    assert not RETINA.owns(tmp_path / "c.dcm")
