"""What ADNI and AIBL share: images of LONI's archive met with the visits of the tables, one T1 volume per visit."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from medfm.cohorts.adapters.base import Row, relative
from medfm.cohorts.adapters.brain_cohort import BrainAdapter, Gathered, Left
from medfm.cohorts.adapters.brain_visits import Visit, age_at, months_of, nearest
from medfm.cohorts.adapters.image_archive import (
    UNCORRECTED,
    ArchiveImage,
    image_number,
    images_of,
    subject_folders,
    t1_rank,
)

PREFERRED, ORIGINAL, PROCESSED = "preferred", "original", "processed"
_NAMED = 12


@dataclass(frozen=True)
class Person:
    """A subject of the tables.

    Attributes:
        baseline: The day that visits are counted from.
        visits: All visits, in any order.
        age: Years at baseline.
        facts: Columns that hold for every scan (sex, site, education ...).
    """

    baseline: date
    visits: Sequence[Visit]
    age: float | None
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class _Candidate:
    image: ArchiveImage
    rank: tuple[int, bool, bool]
    day: int
    visit: Visit

    def order(self) -> tuple[Any, ...]:
        """Smaller is taken first: the least accelerated of the wanted correction, no repeat, near the visit, early."""
        return (*self.rank, abs(self.day - self.visit.day), image_number(self.image.image_id))


class ArchiveAdapter(BrainAdapter):
    """A set in LONI's image archive. After ``@`` stands which images are taken.

    ``preferred``: the corrected volume (GradWarp, B1, N3) where the archive has one, else the original, as Clinica
    takes them; so the correction can differ between sites and years. ``original``: originals alone. ``processed``:
    corrected ones alone. Within these: unaccelerated before accelerated, first before repeat, nearest to the visit,
    smallest image number.

    Attributes:
        pattern: Names of the subjects' folders.
        limit: Days that scan and visit may be apart.
        subject_table: The table whose absence of a subject is the reason to leave a scan out.
    """

    tasks = ("all", "ad-cn", "ad-mci-cn", "mci-cn", "ad-mci")
    follow_up = True
    more_columns = ("image", "phase", "correction")
    pattern: re.Pattern[str]
    limit: int
    subject_table: str

    @abstractmethod
    def people(self, source: Path) -> dict[str, Person]:
        """The subjects of the tables by the name of their folder.

        Raises:
            CohortError: A table is absent or malformed.
        """

    def withdrawn(self, subject: str) -> str | None:
        """Why all scans of a subject are left out; ``None`` for most."""
        return None

    def gather(self, source: Path) -> Gathered:
        """As of :meth:`BrainAdapter.gather`."""
        folders = subject_folders(source, self.pattern)
        if not folders:
            raise self.missing(source, "there is no subject's folder")
        people = self.people(source)
        rows: list[Row] = []
        left: list[Left] = []
        other: Counter[str] = Counter()
        images: dict[str, list[ArchiveImage]] = {}
        for folder in folders:
            images.setdefault(folder.name, []).extend(images_of(folder))
        for subject, own in images.items():
            found, gone = self._of_subject(subject, own, people.get(subject), other)
            rows += [self._row(c, people[subject], source) for c in found]
            left += gone
        if not any(images.values()):
            raise self.missing(source, "no folder of a subject holds DESCRIPTION/DATE/IMAGE ID")
        return Gathered(rows, left, {s: p.visits for s, p in people.items()}, self._notes(rows, other))

    def _of_subject(
        self, subject: str, images: Sequence[ArchiveImage], person: Person | None, other: Counter[str]
    ) -> tuple[list[_Candidate], list[Left]]:
        """The chosen image of every visit, and the others with their reasons."""
        left: list[Left] = []
        visits: dict[str, list[_Candidate]] = {}
        seen: set[str] = set()
        for image in images:
            rank = t1_rank(image.description)
            why = self._why_not(image, rank, person, seen)
            seen.add(image.image_id)
            if rank is None:
                other[image.description] += 1
            elif why or person is None:
                left.append(Left(subject, image.image_id, why))
            else:
                day = (image.day - person.baseline).days
                visit = nearest(person.visits, day, self.limit)
                if visit is None:
                    left.append(Left(subject, image.image_id, f"no visit within {self.limit} days"))
                else:
                    visits.setdefault(visit.code, []).append(_Candidate(image, rank, day, visit))
        chosen = []
        for candidates in visits.values():
            first, *rest = sorted(candidates, key=_Candidate.order)
            chosen.append(first)
            left += [Left(subject, c.image.image_id, "another T1 of the visit was taken") for c in rest]
        return chosen, left

    def _why_not(
        self, image: ArchiveImage, rank: tuple[int, bool, bool] | None, person: Person | None, seen: set[str]
    ) -> str:
        if person is None:
            return self.withdrawn(image.subject) or f"the subject is not in {self.subject_table}"
        if gone := self.withdrawn(image.subject):
            return gone
        if image.path is None:
            return image.why_not
        if image.image_id in seen:
            return "a copy of the same image"
        original = rank is not None and rank[0] == UNCORRECTED
        if self.labelling != PREFERRED and rank is not None and original != (self.labelling == ORIGINAL):
            return f"not {self.labelling}"
        return ""

    def _row(self, chosen: _Candidate, person: Person, source: Path) -> Row:
        visit, image = chosen.visit, chosen.image
        labelled = nearest(person.visits, chosen.day, self.limit, diagnosed=True)
        assert image.path is not None
        session = f"M{round(visit.months):03d}"
        corrections = ("gradient, B1, N3, scaled", "gradient, N3", "N3", "gradient or B1", "none")
        return {
            "record_id": f"{image.subject}_{session}_{image.image_id}",
            "path": relative(image.path, source),
            "patient_id": image.subject,
            **person.facts,
            **visit.facts,
            "session": session,
            "months": visit.months,
            "scan_months": months_of(chosen.day),
            "age": age_at(person.age, chosen.day),
            "label": labelled.diagnosis if labelled else None,
            "image": image.image_id,
            "correction": corrections[chosen.rank[0]],
            "_day": chosen.day,
            "_visit_day": labelled.day if labelled else visit.day,
        }

    def _notes(self, rows: Sequence[Row], other: Counter[str]) -> tuple[str, ...]:
        kinds = Counter(row["correction"] for row in rows)
        notes = [
            f"a scan belongs to the nearest visit within {self.limit} days, and has the diagnosis of the nearest one "
            "within them that has any",
            "images taken, by correction: " + "; ".join(f"{kind} {n:,}" for kind, n in sorted(kinds.items())),
        ]
        if other:
            named = "; ".join(f"{name} {n:,}" for name, n in other.most_common(_NAMED))
            more = f"; {len(other) - _NAMED} more" if len(other) > _NAMED else ""
            notes.append(f"images that are no T1 volume by their description: {named}{more}")
        return tuple(notes)
