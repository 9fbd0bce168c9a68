"""From MCI to Alzheimer's dementia: follow-up of every subject from the first scan with MCI on.

The rules, which every table written states in its YAML:

1. The record of a subject is the earliest scan whose visit says MCI.
2. A subject with AD at that visit's time or before is left out: the event would precede the scan.
3. The event is the first later visit with AD. What is diagnosed after it, CN or MCI, does not undo it.
4. Without one, follow-up ends (censored) at the last later visit with a diagnosis; CN in between ends nothing.
5. A subject without a later visit with a diagnosis is left out.
6. Time runs from the day of the scan, in months of 365.25 / 12 days, to one decimal and at least 0.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medfm.cohorts.adapters.brain_visits import Visit, months_of
from medfm.cohorts.adapters.diagnoses import AD, CN, MCI

RULES = (
    "one record per subject: the earliest scan whose visit says MCI; time in months from that scan",
    "event 1: the first later visit with AD, also where a diagnosis after it is MCI or CN again",
    "event 0: the last later visit with a diagnosis; CN in between does not end the follow-up",
    "left out: AD at or before the visit of that scan; no later visit with a diagnosis",
)


@dataclass(frozen=True)
class Conversion:
    """The table of follow-up.

    Attributes:
        rows: One row per subject, as of the cohort, with ``time`` (months) and ``event`` (0, 1).
        notes: The rules, and how many each left out.
    """

    rows: list[dict[str, Any]]
    notes: tuple[str, ...]


def conversion(rows: Sequence[Mapping[str, Any]], visits: Mapping[str, Sequence[Visit]]) -> Conversion:
    """Time to conversion of every subject who has a scan at MCI.

    Args:
        rows: The cohort's rows with ``patient_id``, ``label``, ``_day`` (of the scan) and ``_visit_day`` (of the visit
            that the label is from), in days from the subject's baseline.
        visits: All visits of a subject, those without a scan too.
    """
    made: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    scans_of: dict[str, list[Mapping[str, Any]]] = {row["patient_id"]: [] for row in rows}
    for row in rows:
        if row.get("label") == MCI:
            scans_of[row["patient_id"]].append(row)
    for subject, scans in sorted(scans_of.items()):
        if not scans:
            counts["no scan at MCI"] += 1
            continue
        first = min(scans, key=lambda row: (row["_day"], str(row["record_id"])))
        start = first["_visit_day"]
        told = sorted((v for v in visits.get(subject, ()) if v.diagnosis), key=lambda v: v.day)
        later = [v for v in told if v.day > start and v.day > first["_day"]]
        if any(v.diagnosis == AD and v.day <= max(start, first["_day"]) for v in told):
            counts["AD before"] += 1
            continue
        if not later:
            counts["no later"] += 1
            continue
        event = next((v for v in later if v.diagnosis == AD), None)
        end = event or later[-1]
        counts["reverted from AD"] += event is not None and any(v.day > end.day and v.diagnosis != AD for v in later)
        counts["CN in between"] += any(v.diagnosis == CN and v.day <= end.day for v in later)
        time = max(months_of(end.day - first["_day"]), 0.1)
        kept = {k: v for k, v in first.items() if k != "label"}
        made.append({**kept, "time": time, "event": int(event is not None)})
    left = f"no scan at MCI {counts['no scan at MCI']:,}, AD at or before {counts['AD before']:,}, "
    notes = (
        *RULES,
        f"subjects left out: {left}no later visit {counts['no later']:,}",
        f"subjects kept though CN came in between {counts['CN in between']:,}, though a diagnosis after AD was not AD "
        f"{counts['reverted from AD']:,}",
    )
    return Conversion(made, notes)
