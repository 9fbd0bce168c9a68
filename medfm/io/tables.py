"""Tables: CSV, TSV and Parquet, with errors that name the line.

Text tables are read without guessing at identifiers: leading zeros stay, only empty cells and
``NA``-like words are missing, and a column becomes numeric only when no value would change.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from medfm.core.errors import CohortError
from medfm.io.parquet import read_parquet

MISSING = frozenset({"", "na", "n/a", "nan", "null", "<na>"})
_BLOCK = 5000
_LONGEST_MISSING = max(map(len, MISSING))
_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][+-]?\d+)?")


def read_table(path: str | Path, text: Collection[str] = ()) -> pd.DataFrame:
    """Read the table at `path`: ``.csv``, ``.tsv``/``.txt`` or ``.parquet``.

    Args:
        path: The file.
        text: Columns kept as they are written, such as identifiers (``007``, ``1e5``).

    Returns:
        One row per record, index 0..n-1. Text columns are of type object (str or NaN); columns
        whose every value is a plain number (no leading zeros, no ``+`` sign) are numeric.

    Raises:
        CohortError: The file is missing, empty, not UTF-8, has a ragged line, an unnamed or
            doubled column, or is not a table.
    """
    file = Path(path)
    if file.is_dir():
        raise CohortError(
            "This is a folder; a table was expected.",
            where=str(file),
            fix="name the table in it, such as " + _a_table_in(file),
        )
    suffix = file.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return _read_parquet(file)
    if suffix not in (".csv", ".tsv", ".txt"):
        raise CohortError(
            f"Tables with the ending '{suffix}' are not read.",
            where=str(file),
            expected=".csv, .tsv or .parquet",
            fix="save the sheet as CSV (UTF-8)",
        )
    content = _read_text(file)
    header, columns = _parse(content, "\t" if suffix == ".tsv" else _separator(content), str(file))
    _check_header(header, str(file))
    if not columns[0]:
        raise CohortError("The table has a header but no rows.", where=str(file))
    return pd.DataFrame({name: _typed(values, name not in text) for name, values in zip(header, columns, strict=True)})


def _a_table_in(folder: Path) -> str:
    tables = sorted(f.name for f in folder.iterdir() if f.suffix.lower() in (".csv", ".tsv", ".parquet"))
    return tables[0] if tables else "labels.csv"


def _read_parquet(file: Path) -> pd.DataFrame:
    if not file.exists():
        raise CohortError("The table does not exist.", where=str(file))
    try:
        table = read_parquet(file)
    except Exception as error:
        raise CohortError(
            f"This is not a readable Parquet file: {str(error).splitlines()[0]}", where=str(file)
        ) from error
    _check_header([str(c) for c in table.columns], str(file))
    if table.empty:
        raise CohortError("The table has no rows.", where=str(file))
    return table.reset_index(drop=True)


def _read_text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise CohortError("The table does not exist.", where=str(file), fix="check the path") from error
    except OSError as error:
        raise CohortError(f"The table cannot be read: {error.strerror or error}.", where=str(file)) from error
    if not data.strip():
        raise CohortError("The table is empty.", where=str(file))
    if b"\0" in data[:4096]:
        raise CohortError(
            "This is not a text table (it contains zero bytes).",
            where=str(file),
            expected="UTF-8 text",
            fix="save the sheet as CSV (UTF-8), not as Excel or UTF-16",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CohortError(
            f"The table is not UTF-8 text (line {line}, byte {error.start}).",
            where=str(file),
            fix="save it again with the encoding UTF-8",
        ) from error


def _separator(text: str) -> str:
    first = text.split("\n", 1)[0]
    # Spreadsheets of many European locales write semicolons into .csv files.
    return max((",", ";", "\t"), key=first.count)


def _parse(text: str, separator: str, where: str) -> tuple[list[str], list[list[str]]]:
    """Header and columns, without spaces around the cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] = []
    columns: list[list[str]] = []
    try:
        # Some thousand rows at a time: Python's garbage collector never sees a million lists.
        while block := list(itertools.islice(reader, _BLOCK)):
            rows = [row for row in block if len(row) > 1 or (row and row[0].strip())]
            if rows and not header:
                header = [cell.strip() for cell in rows.pop(0)]
                columns = [[] for _ in header]
            if not set(map(len, rows)) <= {len(header)}:
                raise _unreadable(text, separator, where)
            for column, cells in zip(columns, zip(*rows, strict=True), strict=bool(rows)):
                column.extend(map(str.strip, cells))
    except csv.Error:
        raise _unreadable(text, separator, where) from None
    if not header:
        raise CohortError("The table is empty.", where=where)
    return header, columns


def _unreadable(text: str, separator: str, where: str) -> CohortError:
    """What is wrong with the first line of `text` that cannot be read."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    width = 0
    try:
        for row in reader:
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            width = width or len(row)
            if len(row) != width:
                return CohortError(
                    f"Line {reader.line_num} has {len(row)} cells, the header has {width}.",
                    where=where,
                    fix="quote cells that contain the separator, and remove extra ones",
                )
    except csv.Error as error:
        return CohortError(f"Line {reader.line_num} cannot be read: {error}.", where=where)
    raise AssertionError("every line can be read")


def _check_header(header: list[str], where: str) -> None:
    doubled = [name for name, count in Counter(header).items() if count > 1]
    if doubled:
        raise CohortError(f"The column '{doubled[0]}' appears twice.", where=where, fix="rename or remove one of them")
    if any(not name.strip() for name in header):
        raise CohortError(
            f"Column {[not n.strip() for n in header].index(True) + 1} has no name.",
            where=where,
            fix="name every column",
        )


def _typed(values: list[str], numbers: bool) -> pd.Series:
    # Each different cell is looked at once: labels, splits and ages repeat in a large table.
    distinct = set(values)
    missing = {v for v in distinct if len(v) <= _LONGEST_MISSING and v.lower() in MISSING}
    present = distinct - missing
    if numbers and present and all(map(_NUMBER.fullmatch, present)):
        if all(v.lstrip("-").isdigit() and len(v) < 18 for v in present) and not missing:
            whole = {v: int(v) for v in distinct}
            return pd.Series(np.array([whole[v] for v in values], dtype=np.int64))
        if all(len(v) < 18 for v in present):
            known = {v: np.nan if v in missing else float(v) for v in distinct}
            return pd.Series([known[v] for v in values])
    if not missing:
        return pd.Series(values, dtype=object)
    return pd.Series([np.nan if v in missing else v for v in values], dtype=object)
