"""Deep checks of chest radiographs (X): polarity, which way up, view, what can be seen, borders, writing, headers.

The measurements come from the one pass over the files; here they are judged. How often each check is wrong was measured
on the real radiographs named in docs/chest_xray.md, which also says what cannot be seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from medfm.cohorts.checks.codes import count, found, passed
from medfm.cohorts.checks.scan import Seen
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding, Severity
from medfm.modalities.chest_quality import ChestQuality

# Correlation with a drawn radiograph: of a negative, and of a picture that is no chest in any position.
INVERTED, STRANGE = -0.12, 0.12
# How much more alike the picture must be upside down, or turned by a quarter.
LEAD_DOWN, LEAD_TURNED = 0.10, 0.05
FLAT, CLIPPED, BORDER = 0.10, 0.02, 0.25
LETTERS = 4
SMALL = 224
DIM = 0.25  # brightest value of 16 bits, below which the range is not used
FRONTAL, LATERAL = ("PA", "AP"), ("LL", "RL")
# Least share of each view, and how much more often one class may have it.
VIEW_GAP = 0.3


def inverted(quality: ChestQuality) -> bool:
    """Whether the lungs seem brighter than what lies around them."""
    # Turned pictures are for another check, and their negatives too.
    return quality.likeness < INVERTED and -quality.likeness > max(quality.upside_down, quality.turned) + LEAD_TURNED


def other_way_up(quality: ChestQuality) -> str | None:
    """``"upside down"``, ``"turned by a quarter"``, ``"turned or mirrored by the header"`` or ``None``."""
    if quality.orientation and quality.plane != "lateral" and quality.orientation != ("L", "F"):
        return "turned or mirrored by the header"
    if inverted(quality):
        return None
    if quality.upside_down > quality.likeness + LEAD_DOWN and quality.upside_down > STRANGE:
        return "upside down"
    if quality.turned > quality.likeness + LEAD_TURNED and quality.turned > STRANGE:
        return "turned by a quarter"
    return None


def not_a_chest(quality: ChestQuality) -> bool:
    """Whether the picture is unlike a frontal radiograph in every position and polarity; lateral views are not judged."""
    if quality.plane == "lateral":
        return False
    return max(abs(quality.likeness), quality.upside_down, quality.turned) < STRANGE


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


def odd_header(quality: ChestQuality) -> str | None:
    """What the header says that does not agree with the pixels, or ``None``."""
    if quality.raw:
        return "raw values for processing"
    if quality.above_bits > 0:
        return "values above the bits stored"
    contradicting = any(note.startswith("presentation is INVERSE") for note in quality.notes)
    return "polarity said in two ways" if contradicting else None


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
    yield _mixed_views(views)
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
    views = _views(cohort, seen)
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
    told = cohort.table["view"].tolist() if "view" in cohort.table.columns else [None] * len(seen)
    views = {}
    for name, given, one in zip(cohort.record_ids, told, seen, strict=True):
        words = str(given).strip().upper().split() if isinstance(given, str) and given.strip() else []
        word = {"L": "LL", "LATERAL": "LL", "LAT": "LL"}.get(words[0], words[0]) if words else ""
        quality = one.quality
        file = quality.view if isinstance(quality, ChestQuality) else "unknown"
        if file == "unknown" and isinstance(quality, ChestQuality) and quality.plane == "lateral":
            file = "LL"
        views[name] = word if word in (*FRONTAL, *LATERAL) else file
    return views


def _mixed_views(views: dict[str, str]) -> Finding:
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
