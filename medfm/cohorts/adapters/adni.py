"""ADNI: LONI's image archive with ADNIMERGE.csv; one T1 per visit, diagnoses, conversion from MCI to AD.

Checked: the columns and codes of ADNIMERGE against copies of its header and data dictionary in public code and against
Clinica's ``adni_to_bids`` at e633afc89 (which warns, as this refuses, beyond 90 days between image and visit); the
folders as in ``image_archive.py``. Unverified, for want of the data: see `unverified`.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

from medfm.cohorts.adapters.archive_cohort import ORIGINAL, PREFERRED, PROCESSED, ArchiveAdapter, Person
from medfm.cohorts.adapters.brain_visits import Visit, as_date, code_months, number
from medfm.cohorts.adapters.diagnoses import adni_diagnosis
from medfm.cohorts.adapters.ecg import read_csv
from medfm.cohorts.adapters.image_archive import tables_below
from medfm.core.errors import CohortError

TABLE = "ADNIMERGE.csv"
_NEEDED = ("PTID", "VISCODE", "EXAMDATE", "DX")
_WITHDRAWN = re.compile(r"381_S_10\d{3}")
_SEX = {"male": "M", "female": "F", "1": "M", "2": "F"}


class Adni(ArchiveAdapter):
    """Phases ADNI1, GO, 2 and 3 (4 where ADNIMERGE has it); ``phase`` is that of the visit."""

    id = "adni"
    title = "ADNI"
    aliases = ("Alzheimer's Disease Neuroimaging Initiative", "ADNI1", "ADNI2", "ADNI3", "ADNIGO")
    layout = (
        "one folder with ADNI/002_S_0295/DESCRIPTION/2006-11-02_08_16_44.0/I40966/*.nii or *.dcm, and beside ADNI (or in "
        f"another folder there) {TABLE}"
    )
    where = "ida.loni.usc.edu, on application at adni.loni.usc.edu"
    licence = "ADNI Data Use Agreement; not to be passed on"
    citation = "Petersen et al., Neurology 74:201 (2010); Jack et al., J Magn Reson Imaging 27:685 (2008)"
    variants = (PREFERRED, ORIGINAL, PROCESSED)
    pattern = re.compile(r"\d{3}_S_\d{4,5}")
    limit = 90
    subject_table = TABLE
    notes = (
        "label: DX of ADNIMERGE, at the visit bl else DX_bl; SMC counts as CN, EMCI and LMCI as MCI, Dementia as AD",
        "site is the number of the site in the subject's code",
    )
    unverified = (
        "ADNI grows and every collection differs: no count is enforced",
        "descriptions of T1 images are free text; those not recognised are named in the notes",
        "quality ratings (MRIQUALITY, MAYOADIRL_MRI_IMAGEQC) and field strength are not read: of two good scans of a visit "
        "at 1.5 and 3 T the order of image numbers decides, where Clinica goes by both",
    )

    def withdrawn(self, subject: str) -> str | None:
        """Subjects that ADNI withdrew for the quality of their data (its data advisory on 381_S_10###)."""
        return "withdrawn by ADNI's data advisory" if _WITHDRAWN.fullmatch(subject) else None

    def people(self, source: Path) -> dict[str, Person]:
        """The subjects of ADNIMERGE."""
        tables = tables_below(source, "adnimerge", self.pattern)
        tables = [t for t in tables if "dict" not in t.name.lower()]
        if not tables:
            raise self.missing(source, f"there is no {TABLE}")
        if len(tables) > 1:
            raise CohortError(
                "There are several ADNIMERGE tables.",
                where=", ".join(t.name for t in tables[:4]),
                fix="leave the one of your download in the folder",
            )
        dated: dict[str, list[tuple[date, dict[str, str]]]] = {}
        seen: set[tuple[str, str]] = set()
        for line, cells in read_csv(tables[0], tables[0].name, _NEEDED):
            key = cells["PTID"], cells["VISCODE"]
            if key in seen:
                raise CohortError("A visit is listed twice.", where=f"{tables[0].name}, line {line}")
            seen.add(key)
            day = as_date(cells["EXAMDATE"], f"{tables[0].name}, line {line}")
            if day is not None:
                dated.setdefault(cells["PTID"], []).append((day, cells))
        return {subject: _person(subject, visits) for subject, visits in dated.items()}


def _person(subject: str, visits: list[tuple[date, dict[str, str]]]) -> Person:
    visits = sorted(visits, key=lambda one: one[0])
    baseline, first = next((one for one in visits if one[1]["VISCODE"].lower() == "bl"), visits[0])
    return Person(
        baseline,
        [_visit((day - baseline).days, cells) for day, cells in visits],
        number(first.get("AGE")),
        {
            "site": subject[:3],
            "sex": _SEX.get(first.get("PTGENDER", "").lower()),
            "education": number(first.get("PTEDUCAT")),
            "apoe4": number(first.get("APOE4")),
        },
    )


def _visit(day: int, cells: dict[str, str]) -> Visit:
    code = cells["VISCODE"].lower()
    months = code_months(code)
    told = number(cells.get("M")) if months is None else months
    diagnosis = adni_diagnosis(cells["DX"])
    if diagnosis is None and code == "bl":
        diagnosis = adni_diagnosis(cells.get("DX_bl", ""))
    facts: dict[str, Any] = {"mmse": number(cells.get("MMSE")), "phase": cells.get("COLPROT") or None}
    return Visit(code, day, round(day / 30.4375) if told is None else told, diagnosis, facts)


ADNI = Adni()
