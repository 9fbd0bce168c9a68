"""What every adapter shares: description, search for files, counts, writing the cohort."""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from medfm.cohorts.info import CohortInfo, info_path, load_info
from medfm.core.errors import CohortError, ConfigError, MedfmError, StoreError
from medfm.core.files import make_folder, write_text
from medfm.core.names import unknown_name

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
Row = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What an adapter found in a folder.

    Attributes:
        rows: One row per record.
        notes: What a reader of the table should know about how it was made.
        partial: One line per thing that is missing; such a table is incomplete.
        expected: Published counts that hold for this way of finding; the adapter's own where ``None``.
    """

    rows: list[Row]
    notes: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    expected: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Prepared:
    """What :meth:`Adapter.prepare` wrote.

    Attributes:
        table: The cohort table, ``labels.csv``.
        info: The YAML beside it.
        records: Number of rows.
        counts: Rows per class; of a multilabel task the positive rows per label.
        complete: Whether every expected count was found.
        differences: One line per count that differs from the published one.
    """

    table: Path
    info: Path
    records: int
    counts: dict[str, int] = field(default_factory=dict)
    complete: bool = True
    differences: tuple[str, ...] = ()


class Adapter(ABC):
    """One public data set. Subclasses state the facts and yield rows.

    Attributes:
        id: Lower-case name used on the command line.
        title: Name of the set.
        aliases: Other names, also used to recognise the set in an encoder's training data.
        layout: The official layout, in a line or two.
        where: Where to get it.
        licence: Licence as published, or what is known of it.
        citation: How to cite it.
        task: What is predicted.
        expected: Published counts: of a class or split by its name, or ``total``, ``smears``, ``patients``.
        unverified: What could not be checked against the original release.
        columns: Columns of the table after record_id, path, patient_id, site, split and label.
        tasks: Tasks of the set, the default first; empty where it has one task.
        variants: Ways to label it, the default first; empty where there is one.
        labels: 0/1 columns of a multilabel task, in order; empty where the column ``label`` is the target.
        label_set: Label set of the knowledge file that the classes or `labels` are named by.
        copies: Where records are augmented copies of fewer originals, how they were made; check L009 reads it.
    """

    id: str
    title: str
    aliases: tuple[str, ...] = ()
    modality: str = "blood_cell"
    layout: str
    where: str
    licence: str
    citation: str
    task: str
    expected: Mapping[str, int] = MappingProxyType({})
    unverified: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    patients: bool = False
    columns: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    label_set: str | None = None
    copies: str | None = None

    @property
    def name(self) -> str:
        """Name of the cohort written: the id, with task and label variant where there are some."""
        return self.id

    def variant(self, task: str | None = None, labels: str | None = None) -> Adapter:
        """The adapter of the task `task` under the label variant `labels`; ``None`` is the default of each.

        Raises:
            UnknownNameError: There is no such task or variant.
        """
        for kind, given, known in (("task", task, self.tasks), ("label variant", labels, self.variants)):
            if given is not None and given not in known:
                raise unknown_name(f"{kind} of {self.id}", given, known)
        return self

    def at_rate(self, hz: int) -> Adapter:
        """This adapter taking the recordings at `hz` samples per second, of a set released at several rates.

        Raises:
            CohortError: The set is not released at that rate, or at one only.
        """
        raise CohortError(f"{self.title} is not released at several sampling rates.", fix="leave out --rate")

    def configured(self, modality: str | None, columns: Mapping[str, str] | None) -> Adapter:
        """The adapter with another modality or other names of columns, where the set leaves them open.

        Raises:
            ConfigError: The set fixes them.
        """
        if modality is not None or columns:
            raise ConfigError(
                f"{self.title} has its own modality and columns.", fix="leave out --modality and --map for this set"
            )
        return self

    def cohort_names(self) -> list[str]:
        """Every name that a cohort of this set can have."""
        return [self.name]

    @abstractmethod
    def rows(self, source: Path) -> Iterator[Row]:
        """One row per record, ``path`` relative to `source`; raises when files are missing."""

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """Everything :meth:`prepare` writes.

        Raises:
            CohortError: Files are missing or malformed; `splits` is given and the set takes none.
        """
        self.refuse_splits(splits)
        return Found(list(self.rows(source)))

    def refuse_splits(self, splits: Path | None) -> None:
        """Raise CohortError where published split files are given to a set that takes none."""
        if splits is not None:
            raise CohortError(f"{self.title} is not prepared from published split files.", fix="leave out --splits")

    def folder_with(self, source: Path, *names: str, why: str) -> Path:
        """The first folder at or below `source` that holds all sub-folders or files `names`.

        Raises:
            CohortError: There is none; `why` says so in words.
        """
        folder = find_folder(source, *names)
        if folder is None:
            raise self.missing(source, why)
        return folder

    def prepare(
        self,
        source: str | Path,
        out: str | Path,
        *,
        allow_partial: bool = False,
        splits: str | Path | None = None,
    ) -> Prepared:
        """Write ``labels.csv`` and ``labels.yaml`` into the folder `out`; no pixel is copied.

        Args:
            source: The folder of the data set as released.
            out: Folder to write into.
            allow_partial: Accept counts below the published ones (noted in the YAML).
            splits: Folder of published split files, for the sets that take one.

        Raises:
            CohortError: The folder does not hold the set, or counts differ from the published ones.
            StoreError: `out` holds another table, or cannot be written to.
        """
        folder = Path(source)
        if not folder.is_dir():
            raise self.missing(folder, "the folder does not exist")
        found = self.find(folder, None if splits is None else Path(splits))
        rows = sorted(found.rows, key=lambda row: (row["path"], str(row.get("record_id", ""))))
        if not rows:
            raise self.missing(folder, "no record was found in it")
        counts = self.count(rows)
        expected = self.expected if found.expected is None else found.expected
        differences = [*found.partial, *self.compare_counts(rows, counts, expected)]
        if differences and not allow_partial:
            raise self._differs(folder, differences)
        done = self._write(folder, Path(out), rows, counts, differences, found.notes)
        self.write_more(done, found, rows)
        return done

    def write_more(self, done: Prepared, found: Found, rows: Sequence[Row]) -> None:  # noqa: B027
        """Further tables beside the one of `done`; most sets have none."""

    def count(self, rows: Sequence[Row]) -> dict[str, int]:
        """Rows per class, or positive rows per label of a multilabel task."""
        if self.labels:
            return {label: sum(1 for row in rows if row.get(label) == 1) for label in self.labels}
        return dict(sorted(Counter(str(row["label"]) for row in rows).items()))

    def compare_counts(
        self, rows: Sequence[Row], counts: Mapping[str, int], expected: Mapping[str, int] | None = None
    ) -> list[str]:
        """One line per published count (see :attr:`expected`) that the found one differs from."""
        tested = [row for row in rows if row.get("split") == "test"]
        found = {
            **Counter(str(row["split"]) for row in rows if row.get("split")),
            **{f"{label} in test": sum(1 for row in tested if row.get(label) == 1) for label in self.labels},
            **counts,
            "total": len(rows),
            "smears": len({row.get("smear") for row in rows}),
            "patients": len({row.get("patient_id") for row in rows}),
        }
        return [
            f"{name}: expected {number:,}, found {found.get(name, 0):,}"
            for name, number in (self.expected if expected is None else expected).items()
            if found.get(name, 0) != number
        ]

    def _differs(self, folder: Path, differences: Sequence[str]) -> CohortError:
        shown = [*differences[:12], f"and {len(differences) - 12} more"] if len(differences) > 13 else differences
        return CohortError(
            "The counts differ from the published ones:\n  - " + "\n  - ".join(shown),
            where=str(folder),
            fix=f"complete the download ({self.where}), or pass --allow-partial to go on with what is there",
        )

    def missing(self, folder: Path, why: str) -> CohortError:
        """The error for a folder that does not hold this set: layout expected, where to get it."""
        return CohortError(
            f"This is not {self.title}: {why}.",
            where=str(folder),
            expected=self.layout,
            fix=f"get it from {self.where}, unpack it and name its folder with --source",
        )

    def info(self) -> dict[str, Any]:
        """The facts as plain data, for ``medfm data list``."""
        return {
            "id": self.id,
            "cohorts": self.cohort_names(),
            "title": self.title,
            "modality": self.modality,
            "task": self.task,
            "labels": ", ".join(self.labels),
            "expected": dict(self.expected),
            "licence": self.licence,
            "where": self.where,
            "layout": self.layout,
            "citation": self.citation,
            "patients_known": self.patients,
            "notes": list(self.notes),
            "unverified": list(self.unverified),
        }

    def _refuse_other_table(self, table: Path) -> None:
        """A table that this adapter did not write is somebody's work."""
        try:
            mine = load_info(table).prepared_as == self.name
        except MedfmError:
            mine = False
        if table.exists() and not mine:
            raise StoreError(
                f"The folder has another table, which 'prepare {self.name}' did not write.",
                where=str(table),
                fix="choose another folder with --out, or move that table away",
            )

    def _write(
        self,
        source: Path,
        out: Path,
        rows: Sequence[Row],
        counts: dict[str, int],
        differences: Sequence[str],
        notes: Sequence[str],
    ) -> Prepared:
        self._refuse_other_table(out / "labels.csv")
        targets = self.labels or ("label",)
        known = ("record_id", "path", "patient_id", "site", "split", *targets, *self.columns)
        used = [c for c in known if any(row.get(c) is not None for row in rows)]
        text = io.StringIO()
        writer = csv.DictWriter(text, used, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        info = self.describe(source, len(rows), counts, differences, notes)
        table = make_folder(out) / "labels.csv"
        # The YAML first: a table without its licence must not exist.
        write_text(
            info_path(table),
            yaml.safe_dump(info.model_dump(exclude_defaults=True), sort_keys=False, allow_unicode=True),
        )
        write_text(table, text.getvalue())
        return Prepared(table, info_path(table), len(rows), counts, not differences, tuple(differences))

    def describe(
        self, source: Path, records: int, counts: Mapping[str, int], differences: Sequence[str], notes: Sequence[str]
    ) -> CohortInfo:
        """The YAML to be written beside the table."""
        return CohortInfo(
            name=self.name,
            modality=self.modality,
            task=self.task,
            target=list(self.labels) or "label",
            label_set=self.label_set,
            copies=self.copies,
            root=str(source.resolve()),
            licence=self.licence,
            citation=self.citation,
            source=f"{self.title}, {self.where}",
            adapter=f"{self.name}@1",
            counts={"total": records, **counts},
            notes=[
                *self.notes,
                *notes,
                *(f"unverified: {u}" for u in self.unverified),
                *(f"incomplete: {line}" for line in differences),
            ],
        )


def images_in(folder: Path, endings: Iterable[str] = IMAGE_ENDINGS) -> list[Path]:
    """The image files directly in `folder`, sorted by name; hidden files are passed over."""
    wanted = tuple(endings)
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in wanted and not f.name.startswith("."))


def find_folder(source: Path, *names: str, depth: int = 2) -> Path | None:
    """The first folder at or below `source` (to `depth`) that holds all sub-folders or files `names`."""
    level = [source]
    for _ in range(depth + 1):
        for folder in level:
            if all((folder / name).exists() for name in names):
                return folder
        level = sorted(d for folder in level for d in folder.iterdir() if d.is_dir() and not d.name.startswith("."))
    return None


def relative(file: Path, source: Path) -> str:
    """`file` relative to `source`, with forward slashes."""
    return file.relative_to(source).as_posix()
