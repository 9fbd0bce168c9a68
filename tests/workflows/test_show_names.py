"""Which file each drawn record gets: never one file for two, whatever the ids are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from medfm.core.errors import CohortError, ConfigError, ReadError
from medfm.modalities.record import RecordRef
from medfm.workflows.show import MOST_ON_ONE_SHEET, _targets, show


def refs(*names: str) -> list[RecordRef]:
    return [RecordRef(name, Path(f"{name}.png")) for name in names]


def stems(*names: str) -> list[str]:
    return [file.stem for file in _targets(refs(*names), "folder")[1]]


def test_a_numbered_name_does_not_meet_a_record_of_that_name() -> None:
    assert stems("a/x", "a_x", "a_x-2") == ["a_x", "a_x-2", "a_x-2-2"]
    assert stems("a_x-2", "a/x", "a_x") == ["a_x-2", "a_x", "a_x-3"]


def test_capitals_are_one_letter_on_some_disks() -> None:
    assert stems("A", "a") == ["A", "a-2"]


def test_ids_of_dots_blanks_and_slashes() -> None:
    assert stems("..", "/", "", "...", "../../etc/passwd") == [
        "record", "record-2", "record-3", "record-4", "etc_passwd",
    ]  # fmt: skip


def test_the_end_of_a_long_id_is_kept() -> None:
    (stem,) = stems("p/" * 200 + "last")
    assert len(stem) <= 100 and stem.endswith("last")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=12, unique=True))
def test_every_record_has_its_own_file_inside_the_folder(names: list[str]) -> None:
    together, files = _targets(refs(*names), "folder")
    assert together is None and len(files) == len(names)
    assert len({str(file).casefold() for file in files}) == len(names)
    for file in files:
        assert file.parent == Path("folder") and file.suffix == ".png" and not file.name.startswith(".")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["a", "a-2", "A", "a.png", "a/", "a_2", "a-3"]), min_size=1, max_size=7, unique=True))
def test_names_that_are_alike(names: list[str]) -> None:
    files = _targets(refs(*names), None)[1]
    assert len({str(file).casefold() for file in files}) == len(names)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    ids = ["x/1", "x_1", "x_1-2"]
    for i in range(3):
        Image.fromarray(np.full((8, 8, 3), 80 * i, np.uint8)).save(tmp_path / f"{i}.png")
    pd.DataFrame({"path": [f"{i}.png" for i in range(3)], "record_id": ids}).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def test_three_records_with_like_names_are_three_pictures(table: Path, tmp_path: Path) -> None:
    done = show(table, records=3, out=tmp_path / "out")
    written = sorted((tmp_path / "out").iterdir())
    assert len(written) == 3 and {one.path for one in done} == set(written)
    assert len({file.read_bytes() for file in written}) == 3


def test_equal_calls_write_equal_files(table: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        show(table, records=3, out=tmp_path / name)
        show(table, records=3, out=tmp_path / f"{name}.svg")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


@pytest.mark.parametrize("records", [0, -1, 101])
def test_how_many_can_be_drawn(table: Path, records: int) -> None:
    with pytest.raises(ConfigError, match=f"{records} records cannot") as caught:
        show(table, records=records)
    assert caught.value.expected == "1 to 100"


def test_too_many_for_one_sheet_but_not_for_a_pdf(tmp_path: Path) -> None:
    many = refs(*map(str, range(MOST_ON_ONE_SHEET + 1)))
    for ending in ("png", "svg"):
        with pytest.raises(ConfigError, match="do not fit on one sheet") as caught:
            _targets(many, tmp_path / f"x.{ending}")
        assert "PDF" in caught.value.fix
    together, files = _targets(many, tmp_path / "x.PDF")
    assert together == tmp_path / "x.PDF" and set(files) == {together}


def test_records_are_named_by_id_by_file_name_or_not_at_all(table: Path, tmp_path: Path) -> None:
    (found,) = show(table, record_ids=["x/1"], out=tmp_path / "a.svg")
    assert found.record_id == "x/1"
    (found,) = show(table, record_ids=["1"], out=tmp_path / "b.svg")
    assert found.record_id == "x/1"  # the only id whose file name is 1
    with pytest.raises(CohortError, match="no record 'x_3'") as caught:
        show(table, record_ids=["x_3"], out=tmp_path / "c.svg")
    assert "'x_1'" in caught.value.expected and not (tmp_path / "c.svg").exists()


def test_weights_without_an_encoder_and_a_folder_as_file(table: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Weights without an encoder") as caught:
        show(table, weights="random", out=tmp_path / "a.svg")
    assert "--encoder" in caught.value.fix
    with pytest.raises(ReadError, match="This is a folder"):
        show(tmp_path, modality="blood_cell")


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(["x/1", "x_1", "x_1-2"]))
def test_records_are_drawn_in_the_order_asked_for(table: Path, order: list[str]) -> None:
    done = show(table, record_ids=order, out=table.parent / "asked.svg", overwrite=True)
    assert [one.record_id for one in done] == order
    text = (table.parent / "asked.svg").read_text()
    places = [text.index(f">{name}<") for name in order]
    assert places == sorted(places)
