"""Deep checks of chest radiographs (X): polarity, which way up, view, what can be seen, borders, writing, headers.

The measurements come from the one pass over the files; here they are judged. How often each check is wrong was measured
on the real radiographs named in docs/chest_xray.md, which also says what cannot be seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import pandas as pd

from medfm.cohorts.checks.codes import count, found, passed
from medfm.cohorts.checks.scan import Seen
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding, Severity
from medfm.modalities.chest_judgements import inverted, not_a_chest, odd_header, other_way_up
from medfm.modalities.chest_quality import ChestQuality

FLAT, CLIPPED, BORDER = 0.10, 0.02, 0.25
LETTERS = 4
SMALL = 224
DIM = 0.25  # brightest value of 16 bits, below which the range is not used
FRONTAL, LATERAL = ("PA", "AP"), ("LL", "RL")
# Least share of each view, and how much more often one class may have it.
VIEW_GAP = 0.3


def poor_values(quality: ChestQuality) -> str | None:
    """``"flat"``, ``"clipped"``, ``"of 16 bits, dark"`` or ``None``."""
    if quality.spread < FLAT:
        return "flat" if quality.bits < 16 or quality.brightest > DIM else "of 16 bits, dark"
    return "clipped" if quality.clipped > CLIPPED else None


def written(quality: ChestQuality) -> str | None:
    """``"the header says so"``, ``"it looks so"`` or ``None``."""
    if quality.burned_in:
        return "the header says so"
    return "it looks so" if quality.letters >= LETTERS else None


def check_chests(cohort: Cohort, seen: Sequence[Seen]) -> Iterator[Finding]:
    """X001 to X010 of the radiographs that could be read."""
    ids = cohort.record_ids
    read = [(ids[i], s.quality) for i, s in enumerate(seen) if isinstance(s.quality, ChestQuality)]
    if not read:
        return
    views = _views(cohort, seen)
    frontal = [(name, quality) for name, quality in read if views[name] not in LATERAL]
    yield _judged("X001", "error", frontal, inverted, "look like negatives: the lungs are brighter than the heart")
    yield _reasons("X002", frontal, other_way_up, "are not upright")
    readable = {name for name, _ in read}
    yield mixed_views({name: view for name, view in views.items() if view != "unknown" or name in readable})
    yield _judged("X004", "warning", frontal, not_a_chest, "are unlike a frontal chest radiograph")
    yield _reasons("X005", read, poor_values, "show little")
    yield _judged("X006", "warning", read, lambda q: q.border > BORDER, f"are more than {BORDER:.0%} plain border")
    yield _reasons("X007", read, written, "have writing in the picture")
    unknown = [name for name, quality in read if not quality.sides]
    detail = f"{len(unknown):,} of {count(len(read), 'file')} do not say where the patient's right is"
    yield found("X008", "info", detail, unknown) if unknown else passed("X008", count(len(read), "file"))
    yield _reasons("X009", read, odd_header, "have a header that does not fit")
    small = f"are under {SMALL} pixels on a side"
    yield _judged("X010", "warning", read, lambda q: min(q.size) < SMALL, small)


def check_views(cohort: Cohort, target: str | None, seen: Sequence[Seen]) -> Iterator[Finding]:
    """X011: whether a class is mostly of one view; for a categorical target of up to ten classes."""
    if target is None or not any(isinstance(s.quality, ChestQuality) for s in seen):
        return
    yield from shares_of_views(cohort, target, _views(cohort, seen))


def shares_of_views(cohort: Cohort, target: str, views: Mapping[str, str]) -> Iterator[Finding]:
    """X011 from the view of every record."""
    table = pd.DataFrame(
        {"label": cohort.table[target].to_numpy(), "view": [views[name] for name in cohort.record_ids]}
    )
    table = table[table["view"].isin(FRONTAL)].dropna()
    if table["label"].nunique() not in range(2, 11) or table["view"].nunique() < 2:
        return
    share = (table["view"] == "AP").groupby(table["label"].astype(str)).mean()
    shown = ", ".join(f"{name} {part:.0%}" for name, part in share.items())
    if share.max() - share.min() > VIEW_GAP:
        yield found("X011", "warning", f"share of AP views by class: {shown}")
    else:
        yield passed("X011", f"AP: {shown}")


Read = Sequence[tuple[str, ChestQuality]]


def _views(cohort: Cohort, seen: Sequence[Seen]) -> dict[str, str]:
    """View by record: of the table where it says, else of the file."""
    files = []
    for one in seen:
        quality = one.quality
        file = quality.view if isinstance(quality, ChestQuality) else "unknown"
        if file == "unknown" and isinstance(quality, ChestQuality) and quality.plane == "lateral":
            file = "LL"
        files.append(file)
    return told_views(cohort, files)


def told_views(cohort: Cohort, files: Sequence[str]) -> dict[str, str]:
    """View by record: the table's where it says one, else that of `files` (one per row)."""
    told = cohort.table["view"].tolist() if "view" in cohort.table.columns else [None] * len(files)
    views = {}
    for name, given, file in zip(cohort.record_ids, told, files, strict=True):
        words = str(given).strip().upper().split() if isinstance(given, str) and given.strip() else []
        word = {"L": "LL", "LATERAL": "LL", "LAT": "LL"}.get(words[0], words[0]) if words else ""
        views[name] = word if word in (*FRONTAL, *LATERAL) else file
    return views


def mixed_views(views: Mapping[str, str]) -> Finding:
    """X003: lateral views among others."""
    numbers = Counter(views.values())
    lateral = [name for name, view in views.items() if view in LATERAL]
    frontal = sum(numbers[view] for view in FRONTAL) + numbers["unknown"]
    listed = ", ".join(f"{view} ({number:,})" for view, number in numbers.most_common())
    if lateral and frontal:
        detail = f"{count(len(lateral), 'lateral view')} among {frontal:,} other pictures: {listed}"
        return found("X003", "warning", detail, lateral)
    return passed("X003", listed)


def _judged(code: str, severity: Severity, read: Read, bad: Callable[[ChestQuality], bool], words: str) -> Finding:
    named = [name for name, quality in read if bad(quality)]
    if not named:
        return passed(code, count(len(read), "radiograph"))
    return found(code, severity, f"{len(named):,} of {count(len(read), 'radiograph')} {words}", named)


def _reasons(code: str, read: Read, why: Callable[[ChestQuality], str | None], words: str) -> Finding:
    named = [(name, reason) for name, quality in read if (reason := why(quality)) is not None]
    if not named:
        return passed(code, count(len(read), "radiograph"))
    listed = ", ".join(f"{number:,} x {reason}" for reason, number in Counter(r for _, r in named).most_common())
    detail = f"{len(named):,} of {count(len(read), 'radiograph')} {words}: {listed}"
    return found(code, "warning", detail, [name for name, _ in named])
