"""Brain Imaging Data Structure: one row per structural scan, with subject, session and run; pairs of visits."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from typing_extensions import Self

from medfm.cohorts.adapters.base import Adapter, Found, Prepared, Row, find_folder, relative
from medfm.cohorts.info import CohortInfo
from medfm.core.errors import CohortError
from medfm.core.files import write_text
from medfm.core.names import unknown_name
from medfm.io.tables import read_table

SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw")
PAIRS = "pairs.csv"
_ENTITIES = ("acq", "ce", "rec", "run", "space", "desc")
# Columns of participants.tsv and sessions.tsv that are carried; others by --map.
_CARRIED = ("age", "sex", "site", "diagnosis", "group", "handedness")
_MAPPED = ("label", *_CARRIED)
_NAME = re.compile(
    r"sub-([A-Za-z0-9]+)(?:_ses-([A-Za-z0-9]+))?((?:_[a-zA-Z]+-[A-Za-z0-9]+)*)_([A-Za-z0-9]+)\.nii(?:\.gz)?"
)
_MONTHS = re.compile(r"[mM](\d{1,3})$")
_NOTHING = ("", "n/a", "N/A", "NA", "nan")


class Bids(Adapter):
    """A folder in BIDS; no set of its own, so nothing is counted against one.

    The scans of one suffix (the task: ``T1w``, ``T2w``, ``FLAIR``, ``PDw``) become rows. Age, sex, site, diagnosis and
    group come from ``participants.tsv`` and, where a subject has them by session, from ``sub-*_sessions.tsv``.
    Sidecars (.json) are not read: they hold text of headers.
    """

    id = "bids"
    title = "a BIDS folder"
    aliases = ("Brain Imaging Data Structure",)
    modality = "brain_mri"
    layout = "sub-LABEL/[ses-LABEL/]anat/sub-LABEL[_ses-LABEL][_acq-..][_run-..]_T1w.nii.gz; participants.tsv"
    where = "your own data, or openneuro.org; Clinica converts ADNI, OASIS and AIBL into this layout"
    licence = "that of the data"
    citation = "Gorgolewski et al., Sci Data 3:160044 (2016) for the layout; and that of the data"
    task = "structural scans with subject, session and run"
    patients = True
    tasks = SUFFIXES
    columns = ("session", "months", "visit", *_ENTITIES, *(c for c in _CARRIED if c != "site"))
    notes = ("patient_id is the label of the subject; runs of one session are rows of their own",)
    unverified = ("it is no set of its own: no count is enforced",)

    def __init__(self, suffix: str = "T1w", columns: Mapping[str, str] | None = None) -> None:
        self.suffix = suffix
        self._map = dict(columns or {})

    @property
    def name(self) -> str:
        """``bids-T1w`` and so on."""
        return f"{self.id}-{self.suffix}"

    def cohort_names(self) -> list[str]:
        """One per suffix."""
        return [f"{self.id}-{suffix}" for suffix in SUFFIXES]

    def variant(self, task: str | None = None, labels: str | None = None) -> Adapter:
        """The adapter for scans of the suffix `task`."""
        super().variant(task, labels)
        return type(self)(task or self.suffix, self._map)

    def configured(self, modality: str | None, columns: Mapping[str, str] | None) -> Self:
        """The adapter with other names of columns, such as ``{"label": "diagnosis"}``.

        Raises:
            UnknownNameError: No such column of the cohort.
            ConfigError: Another modality.
        """
        if modality is not None and modality != self.modality:
            super().configured(modality, None)
        for name in columns or {}:
            if name not in _MAPPED:
                raise unknown_name("column of a BIDS cohort", name, _MAPPED)
        return type(self)(self.suffix, columns)

    def missing(self, folder: Path, why: str) -> CohortError:
        """The error for a folder that is not BIDS."""
        return CohortError(
            f"This is not {self.title} with {self.suffix} scans: {why}.",
            where=str(folder),
            expected=self.layout,
            fix=f"name the folder that holds sub-* with --source; other scans with --task {', '.join(SUFFIXES)} ({self.where})",
        )

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per scan."""
        yield from self.find(source).rows

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """The scans below ``sub-*``, with what the tables say of subject and session.

        Raises:
            CohortError: No scans, a file that lies in another subject's folder, or a malformed table.
        """
        self.refuse_splits(splits)
        root = source if any(source.glob("sub-*")) else self._below(source)
        people, found_columns = self._table(root / "participants.tsv", "participant_id")
        rows, strange = [], 0
        for subject in sorted(p for p in root.glob("sub-*") if p.is_dir()):
            label = subject.name.removeprefix("sub-")
            visits, more = self._table(subject / f"{subject.name}_sessions.tsv", "session_id")
            found_columns |= more
            for file in sorted(subject.rglob(f"*_{self.suffix}.nii*")):
                parsed = _NAME.fullmatch(file.name)
                if parsed is None or parsed[4] != self.suffix or file.name.startswith("."):
                    strange += 1
                    continue
                if parsed[1] != label or (parsed[2] and f"ses-{parsed[2]}" not in file.relative_to(subject).parts):
                    raise CohortError(
                        "A scan lies in the folder of another subject or session.",
                        where=relative(file, source),
                        expected="the labels of the file name and of its folders are equal",
                        fix="find out whose scan it is before anything else",
                    )
                told = {**people.get(f"sub-{label}", {}), **(visits.get(f"ses-{parsed[2]}", {}) if parsed[2] else {})}
                rows.append(self._row(relative(file, source), file.name, label, parsed, told))
        lost = [column for column in self._map.values() if column not in found_columns]
        if lost:
            raise CohortError(
                f"Neither participants.tsv nor a sessions.tsv has a column '{lost[0]}'.",
                where=str(root),
                expected=", ".join(sorted(found_columns)) or "such a table",
            )
        _number_visits(rows)
        notes = _notes(rows, strange, people)
        return Found(rows, tuple(notes))

    def prepare(
        self, source: str | Path, out: str | Path, *, allow_partial: bool = False, splits: str | Path | None = None
    ) -> Prepared:
        """As :meth:`Adapter.prepare`; also ``pairs.csv``: every two visits of a subject, where there are any."""
        done = super().prepare(source, out, allow_partial=allow_partial, splits=splits)
        pairs = visit_pairs(self.find(Path(source)).rows)
        if pairs:
            text = io.StringIO()
            writer = csv.DictWriter(text, list(pairs[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(pairs)
            write_text(Path(out) / PAIRS, text.getvalue())
        else:
            (Path(out) / PAIRS).unlink(missing_ok=True)
        return done

    def count(self, rows: Sequence[Row]) -> dict[str, int]:
        """Subjects and sessions; rows per class where there are labels."""
        labels = Counter(str(row["label"]) for row in rows if row.get("label") is not None)
        subjects = {row["patient_id"] for row in rows}
        sessions = {(row["patient_id"], row["session"]) for row in rows}
        shown = dict(sorted(labels.items())) if len(labels) <= 100 else {}
        return {"subjects": len(subjects), "sessions": len(sessions), **shown}

    def describe(
        self, source: Path, records: int, counts: Mapping[str, int], differences: Sequence[str], notes: Sequence[str]
    ) -> CohortInfo:
        """The YAML beside the table; a target only where a label was mapped."""
        info = super().describe(source, records, counts, differences, notes)
        about = {"licence": None, "citation": None, "source": None, "units": {"age": "years", "months": "months"}}
        return info.model_copy(update={**about, "target": "label" if "label" in self._map else None})

    def _below(self, source: Path) -> Path:
        """The folder of the subjects one or two levels down, such as ``rawdata``."""
        for folder in sorted(source.iterdir()):
            if folder.is_dir() and any(folder.glob("sub-*")):
                return folder
        deeper = find_folder(source, "participants.tsv", depth=2)
        if deeper is None or not any(deeper.glob("sub-*")):
            raise self.missing(source, "there is no folder sub-*")
        return deeper

    def _row(self, path: str, name: str, label: str, parsed: re.Match[str], told: Mapping[str, str]) -> Row:
        entities = dict(part.split("-", 1) for part in parsed[3].split("_") if part)
        row: Row = {
            "record_id": name.removesuffix(".gz").removesuffix(".nii"),
            "path": path,
            "patient_id": label,
            "session": parsed[2],
            "months": _months(parsed[2]),
            **{entity: entities.get(entity) for entity in _ENTITIES},
        }
        for column in _MAPPED:
            value = told.get(self._map.get(column, column if column != "label" else ""))
            row[column] = None if value is None else _number(value) if column == "age" else value
        return row

    def _table(self, file: Path, key: str) -> tuple[dict[str, dict[str, str]], set[str]]:
        """Rows of a .tsv by their id, cells that say nothing left out; and its columns."""
        if not file.is_file():
            return {}, set()
        table = read_table(file, text={key})
        columns = [str(column) for column in table.columns]
        if key not in columns:
            raise CohortError(
                f"The table has no column '{key}'.", where=file.name, expected=f"{key} first, as BIDS says"
            )
        found: dict[str, dict[str, str]] = {}
        for cells in table.to_dict("records"):
            name = str(cells[key])
            if name in found:
                raise CohortError("An id is listed twice.", where=f"{file.name}, {name}", fix="keep one row for each")
            plain = {str(k): _text(v) for k, v in cells.items() if k != key}
            found[name] = {k: v for k, v in plain.items() if v not in _NOTHING}
        return found, set(columns) - {key}


def visit_pairs(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every two visits of a subject, the earlier first: the first run of each.

    Returns:
        Rows with ``patient_id, first, second`` (record ids) and ``gap_months`` (``None`` where neither the names of
        the sessions nor ages tell it).
    """
    people: dict[str, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        if row["visit"] is not None:
            people[row["patient_id"]].setdefault(row["visit"], row)
    pairs = []
    for patient, visits in sorted(people.items()):
        for one, other in combinations(sorted(visits), 2):
            first, second = visits[one], visits[other]
            pairs.append(
                {
                    "patient_id": patient,
                    "first": first["record_id"],
                    "second": second["record_id"],
                    "gap_months": _gap(first, second),
                }
            )
    return pairs


def _gap(first: Row, second: Row) -> float | None:
    if first["months"] is not None and second["months"] is not None:
        return float(second["months"] - first["months"])
    if first["age"] is not None and second["age"] is not None:
        return round(12 * (second["age"] - first["age"]), 1)
    return None


def _number_visits(rows: Sequence[Row]) -> None:
    """``visit``: 0 for the earliest session of a subject, and so on; by months, else by age, else by name."""
    people: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        people[row["patient_id"]].append(row)
    for own in people.values():
        sessions = {row["session"]: row for row in reversed(own)}
        told = [key for key in ("months", "age") if all(row[key] is not None for row in sessions.values())]
        order = sorted(sessions, key=str)
        if told:
            order.sort(key=partial(_told, sessions, told[0]))
        for row in own:
            row["visit"] = order.index(row["session"]) if row["session"] is not None else None


def _told(sessions: Mapping[Any, Row], key: str, name: Any) -> float:
    return float(sessions[name][key])


def _notes(rows: Sequence[Row], strange: int, people: Mapping[str, Any]) -> list[str]:
    notes = [f"every two visits of a subject are listed in {PAIRS}"] if visit_pairs(rows) else []
    doubled = Counter((row["patient_id"], row["session"]) for row in rows)
    several = sum(n > 1 for n in doubled.values())
    if several:
        notes.append(f"sessions with several scans (run, acq, rec): {several:,}; choose before counting them as visits")
    if strange:
        notes.append(f"files left out since they are named otherwise than BIDS says: {strange:,}")
    if people:
        silent = sorted(set(people) - {f"sub-{row['patient_id']}" for row in rows})
        if silent:
            notes.append(f"participants without such a scan: {len(silent):,}")
        unknown = {row["patient_id"] for row in rows} - {name.removeprefix("sub-") for name in people}
        if unknown:
            notes.append(f"subjects that are not in participants.tsv: {len(unknown):,}")
    return notes


def _months(session: str | None) -> int | None:
    found = _MONTHS.fullmatch(session or "")
    return int(found[1]) if found else None


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:  # "89+" and the like
        return None


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


BIDS = Bids()
