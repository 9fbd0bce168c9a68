"""IXI: healthy people of three London hospitals, one T1 each, age from the project's sheet.

Checked: file names on eight scans of the set; the sheet's columns, its people listed twice and its missing ages on a public
copy of ``IXI.csv``; both against Clinica's ``ixi_to_bids`` at e633afc89.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from medfm.cohorts.adapters.base import Row, relative
from medfm.cohorts.adapters.brain_cohort import BrainAdapter, Gathered, Left
from medfm.cohorts.adapters.brain_visits import number
from medfm.cohorts.adapters.retina import read_any
from medfm.cohorts.info import CohortInfo
from medfm.core.errors import CohortError

_FILE = re.compile(r"(IXI\d{3})-([A-Za-z]+)-(\d{4})-T1(_[A-Za-z0-9.]+)?\.nii(?:\.gz)?")
_SEX = {"1": "M", "2": "F"}
_ID, _SEX_ID = "IXI_ID", "SEX_ID (1=m, 2=f)"


class Ixi(BrainAdapter):
    """The target is the age. ``site`` is the hospital: Guys and IOP at 1.5 T, HH at 3 T."""

    id = "ixi"
    title = "IXI"
    aliases = ("Information eXtraction from Images",)
    layout = (
        "IXI002-Guys-0828-T1.nii.gz ... in any folder, and IXI.csv or IXI.xlsx (the sheet IXI.xls saved as one of them)"
    )
    where = "brain-development.org/ixi-dataset"
    licence = "CC BY-SA 3.0"
    citation = "IXI project, Imperial College London (EPSRC GR/S21533/02), brain-development.org"
    task = "age of healthy people"
    more_columns = ("height_cm", "weight_kg")
    notes = ("age is to two decimals; dates of birth and of the scan, and what else the sheet says, are not carried",)
    unverified = ("nearly 600 scans are published, without an exact number: no count is enforced",)

    def gather(self, source: Path) -> Gathered:
        """As of :meth:`BrainAdapter.gather`."""
        found: dict[str, list[tuple[Path, re.Match[str]]]] = {}
        for file in sorted(source.rglob("IXI*.nii*")):
            parts = _FILE.fullmatch(file.name)
            if parts is not None:
                found.setdefault(parts[1], []).append((file, parts))
        if not found:
            raise self.missing(source, "there is no T1 volume IXI###-SITE-####-T1.nii.gz")
        sheets = [f for f in sorted(source.rglob("IXI*")) if f.suffix.lower() in (".csv", ".xlsx") and f.is_file()]
        if not sheets:
            raise self.missing(source, self._no_sheet(source))
        people = _people(sheets[0])
        rows: list[Row] = []
        left: list[Left] = []
        for subject, files in sorted(found.items()):
            # The released volume before copies of it whose names go on behind T1.
            (file, parts), *others = sorted(files, key=lambda one: (one[1][4] or "", one[0].as_posix()))
            left += [Left(subject, other.name, "another T1 file of the person was taken") for other, _ in others]
            rows.append(_row(relative(file, source), subject, parts, people.get(subject, ())))
        return Gathered(rows, left, {}, tuple(_notes(rows, people)))

    def _no_sheet(self, source: Path) -> str:
        old = any(f.suffix.lower() == ".xls" for f in source.rglob("IXI*"))
        return (
            "IXI.xls is of a format that is not read; save it as CSV or .xlsx"
            if old
            else "there is no IXI.csv or IXI.xlsx"
        )

    def describe(
        self, source: Path, records: int, counts: Mapping[str, int], differences: Sequence[str], notes: Sequence[str]
    ) -> CohortInfo:
        """The YAML beside the table, its target the age."""
        return super().describe(source, records, counts, differences, notes).model_copy(update={"target": "age"})


def _people(sheet: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of every person."""
    people: dict[str, list[dict[str, str]]] = {}
    for line, cells in read_any(sheet, sheet.name, (_ID, _SEX_ID, "AGE")):
        digits = cells[_ID].upper().removeprefix("IXI").removesuffix(".0")
        if not digits.isdigit():
            raise CohortError("An IXI_ID is no number.", where=f"{sheet.name}, line {line}")
        people.setdefault(f"IXI{int(digits):03d}", []).append(cells)
    return people


def _agreed(values: Sequence[str | float | None]) -> str | float | None:
    """The one value that rows of a person give; ``None`` where none does, or several differ."""
    told = {value for value in values if value is not None}
    return told.pop() if len(told) == 1 else None


def _row(path: str, subject: str, parts: re.Match[str], told: Sequence[Mapping[str, str]]) -> Row:
    ages = [number(cells["AGE"]) for cells in told]
    # A height or weight of 0 was not asked.
    size = {c: _agreed([number(cells.get(name)) or None for cells in told]) for c, name in _SIZES}
    return {
        "record_id": f"{subject}-{parts[2]}-{parts[3]}",
        "path": path,
        "patient_id": subject,
        "site": parts[2],
        "session": "1",
        "months": 0.0,
        "age": _agreed([None if age is None else round(age, 2) for age in ages]),
        "sex": _agreed([_SEX.get(cells[_SEX_ID].removesuffix(".0")) for cells in told]),
        **size,
        "_day": 0.0,
        "_visit_day": 0.0,
    }


def _notes(rows: Sequence[Row], people: Mapping[str, Sequence[Mapping[str, str]]]) -> list[str]:
    silent = [row for row in rows if row["age"] is None]
    unlisted = sum(row["patient_id"] not in people for row in rows)
    ages = {who: {number(cells["AGE"]) for cells in told} - {None} for who, told in people.items()}
    against = sum(len(ages.get(row["patient_id"], ())) > 1 for row in silent)
    notes = [f"scans without an age: {len(silent):,} (of people who are not in the sheet {unlisted:,}, whom it lists "
             f"twice with different ages {against:,})"] if silent else []  # fmt: skip
    twice = sum(len(people.get(row["patient_id"], ())) > 1 for row in rows)
    return [*notes, f"people whom the sheet lists twice: {twice:,}"] if twice else notes


_SIZES = (("height_cm", "HEIGHT"), ("weight_kg", "WEIGHT"))

IXI = Ixi()
