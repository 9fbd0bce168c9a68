"""Tissue patches: pixels as they are, place and resolution only where the table knows them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medfm.core.errors import ReadError
from medfm.modalities.histopathology import HISTOPATHOLOGY
from medfm.modalities.record import RecordRef
from medfm.modalities.registry import get_modality, list_modalities
from medfm.modalities.row_options import missing, positive, whole

PATCH = np.random.default_rng(3).integers(0, 256, (32, 24, 3)).astype(np.uint8)


@pytest.fixture
def patch(tmp_path: Path) -> Path:
    Image.fromarray(PATCH).save(tmp_path / "patch.png")
    return tmp_path / "patch.png"


def read(file: Path, **options: object):
    return HISTOPATHOLOGY.read(RecordRef("patch-1", file, options))


def test_it_is_registered_and_describes_itself() -> None:
    assert get_modality("histopathology") is HISTOPATHOLOGY and "histopathology" in list_modalities()
    assert "RGB uint8" in HISTOPATHOLOGY.contract


def test_a_patch_without_place_and_resolution(patch: Path) -> None:
    record = read(patch)
    assert np.array_equal(record.array, PATCH) and record.modality == "histopathology"
    assert not {"place", "mpp", "mpp_source"} & set(record.facts)


def test_place_and_resolution_come_from_the_table(patch: Path) -> None:
    row = {"patch_x": np.int64(512), "patch_y": 1024.0, "mpp": "0.25"}
    record = read(patch, **HISTOPATHOLOGY.options(row))
    assert record.facts["place"] == [512, 1024]
    assert (record.facts["mpp"], record.facts["mpp_source"]) == (0.25, "table")
    assert np.array_equal(record.array, PATCH)


def test_a_place_left_of_the_slide_is_possible_but_half_a_place_is_not(patch: Path) -> None:
    assert read(patch, patch_x=-10, patch_y=0).facts["place"] == [-10, 0]
    for column in ("patch_x", "patch_y"):
        with pytest.raises(ReadError, match=f"{column} alone"):
            HISTOPATHOLOGY.options({column: 3})
        with pytest.raises(ReadError, match=f"{column} alone"):
            read(patch, **{column: 3})


@pytest.mark.parametrize("value", [0, -0.5, "fine", float("inf")])
def test_a_resolution_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ReadError, match="mpp is not a positive number"):
        HISTOPATHOLOGY.options({"mpp": value})


@pytest.mark.parametrize("value", [250, 0.00025, 96])
def test_a_resolution_in_other_units_is_refused(patch: Path, value: float) -> None:
    with pytest.raises(ReadError, match="cannot come from a microscope"):
        read(patch, mpp=value)


def test_unknown_options_and_bad_files(tmp_path: Path, patch: Path) -> None:
    with pytest.raises(ReadError, match="no option 'level'"):
        read(patch, level=2)
    (tmp_path / "slide.svs").write_bytes(b"II*\x00" + bytes(40))
    with pytest.raises(ReadError) as error:
        read(tmp_path / "slide.svs")
    assert error.value.where == "patch-1"


def test_place_and_resolution_are_part_of_the_content_key(patch: Path) -> None:
    rows = ({}, {"mpp": 0.5}, {"patch_x": 0, "patch_y": 0}, {"patch_x": 0, "patch_y": 1})
    keys = {RecordRef("p", patch, HISTOPATHOLOGY.options(row)).content_key() for row in rows}
    assert len(keys) == 4


@given(st.integers(-(10**9), 10**9))
def test_whole_numbers_in_any_spelling(number: int) -> None:
    assert whole(number, "x") == whole(float(number), "x") == whole(str(number), "x") == number
    assert not missing(number)


@given(st.floats(min_value=1e-6, max_value=1e6))
def test_positive_numbers(number: float) -> None:
    assert positive(number, "mpp", "um") == positive(str(number), "mpp", "um") == number
    with pytest.raises(ReadError):
        positive(-number, "mpp", "um")


def test_nothing_is_missing() -> None:
    assert missing(None) and missing("") and missing(float("nan"))
    assert not missing(0) and not missing("0")
