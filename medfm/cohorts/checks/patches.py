"""Deep checks of tissue patches (H): background, focus, pen marks, resolution.

The measurements come from the one pass over the files; here they are judged. How often each check is right and how
often it is wrong was measured on real patches by ``scripts/patch_checks_rates.py``; docs/histopathology.md has the
figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from medfm.cohorts.checks.codes import count, found, passed
from medfm.cohorts.checks.scan import Seen
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding
from medfm.modalities.histopathology_quality import PatchQuality

# Shares of pixels; measure of blur (0 to 1); ratio of the coarsest to the finest resolution.
EMPTY = 0.8
BLURRED = 0.6
INKED = 0.06
MPP_RATIO = 1.1
# Fat and glass leave little to judge sharpness by.
_TOO_EMPTY_TO_JUDGE = 0.9


def empty(quality: PatchQuality) -> bool:
    """Whether the patch is mostly glass."""
    return quality.background > EMPTY


def blurred(quality: PatchQuality) -> bool:
    """Whether the patch is out of focus."""
    return quality.blur is not None and quality.background <= _TOO_EMPTY_TO_JUDGE and quality.blur > BLURRED


def inked(quality: PatchQuality) -> str | None:
    """The colour of a pen mark, the largest one; ``None`` where there is none."""
    colour = max(quality.ink, key=lambda name: quality.ink[name], default=None)
    return colour if colour is not None and quality.ink[colour] > INKED else None


def check_patches(cohort: Cohort, seen: Sequence[Seen]) -> Iterator[Finding]:
    """H001 to H004 of the patches that could be read."""
    ids = cohort.record_ids
    read = [(ids[i], s.quality) for i, s in enumerate(seen) if isinstance(s.quality, PatchQuality)]
    if not read:
        return
    bare = [name for name, quality in read if empty(quality)]
    if bare:
        detail = f"{len(bare):,} of {count(len(read), 'patch')} are more than {EMPTY:.0%} empty glass"
        yield found("H001", "warning", detail, bare)
    else:
        yield passed("H001", count(len(read), "patch"))
    soft = [name for name, quality in read if blurred(quality)]
    if soft:
        yield found("H002", "warning", f"{len(soft):,} of {count(len(read), 'patch')} look out of focus", soft)
    else:
        yield passed("H002")
    marked = [(name, colour) for name, quality in read if (colour := inked(quality)) is not None]
    if marked:
        colours = ", ".join(f"{number:,} {colour}" for colour, number in Counter(c for _, c in marked).most_common())
        detail = f"{len(marked):,} of {count(len(read), 'patch')} may hold pen marks ({colours})"
        yield found("H003", "warning", detail, [name for name, _ in marked])
    else:
        yield passed("H003")
    yield _resolution(read)


def _resolution(read: Sequence[tuple[str, PatchQuality]]) -> Finding:
    known = [(name, quality.mpp) for name, quality in read if quality.mpp is not None]
    if not known:
        return passed("H004", "no mpp is given")
    silent = len(read) - len(known)
    finest, coarsest = min(mpp for _, mpp in known), max(mpp for _, mpp in known)
    if coarsest > finest * MPP_RATIO:
        common = Counter(mpp for _, mpp in known).most_common(3)
        usual = common[0][0]
        odd = [name for name, mpp in known if not usual / MPP_RATIO <= mpp <= usual * MPP_RATIO]
        shown = ", ".join(f"{mpp:g} ({number:,})" for mpp, number in common)
        detail = f"{finest:g} to {coarsest:g} micrometres per pixel, most often {shown}"
        return found("H004", "warning", detail, odd)
    if silent:
        return found(
            "H004", "info", f"{count(silent, 'patch')} of {len(read):,} have no mpp, the others {usual_of(known)}"
        )
    return passed("H004", usual_of(known))


def usual_of(known: Sequence[tuple[str, float]]) -> str:
    """``"0.5 micrometres per pixel"``: the most frequent resolution."""
    return f"{Counter(mpp for _, mpp in known).most_common(1)[0][0]:g} micrometres per pixel"
