"""Excel workbooks for tests, written by hand: shared strings, inline strings and numbers."""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

_NS = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def column(number: int) -> str:
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def workbook(path: Path, rows: list[list[str]], inline: bool = False) -> Path:
    """Write `rows` as the first sheet; numbers as numbers, empty cells left out."""
    shared: list[str] = []
    lines = []
    for r, row in enumerate(rows, 1):
        cells = []
        for c, value in enumerate(row):
            ref = f'r="{column(c)}{r}"'
            if value == "":
                continue
            if value.replace(".", "", 1).isdigit():
                cells.append(f"<c {ref}><v>{value}</v></c>")
            elif inline:
                cells.append(f'<c {ref} t="inlineStr"><is><t>{escape(value)}</t></is></c>')
            else:
                shared.append(value)
                cells.append(f'<c {ref} t="s"><v>{len(shared) - 1}</v></c>')
        lines.append(f'<row r="{r}">{"".join(cells)}</row>')
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as book:
        book.writestr(
            "xl/worksheets/sheet1.xml", f"<worksheet {_NS}><sheetData>{''.join(lines)}</sheetData></worksheet>"
        )
        if shared:
            items = "".join(f"<si><r><t>{escape(s[:1])}</t></r><r><t>{escape(s[1:])}</t></r></si>" for s in shared)
            book.writestr("xl/sharedStrings.xml", f"<sst {_NS}>{items}</sst>")
    return path
