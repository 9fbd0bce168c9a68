"""Folders as the BPDneo study has them: radiographs of newborns by patient, an Excel sheet with the grade of the disease."""

from __future__ import annotations

from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row
from medfm.cohorts.adapters.chest import PICTURES, ChestAdapter
from medfm.core.errors import CohortError, ReadError
from medfm.io.xlsx import read_xlsx

# The sheet's words for the grade (bronchopulmonary dysplasia at 36 weeks); "keine Angabe" is German for not stated.
GRADES = {"no bpd": "no BPD", "mild": "mild", "moderate": "moderate", "severe": "severe"}
MISSING = ("keine angabe", "")


class Bpdneo(ChestAdapter):
    """Task ``moderate-severe``: moderate or severe against none or mild, as the study; ``grade``: four classes."""

    id = "bpdneo"
    title = "BPDneo-style folder"
    aliases = ("BPDneo-CXR", "BPDneo")
    layout = "an .xlsx whose sheet has the columns patient_id and bpd, and radiographs named PATIENT_*.png (or .jpg, .dcm) at any depth"
    where = "your own hospital: the study's cohort (NeoVitaA) is not public; the layout is that of github.com/phflot/bpdneo-cxr"
    licence = "that of your data"
    citation = "Flotho P. et al., BPDneo-CXR, arXiv:2507.12269"
    tasks = ("moderate-severe", "grade")
    patients = True
    columns = ("bpd",)
    unverified = ("no count is enforced: every hospital has its own number of patients",)
    notes = (
        "the patient is the part of the file name before the first underscore, as in the study's code",
        "patients without a stated grade are left out",
    )

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        super().__init__(task, labelling)
        self.task = (
            "moderate or severe bronchopulmonary dysplasia, or not"
            if self.chosen_task == "moderate-severe"
            else "grade of bronchopulmonary dysplasia, 4 classes"
        )

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """One row per radiograph of a patient whose grade is stated."""
        if splits is not None:
            return super().find(source, splits)
        books = sorted(f for f in source.rglob("*.xlsx") if f.name[0] not in ".~")
        if not books:
            raise self.missing(source, "there is no Excel workbook")
        if len(books) > 1:
            raise CohortError(
                "There are several Excel workbooks.", where=str(source), fix="leave only that of the grades"
            )
        grades, unstated = _grades(books[0])
        rows: list[Row] = []
        strangers = 0
        for file in sorted(source.rglob("*")):
            if file.suffix.lower() not in PICTURES or file.name.startswith("."):
                continue
            patient = file.stem.split("_", 1)[0]
            if patient in unstated:
                continue
            if patient not in grades:
                strangers += 1
                continue
            grade = grades[patient]
            label = grade if self.chosen_task == "grade" else str(int(grade in ("moderate", "severe")))
            path = file.relative_to(source).as_posix()
            rows.append({"record_id": path, "path": path, "patient_id": patient, "label": label, "bpd": grade})
        pictured = {row["patient_id"] for row in rows}
        notes = [f"{len(unstated):,} patients have no stated grade and are left out"] if unstated else []
        if without := len(set(grades) - pictured):
            notes.append(f"{without:,} patients of the sheet have no radiograph")
        partial = (f"{strangers:,} radiographs are of patients that the sheet does not list",) if strangers else ()
        return Found(rows, tuple(notes), partial)


def _grades(book: Path) -> tuple[dict[str, str], set[str]]:
    """Patient -> grade, and patients without one.

    Raises:
        CohortError: The workbook is not as described, a grade is another word, or a patient has two.
    """
    try:
        lines = read_xlsx(book, ("patient_id", "bpd"), book.name)
    except ReadError as error:
        raise CohortError(error.what, where=error.where, expected=error.expected, fix=error.fix) from error
    grades: dict[str, str] = {}
    unstated: set[str] = set()
    for number, line in enumerate(lines, 2):
        patient, word = line["patient_id"].strip().removesuffix(".0"), " ".join(line["bpd"].lower().split())
        if not patient:
            continue
        if word in MISSING:
            unstated.add(patient)
        elif word not in GRADES:
            raise CohortError(
                "A grade is another word.",
                where=f"{book.name}, line {number}",
                expected="no BPD, mild, moderate, severe, keine Angabe",
            )
        elif grades.setdefault(patient, GRADES[word]) != GRADES[word]:
            raise CohortError("A patient has two grades.", where=f"{book.name}, line {number}")
    return grades, unstated - set(grades)


BPDNEO = Bpdneo()
