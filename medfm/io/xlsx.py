"""The first sheet of an Excel workbook (.xlsx) as rows of text, with the standard library alone.

Office Open XML (ECMA-376): a ZIP archive with ``xl/sharedStrings.xml`` and ``xl/worksheets/sheet1.xml``.
Formulas, styles and further sheets are not looked at.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from medfm.core.errors import ReadError

MAX_BYTES = 200_000_000
_SHEET, _STRINGS = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"
_NS = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_PLACE = re.compile(r"^([A-Z]{1,3})\d+$")


def read_xlsx(file: Path, needed: Sequence[str], where: str) -> list[dict[str, str]]:
    """The rows below the header of the first sheet, by column name.

    Args:
        file: The workbook.
        needed: Columns that must be there.
        where: How errors name it.

    Raises:
        ReadError: Missing, damaged, too large, or without a column of `needed`.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            if _SHEET not in names:
                raise ReadError("The workbook has no first sheet.", where=where)
            shared = _strings(_part(archive, _STRINGS, where)) if _STRINGS in names else []
            grid = _grid(_part(archive, _SHEET, where), shared)
    except (OSError, zipfile.BadZipFile, ElementTree.ParseError, ValueError, IndexError, NotImplementedError) as error:
        raise ReadError(f"This is no readable Excel workbook ({type(error).__name__}).", where=where) from error
    header = {place: name.strip() for place, name in grid[0].items()} if grid else {}
    absent = [name for name in needed if name not in header.values()]
    if absent:
        raise ReadError(
            f"The workbook has no column '{absent[0]}'.", where=where, expected="the columns " + ", ".join(needed)
        )
    return [{name: row.get(place, "") for place, name in header.items()} for row in grid[1:] if any(row.values())]


def _part(archive: zipfile.ZipFile, name: str, where: str) -> bytes:
    if archive.getinfo(name).file_size > MAX_BYTES:
        raise ReadError("The workbook is too large.", where=where, expected=f"at most {MAX_BYTES // 1_000_000} MB")
    data = archive.read(name)
    if b"<!DOCTYPE" in data[:4096] or b"<!ENTITY" in data:
        # Entities can blow a small file up to gigabytes; no workbook needs them.
        raise ReadError("The workbook declares XML entities, which are refused.", where=where)
    return data


def _strings(data: bytes) -> list[str]:
    root = ElementTree.fromstring(data)
    return ["".join(part.text or "" for part in item.iter(f"{_NS}t")) for item in root.iter(f"{_NS}si")]


def _grid(data: bytes, shared: list[str]) -> list[dict[str, str]]:
    """Per row the text of every cell by the letters of its column."""
    rows = []
    for row in ElementTree.fromstring(data).iter(f"{_NS}row"):
        cells = {}
        for number, cell in enumerate(row.iter(f"{_NS}c")):
            place = _PLACE.match(cell.get("r", ""))
            cells[place.group(1) if place else _letters(number)] = _text(cell, shared)
        rows.append(cells)
    return rows


def _text(cell: Any, shared: list[str]) -> str:
    if cell.get("t") == "inlineStr":
        return "".join(part.text or "" for part in cell.iter(f"{_NS}t"))
    value = cell.find(f"{_NS}v")
    text = (value.text or "") if value is not None else ""
    return shared[int(text)] if cell.get("t") == "s" else text


def _letters(number: int) -> str:
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
