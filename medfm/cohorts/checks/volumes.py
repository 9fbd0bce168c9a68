"""Deep checks of brain MRI (M): values, left and right, what the volume shows, field of view, voxels, noise.

The measurements come from the one pass over the files; here they are judged. The limits were set on the few real scans
named in docs/brain_mri.md, which also says what cannot be seen: a volume that is mirrored as a whole looks like a head.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from medfm.cohorts.checks.codes import count, found, passed
from medfm.cohorts.checks.scan import Seen
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding, Severity
from medfm.modalities.volume_quality import WRAPPED, VolumeQuality

CLIPPED = 2e-3  # of voxels
APART_MM = 1.0
# How much more alike another axis's mirror image may be before the axes are doubted; and how alike a head's is.
LEAD, SYMMETRIC = 0.05, 0.75
LARGEST, SMALLEST = (220.0, 280.0, 340.0), (100.0, 120.0, 100.0)  # mm of a head along right, front, top
FILLED = (0.2, 0.9)
CUT = 0.2
ANISOTROPIC = 2.0
# Signal to noise within the head; streaks beside it in deviations of the noise.
NOISY, STREAKS = 5.0, 2.0


def damaged_values(quality: VolumeQuality) -> str | None:
    """``"overflowed"``, ``"clipped"`` or ``None``."""
    if quality.wrapped > WRAPPED:
        return "overflowed"
    return "clipped" if quality.clipped > CLIPPED else None


def unsure_sides(quality: VolumeQuality) -> str | None:
    """Why left and right may not be believed; ``None`` where nothing speaks against them."""
    if not quality.left_right:
        return "the file does not say"
    if quality.mirrored_forms:
        return "sform and qform are mirror images"
    return "sform and qform differ" if quality.apart_mm > APART_MM else None


def other_axis(quality: VolumeQuality) -> bool:
    """Whether the head is more alike its mirror image along another axis than along the one called left-right."""
    return max(quality.symmetry[1:]) > quality.symmetry[0] + LEAD


def cut_off(quality: VolumeQuality) -> bool:
    """Whether the field of view ends within the head: above, or at a side, or is too small for a brain."""
    small = any(have < need for have, need in zip(quality.extent, SMALLEST, strict=True))
    return small or quality.cut_top > CUT or quality.cut_sides > CUT


def not_a_head(quality: VolumeQuality) -> bool:
    """Whether size, shape or symmetry are not those of a head."""
    # In order of size: that the axes are exchanged is for another check to say.
    large = any(have > most for have, most in zip(sorted(quality.extent), LARGEST, strict=True))
    return large or not FILLED[0] <= quality.filled <= FILLED[1] or max(quality.symmetry) < SYMMETRIC


def anisotropic(quality: VolumeQuality) -> bool:
    """Whether the longest side of a voxel is more than twice the shortest."""
    return max(quality.spacing) > ANISOTROPIC * min(quality.spacing)


def noisy(quality: VolumeQuality) -> str | None:
    """``"noise"``, ``"streaks"`` (motion, flow or ghosts) or ``None``."""
    if quality.snr is not None and quality.snr < NOISY:
        return "noise"
    return "streaks" if quality.streaks is not None and quality.streaks > STREAKS else None


def check_volumes(cohort: Cohort, seen: Sequence[Seen]) -> Iterator[Finding]:
    """M001 to M010 of the volumes that could be read."""
    ids = cohort.record_ids
    read = [(ids[i], s.quality) for i, s in enumerate(seen) if isinstance(s.quality, VolumeQuality)]
    if not read:
        return
    yield _judged("M001", "error", read, lambda q: q.constant, "hold one value throughout")
    yield _judged("M002", "error", read, lambda q: q.not_finite > 0, "hold NaN or infinite voxels")
    # Nothing can be seen in a constant volume.
    shown = [(name, quality) for name, quality in read if not quality.constant]
    yield _reasons("M003", shown, damaged_values, "look as if values were lost")
    yield _reasons("M004", read, unsure_sides, "do not tell left from right for sure")
    whole = [(name, quality) for name, quality in shown if not not_a_head(quality)]
    yield _judged("M005", "warning", whole, other_axis, "are more symmetric along another axis")
    yield _judged("M006", "warning", shown, not_a_head, "have not the size, shape or symmetry of a head")
    yield _judged("M007", "warning", shown, cut_off, "end within the head")
    yield _judged("M008", "warning", read, anisotropic, f"have voxels more than {ANISOTROPIC:g} times as long as wide")
    yield _reasons("M009", shown, noisy, "are noisy or streaked")
    yield _spacing(read)


Read = Sequence[tuple[str, VolumeQuality]]


def _judged(code: str, severity: Severity, read: Read, bad: Callable[[VolumeQuality], bool], words: str) -> Finding:
    named = [name for name, quality in read if bad(quality)]
    if not named:
        return passed(code, count(len(read), "volume"))
    return found(code, severity, f"{len(named):,} of {count(len(read), 'volume')} {words}", named)


def _reasons(code: str, read: Read, why: Callable[[VolumeQuality], str | None], words: str) -> Finding:
    named = [(name, reason) for name, quality in read if (reason := why(quality)) is not None]
    if not named:
        return passed(code, count(len(read), "volume"))
    listed = ", ".join(f"{number:,} x {reason}" for reason, number in Counter(r for _, r in named).most_common())
    detail = f"{len(named):,} of {count(len(read), 'volume')} {words}: {listed}"
    return found(code, "warning", detail, [name for name, _ in named])


def _spacing(read: Read) -> Finding:
    sizes = Counter(" x ".join(f"{side:.3g}" for side in quality.spacing) for _, quality in read)
    if len(sizes) == 1:
        return passed("M010", f"{next(iter(sizes))} mm")
    shown = ", ".join(f"{size} mm ({number:,})" for size, number in sizes.most_common(3))
    return found("M010", "info", f"{len(sizes)} sizes of voxels, most often {shown}")
