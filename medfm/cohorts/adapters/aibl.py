"""AIBL: LONI's image archive with the tables aibl_*.csv; one T1 per visit, diagnoses, conversion from MCI to AD.

Checked against Clinica's ``aibl_to_bids`` at e633afc89: the tables, -4 for missing, American dates, the year of birth
written ``/1932``, DXCURREN 1, 2, 3, descriptions of T1 images; the columns against public code that reads the release of
1 June 2018. Unverified, for want of the data: see `unverified`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from medfm.cohorts.adapters.archive_cohort import ORIGINAL, PREFERRED, ArchiveAdapter, Person
from medfm.cohorts.adapters.brain_visits import DAYS_PER_MONTH, Visit, as_date, code_months, number
from medfm.cohorts.adapters.diagnoses import aibl_diagnosis
from medfm.cohorts.adapters.ecg import read_csv
from medfm.cohorts.adapters.image_archive import tables_below
from medfm.core.errors import CohortError

# Tables with a date of examination, the scan's own first.
_DATED = ("aibl_mri3meta", "aibl_mrimeta", "aibl_mmse", "aibl_cdr", "aibl_neurobat")
_YEAR = re.compile(r"/?(\d{4})")
_SEX = {"1": "M", "2": "F"}


class Aibl(ArchiveAdapter):
    """Visits every 18 months: bl, m18, m36, m54, m72 and on. A visit without a date stands at its nominal month."""

    id = "aibl"
    title = "AIBL"
    aliases = ("Australian Imaging, Biomarker and Lifestyle study",)
    layout = (
        "AIBL/100/MPRAGE_ADNI_confirmed/2007-03-01_10_00_00.0/I12345/*.dcm, and aibl_pdxconv_*.csv, aibl_ptdemog_*.csv, "
        "aibl_mrimeta_*.csv, aibl_mri3meta_*.csv, aibl_mmse_*.csv, aibl_cdr_*.csv in any folder beside"
    )
    where = "ida.loni.usc.edu, project AIBL, on application"
    licence = "AIBL Data Use Agreement; not to be passed on"
    citation = "Ellis et al., Int Psychogeriatr 21:672 (2009)"
    variants = (PREFERRED, ORIGINAL)
    pattern = re.compile(r"\d{1,7}")
    limit = 180
    subject_table = "the tables with a date"
    notes = (
        "label: DXCURREN 1, 2, 3 as CN, MCI, AD; other numbers have no label",
        "only the year of birth is published: age counts from the year of the baseline less that year, up to a year too high",
    )
    unverified = (
        "AIBL grows and every collection differs: no count is enforced",
        "months of visits without any date are nominal, in the follow-up too",
    )

    def people(self, source: Path) -> dict[str, Person]:
        """The subjects of the tables that have at least one date."""
        diagnoses: dict[tuple[str, str], str | None] = {}
        for key, cells in self._table(source, "aibl_pdxconv", "DXCURREN"):
            diagnoses[key] = diagnoses.get(key) or aibl_diagnosis(cells["DXCURREN"])
        about = _first(self._table(source, "aibl_ptdemog", "PTGENDER", "PTDOB"))
        scores = {
            "mmse": {key: number(c["MMSCORE"]) for key, c in self._table(source, "aibl_mmse", "MMSCORE", needed=False)},
            "cdr": {key: number(c["CDGLOBAL"]) for key, c in self._table(source, "aibl_cdr", "CDGLOBAL", needed=False)},
        }
        days: dict[tuple[str, str], date] = {}
        for name in _DATED:
            for key, cells in self._table(source, name, "EXAMDATE", needed=False):
                day = as_date(cells["EXAMDATE"], name)
                if day is not None:
                    days.setdefault(key, day)
        if not days:
            raise self.missing(
                source, "no table has dates of examinations (aibl_mrimeta, aibl_mri3meta, aibl_mmse ...)"
            )
        codes: dict[str, list[str]] = {}
        for subject, code in sorted({*diagnoses, *days}):
            codes.setdefault(subject, []).append(code)
        people = {}
        for subject, own in codes.items():
            baseline = _baseline({code: days[subject, code] for code in own if (subject, code) in days})
            if baseline is None:
                continue
            visits = []
            for code in own:
                months = code_months(code)
                if months is None:
                    continue
                known = days.get((subject, code))
                since = (known - baseline).days if known else round(months * DAYS_PER_MONTH)
                facts: dict[str, Any] = {name: table.get((subject, code)) for name, table in scores.items()}
                visits.append(Visit(code, since, months, diagnoses.get((subject, code)), facts))
            born = _YEAR.match(about.get(subject, {}).get("PTDOB", ""))
            people[subject] = Person(
                baseline,
                visits,
                float(baseline.year - int(born[1])) if born else None,
                {"sex": _SEX.get(about.get(subject, {}).get("PTGENDER", "").removesuffix(".0"))},
            )
        return people

    def _table(
        self, source: Path, start: str, *columns: str, needed: bool = True
    ) -> Iterator[tuple[tuple[str, str], dict[str, str]]]:
        """((RID, VISCODE in lower case), row) of the table whose name begins with `start`."""
        files = tables_below(source, f"{start}_", self.pattern) or tables_below(source, f"{start}.", self.pattern)
        if not files:
            if needed:
                raise self.missing(source, f"there is no {start}_*.csv")
            return
        if len(files) > 1:
            names = ", ".join(file.name for file in files[:3])
            raise CohortError(f"There are several tables {start}.", where=names, fix="leave one of them in the folder")
        for _, cells in read_csv(files[0], files[0].name, ("RID", "VISCODE", *columns)):
            yield (cells["RID"].removesuffix(".0"), cells["VISCODE"].lower()), cells


def _first(rows: Iterator[tuple[tuple[str, str], dict[str, str]]]) -> dict[str, dict[str, str]]:
    """The first row of every subject."""
    found: dict[str, dict[str, str]] = {}
    for (subject, _), cells in rows:
        found.setdefault(subject, cells)
    return found


def _baseline(days: dict[str, date]) -> date | None:
    """The day of ``bl``; without one, the first dated visit less its nominal months."""
    if not days:
        return None
    if "bl" in days:
        return days["bl"]
    told = [(code_months(code), day) for code, day in days.items()]
    months, day = min(((m, d) for m, d in told if m is not None), default=(None, None))
    return None if months is None or day is None else day - timedelta(days=round(months * DAYS_PER_MONTH))


AIBL = Aibl()
