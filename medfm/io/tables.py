"""Tables: CSV, TSV and Parquet, with errors that name the line.

Text tables are read without guessing at identifiers: leading zeros stay, only empty cells and
``NA``-like words are missing, and a column becomes numeric only when no value would change.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from medfm.core.errors import CohortError
from medfm.io.parquet import read_parquet

MISSING = frozenset({"", "na", "n/a", "nan", "null", "<na>"})
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
    rows = _parse(content, "\t" if suffix == ".tsv" else _separator(content), str(file))
    header, body = rows[0], rows[1:]
    _check_header(header, str(file))
    if not body:
        raise CohortError("The table has a header but no rows.", where=str(file))
    columns = list(zip(*body, strict=True))
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


def _parse(text: str, separator: str, where: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if rows and len(row) != len(rows[0]):
                raise CohortError(
                    f"Line {reader.line_num} has {len(row)} cells, the header has {len(rows[0])}.",
                    where=where,
                    fix="quote cells that contain the separator, and remove extra ones",
                )
            rows.append([cell.strip() for cell in row])
    except csv.Error as error:
        raise CohortError(f"Line {reader.line_num} cannot be read: {error}.", where=where) from error
    if not rows:
        raise CohortError("The table is empty.", where=where)
    return rows


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


def _typed(values: tuple[str, ...], numbers: bool) -> pd.Series:
    missing = [v.lower() in MISSING for v in values]
    present = [v for v, gone in zip(values, missing, strict=True) if not gone]
    if numbers and present and all(_NUMBER.fullmatch(v) for v in present):
        if all(v.lstrip("-").isdigit() and len(v) < 18 for v in present) and not any(missing):
            return pd.Series(np.array(values, dtype=np.int64))
        if all(len(v) < 18 for v in present):
            return pd.Series([np.nan if gone else float(v) for v, gone in zip(values, missing, strict=True)])
    return pd.Series([np.nan if gone else v for v, gone in zip(values, missing, strict=True)], dtype=object)
