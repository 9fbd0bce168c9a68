"""OASIS-1: one session of 416 people aged 18 to 96, 20 of them scanned again within 90 days.

Checked: counts and words against Marcus et al. (2007); columns and the number of ratings against a public copy of
``oasis_cross-sectional.csv``; file names against public code that reads the discs (``T88_111/..._t88_masked_gfc``,
``SUBJ_111/..._sbj_111``, ``RAW/..._mpr-1_anon``) and Clinica's ``oasis_to_bids`` at e633afc89.
"""

from __future__ import annotations

import re
from pathlib import Path

from medfm.cohorts.adapters.base import Row, relative
from medfm.cohorts.adapters.brain_cohort import BrainAdapter, Gathered, Left
from medfm.cohorts.adapters.brain_visits import months_of, number
from medfm.cohorts.adapters.diagnoses import cdr_diagnosis
from medfm.cohorts.adapters.image_archive import subject_folders, tables_below
from medfm.cohorts.adapters.retina import read_any
from medfm.core.errors import CohortError

TABLE = "oasis_cross-sectional"
SESSION = re.compile(r"OAS1_(\d{4})_MR(\d)")
# Which image, and where it lies in the folder of a session.
IMAGES = {
    "masked": "PROCESSED/MPRAGE/T88_111/*_t88_masked_gfc.hdr",
    "head": "PROCESSED/MPRAGE/T88_111/*_t88_gfc.hdr",
    "subject": "PROCESSED/MPRAGE/SUBJ_111/*_sbj_111.hdr",
    "raw": "RAW/*_mpr-1_anon.hdr",
}
_NEEDED = ("ID", "M/F", "Age", "CDR")


class Oasis1(BrainAdapter):
    """After ``@``: ``masked`` (mean of the session in atlas space, brain alone), ``head`` (with skull), ``subject`` (mean
    in the subject's own space), ``raw`` (the first acquisition)."""

    id = "oasis1"
    title = "OASIS-1"
    aliases = ("OASIS cross-sectional", "OASIS: Cross-Sectional")
    layout = f"disc1/OAS1_0001_MR1/PROCESSED/MPRAGE/T88_111/*_t88_masked_gfc.hdr and .img, and {TABLE}.csv (or .xlsx)"
    where = "sites.wustl.edu/oasisbrains"
    licence = "OASIS Data Use Terms"
    citation = "Marcus et al., J Cogn Neurosci 19:1498 (2007)"
    tasks = ("all", "ad-cn")
    variants = tuple(IMAGES)
    expected = {"total": 436, "patients": 416, "AD": 100, "CN": 135}
    more_columns = ("ses",)
    notes = (
        "label: CDR 0 is CN, 0.5 and above AD (very mild to moderate, in the set's words); without a rating, as in most "
        "people under 60 and in the second sessions, there is none",
        "MR2 is the same person again within 90 days, for reliability; months count from MR1",
    )
    unverified = (
        "the headers are Analyze 7.5, which do not tell left from right; Clinica replaces those of subject",
        "age in whole years",
    )

    def gather(self, source: Path) -> Gathered:
        """As of :meth:`BrainAdapter.gather`."""
        folders = subject_folders(source, SESSION)
        if not folders:
            raise self.missing(source, "there is no folder OAS1_0001_MR1 or alike")
        tables = tables_below(source, TABLE, SESSION, endings=(".csv", ".xlsx"))
        if not tables:
            raise self.missing(source, f"there is no {TABLE}.csv or .xlsx")
        told = {cells["ID"]: cells for _, cells in read_any(tables[0], tables[0].name, _NEEDED)}
        rows: list[Row] = []
        left: list[Left] = []
        seen: set[str] = set()
        for folder in folders:
            found = SESSION.fullmatch(folder.name)
            assert found is not None
            if folder.name in seen:
                raise CohortError("A session is there twice.", where=folder.name, fix="keep one of the folders")
            seen.add(folder.name)
            files = sorted(folder.glob(IMAGES[self.labelling]))
            subject = f"OAS1_{found[1]}"
            if folder.name not in told:
                left.append(Left(subject, f"MR{found[2]}", f"the session is not in {tables[0].name}"))
            elif not files or not files[0].with_suffix(".img").is_file():
                left.append(Left(subject, f"MR{found[2]}", f"no {self.labelling} image (.hdr with .img)"))
            else:
                rows.append(_row(relative(files[0], source), subject, int(found[2]), told[folder.name]))
        absent = len(set(told) - seen)
        notes = (f"sessions of the table without a folder: {absent:,}",) if absent else ()
        return Gathered(rows, left, {}, notes)


def _row(path: str, subject: str, session: int, cells: dict[str, str]) -> Row:
    day = number(cells.get("Delay")) or 0.0 if session > 1 else 0.0
    cdr = number(cells["CDR"])
    return {
        "record_id": f"{subject}_MR{session}",
        "path": path,
        "patient_id": subject,
        "session": f"MR{session}",
        "months": months_of(day),
        "age": number(cells["Age"]),
        "sex": cells["M/F"] if cells["M/F"] in ("M", "F") else None,
        "mmse": number(cells.get("MMSE")),
        "cdr": cdr,
        "education": number(cells.get("Educ")),
        "ses": number(cells.get("SES")),
        "label": cdr_diagnosis(cdr),
        "_day": max(day, float(session > 1)),
        "_visit_day": day,
    }


OASIS1 = Oasis1()
