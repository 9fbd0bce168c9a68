"""CSV and NumPy files: bare numbers; the cohort states rate and units, and the leads where unnamed."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.ecg.leads import lead_name
from medfm.io.ecg.orient import leads_first
from medfm.io.ecg.raw import Options, RawECG, read_bytes

_GAPS = ("", "nan", "na", "n/a", "null", "none")


def read_npy(path: Path, options: Options, where: str) -> RawECG:
    """Read one array of numbers; pickled objects are refused.

    Raises:
        ReadError: Damaged file, objects instead of numbers, or not two axes.
    """
    try:
        array = np.load(io.BytesIO(read_bytes(path, where)), allow_pickle=False)
    except ReadError:
        raise
    except Exception as error:
        raise ReadError(
            f"The NumPy file is damaged or holds objects ({type(error).__name__}).",
            where=where,
            expected="one array of numbers",
        ) from None
    values = leads_first(array, options, where)
    return RawECG("npy", values, [], [None] * len(values), None)


def read_csv(path: Path, options: Options, where: str) -> RawECG:
    """Read a text table: a column per lead (first line their names), or bare numbers.

    Separators are comma, semicolon, tab or blanks. Columns of the first line that name no lead (a time
    axis, say) are left out. An empty cell is a missing sample. In a table separated by semicolons or
    tabs a decimal comma is understood.

    Raises:
        ReadError: Not text, lines of different length, or a cell that is no number (named by line and
            column, its text is not repeated).
    """
    raw = read_bytes(path, where)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReadError("The table is not UTF-8 text.", where=where, fix="save it again as UTF-8") from error
    rows = _split(text)
    if not rows:
        raise ReadError("The table is empty.", where=where)
    width = len(rows[0][1])
    for line, cells in rows:
        if len(cells) != width:
            raise ReadError(f"Line {line} has {len(cells)} cells, the first line {width}.", where=where)
    names = rows[0][1] if any(not _is_number(cell) for cell in rows[0][1]) else None
    body = rows if names is None else rows[1:]
    if not body:
        raise ReadError("The table has a first line and no samples.", where=where)
    if names is None:
        values = leads_first(_numbers(body, range(width), where), options, where)
        return RawECG("csv", values, [], [None] * len(values), None)
    keep = list(range(width))
    if options.get("leads") is None:
        keep = [column for column, name in enumerate(names) if lead_name(name) is not None]
        if not keep:
            raise ReadError(
                "No column of the first line names a lead.",
                where=where,
                expected="I, II, III, aVR, aVL, aVF, V1 to V6",
                fix="correct the first line, or state the leads in a 'leads' column of the cohort",
            )
    values = np.ascontiguousarray(_numbers(body, keep, where).T)
    return RawECG("csv", values, [names[column] for column in keep], [None] * len(keep), None)


def _split(text: str) -> list[tuple[int, list[str]]]:
    """(line number, cells) of the lines that are not empty."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max((",", ";", "\t"), key=first.count)
    if separator not in first:
        return [(i, line.split()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    decimal = separator != "," and "." not in text and "," in text
    reader = csv.reader(io.StringIO(text.replace(",", ".") if decimal else text), delimiter=separator)
    return [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(c.strip() for c in cells)]


def _is_number(cell: str) -> bool:
    if cell.lower() in _GAPS:
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(rows: list[tuple[int, list[str]]], columns: range | list[int], where: str) -> np.ndarray:
    try:
        return np.array([[cells[c] for c in columns] for _, cells in rows], np.float64)
    except ValueError:
        return _cell_by_cell(rows, columns, where)


def _cell_by_cell(rows: list[tuple[int, list[str]]], columns: range | list[int], where: str) -> np.ndarray:
    """The slow way, which understands gaps and names a wrong cell by its place."""
    out = np.full((len(rows), len(columns)), np.nan)
    for row, (line, cells) in enumerate(rows):
        for place, column in enumerate(columns):
            if cells[column].lower() in _GAPS:
                continue
            try:
                out[row, place] = float(cells[column])
            except ValueError:
                raise ReadError(f"Line {line}, column {column + 1} is not a number.", where=where) from None
    return out
