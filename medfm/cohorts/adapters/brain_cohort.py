"""What the adapters of brain MRI sets share: one scan per session, pairs of visits, what was left out, follow-up."""

from __future__ import annotations

import csv
import io
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from medfm.cohorts.adapters.base import Found, Prepared, Row
from medfm.cohorts.adapters.bids import PAIRS, visit_pairs
from medfm.cohorts.adapters.brain_visits import Visit, number_visits
from medfm.cohorts.adapters.conversion import conversion
from medfm.cohorts.adapters.diagnoses import AD, CN, MCI
from medfm.cohorts.adapters.named import NamedAdapter
from medfm.cohorts.info import CohortInfo, info_path
from medfm.cohorts.ldae_split import FRACTIONS, ldae_split
from medfm.core.errors import CohortError, StoreError
from medfm.core.files import write_text

LEFT_OUT, SURVIVAL = "left_out.csv", "survival.csv"
ALL = "all"
# Classes of a task; a task keeps the scans of its classes alone, "all" every scan.
TASKS: Mapping[str, tuple[str, ...]] = {
    ALL: (),
    "ad-cn": (CN, AD),
    "ad-mci-cn": (CN, MCI, AD),
    "mci-cn": (CN, MCI),
    "ad-mci": (MCI, AD),
}
_ABOUT = ("session", "months", "scan_months", "visit", "age", "sex", "mmse", "cdr", "education", "apoe4")


@dataclass(frozen=True)
class Left:
    """A scan that is not in the table: whose, which, and why; never a date."""

    patient_id: str
    scan: str
    reason: str


@dataclass(frozen=True)
class Gathered:
    """What an adapter read from a folder.

    Attributes:
        rows: One per session, with ``label`` (or none), ``_day`` of the scan and ``_visit_day`` of the visit that the
            label is from, in days from the subject's baseline.
        left_out: Scans that are not among them.
        visits: All visits by subject, where follow-up is to be written.
        notes: What depends on what was found.
    """

    rows: list[Row]
    left_out: list[Left] = field(default_factory=list)
    visits: Mapping[str, Sequence[Visit]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BrainFound(Found):
    """:class:`Found` with the tables beside the cohort's."""

    left_out: tuple[Left, ...] = ()
    survival: tuple[Row, ...] = ()
    rules: tuple[str, ...] = ()


class BrainAdapter(NamedAdapter):
    """A set of structural brain MRI. Task ``all`` keeps every scan, the others the scans of their classes.

    Beside ``labels.csv``: ``pairs.csv`` (every two visits of a subject), ``left_out.csv`` (scans that are not in the
    table, each with its reason) and, where `follow_up` is true, ``survival.csv`` (MCI to AD, see ``conversion.py``).
    ``months`` are those of the visit, ``scan_months`` were measured to the scan. No column holds a date; the folders of
    LONI's image archive do, so the ``path`` of its sets shows the day of the scan.

    Attributes:
        follow_up: Whether visits without a scan are known, so that conversion can be followed.
        more_columns: Columns of this set beside the common ones.
        classes: Classes of the chosen task; empty where every scan is kept.
    """

    modality = "brain_mri"
    patients = True
    follow_up: bool = False
    more_columns: tuple[str, ...] = ()

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        super().__init__(task, labelling)
        self.columns = (*_ABOUT, *self.more_columns)
        self.classes = TASKS[self.chosen_task] if self.chosen_task else ()
        if self.tasks:
            kept = " or ".join(self.classes)
            self.task = f"diagnosis at the visit: {kept}" if kept else "diagnosis at the visit where there is one"

    @abstractmethod
    def gather(self, source: Path) -> Gathered:
        """Rows, visits and what was left out, of every class.

        Raises:
            CohortError: The folder does not hold the set, or a table is malformed.
        """

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per session."""
        yield from self.find(source).rows

    def find(self, source: Path, splits: Path | None = None) -> BrainFound:
        """The scans of the task; with `splits` ``ldae`` their published way of splitting.

        Raises:
            CohortError: As of :meth:`gather`; there is no such split, or too few subjects for it.
        """
        if splits is not None and str(splits) not in FRACTIONS:
            raise CohortError(
                f"{self.title} has no published split files.",
                where=str(splits),
                expected=f"--splits {' or '.join(FRACTIONS)}: the way in which LDAE split ADNI",
            )
        gathered = self.gather(source)
        number_visits(gathered.rows)
        rows = [row for row in gathered.rows if not self.classes or row.get("label") in self.classes]
        notes = [*gathered.notes, *self._task_notes(rows, gathered.rows)]
        if splits is not None:
            notes.append(self._split(rows, str(splits)))
        if visit_pairs(rows):
            notes.append(f"every two visits of a subject are listed in {PAIRS}")
        if gathered.left_out:
            reasons = Counter(left.reason for left in gathered.left_out)
            listed = "; ".join(f"{reason} {n:,}" for reason, n in sorted(reasons.items()))
            notes.append(f"scans left out, each listed in {LEFT_OUT}: {listed}")
        followed = conversion(rows, gathered.visits) if self.follow_up and MCI in (self.classes or (MCI,)) else None
        return BrainFound(
            rows,
            tuple(notes),
            expected=self.expected_of_task(),
            left_out=tuple(gathered.left_out),
            survival=tuple(followed.rows) if followed else (),
            rules=followed.notes if followed else (),
        )

    def expected_of_task(self) -> Mapping[str, int]:
        """The published counts that hold for the chosen task."""
        return self.expected if not self.classes else {c: n for c, n in self.expected.items() if c in self.classes}

    def _task_notes(self, rows: Sequence[Row], every: Sequence[Row]) -> Iterable[str]:
        if self.classes and len(rows) < len(every):
            yield f"scans of other classes or without a diagnosis, not in this task: {len(every) - len(rows):,}"
        silent = sum(row.get("label") is None for row in rows)
        if self.tasks and silent:
            yield f"scans without a label: {silent:,}"

    def _split(self, rows: Sequence[Row], name: str) -> str:
        """Fill ``split`` by subject; the note on it."""
        # The program keeps the rows of its classes before it splits; where there are no labels at all, all count.
        counted = [row for row in rows if row.get("label") is not None] or rows
        drawn = ldae_split((row["patient_id"] for row in counted), name)
        for row in rows:
            row["split"] = drawn.get(row["patient_id"])
        test, validation = FRACTIONS[name]
        return (
            f"split '{name}': GroupShuffleSplit of scikit-learn over the subjects with a label in this table, seed 42, "
            f"{test:.0%} test, {validation:.1%} of the others val; the published split follows only from the published "
            "set of subjects"
        )

    def count(self, rows: Sequence[Row]) -> dict[str, int]:
        """Subjects, sessions and rows per class."""
        labels = Counter(str(row["label"]) for row in rows if row.get("label") is not None)
        sessions = {(row["patient_id"], row["session"]) for row in rows}
        return {
            "subjects": len({row["patient_id"] for row in rows}),
            "sessions": len(sessions),
            **dict(sorted(labels.items())),
        }

    def describe(
        self, source: Path, records: int, counts: Mapping[str, int], differences: Sequence[str], notes: Sequence[str]
    ) -> CohortInfo:
        """The YAML beside the table; the diagnosis is its target where every scan has one, else no column is."""
        info = super().describe(source, records, counts, differences, notes)
        whole = bool(self.tasks) and sum(counts.get(c, 0) for c in (CN, MCI, AD)) == records
        units = {"age": "years", "months": "months", "scan_months": "months"}
        return info.model_copy(update={"target": "label" if whole else None, "units": units})

    def _refuse_other_table(self, table: Path) -> None:
        """Tables of these names without a ``labels.csv`` of this set are somebody's work too."""
        super()._refuse_other_table(table)
        others = [name for name in (PAIRS, LEFT_OUT, SURVIVAL) if (table.parent / name).exists()]
        if others and not table.exists():
            raise StoreError(
                f"The folder has a table {others[0]}, which 'prepare {self.name}' did not write.",
                where=str(table.parent),
                fix="choose another folder with --out, or move that table away",
            )

    def write_more(self, done: Prepared, found: Found, rows: Sequence[Row]) -> None:
        """``pairs.csv``, ``left_out.csv``, ``survival.csv`` with its YAML; those of an earlier run go where empty."""
        assert isinstance(found, BrainFound)
        out = done.table.parent
        pairs = [{**p, "gap_months": _rounded(p["gap_months"])} for p in visit_pairs(rows)]
        write_table(out / PAIRS, pairs)
        left = sorted(found.left_out, key=lambda one: (one.patient_id, one.scan))
        write_table(out / LEFT_OUT, [{"patient_id": x.patient_id, "scan": x.scan, "reason": x.reason} for x in left])
        if not self.follow_up:
            return
        survival = out / SURVIVAL
        columns = ("record_id", "path", "patient_id", "site", "split", "time", "event", *self.columns)
        kept = [{c: row.get(c) for c in columns} for row in found.survival]
        used = [c for c in columns if any(row[c] is not None for row in kept)]
        if kept:
            write_text(info_path(survival), self._survival_info(done, found))
        else:
            info_path(survival).unlink(missing_ok=True)
        write_table(survival, [{c: row[c] for c in used} for row in kept])

    def _survival_info(self, done: Prepared, found: BrainFound) -> str:
        """The YAML beside the table of follow-up."""
        label = yaml.safe_load(done.info.read_text(encoding="utf-8"))
        info = CohortInfo(
            name=f"{self.id}-conversion",
            modality=self.modality,
            task="time from the first scan with MCI to dementia due to Alzheimer's disease",
            root=label["root"],
            units={"age": "years", "time": "months", "months": "months", "scan_months": "months"},
            licence=self.licence,
            citation=self.citation,
            source=label["source"],
            adapter=f"{self.id}-conversion@1",
            counts={"subjects": len(found.survival), "events": sum(row["event"] for row in found.survival)},
            notes=[*found.rules, *label.get("notes", [])],
        )
        return yaml.safe_dump(info.model_dump(exclude_defaults=True), sort_keys=False, allow_unicode=True)


def write_table(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV file with the columns of the first row; where there is no row, no file."""
    if not rows:
        file.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())


def _rounded(months: float | None) -> float | None:
    return None if months is None else round(months, 1)
