from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfm.core.errors import ReadError
from medfm.modalities import blood_cell
from medfm.modalities.blood_cell import BLOOD_CELL
from medfm.modalities.record import RecordRef
from medfm.modalities.registry import get_modality, list_modalities, read_record

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "blood_cell"
SMEAR = np.random.default_rng(1).integers(0, 256, (60, 80, 3)).astype(np.uint8)


@pytest.fixture
def smear(tmp_path: Path) -> Path:
    Image.fromarray(SMEAR).save(tmp_path / "smear.png")
    return tmp_path / "smear.png"


def ref(path: Path, **options: object) -> RecordRef:
    return RecordRef("cell-1", path, options)


def refused(reference: RecordRef, words: str) -> ReadError:
    with pytest.raises(ReadError, match=words) as caught:
        BLOOD_CELL.read(reference)
    return caught.value


def test_it_is_registered_and_describes_itself() -> None:
    assert get_modality("blood_cell") is BLOOD_CELL
    assert "blood_cell" in list_modalities()
    assert "RGB uint8" in BLOOD_CELL.contract
    assert ".tiff" in BLOOD_CELL.suffixes


def test_a_whole_image(smear: Path) -> None:
    record = BLOOD_CELL.read(ref(smear))
    assert np.array_equal(record.array, SMEAR)
    assert record.record_id == "cell-1"
    assert record.modality == "blood_cell"
    assert record.facts["source_bits"] == 8


def test_a_box_is_half_open_and_counted_from_zero(smear: Path) -> None:
    record = BLOOD_CELL.read(ref(smear, box=[10, 5, 30, 25]))
    assert np.array_equal(record.array, SMEAR[5:25, 10:30])
    assert (record.facts["source_width"], record.facts["source_height"]) == (80, 60)
    assert record.facts["context_clipped"] is False


def test_context_widens_the_box_as_far_as_the_image_goes(smear: Path) -> None:
    inside = BLOOD_CELL.read(ref(smear, box=[20, 20, 30, 30], context_px=7))
    assert np.array_equal(inside.array, SMEAR[13:37, 13:37])
    corner = BLOOD_CELL.read(ref(smear, box=[2, 3, 12, 13], context_px=7))
    assert np.array_equal(corner.array, SMEAR[0:20, 0:19])
    assert corner.facts["context_clipped"] is True


def test_the_whole_image_as_a_box(smear: Path) -> None:
    assert np.array_equal(BLOOD_CELL.read(ref(smear, box=[0, 0, 80, 60])).array, SMEAR)


@pytest.mark.parametrize("box", [[-1, 0, 10, 10], [0, -1, 10, 10], [70, 0, 81, 10], [0, 50, 10, 61], [90, 90, 99, 99]])
def test_a_box_outside_the_image_is_refused(smear: Path, box: list[int]) -> None:
    assert "80 x 60" in str(refused(ref(smear, box=box), "leaves the image"))


@pytest.mark.parametrize("box", [[10, 10, 10, 20], [10, 10, 20, 10], [20, 10, 10, 20]])
def test_an_empty_box_is_refused(smear: Path, box: list[int]) -> None:
    refused(ref(smear, box=box), "empty")


def test_wrong_options_are_refused(smear: Path) -> None:
    refused(ref(smear, bbox=[0, 0, 1, 1]), "no option 'bbox'")
    refused(ref(smear, box=[0, 0, 1]), "four numbers")
    refused(ref(smear, box=[0, 0, 1.5, 2]), "whole number")
    refused(ref(smear, box=[0, 0, 9, 9], context_px=-1), "negative")


def test_errors_name_the_record_with_and_without_a_box(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    for options in ({}, {"box": [0, 0, 2, 2]}):
        assert refused(ref(tmp_path / "bad.png", **options), "text file").where == "cell-1"
        assert refused(ref(tmp_path / "none.png", **options), "does not exist").where == "cell-1"


def test_many_boxes_decode_a_smear_once(smear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = blood_cell.read_image
    monkeypatch.setattr(blood_cell, "read_image", lambda *a, **k: calls.append(a) or real(*a, **k))
    for i in range(10):
        BLOOD_CELL.read(ref(smear, box=[i, i, i + 10, i + 10]))
    assert len(calls) == 1


def test_a_rewritten_smear_is_read_again(smear: Path) -> None:
    BLOOD_CELL.read(ref(smear, box=[0, 0, 10, 10]))
    Image.fromarray(255 - SMEAR[:50]).save(smear)
    assert np.array_equal(BLOOD_CELL.read(ref(smear, box=[0, 0, 10, 10])).array, 255 - SMEAR[:10, :10])


def test_a_cell_may_be_changed_without_changing_the_smear(smear: Path) -> None:
    first = BLOOD_CELL.read(ref(smear, box=[0, 0, 10, 10]))
    first.array[:] = 0
    assert np.array_equal(BLOOD_CELL.read(ref(smear, box=[0, 0, 10, 10])).array, SMEAR[:10, :10])


class TestOptionsOfARow:
    def test_no_columns_and_empty_cells_mean_the_whole_image(self) -> None:
        assert BLOOD_CELL.options({}) == {}
        assert BLOOD_CELL.options(dict.fromkeys(BLOOD_CELL.option_columns, float("nan"))) == {}

    def test_numbers_become_plain_integers(self) -> None:
        row = {"xmin": np.int64(1), "ymin": 2.0, "xmax": "30", "ymax": 40, "context_px": 5.0, "page": 1}
        options = BLOOD_CELL.options(row)
        assert options == {"box": [1, 2, 30, 40], "context_px": 5, "page": 1}
        assert all(type(v) is int for v in [*options["box"], options["context_px"], options["page"]])

    def test_half_a_box_is_refused(self) -> None:
        with pytest.raises(ReadError, match="lacks ymin, ymax"):
            BLOOD_CELL.options({"xmin": 1, "xmax": 2})

    @pytest.mark.parametrize("value", ["ten", 1.5, float("inf")])
    def test_fractions_and_words_are_refused(self, value: object) -> None:
        with pytest.raises(ReadError, match="xmin is not a whole number"):
            BLOOD_CELL.options({"xmin": value, "ymin": 0, "xmax": 9, "ymax": 9})

    def test_the_box_is_part_of_the_content_key(self, smear: Path) -> None:
        keys = {ref(smear, **o).content_key() for o in ({}, {"box": [0, 0, 9, 9]}, {"box": [0, 0, 9, 8]})}
        assert len(keys) == 3


def test_read_record_by_hand(smear: Path) -> None:
    assert read_record(smear, "blood_cell", box=[0, 0, 4, 3]).array.shape == (3, 4, 3)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not beside this repository")
def test_real_cells_cut_from_their_smears_equal_the_published_crops() -> None:
    rows = [line.split(",") for line in (SHARED / "labels.csv").read_text().splitlines() if ",bccd_cell," in line]
    compared = 0
    for path, *_, source, box in rows:
        smear = SHARED / "bccd" / "smears" / Path(source).name
        if smear.exists():
            cell = read_record(smear, "blood_cell", box=[int(v) for v in box.split()], context_px=35)
            assert np.array_equal(cell.array, read_record(SHARED / path, "blood_cell").array)
            compared += 1
    assert compared == 42
