from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from medfm.core.errors import CohortError
from medfm.io.xlsx import read_xlsx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cohorts" / "adapters"))
from workbooks import column, workbook


@pytest.mark.parametrize("inline", [False, True])
def test_text_numbers_and_gaps(tmp_path: Path, inline: bool) -> None:
    rows = [["a", "b & c", ""], ["1", "", "x"], ["2.50", "3.0", "007x"]]
    wanted = [["a", "b & c", ""], ["1", "", "x"], ["2.50", "3", "007x"]]
    assert read_xlsx(workbook(tmp_path / "a.xlsx", rows, inline), "a") == wanted


def test_empty_rows_are_passed_over(tmp_path: Path) -> None:
    assert read_xlsx(workbook(tmp_path / "a.xlsx", [["a"], [""], ["b"]]), "a") == [["a"], ["b"]]


def test_many_columns(tmp_path: Path) -> None:
    row = [f"c{i}" for i in range(60)]
    assert column(27) == "AB"
    assert read_xlsx(workbook(tmp_path / "a.xlsx", [row]), "a") == [row]


def test_what_is_no_workbook(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("image,label")
    with pytest.raises(CohortError, match="cannot be read"):
        read_xlsx(tmp_path / "a.xlsx", "a.xlsx")
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w") as book:
        book.writestr("other.txt", "x")
    with pytest.raises(CohortError, match="no sheet"):
        read_xlsx(tmp_path / "b.xlsx", "b.xlsx")
    with pytest.raises(CohortError):
        read_xlsx(tmp_path / "absent.xlsx", "absent.xlsx")


def test_entities_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as book:
        book.writestr(
            "xl/worksheets/sheet1.xml",
            '<!DOCTYPE x [<!ENTITY e "eeee">]><worksheet><sheetData><row><c><v>&e;</v></c></row></sheetData></worksheet>',
        )
    with pytest.raises(CohortError, match="damaged"):
        read_xlsx(tmp_path / "a.xlsx", "a.xlsx")


def test_a_reference_to_no_string_is_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as book:
        book.writestr(
            "xl/worksheets/sheet1.xml",
            '<worksheet><sheetData><row><c r="A1" t="s"><v>9</v></c></row></sheetData></worksheet>',
        )
    with pytest.raises(CohortError, match="cannot be read"):
        read_xlsx(tmp_path / "a.xlsx", "a.xlsx")
