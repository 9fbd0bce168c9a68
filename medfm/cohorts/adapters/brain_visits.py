"""Visits and scans of a subject on one axis, days from the subject's baseline; dates end here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from medfm.core.errors import CohortError

DAYS_PER_MONTH = 365.25 / 12
_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[ T].*)?")
_AMERICAN = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")
_CODE = re.compile(r"m(\d{1,3})")
_NOTHING = ("", "-4", "-1", ".", "na", "n/a", "nan", "null")


@dataclass(frozen=True)
class Visit:
    """One clinical visit.

    Attributes:
        code: The set's own code: ``bl``, ``m12``, ``d0129``.
        day: Days from the subject's baseline.
        months: Nominal months of the code, else months from baseline.
        diagnosis: ``CN``, ``MCI``, ``AD`` or none of them.
        facts: Columns of the table known at the visit (age, sex, mmse ...).
    """

    code: str
    day: float
    months: float
    diagnosis: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def as_date(text: str, where: str) -> date | None:
    """A date as ``2006-11-02`` or, American, ``11/2/2006``; ``None`` where the cell says nothing.

    Raises:
        CohortError: It is written otherwise, so that day and month could be exchanged.
    """
    bare = text.strip()
    if bare.lower() in _NOTHING:
        return None
    iso, american = _ISO.fullmatch(bare), _AMERICAN.fullmatch(bare)
    parts = iso.groups() if iso else (american[3], american[1], american[2]) if american else ()
    try:
        return date(*map(int, parts))
    except (ValueError, TypeError):
        # The cell is not repeated: the date of a visit belongs to a person.
        raise CohortError(
            "A date is not written as YYYY-MM-DD or M/D/YYYY.",
            where=where,
            fix="take the table as downloaded: a spreadsheet program may have rewritten its dates",
        ) from None


def number(text: str | None) -> float | None:
    """The number in a cell; ``None`` where it says nothing (-4 and -1 among that) or is none."""
    if text is None or text.strip().lower() in _NOTHING:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def code_months(code: str) -> int | None:
    """Nominal months of a visit code: 0 of ``bl`` and ``sc``, 18 of ``m18``."""
    bare = code.strip().lower()
    found = _CODE.fullmatch(bare)
    return 0 if bare in ("bl", "sc", "scmri") else int(found[1]) if found else None


def months_of(days: float) -> float:
    """Days as months (365.25 / 12 days), to one decimal."""
    return round(days / DAYS_PER_MONTH, 1) + 0.0  # no -0.0


def age_at(age: float | None, days: float) -> float | None:
    """The age `days` after the day at which it was `age` years, to one decimal."""
    return None if age is None else round(age + days / 365.25, 1)


def nearest(visits: Iterable[Visit], day: float, limit: float, diagnosed: bool = False) -> Visit | None:
    """The visit nearest to `day` and at most `limit` days off; of two alike the earlier.

    Args:
        visits: Those of the subject.
        day: Days from the subject's baseline.
        limit: Largest distance in days, inclusive.
        diagnosed: Among visits with a diagnosis alone.
    """
    near = [v for v in visits if abs(v.day - day) <= limit and (v.diagnosis or not diagnosed)]
    return min(near, key=lambda v: (abs(v.day - day), v.day), default=None)


def number_visits(rows: Sequence[dict[str, Any]]) -> None:
    """Fill ``visit``: 0 for the earliest session of a subject by ``_day``, and so on; a session has one number."""
    first: dict[str, dict[Any, float]] = {}
    for row in rows:
        own = first.setdefault(row["patient_id"], {})
        own[row["session"]] = min(own.get(row["session"], row["_day"]), row["_day"])
    order = {who: [s for _, _, s in sorted((day, str(s), s) for s, day in own.items())] for who, own in first.items()}
    for row in rows:
        row["visit"] = order[row["patient_id"]].index(row["session"])
