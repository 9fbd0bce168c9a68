"""Chest radiographs as a modality: one value contract for DICOM and pictures, options, content not names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from radiograph_files import NAME, SC, dicom, ramp

import medfm
from medfm.core.errors import ReadError
from medfm.modalities.chest_xray import CHEST_XRAY, window_of
from medfm.modalities.record import RecordRef
from medfm.modalities.registry import get_modality, list_modalities, read_record

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "chest_xray"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(ramp(), BitsStored=12, WindowCenter=[2048, 1000], WindowWidth=[2000, 500]))
    return path


def test_the_modality_is_registered_and_states_its_contract() -> None:
    assert get_modality("chest_xray") is CHEST_XRAY and "chest_xray" in list_modalities()
    assert "[0, 1]" in CHEST_XRAY.contract and "MONOCHROME1" in CHEST_XRAY.contract


@pytest.mark.parametrize("suffix", [".dcm", ".png", ".tif", ".bmp", ".jpg", ""])
def test_every_carrier_gives_one_form(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix in (".dcm", ""):
        path.write_bytes(dicom(ramp(bits=8), SOPClassUID=SC, Modality="CR"))
    else:
        Image.fromarray(ramp(bits=8)).save(path, quality=100)
    record = read_record(path, "chest_xray")
    assert (record.array.dtype, record.array.shape) == (np.float32, (24, 20))
    assert record.array.min() >= 0 and record.array.max() <= 1
    np.testing.assert_allclose(record.array, ramp(bits=8) / 255, atol=0.02 if suffix == ".jpg" else 1e-6)
    for name in ("bits_stored", "view", "photometric", "window_applied", "format", "height", "width"):
        assert name in record.facts
    assert NAME not in str(record.facts)


def test_options_choose_the_window(file: Path) -> None:
    plain = ramp() / 4095
    np.testing.assert_allclose(read_record(file, "chest_xray", window="none").array, plain, atol=1e-6)
    first, second = (read_record(file, "chest_xray", voi_index=n).array for n in (0, 1))
    np.testing.assert_allclose(first, np.clip((ramp() - 2047.5) / 1999 + 0.5, 0, 1), atol=1e-6)
    np.testing.assert_allclose(second, np.clip((ramp() - 999.5) / 499 + 0.5, 0, 1), atol=1e-6)
    by_hand = read_record(file, "chest_xray", window="1000, 500")
    np.testing.assert_array_equal(by_hand.array, second)
    np.testing.assert_allclose(read_record(file, "chest_xray", window="none", invert="yes").array, 1 - plain, atol=1e-6)
    assert read_record(file, "chest_xray", invert=True).facts["inverted_by_hand"] is True
    assert "inverted_by_hand" not in read_record(file, "chest_xray", invert="no").facts
    with pytest.raises(ReadError, match="number 2"):
        read_record(file, "chest_xray", voi_index=2)


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ({}, {}),
        ({"window": "", "voi_index": None, "invert": float("nan")}, {}),
        ({"window": " None "}, {"window": "none"}),
        ({"window": "40,400"}, {"window": [40.0, 400.0]}),
        ({"window": (40, 400)}, {"window": [40.0, 400.0]}),
        ({"voi_index": "1.0", "page": 2}, {"voi_index": 1, "page": 2}),
        ({"photometric": "monochrome1", "invert": "Yes"}, {"photometric": "MONOCHROME1", "invert": True}),
        ({"invert": 0.0}, {"invert": False}),
        ({"crop": " 1, 2,30,40 "}, {"crop": [1, 2, 30, 40]}),
        ({"crop": (1, 2.0, 30, 40)}, {"crop": [1, 2, 30, 40]}),
        ({"crop": float("nan")}, {}),
    ],
)
def test_columns_become_options(row: dict[str, Any], options: dict[str, Any]) -> None:
    assert CHEST_XRAY.options(row) == options
    assert CHEST_XRAY.options(options) == options  # written out and read again


@pytest.mark.parametrize("value", ["40", "a,b", "40,0", "1,2,3", "nan,5", 7, [1], {"a": 1}, "40,0.5", True])
def test_windows_that_are_none(value: Any) -> None:
    with pytest.raises(ReadError, match="neither 'header' nor 'none'"):
        window_of(value)


@pytest.mark.parametrize(
    "crop", ["1,2,3", "a,b,c,d", "5,5,5,9", "5,5,9,5", "-1,0,5,5", "1.5,0,5,5", 7, {}, "nan,0,1,1"]
)
def test_crops_that_are_none(crop: Any) -> None:
    with pytest.raises(ReadError, match=r"crop is (no part|not a whole number)"):
        CHEST_XRAY.options({"crop": crop})


def test_a_crop_is_cut_last_and_never_beyond(tmp_path: Path, file: Path) -> None:
    whole = read_record(file, "chest_xray", invert="yes").array
    part = read_record(file, "chest_xray", invert="yes", crop="2,3,20,18")
    np.testing.assert_array_equal(part.array, whole[2:20, 3:18])
    assert part.array.flags.c_contiguous and part.facts["crop"] == [2, 3, 20, 18]
    assert (part.facts["height"], part.facts["width"]) == (18, 15)
    assert "crop" not in read_record(file, "chest_xray").facts
    np.testing.assert_array_equal(read_record(file, "chest_xray", crop=[0, 0, 24, 20], invert=True).array, whole)
    with pytest.raises(ReadError, match="ends at row 25 and column 20, and the radiograph has 24 and 20"):
        read_record(file, "chest_xray", crop="0,0,25,20")
    first, second = (RecordRef("r", file, options) for options in ({}, {"crop": [0, 0, 5, 5]}))
    assert first.content_key() != second.content_key()


@pytest.mark.parametrize(
    ("row", "words"),
    [({"voi_index": "x"}, "voi_index"), ({"photometric": "RGB"}, "MONOCHROME1"), ({"invert": "maybe"}, "yes nor no")],
)
def test_wrong_cells_are_named(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ReadError, match=words):
        CHEST_XRAY.options(row)


def test_what_is_refused(tmp_path: Path, file: Path) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(ramp(bits=8)).save(picture)
    (tmp_path / "text.dcm").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for path, options, words in (
        (picture, {"window": "1,2"}, "for DICOM files"),
        (picture, {"voi_index": 0}, "for DICOM files"),
        (picture, {"lens": 5}, "no option 'lens'"),
        (file, {"page": 1}, "no pages"),
        (tmp_path / "text.dcm", {}, "text file"),
        (tmp_path / "empty.png", {}, "empty"),
        (tmp_path / "absent.png", {}, "does not exist"),
    ):
        with pytest.raises(ReadError, match=words):
            read_record(path, "chest_xray", **options)
    assert read_record(picture, "chest_xray", window="header").array.shape == (24, 20)


def test_a_cohort_carries_the_options_into_the_content_key(tmp_path: Path, file: Path) -> None:
    (tmp_path / "t.csv").write_text("path,window,invert,label\na.dcm,,,x\na.dcm,none,,y\na.dcm,none,yes,z\n")
    text = (tmp_path / "t.csv").read_text()
    (tmp_path / "t.csv").write_text(
        "record_id," + "\n".join(f"{i},{line}" if i else line for i, line in enumerate(text.split("\n")[:4]))
    )
    cohort = medfm.load_cohort(tmp_path / "t.csv", modality="chest_xray", check=False)
    refs = list(cohort.refs())
    assert len({ref.content_key() for ref in refs}) == 3
    np.testing.assert_allclose(cohort.read(1).array + cohort.read(2).array, 1, atol=1e-6)
    assert CHEST_XRAY.owns(refs[0].path) and not CHEST_XRAY.owns(tmp_path / "t.csv")
    assert isinstance(refs[0], RecordRef)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are absent")
def test_real_radiographs() -> None:
    one, two = (read_record(SHARED / "dicom" / f"rsna_pa_monochrome{n}_jpeg.dcm", "chest_xray") for n in (1, 2))
    # The same pixels under either interpretation give opposite polarity.
    np.testing.assert_allclose(one.array + two.array, 1, atol=1e-6)
    assert one.facts["inverted"] and not two.facts["inverted"] and one.facts["view"] == "PA"
    nema = read_record(SHARED / "dicom" / "nema_rg1_thorax_j2k.dcm", "chest_xray")
    assert nema.facts["bits_stored"] == 15 and nema.facts["patient_orientation"] == ["L", "F"]
    assert "spacing_mm" not in nema.facts  # its spacing is written as 0
    assert len(np.unique(nema.array)) > 10_000  # 15 bits, not 8
