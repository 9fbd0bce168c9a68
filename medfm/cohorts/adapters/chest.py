"""What the adapters of chest radiograph sets share: files by name, labels with unknown values, views, ages."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row
from medfm.cohorts.adapters.named import NamedAdapter
from medfm.core.errors import CohortError

PICTURES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
# The labeller's 14 observations, in the order of the published tables (Irvin et al., AAAI 2019, table 1).
CHEXPERT = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip
# The five that the competition is scored on (the same paper, section 5).
COMPETITION = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
# How 1, 0, -1 (uncertain) and nothing become labels; the first is the default.
UNKNOWN, IGNORE, ZEROS, ONES = "unknown", "u-ignore", "u-zeros", "u-ones"


class ChestAdapter(NamedAdapter):
    """A set of chest radiographs; unknown labels stay empty in the table and are NaN when it is loaded."""

    modality = "chest_xray"
    columns: tuple[str, ...] = ("view", "age", "sex")

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per radiograph."""
        yield from self.find(source).rows

    def kept(self, rows: Sequence[Row], notes: Iterable[str] = ()) -> Found:
        """Rows whose file is there; the others are counted as missing."""
        there = [row for row in rows if row["path"] is not None]
        absent = len(rows) - len(there)
        partial = (f"{absent:,} of {len(rows):,} radiographs that the tables list are absent",) if absent else ()
        return Found(there, tuple(notes), partial)


def files_below(source: Path, folder: Path | None = None) -> dict[str, str]:
    """Every radiograph at any depth: file name in lower case -> path relative to `source`.

    Raises:
        CohortError: Two files have one name, so a table does not tell which is meant.
    """
    found: dict[str, str] = {}
    for file in sorted((folder or source).rglob("*")):
        if file.suffix.lower() not in PICTURES or file.name.startswith("."):
            continue
        path = file.relative_to(source).as_posix()
        other = found.setdefault(file.name.lower(), path)
        if other != path:
            raise CohortError(
                f"Two radiographs are called {file.name}: {other} and {path}.",
                where=str(source),
                fix="name the folder of the release alone with --source, without copies",
            )
    return found


def table_at(source: Path, *names: str) -> Path | None:
    """The first file at any depth below `source` with one of `names`, also gzipped."""
    for name in names:
        for candidate in (name, f"{name}.gz"):
            hits = sorted(f for f in source.rglob(candidate) if f.is_file() and not f.name.startswith("."))
            if hits:
                return hits[0]
    return None


def read_table(file: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row by column) of a CSV file, gzipped or not; cells that a row lacks are empty.

    Raises:
        CohortError: It cannot be read, or lacks a column of `needed`.
    """
    try:
        data = file.read_bytes()
        text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""))
        header = [name.strip() for name in next(reader, [])]
        absent = [name for name in needed if name not in header]
        if absent:
            raise CohortError(
                f"The table has no column '{absent[0]}'.", where=file.name, expected="the columns " + ", ".join(needed)
            )
        for row in reader:
            if row:
                cells = [cell.strip() for cell in row] + [""] * (len(header) - len(row))
                yield reader.line_num, dict(zip(header, cells, strict=False))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"The table cannot be read ({type(error).__name__}).", where=file.name) from error


def observations(cells: Mapping[str, str], labels: Sequence[str], rule: str, where: str) -> dict[str, int | None]:
    """0/1 or unknown (``None``) for `labels`, from the values 1, 0, -1 and nothing of the CheXpert labeller.

    Under :data:`UNKNOWN` what is uncertain or not mentioned is unknown, and a report without finding has no finding
    (support devices apart): the rule of torchxrayvision's data sets. Under the others what is not mentioned is absent,
    and what is uncertain is unknown, absent or present (U-Ignore, U-Zeros, U-Ones of the paper).

    Raises:
        CohortError: A value is none of these.
    """
    values = {name: _value(cells.get(name, ""), where) for name in {*labels, "No Finding"}}
    healthy = values["No Finding"] == 1
    found: dict[str, int | None] = {}
    for name in labels:
        value = values[name]
        if rule == UNKNOWN:
            clear = healthy and name not in ("No Finding", "Support Devices")
            found[name] = 0 if clear else value if value in (0, 1) else None
        else:
            uncertain = {IGNORE: None, ZEROS: 0, ONES: 1}[rule]
            found[name] = uncertain if value == -1 else value or 0
    return found


def _value(cell: str, where: str) -> int | None:
    if not cell:
        return None
    if cell in ("1", "1.0", "0", "0.0", "-1", "-1.0"):
        return int(float(cell))
    raise CohortError("A label is neither 1, 0, -1 nor empty.", where=where, fix="download the table again")


def years(cell: str) -> int | None:
    """An age such as ``58``, ``058Y`` or ``58.0``; ``None`` where it is none a person has."""
    text = cell.upper().removesuffix("Y").removesuffix(".0")
    if not (text.isascii() and text.isdigit() and len(text) < 5):
        return None
    return int(text) if int(text) <= 110 else None


def sex(cell: str) -> str | None:
    """``F`` or ``M``."""
    return {"f": "F", "female": "F", "m": "M", "male": "M"}.get(cell.strip().lower())
