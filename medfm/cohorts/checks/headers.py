"""P003: whether DICOM headers and the table agree on who is who. Values of a header are compared and never told.

Two people under one ``patient_id`` count as one in every interval; one person under two can be in training and in test.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medfm.cohorts.checks.codes import count, found, passed
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding
from medfm.io.dicom_radiograph import has_mark, is_dicom_data
from medfm.io.radiograph_header import word

_TAGS: list[Any] = [
    "SOPClassUID",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "StudyDate",
    "PatientIdentityRemoved",
]
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
# Ages are whole years, by the last birthday or by the calendar.
_APART = 2.0
# From here on ages are often capped, so they say nothing.
_CAPPED = 89.0
_NOBODY = ("19000101", "00010101")


@dataclass(frozen=True)
class Person:
    """Who a header says its file is from.

    Attributes:
        patient: Digest of the patient id; empty where there is none, or where the file says that identities were removed.
        birth: Birth date ``YYYYMMDD``, or empty.
        sex: ``F``, ``M`` or empty.
        age: In years, stated or from birth and study date; ``None`` where the header does not say.
    """

    patient: str
    birth: str
    sex: str
    age: float | None


def person_of(path: Path) -> Person | None:
    """Who the header of a file names; ``None`` for what is no DICOM file or cannot be parsed."""
    import pydicom

    try:
        with path.open("rb") as handle:
            head = handle.read(256)
        if not is_dicom_data(head):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=_TAGS)
            if not has_mark(head) and not header.get("SOPClassUID"):
                return None  # numbers may begin as DICOM without a mark does
            removed = word(header, "PatientIdentityRemoved") == "YES"
            name = "" if removed else word(header, "PatientID")
            birth = _day(word(header, "PatientBirthDate"))
            sex = word(header, "PatientSex")
            return Person(
                hashlib.sha256(name.encode()).hexdigest() if name else "",
                birth,
                sex if sex in ("F", "M") else "",
                _age(word(header, "PatientAge"), birth, _day(word(header, "StudyDate")), removed),
            )
    except Exception:  # damaged files raise nearly anything; F002 says so
        return None


def check_headers(cohort: Cohort) -> Iterator[Finding]:
    """P003 on the DICOM files of `cohort`; synthetic ones are nobody's."""
    if cohort.synthetic:
        yield passed("P003", "synthetic: nobody is in it")
        return
    paths = {str(ref.path): ref.path for ref in cohort.refs()}
    known = {name: person for name, path in paths.items() if path.is_file() and (person := person_of(path)) is not None}
    people = {ref.record_id: known[str(ref.path)] for ref in cohort.refs() if str(ref.path) in known}
    if not people:
        yield passed("P003", "no DICOM header")
        return
    rows = cohort.table[cohort.table["record_id"].isin(people)]
    reasons = {
        "in which a patient_id of the table is several people in the headers": _several(cohort, rows, people),
        "of one person in the headers with several patient_ids in the table": _torn(rows, people),
        "with another sex in the table than in the header": _other_sex(rows, people),
        "with another age in the table than in the header": _other_age(rows, people),
    }
    bad = {words: names for words, names in reasons.items() if names}
    if not bad:
        yield passed("P003", count(len(known), "DICOM header"))
        return
    detail = "; ".join(f"{count(len(names), 'record')} {words}" for words, names in bad.items())
    torn = rows[rows["record_id"].isin(reasons["of one person in the headers with several patient_ids in the table"])]
    across = _across(torn, people)
    if across:
        detail += f"; {count(across, 'person')} in two splits" if across == 1 else f"; {across:,} people in two splits"
    records = dict.fromkeys(name for names in bad.values() for name in names)
    yield found("P003", "error" if across else "warning", detail, records)


def _several(cohort: Cohort, rows: pd.DataFrame, people: Mapping[str, Person]) -> list[str]:
    if not cohort.patients_known:
        return []
    names = []
    for _, own in rows.groupby("patient_id")["record_id"]:
        mine = [people[name] for name in own]
        births, sexes = ({one for one in ones if one} for ones in zip(*((p.birth, p.sex) for p in mine), strict=True))
        ids = {p.patient for p in mine if p.patient}
        # One person may have two ids of two hospitals: an equal birth date speaks for that.
        if len(births) > 1 or len(sexes) > 1 or (len(ids) > 1 and not births):
            names += [str(name) for name in own]
    return names


def _groups(rows: pd.DataFrame, people: Mapping[str, Person]) -> list[pd.DataFrame]:
    """Rows by person of the headers; dummies that stand in many files name nobody, so a birth date is asked for."""
    who = rows["record_id"].map(lambda name: (people[name].patient, people[name].birth))
    named = who.map(lambda pair: bool(pair[0]) and bool(pair[1]))
    return [group for _, group in rows[named].groupby(who[named])]


def _torn(rows: pd.DataFrame, people: Mapping[str, Person]) -> list[str]:
    torn = [group for group in _groups(rows, people) if group["patient_id"].nunique() > 1]
    return [str(name) for group in torn for name in group["record_id"]]


def _across(torn: pd.DataFrame, people: Mapping[str, Person]) -> int:
    return sum(group["split"].dropna().nunique() > 1 for group in _groups(torn, people)) if len(torn) else 0


def _other_sex(rows: pd.DataFrame, people: Mapping[str, Person]) -> list[str]:
    if "sex" not in rows.columns:
        return []
    told = rows["sex"].astype(str).str.strip().str.upper().str[:1]
    pairs = zip(rows["record_id"], told, strict=True)
    return [str(n) for n, sex in pairs if sex in ("F", "M") and people[n].sex and people[n].sex != sex]


def _other_age(rows: pd.DataFrame, people: Mapping[str, Person]) -> list[str]:
    if "age" not in rows.columns:
        return []
    names = []
    for name, age in zip(rows["record_id"], pd.to_numeric(rows["age"], errors="coerce"), strict=True):
        own = people[name].age
        if own is not None and pd.notna(age) and min(own, age) < _CAPPED and abs(own - age) >= _APART:
            names.append(str(name))
    return names


def _day(text: str) -> str:
    match = re.fullmatch(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})", text)
    day = "".join(match.groups()) if match else ""
    return "" if day in _NOBODY else day


def _age(stated: str, birth: str, study: str, removed: bool) -> float | None:
    match = re.fullmatch(r"(\d{3})([DWMY])", stated)
    if match is not None:
        # A dummy of no days stands where an age was removed.
        return None if removed and int(match[1]) == 0 else int(match[1]) * _YEARS[match[2]]
    try:
        born, seen = (datetime.datetime.strptime(day, "%Y%m%d").date() for day in (birth, study))
    except ValueError:
        return None
    years = (seen - born).days / 365.25
    return years if years >= 0 else None
