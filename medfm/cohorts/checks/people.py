"""Quick checks of who is who, and of labels as people write them: T006, T007 and S006."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from medfm.cohorts.checks.codes import count, found, named, passed
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding

_FEW_TEXTS = 10


def check_people(cohort: Cohort) -> Iterator[Finding]:
    """T006 where the table has the sex, T007 where it has sites: whether one ``patient_id`` is one person.

    Patients are not the same person where records of one id have two sexes; where an id occurs at two sites it is
    one person who went to both, or two whom the sites gave the same number. Ids are never written out: the records are.
    """
    if not cohort.patients_known:
        return
    table = cohort.table
    if "sex" in table.columns:
        first = table["sex"].dropna().astype(str).str.strip().str.lower().str[:1]
        yield _one_each(cohort, first[first.isin(["f", "m"])], "T006", "with two sexes", "the same sex throughout")
    if table["site"].nunique() > 1:
        yield _one_each(cohort, table["site"].dropna().astype(str), "T007", "at more than one site", "at one site each")


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
