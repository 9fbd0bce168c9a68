"""The first sheet of an Excel workbook (.xlsx) as rows of text; ISO/IEC 29500, no formulas, no macros.

Some public sets give their labels as workbooks. Only cell values are read; entities and external
references are refused by the XML reader.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from medfm.core.errors import CohortError, MedfmError
from medfm.io.ecg.xml import parse_xml

MAX_BYTES = 100_000_000


def read_xlsx(path: Path, where: str) -> list[list[str]]:
    """Rows of the first sheet, every row as long as the longest; empty cells are ``""``.

    Raises:
        CohortError: Not a workbook, damaged, or too large.
    """
    try:
        with zipfile.ZipFile(path) as book:
            names = {entry.filename: entry.file_size for entry in book.infolist()}
            sheets = sorted(
                (n for n in names if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", n)),
                key=lambda n: int("".join(re.findall(r"\d+", n))),
            )
            if not sheets:
                raise CohortError("The workbook has no sheet.", where=where, expected="an .xlsx file")
            if names[sheets[0]] + names.get("xl/sharedStrings.xml", 0) > MAX_BYTES:
                raise CohortError("The workbook is too large.", where=where, fix="save the sheet as CSV (UTF-8)")
            shared = []
            if "xl/sharedStrings.xml" in names:
                shared = [_text(item) for item in parse_xml(book.read("xl/sharedStrings.xml"), where).iter("si")]
            return _rows(parse_xml(book.read(sheets[0]), where), shared)
    except CohortError:
        raise
    except MedfmError as error:
        raise CohortError("The workbook is damaged.", where=where, fix="download it again") from error
    except (OSError, zipfile.BadZipFile, ValueError, IndexError, KeyError, RuntimeError) as error:
        raise CohortError(
            f"The workbook cannot be read ({type(error).__name__}).", where=where, fix="save the sheet as CSV (UTF-8)"
        ) from error


def _rows(sheet: Any, shared: list[str]) -> list[list[str]]:
    rows: list[dict[int, str]] = []
    for row in sheet.iter("row"):
        cells: dict[int, str] = {}
        for place, cell in enumerate(row.iter("c")):
            letters = re.match(r"[A-Z]{1,3}", cell.get("r", ""))
            cells[_column(letters.group()) if letters else place] = _value(cell, shared)
        rows.append(cells)
    width = 1 + max((max(cells, default=-1) for cells in rows), default=-1)
    return [[cells.get(i, "") for i in range(width)] for cells in rows if any(cells.values())]


def _value(cell: Any, shared: list[str]) -> str:
    kind, value = cell.get("t", "n"), cell.find("v")
    if kind == "inlineStr":
        return _text(cell).strip()
    if value is None or value.text is None:
        return ""
    if kind == "s":
        return shared[int(value.text)].strip()
    # Whole numbers may be written as 3.0.
    return re.sub(r"\.0+$", "", value.text.strip()) if kind == "n" else value.text.strip()


def _text(item: Any) -> str:
    # Text in several formats is one text; phonetic readings (rPh) are none of it.
    spoken = {id(t) for hint in item.iter("rPh") for t in hint.iter("t")}
    return "".join(t.text or "" for t in item.iter("t") if id(t) not in spoken)


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - 64
    return number - 1
