"""The Excel reader, on workbooks written by hand: shared and inline strings, numbers, gaps, hostile files."""

import zipfile
from pathlib import Path

import pytest

from medfm.core.errors import ReadError
from medfm.io.xlsx import read_xlsx

NS = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def workbook(path: Path, sheet: str, strings: str | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", f"<worksheet {NS}><sheetData>{sheet}</sheetData></worksheet>")
        if strings is not None:
            archive.writestr("xl/sharedStrings.xml", f"<sst {NS}>{strings}</sst>")
    return path


def test_shared_and_inline_strings_numbers_and_gaps(tmp_path: Path) -> None:
    sheet = (
        '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c>'
        '<c r="C1" t="inlineStr"><is><t>G3</t></is></c></row>'
        '<row r="2"><c r="A2" t="inlineStr"><is><r><t>a_</t></r><r><t>b.jpg</t></r></is></c>'
        '<c r="C2"><v>1</v></c></row>'
        '<row r="3"/>'
        '<row r="4"><c t="s"><v>0</v></c><c><v>0.0</v></c><c/></row>'
    )
    strings = "<si><t>image_name</t></si><si><r><t>N</t></r><r><t>C</t></r></si>"
    rows = read_xlsx(workbook(tmp_path / "t.xlsx", sheet, strings), ("image_name", "NC"), "t.xlsx")
    assert rows == [
        {"image_name": "a_b.jpg", "NC": "", "G3": "1"},
        {"image_name": "image_name", "NC": "0.0", "G3": ""},
    ]


def test_columns_beyond_z(tmp_path: Path) -> None:
    header = "".join(f"<c t='inlineStr'><is><t>c{i}</t></is></c>" for i in range(60))
    values = "".join(f"<c><v>{i}</v></c>" for i in range(60))
    rows = read_xlsx(workbook(tmp_path / "t.xlsx", f"<row>{header}</row><row>{values}</row>"), ("c59",), "t")
    assert rows == [{f"c{i}": str(i) for i in range(60)}]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    file = workbook(tmp_path / "t.xlsx", '<row><c t="inlineStr"><is><t>x</t></is></c></row>')
    with pytest.raises(ReadError, match="no column 'G5'") as caught:
        read_xlsx(file, ("x", "G5"), "table")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("sheet", "strings"),
    [
        ('<row><c t="s"><v>7</v></c></row>', "<si><t>a</t></si>"),
        ('<row><c t="s"><v>many</v></c></row>', "<si><t>a</t></si>"),
        ("<row><c>", None),
    ],
)
def test_broken_sheets_are_refused(tmp_path: Path, sheet: str, strings: str | None) -> None:
    with pytest.raises(ReadError):
        read_xlsx(workbook(tmp_path / "t.xlsx", sheet, strings), (), "t")


def test_entities_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as archive:
        bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;">]><worksheet>&b;</worksheet>'
        archive.writestr("xl/worksheets/sheet1.xml", bomb)
    with pytest.raises(ReadError, match="entities"):
        read_xlsx(tmp_path / "t.xlsx", (), "t")


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.xlsx").write_bytes(data)
    with pytest.raises(ReadError, match="no readable Excel workbook"):
        read_xlsx(tmp_path / "t.xlsx", (), "t")
    with pytest.raises(ReadError):
        read_xlsx(tmp_path / "absent.xlsx", (), "t")


def test_a_workbook_without_a_sheet(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as archive:
        archive.writestr("docProps/app.xml", "<x/>")
    with pytest.raises(ReadError, match="no first sheet"):
        read_xlsx(tmp_path / "t.xlsx", (), "t")
