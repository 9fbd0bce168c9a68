"""Cells of a table as options of a reader: whatever a CSV, a Parquet file or a person puts there."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medfm.core.errors import ReadError
from medfm.modalities.histopathology import HISTOPATHOLOGY
from medfm.modalities.record import RecordRef
from medfm.modalities.registry import get_modality
from medfm.modalities.retina import RETINA
from medfm.modalities.row_options import missing, positive, whole


@pytest.mark.parametrize("nothing", [None, "", float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT])
def test_cells_that_hold_nothing(nothing: Any) -> None:
    assert missing(nothing)
    assert HISTOPATHOLOGY.options({"patch_x": nothing, "patch_y": nothing, "mpp": nothing, "page": nothing}) == {}
    assert RETINA.options({"page": nothing}) == {}


@pytest.mark.parametrize("something", [0, "0", 0.0, np.int64(0), "x", False, Decimal(1), " "])
def test_cells_that_hold_something(something: Any) -> None:
    assert not missing(something)


@given(st.integers(-(2**53), 2**53))
def test_whole_numbers_come_back_from_every_type(value: int) -> None:
    for given_as in (value, str(value), f" {value} ", float(value), np.int64(value), np.float64(value)):
        found = whole(given_as, "page")
        assert found == value and type(found) is int


@pytest.mark.parametrize("wrong", ["1.5", 1.5, "one", "", float("inf"), "nan", "1e400", [1], {}, "0x10", "1,5"])
def test_what_is_no_whole_number(wrong: Any) -> None:
    with pytest.raises(ReadError) as caught:
        whole(wrong, "patch_x")
    assert str(caught.value).startswith("patch_x is not a whole number of pixels") and repr(wrong) in str(caught.value)


@pytest.mark.parametrize("wrong", [0, -1, "-0.5", "0.0", float("inf"), "nan", "half", [0.5], "0,5"])
def test_what_is_no_positive_number(wrong: Any) -> None:
    with pytest.raises(ReadError, match="mpp is not a positive number of micrometres per pixel"):
        positive(wrong, "mpp", "micrometres per pixel")


@given(st.floats(1e-6, 1e6))
def test_positive_numbers_come_back(value: float) -> None:
    assert positive(repr(value), "mpp", "um") == positive(value, "mpp", "um") == value


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    return tmp_path / "p.png"


def test_a_patch_carries_its_place_and_resolution(picture: Path) -> None:
    options = HISTOPATHOLOGY.options({"patch_x": "1024", "patch_y": 512.0, "mpp": "0.5", "other": 1})
    assert options == {"patch_x": 1024, "patch_y": 512, "mpp": 0.5}
    record = HISTOPATHOLOGY.read(RecordRef("a", picture, options))
    assert record.facts["place"] == [1024, 512]
    assert (record.facts["mpp"], record.facts["mpp_source"]) == (0.5, "table")
    assert record.array.shape == (20, 30, 3) and record.array.dtype == np.uint8
    plain = HISTOPATHOLOGY.read(RecordRef("a", picture))
    assert "place" not in plain.facts and plain.facts.get("mpp_source") != "table"
    np.testing.assert_array_equal(plain.array, record.array)


def test_half_a_place_is_refused_from_the_table_and_from_options(picture: Path) -> None:
    with pytest.raises(ReadError, match="patch_x alone") as caught:
        HISTOPATHOLOGY.options({"patch_x": 1, "patch_y": None})
    assert caught.value.expected == "patch_x and patch_y"
    with pytest.raises(ReadError, match="patch_y alone") as caught:
        HISTOPATHOLOGY.read(RecordRef("rec-7", picture, {"patch_y": 3}))
    assert caught.value.where == "rec-7"


@pytest.mark.parametrize("mpp", [0.019, 51, 250, 0.0001])
def test_resolutions_of_no_microscope(picture: Path, mpp: float) -> None:
    with pytest.raises(ReadError, match=f"{mpp:g} micrometres per pixel cannot") as caught:
        HISTOPATHOLOGY.read(RecordRef("rec-7", picture, {"mpp": mpp}))
    assert caught.value.where == "rec-7" and "0.25 (40x)" in caught.value.expected
    assert "dots per inch" in caught.value.fix


@pytest.mark.parametrize("name", ["retina", "histopathology"])
def test_unknown_options_name_those_there_are(picture: Path, name: str) -> None:
    modality = get_modality(name)
    with pytest.raises(ReadError, match="no option 'zoom'") as caught:
        modality.read(RecordRef("rec-7", picture, {"zoom": 2}))
    assert "page" in caught.value.expected and caught.value.where == "rec-7"


def test_pages_of_a_tiff(tmp_path: Path) -> None:
    first = Image.fromarray(np.zeros((4, 5, 3), np.uint8))
    second = Image.fromarray(np.full((6, 7, 3), 9, np.uint8))
    first.save(tmp_path / "two.tif", save_all=True, append_images=[second])
    for name in ("retina", "histopathology"):
        modality = get_modality(name)
        found = modality.read(RecordRef("a", tmp_path / "two.tif", modality.options({"page": "1"})))
        assert found.array.shape == (6, 7, 3) and (found.array == 9).all()
        with pytest.raises(ReadError):
            modality.read(RecordRef("a", tmp_path / "two.tif", {"page": 2}))
        with pytest.raises(ReadError):
            modality.read(RecordRef("a", tmp_path / "two.tif", {"page": -1}))


def test_a_date_is_no_number() -> None:
    with pytest.raises(ReadError, match="page is not a whole number of pages"):
        RETINA.options({"page": datetime.date(2020, 1, 1)})


def test_readers_agree_on_one_picture(picture: Path) -> None:
    arrays = [get_modality(name).read(RecordRef("a", picture)).array for name in ("retina", "histopathology")]
    np.testing.assert_array_equal(arrays[0], arrays[1])
    np.testing.assert_array_equal(arrays[0], np.asarray(Image.open(picture)))


@pytest.mark.parametrize("nothing", [None, "", float("nan"), np.float32("nan"), pd.NA, pd.NaT])
def test_ecg_options_that_hold_nothing(nothing: Any) -> None:
    row = dict.fromkeys(("sampling_hz", "leads", "units", "dataset"), nothing)
    assert get_modality("ecg").options(row) == {}


def test_leads_of_an_ecg_may_be_a_list_as_parquet_brings_it() -> None:
    names = ["I", "II", "V1"]
    for value in (np.array(names, dtype=object), names, tuple(names), "I, II;V1"):
        assert get_modality("ecg").options({"leads": value})["leads"] == names


def test_a_parquet_table_with_holes_in_its_options_is_read(tmp_path: Path, picture: Path) -> None:
    """Half the rows state a resolution, in a column of 32 bits and in one that knows absence."""
    from medfm.cohorts.load import load_cohort

    table = pd.DataFrame(
        {
            "path": [picture.name] * 2,
            "record_id": ["a", "b"],
            "patient_id": ["p", "q"],
            "mpp": np.array([0.5, np.nan], np.float32),
            "page": pd.array([0, None], dtype="Int64"),
        }
    )
    table.to_parquet(tmp_path / "labels.parquet")
    cohort = load_cohort(tmp_path / "labels.parquet", "histopathology", check=False)
    refs = list(cohort.refs())
    assert refs[0].options == {"mpp": 0.5, "page": 0} and refs[1].options == {}
