"""OASIS-2: 150 people aged 60 to 96, 373 sessions, two to five visits each.

Checked: counts and words against Marcus et al. (2010); columns, groups and the classes that follow against a public copy of
``oasis_longitudinal.csv``; file names (``RAW/mpr-1.nifti.hdr`` with ``.img``) against public code that reads the set.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from medfm.cohorts.adapters.base import Row, relative
from medfm.cohorts.adapters.brain_cohort import BrainAdapter, Gathered, Left
from medfm.cohorts.adapters.brain_visits import months_of, number
from medfm.cohorts.adapters.diagnoses import AD, CN, cdr_diagnosis
from medfm.cohorts.adapters.image_archive import subject_folders, tables_below
from medfm.cohorts.adapters.retina import read_any
from medfm.core.errors import CohortError

TABLE = "oasis_longitudinal"
SESSION = re.compile(r"OAS2_(\d{4})_MR(\d{1,2})")
GROUPS = {"Nondemented": CN, "Demented": AD}
_IMAGE = "RAW/mpr-1.nifti.hdr"
_NEEDED = ("Subject ID", "MRI ID", "Group", "MR Delay", "M/F", "Age", "CDR")


class Oasis2(BrainAdapter):
    """The first of the three or four acquisitions of a session is taken, uncorrected."""

    id = "oasis2"
    title = "OASIS-2"
    aliases = ("OASIS longitudinal", "OASIS: Longitudinal")
    layout = f"OAS2_RAW_PART1/OAS2_0001_MR1/{_IMAGE} and .img, and {TABLE}.csv or {TABLE}_demographics.xlsx"
    where = "sites.wustl.edu/oasisbrains"
    licence = "OASIS Data Use Terms"
    citation = "Marcus et al., J Cogn Neurosci 22:2677 (2010)"
    tasks = ("all", "ad-cn")
    expected = {"total": 373, "patients": 150, "AD": 165, "CN": 206}
    more_columns = ("group", "ses")
    notes = (
        "label: the group Demented is AD (very mild to mild, in the set's words), Nondemented CN; Converted goes by the CDR "
        "of the visit, 0 CN, above AD; a visit whose CDR contradicts its group has no label",
        "months are those of MR Delay, days from the first visit",
    )
    unverified = ("the headers are Analyze 7.5, which do not tell left from right", "age in whole years")

    def gather(self, source: Path) -> Gathered:
        """As of :meth:`BrainAdapter.gather`."""
        folders = subject_folders(source, SESSION)
        if not folders:
            raise self.missing(source, "there is no folder OAS2_0001_MR1 or alike")
        tables = tables_below(source, TABLE, SESSION, endings=(".csv", ".xlsx"))
        if not tables:
            raise self.missing(source, f"there is no {TABLE}.csv or .xlsx")
        told = {cells["MRI ID"]: cells for _, cells in read_any(tables[0], tables[0].name, _NEEDED)}
        rows: list[Row] = []
        left: list[Left] = []
        seen: set[str] = set()
        for folder in folders:
            if folder.name in seen:
                raise CohortError("A session is there twice.", where=folder.name, fix="keep one of the folders")
            seen.add(folder.name)
            subject, session = folder.name[:9], folder.name[10:]
            file = folder / _IMAGE
            if folder.name not in told:
                left.append(Left(subject, session, f"the session is not in {tables[0].name}"))
            elif not file.is_file() or not file.with_suffix(".img").is_file():
                left.append(Left(subject, session, f"no {_IMAGE} with .img"))
            else:
                rows.append(_row(relative(file, source), subject, session, told[folder.name]))
        return Gathered(rows, left, {}, tuple(_notes(rows, set(told) - seen)))


def _row(path: str, subject: str, session: str, cells: dict[str, str]) -> Row:
    where = f"{subject}_{session}"
    day, cdr, group = number(cells["MR Delay"]), number(cells["CDR"]), cells["Group"]
    if cells["Subject ID"] != subject or day is None or group not in (*GROUPS, "Converted"):
        raise CohortError(
            "A row of the table is not as published.",
            where=where,
            expected=f"Subject ID {subject}, MR Delay in days, Group {', '.join(GROUPS)} or Converted",
        )
    by_rating = cdr_diagnosis(cdr)
    label = GROUPS.get(group, by_rating)
    return {
        "record_id": where,
        "path": path,
        "patient_id": subject,
        "session": session,
        "months": months_of(day),
        "age": number(cells["Age"]),
        "sex": cells["M/F"] if cells["M/F"] in ("M", "F") else None,
        "mmse": number(cells.get("MMSE")),
        "cdr": cdr,
        "education": number(cells.get("EDUC")),
        "ses": number(cells.get("SES")),
        "group": group,
        "label": None if by_rating not in (None, label) else label,
        "_day": day,
        "_visit_day": day,
    }


def _notes(rows: list[Row], absent: set[str]) -> list[str]:
    against = Counter(row["group"] for row in rows if row["label"] is None)
    notes = [f"visits whose CDR contradicts the group {group}: {n:,}" for group, n in sorted(against.items())]
    return [*notes, f"sessions of the table without a folder: {len(absent):,}"] if absent else notes


OASIS2 = Oasis2()
