"""OASIS-3: sessions named by days from entry, met with the clinical visits of the Knight ADRC.

Checked against public code, Clinica's ``oasis3_to_bids`` at e633afc89 among it: session folders
(``OAS30001_MR_d0129/anat2/NIFTI/sub-OAS30001_sess-d0129_T1w.nii.gz``, BIDS downloads with ``ses-``), the columns of
``OASIS3_UDSb4_cdr``, ``OASIS3_UDSd1_diagnoses``, ``OASIS3_demographics`` and of the older table of ADRC clinical data with
its words of `dx1`. Unverified, for want of the data: see `unverified`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medfm.cohorts.adapters.base import Row, relative
from medfm.cohorts.adapters.brain_cohort import BrainAdapter, Gathered, Left
from medfm.cohorts.adapters.brain_visits import Visit, age_at, months_of, nearest, number
from medfm.cohorts.adapters.diagnoses import dx1_diagnosis, uds_diagnosis
from medfm.cohorts.adapters.ecg import read_csv
from medfm.core.errors import CohortError

LIMIT = 180
_SCAN = re.compile(r"sub-(OAS3\d{4})_sess?-d(\d{4,5})((?:_[A-Za-z]+-[A-Za-z0-9]+)*)_T1w\.nii(?:\.gz)?")
_FOLDER = re.compile(r"(?:sub-)?(OAS3\d{4})(?:_MR_d(\d{4,5}))?")
_DAY = re.compile(r"_d(-?\d+)$")
_SEX = {"1": "M", "2": "F", "m": "M", "f": "F"}
_CDR, _DIAGNOSES, _OLD = "OASIS3_UDSb4_cdr", "OASIS3_UDSd1_diagnoses", "the older ADRC clinical data"
_OLD_ID = "adrc_adrcclinicaldata id"


@dataclass(frozen=True)
class _Scan:
    subject: str
    day: int
    entities: str
    path: Path

    def order(self) -> tuple[bool, str, str]:
        """The plain volume first, then by run."""
        return "acq-" in self.entities, self.entities, self.path.as_posix()


class Oasis3(BrainAdapter):
    """One T1 per session; the visit is the nearest within 180 days."""

    id = "oasis3"
    title = "OASIS-3"
    aliases = ("OASIS longitudinal multimodal",)
    layout = (
        "OAS30001_MR_d0129/anat2/.../sub-OAS30001_sess-d0129_T1w.nii.gz (or BIDS folders), and "
        f"{_CDR}.csv, {_DIAGNOSES}.csv, OASIS3_demographics.csv in any folder, or the older table of ADRC clinical data"
    )
    where = "sites.wustl.edu/oasisbrains (NITRC-IR, project OASIS3), on application"
    licence = "OASIS-3 Data Use Agreement"
    citation = "LaMontagne et al., medRxiv 2019.12.13.19014902 (2019)"
    tasks = ("all", "ad-cn", "ad-mci-cn", "mci-cn", "ad-mci")
    follow_up = True
    more_columns = ("days_apart",)
    notes = (
        f"a scan belongs to the nearest clinical visit within {LIMIT} days, and has the diagnosis of the nearest one within "
        "them that has any; days_apart is the distance to that visit, positive where the visit came later",
        "label: form D1 of the visit (NORMCOG; MCIAMEM, MCIAPLUS, MCINON1, MCINON2; DEMENTED with PROBAD, POSSAD or ALZDIS)",
        "a visit that is not in D1 goes by dx1, where it says 'Cognitively normal' or 'AD dem...' (never MCI)",
        "all times count from the entry into the study, as published",
    )
    unverified = (
        "releases differ in sessions and tables: no count is enforced",
        "quality ratings are not read: of several T1 of a session the first run without acq- is taken",
    )

    def gather(self, source: Path) -> Gathered:
        """As of :meth:`BrainAdapter.gather`."""
        scans, tables = _walk(source)
        if not scans:
            raise self.missing(source, "there is no sub-OAS3...T1w.nii.gz")
        known = self._tables(source, tables)
        visits = _visits(known)
        ages, sexes = _people(known)
        rows: list[Row] = []
        left: list[Left] = []
        sessions: dict[tuple[str, int], list[_Scan]] = {}
        for scan in scans:
            sessions.setdefault((scan.subject, scan.day), []).append(scan)
        for (subject, day), own in sorted(sessions.items()):
            first, *others = sorted(own, key=_Scan.order)
            near = nearest(visits.get(subject, ()), day, LIMIT)
            session = f"d{day:04d}"
            if near is None:
                why = (
                    f"no visit within {LIMIT} days"
                    if subject in visits
                    else "the subject is not in the clinical tables"
                )
                left += [Left(subject, f"{session}{scan.entities}", why) for scan in own]
                continue
            left += [
                Left(subject, f"{session}{scan.entities}", "another T1 of the session was taken") for scan in others
            ]
            labelled = nearest(visits[subject], day, LIMIT, diagnosed=True)
            from_visit = labelled or near
            told = ages.get(subject)
            age = age_at(told, day) if told is not None else age_at(near.facts["age"], day - near.day)
            rows.append(
                {
                    "record_id": f"{subject}_{session}",
                    "path": relative(first.path, source),
                    "patient_id": subject,
                    "session": session,
                    "months": months_of(day),
                    "age": age,
                    "sex": sexes.get(subject),
                    "mmse": near.facts["mmse"],
                    "cdr": near.facts["cdr"],
                    "label": labelled.diagnosis if labelled else None,
                    "days_apart": int(from_visit.day - day),
                    "_day": day,
                    "_visit_day": from_visit.day,
                }
            )
        notes = (
            ()
            if _DIAGNOSES in known
            else (f"there is no {_DIAGNOSES}.csv: MCI cannot be told, no follow-up is written",)
        )
        return Gathered(rows, left, visits, notes)

    def _tables(self, source: Path, files: Sequence[Path]) -> dict[str, list[dict[str, str]]]:
        """The tables by what they are, columns in lower case; ``people`` for ages and sexes.

        Raises:
            CohortError: There is no clinical table, or one of them twice.
        """
        found: dict[str, list[dict[str, str]]] = {}
        for file in files:
            kind = _kind(file)
            if kind is None:
                continue
            if kind in found:
                raise CohortError(
                    f"There are two tables for {kind}.", where=file.name, fix="leave one of them in the folder"
                )
            found[kind] = [{k.lower(): v for k, v in cells.items()} for _, cells in read_csv(file, file.name, ())]
        if not {_CDR, _DIAGNOSES, _OLD} & set(found):
            raise self.missing(source, f"there is no {_CDR}.csv, {_DIAGNOSES}.csv or table of ADRC clinical data")
        return found


def _walk(source: Path) -> tuple[list[_Scan], list[Path]]:
    """The T1 volumes and the CSV files at any depth; links to folders are not followed."""
    scans, tables = [], []
    for folder, below, names in os.walk(source):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            found = _SCAN.fullmatch(name)
            file = Path(folder, name)
            if found:
                _agree(file.relative_to(source), found[1], found[2])
                if "hippocampus" not in found[3].lower():
                    scans.append(_Scan(found[1], int(found[2]), found[3], file))
            elif name.lower().endswith(".csv"):
                tables.append(file)
    return scans, tables


def _agree(path: Path, subject: str, day: str) -> None:
    for part in path.parts[:-1]:
        named = _FOLDER.fullmatch(part)
        if named and (named[1] != subject or (named[2] and int(named[2]) != int(day))):
            raise CohortError(
                "A scan lies in the folder of another subject or session.",
                where=path.as_posix(),
                expected="the codes of the file name and of its folders are equal",
                fix="find out whose scan it is before anything else",
            )


def _kind(file: Path) -> str | None:
    """Which table a CSV file is, by its columns."""
    try:
        with file.open(encoding="utf-8-sig") as handle:
            columns = {name.strip().strip('"').lower() for name in handle.readline().split(",")}
    except (OSError, UnicodeDecodeError):
        return None
    if _OLD_ID in columns:
        return _OLD
    if {"oasisid", "days_to_visit"} <= columns:
        return _DIAGNOSES if "normcog" in columns else _CDR if "cdrtot" in columns else None
    return "people" if columns & {"oasisid", "subject"} and columns & {"ageatentry", "gender", "m/f"} and not columns & {
        "mr id", "label"
    } else None  # fmt: skip


def _key(cells: Mapping[str, str]) -> tuple[str, int] | None:
    """(subject, day) of a row; ``None`` where it has none."""
    named = cells.get(_OLD_ID)
    if named is not None:
        day = _DAY.search(named)
        return (named.split("_")[0], int(day[1])) if day else None
    told = cells["days_to_visit"].strip()
    return (cells["oasisid"].strip(), int(float(told))) if re.fullmatch(r"-?\d+(\.0*)?", told) else None


def _keyed(rows: Sequence[Mapping[str, str]]) -> Iterator[tuple[tuple[str, int], Mapping[str, str]]]:
    for cells in rows:
        key = _key(cells)
        if key is not None:
            yield key, cells


def _visits(tables: Mapping[str, Sequence[Mapping[str, str]]]) -> dict[str, list[Visit]]:
    """All visits of the clinical tables."""
    scores: dict[tuple[str, int], Mapping[str, str]] = {}
    for name in (_CDR, _OLD):
        for key, cells in _keyed(tables.get(name, ())):
            scores.setdefault(key, cells)
    forms = {key: uds_diagnosis(cells) for key, cells in _keyed(tables.get(_DIAGNOSES, ()))}
    visits: dict[str, list[Visit]] = {}
    for subject, day in sorted({*scores, *forms}):
        cells = scores.get((subject, day), {})
        facts = {
            "mmse": number(cells.get("mmse")),
            "cdr": number(cells.get("cdrtot", cells.get("cdr"))),
            "age": number(cells.get("age at visit")),
        }
        key = (subject, day)
        diagnosis = forms[key] if key in forms else dx1_diagnosis(cells.get("dx1", ""))
        visits.setdefault(subject, []).append(Visit(f"d{day:04d}", day, months_of(day), diagnosis, facts))
    return visits


def _people(tables: Mapping[str, Sequence[Mapping[str, str]]]) -> tuple[dict[str, float], dict[str, str]]:
    """Age at entry and sex by subject."""
    ages: dict[str, float] = {}
    sexes: dict[str, str] = {}
    for cells in (*tables.get("people", ()), *tables.get(_OLD, ())):
        subject = cells.get("oasisid") or cells.get("subject") or ""
        age = number(cells.get("ageatentry"))
        sex = _SEX.get((cells.get("gender") or cells.get("m/f") or "").strip().lower().removesuffix(".0"))
        if age is not None:
            ages.setdefault(subject, age)
        if sex is not None:
            sexes.setdefault(subject, sex)
    return ages, sexes


OASIS3 = Oasis3()
