"""Quick checks of who is who, and of labels as people write them: T006, T007 and S006."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from medfm.cohorts.checks.codes import count, found, named, passed
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding

_FEW_TEXTS = 10
_BIRTHS = ("birth_date", "date_of_birth", "dob", "birth_year", "year_of_birth")
_DATES = ("study_date", "date", "acquisition_date", "exam_date", "recording_date")
_CAPPED, _BIRTH_YEARS, _LONGEST = 89, 2.0, 40


def check_people(cohort: Cohort) -> Iterator[Finding]:
    """T006 where the table has sex, age or birth, T007 where it has sites: whether one ``patient_id`` is one person.

    Patients are not the same person where records of one id have two sexes, two birth dates, or ages that no one person
    has: the years of birth that follow from age and date are more than two apart (without dates: ages 40 apart, or two
    within a study). Ages from 89 on are often capped and say nothing. Where an id occurs at two sites it is
    one person who went to both, or two whom the sites gave the same number. Ids are never written out: the records are.
    """
    if not cohort.patients_known:
        return
    table = cohort.table
    looked: list[tuple[pd.Series, str, str]] = []
    if "sex" in table.columns:
        first = table["sex"].dropna().astype(str).str.strip().str.lower().str[:1]
        first = first[first.isin(["f", "m"])]
        looked.append(
            (first.groupby(_owners(cohort, first)).nunique() > 1, "with two sexes", "the same sex throughout")
        )
    looked += births_and_ages(cohort)
    if looked:
        yield _one_person(cohort, looked)
    if table["site"].nunique() > 1:
        yield _one_each(cohort, table["site"].dropna().astype(str), "T007", "at more than one site", "at one site each")


def births_and_ages(cohort: Cohort) -> list[tuple[pd.Series, str, str]]:
    """Per thing that the table tells of births and ages: by patient whether it contradicts itself, and words for both."""
    table, looked = cohort.table, []
    for name in _BIRTHS:
        if name in table.columns:
            told = table[name].dropna().astype(str).str.strip()
            told = told[told != ""]
            several = told.groupby(_owners(cohort, told)).nunique() > 1
            looked.append((several, "with two births", "the same birth throughout"))
            break
    if "age" not in table.columns:
        return looked
    ages = pd.to_numeric(table["age"], errors="coerce")
    ages = ages[(ages >= 0) & (ages < _CAPPED)]
    owners = _owners(cohort, ages)
    dated = next((name for name in _DATES if name in table.columns), None)
    if dated is not None:
        born = _years(table.loc[ages.index, dated]) - ages
        odd = _spread(born.dropna(), owners) > _BIRTH_YEARS
    else:
        odd = _spread(ages, owners) > _LONGEST
        if "study_id" in table.columns:
            study = table.loc[ages.index, "study_id"].dropna().astype(str)
            torn = ages[study.index].groupby([owners[study.index], study]).nunique().groupby(level=0).max() > 1
            odd = odd | torn.reindex(odd.index, fill_value=False)
    looked.append((odd, "with ages that are not one person's", "ages that fit"))
    return looked


def _owners(cohort: Cohort, values: pd.Series) -> pd.Series:
    return cohort.table.loc[values.index, "patient_id"].astype(str)


def _spread(values: pd.Series, owners: pd.Series) -> pd.Series:
    grouped = values.groupby(owners[values.index])
    return grouped.max() - grouped.min()


def _years(dates: pd.Series) -> pd.Series:
    """Dates as years with fraction; NaN where a cell is no date."""
    text = dates.astype(str).str.strip().str.removesuffix(".0")
    compact = text.str.fullmatch(r"\d{8}")
    days = pd.to_datetime(text.where(~compact), errors="coerce", format="ISO8601")
    days = days.fillna(pd.to_datetime(text.where(compact), errors="coerce", format="%Y%m%d"))
    return days.dt.year + (days.dt.dayofyear - 1) / 365.25


def _one_person(cohort: Cohort, looked: list[tuple[pd.Series, str, str]]) -> Finding:
    told = {str(patient) for odd, _, _ in looked for patient in odd.index}
    bad = [(odd[odd].index, words) for odd, words, _ in looked if odd.any()]
    if not bad:
        return passed("T006", f"{count(len(told), 'patient')}, {', '.join(good for _, _, good in looked)}")
    first = f"{len(bad[0][0]):,} of {count(len(told), 'patient')} {bad[0][1]}"
    more = "".join(f", {len(wrong):,} {words}" for wrong, words in bad[1:])
    wrong = {str(patient) for odd, _ in bad for patient in odd}
    ids = cohort.table.loc[cohort.table["patient_id"].astype(str).isin(wrong), "record_id"]
    return found("T006", "warning", f"{first}{more}, in {count(len(ids), 'record')}", ids)


def _one_each(cohort: Cohort, values: pd.Series, code: str, bad: str, good: str) -> Finding:
    patients = cohort.table.loc[values.index, "patient_id"].astype(str)
    several = values.groupby(patients).nunique()
    wrong = several[several > 1].index
    if not len(wrong):
        return passed(code, f"{count(len(several), 'patient')}, {good}")
    ids = cohort.table.loc[patients.index[patients.isin(wrong)], "record_id"]
    detail = f"{len(wrong):,} of {count(len(several), 'patient')} {bad}, in {count(len(ids), 'record')}"
    return found(code, "warning", detail, ids)


def check_spelling(labels: pd.Series, records: pd.Series) -> Finding:
    """S006: labels are a few classes, each spelt in one way.

    Free text (more than ten values, and more than one for every two records) and spellings that differ only in capitals,
    blanks or underscores are errors; single letters may be classes of their own (the beats ``a`` and ``A``).

    Args:
        labels: The labels as text, none missing.
        records: The record ids, in the same order.
    """
    values = sorted(set(labels))
    if is_free_text(labels):
        longest = max(len(value) for value in values)
        detail = f"{len(values):,} different values in {count(len(labels), 'record')}, up to {longest} characters long"
        return found("S006", "error", detail, records)
    ways: dict[str, list[str]] = {}
    for value in values:
        ways.setdefault(spelling(value), []).append(value)
    doubled = {key: group for key, group in ways.items() if len(group) > 1}
    if not doubled:
        return passed("S006", count(len(values), "class"))
    listed = named([" / ".join(repr(value) for value in group) for group in doubled.values()])
    odd = labels.isin([value for group in doubled.values() for value in group])
    return found("S006", "error", f"spelt in several ways: {listed}", records[odd.to_numpy()])


def is_free_text(labels: pd.Series) -> bool:
    """Whether nearly every record has a label of its own."""
    different = labels.nunique()
    return bool(different > _FEW_TEXTS and 2 * different > len(labels))


def spelling(value: str) -> str:
    """A label without what makes no other class: capitals, blanks and underscores; a single letter as it is."""
    bare = re.sub(r"[\s_]+", " ", value).strip()
    return bare if len(bare) < 2 else bare.casefold()
