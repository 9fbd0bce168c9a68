"""The missing-scan protocol: which visit is to be predicted from which two others.

As LDAE (scripts/interpolation_evaluation.py): of a subject with at least three visits, every pair
that is not adjacent, and every visit between the two as the target.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from medfm.core.errors import ConfigError


@dataclass(frozen=True, order=True)
class MissingScan:
    """A visit between two others; all times in months (or any one unit).

    Attributes:
        subject_id: The cohort's own id.
        start: Time of the earlier visit.
        end: Time of the later visit.
        target: Time of the visit to be predicted.
    """

    subject_id: str
    start: float
    end: float
    target: float

    @property
    def share(self) -> float:
        """How far the target lies between the two: 0 at the start, 1 at the end."""
        return (self.target - self.start) / (self.end - self.start)

    @property
    def position(self) -> float:
        """:attr:`share` rounded to tenths, as published tables group it."""
        return round(self.share, 1)

    @property
    def time_gap(self) -> float:
        """Between the two visits."""
        return self.end - self.start

    @property
    def prediction_gap(self) -> float:
        """From the target to the nearer of the two."""
        return min(self.target - self.start, self.end - self.target)


def missing_scans(visits: Mapping[str, Iterable[float]]) -> list[MissingScan]:
    """Every (start, target, end) of every subject, by subject, start, end and target.

    Args:
        visits: Subject -> times of its visits, in any order.

    Raises:
        ConfigError: A time is given twice or is not finite.
    """
    found: list[MissingScan] = []
    for subject, times in visits.items():
        ordered = sorted(times)
        if len(set(ordered)) != len(ordered) or any(not -1e9 < time < 1e9 for time in ordered):
            raise ConfigError(
                "A subject has two visits at one time, or a time that is not a number.",
                where=f"subject '{subject}'",
                expected="one scan per visit",
                fix="choose one scan per session before pairing",
            )
        for first, start in enumerate(ordered):
            for last in range(first + 2, len(ordered)):
                end = ordered[last]
                found += [MissingScan(subject, start, end, target) for target in ordered[first + 1 : last]]
    return found
