"""``medfm data deidentify``: a folder of DICOM files in, the same without who they are from out."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medfm.core.errors import ConfigError, ReadError, StoreError
from medfm.core.files import atomic_path, make_folder, write_json, write_text
from medfm.core.progress import ProgressMaker, Silent
from medfm.io.deidentify.file import Cleaned, clean, read, write
from medfm.io.deidentify.key import Key, read_key

REPORT = "deidentification.json"
TABLE = "files.csv"
_TWO_PEOPLE = "one patient id with different birth dates or sexes: perhaps two people"
_COLUMNS = ("path", "patient_id", "study_id", "series_id", "dicom_modality", "burned_in")


@dataclass
class Report:
    """What was done. Holds counts and new names, never a value that was removed and never a name of a source file.

    Attributes:
        out: The output folder.
        written: Files written by this run.
        before: Files found in the output already: of an earlier run, or copies of one file.
        counted: Files of the output that `changes`, `warnings` and `burned_in` are about.
        patients: Different new patient ids in the output.
        changes: ``attribute -> {what was done: files or items}``.
        warnings: Warning -> how many files.
        burned_in: Why text may be burned in -> how many files.
        refused: Reason -> how many files.
        key_made: Whether the key file was made by this run.
        complete: False when the run was interrupted.
    """

    out: Path
    written: int = 0
    before: int = 0
    counted: int = 0
    patients: int = 0
    changes: dict[str, Counter[str]] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)
    burned_in: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    key_made: bool = False
    complete: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in the report file."""
        return {
            "profile": "DICOM PS3.15 Annex E, Basic Application Level Confidentiality Profile",
            "options": "dates shifted per patient by whole days (modified dates)",
            "written": self.written,
            "there_already": self.before,
            "counted_below": self.counted,
            "patients": self.patients,
            "complete": self.complete,
            "refused": dict(sorted(self.refused.items())),
            "warnings": dict(sorted(self.warnings.items())),
            "burned_in_text_suspected": dict(sorted(self.burned_in.items())),
            "changes": {name: dict(sorted(what.items())) for name, what in sorted(self.changes.items())},
            "not_done": [
                "text burned into pixels is not removed",
                "faces in head scans are not removed",
                "comments inside compressed pixel data are not looked at",
            ],
        }


def deidentify(
    source: str | Path,
    out: str | Path,
    key_file: str | Path,
    *,
    link: str | Path | None = None,
    characteristics: bool = False,
    progress: ProgressMaker = Silent,
) -> Report:
    """De-identify every DICOM file under `source`.

    Files that are already in `out` (of the same content and key) are not done again, so an interrupted run is
    continued by the same command. Links are not followed.

    Args:
        source: A folder, or one file.
        out: Folder to write into; made where there is none. Files get names that tell nothing.
        key_file: The secret; made where there is none. Whoever has it can link the output to the patients.
        link: Where to write which source file became which (for the owner; never inside `out`).
        characteristics: Whether age, sex, size and weight are kept.
        progress: Called with (title, total, unit).

    Raises:
        ConfigError: The output lies in the source, or the key or link file in the output.
        ReadError: There is no source, no file in it, or the file named holds no key.
        StoreError: The output was made with another key or other options, or cannot be written.
    """
    start, folder = Path(source), Path(out)
    _check_places(start, folder, Path(key_file), None if link is None else Path(link))
    files = list(_files(start))
    if not files:
        raise ReadError(
            "There is no file in this folder.",
            where=str(start),
            expected="DICOM files at any depth; links and hidden files are left out",
        )
    key, made = read_key(key_file)
    make_folder(folder)
    settings = {"key": key.mark, "keep_characteristics": characteristics}
    report = _earlier_report(folder, settings)
    report.key_made = made
    run = _Run(start, key, characteristics, report, _earlier_rows(folder), link is not None)
    try:
        with progress("de-identifying", len(files), "files") as bar:
            for path in files:
                run.one(path)
                bar.advance()
        report.complete = True
    finally:
        run.close(settings)
        if link is not None:
            _write_links(Path(link), run.links)
    return report


def _check_places(source: Path, out: Path, key: Path, link: Path | None) -> None:
    if not source.exists():
        raise ReadError("There is no such file or folder.", where=str(source))
    # Not Path.resolve: it raises on links that lead to each other.
    here, there = (Path(os.path.realpath(place)) for place in (source, out))
    if here == there or here in there.parents or there in here.parents:
        raise ConfigError(
            "The output lies in the source, or the source in the output.",
            where=str(out),
            expected="a folder apart, so that originals and de-identified files never mix",
        )
    for name, file in (("key", key), ("link table", link)):
        if file is not None and there in Path(os.path.realpath(file.expanduser())).parents:
            raise ConfigError(
                f"The {name} lies in the output: whoever gets the output could undo it.",
                where=str(file),
                expected="a place that is never handed on",
            )


def _earlier_report(out: Path, settings: dict[str, Any]) -> Report:
    """The report to go on with: an empty one, or that of an earlier run with equal settings."""
    file, report = out / REPORT, Report(out)
    if not file.exists():
        if any(not path.name.startswith(".") for path in out.iterdir()):
            raise StoreError(
                "The output folder holds other files.", where=str(out), fix="choose an empty or a new folder"
            )
        write_json(file, {"settings": settings, **report.to_dict()})
        return report
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))
        same = earlier["settings"] == settings
        report.counted = int(earlier["counted_below"])
        report.changes = {name: Counter(what) for name, what in earlier["changes"].items()}
        report.warnings = Counter({name: n for name, n in earlier["warnings"].items() if name != _TWO_PEOPLE})
        report.burned_in = Counter(earlier["burned_in_text_suspected"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError("The report of an earlier run cannot be read.", where=str(file)) from error
    if not same:
        raise StoreError(
            "The output folder was written with another key or other options.",
            where=str(out),
            fix="give the same key file and options, or another folder",
        )
    return report


def _earlier_rows(out: Path) -> dict[str, dict[str, str]]:
    """Output path -> row, of files that lie there whole; their headers are read where the table lacks them."""
    table = out / TABLE
    known: dict[str, dict[str, str]] = {}
    if table.exists():
        with table.open(encoding="utf-8", newline="") as handle:
            known = {row["path"]: dict(row) for row in csv.DictReader(handle)}
    rows = {}
    for path in sorted(out.rglob("*.dcm")):
        name = path.relative_to(out).as_posix()
        rows[name] = known.get(name) or _row_of_file(path, name)
    return rows


def _row_of_file(path: Path, name: str) -> dict[str, str]:
    dataset = read(path.read_bytes())
    values = [str(dataset.get(k, "")) for k in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")]
    return dict(zip(_COLUMNS, (name, *values, ""), strict=True))


def _files(start: Path) -> Iterator[Path]:
    """All files in a fixed order; links and hidden files are left out."""
    if start.is_file():
        yield start
        return
    for folder, inner, names in os.walk(start, followlinks=False):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder) / name
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                yield path


class _Run:
    """One pass over the source."""

    def __init__(
        self,
        start: Path,
        key: Key,
        characteristics: bool,
        report: Report,
        rows: dict[str, dict[str, str]],
        linked: bool,
    ) -> None:
        self.links: list[tuple[str, str, str, str, str]] = []
        self._start, self._key, self._characteristics, self._linked = start, key, characteristics, linked
        self._report, self._rows = report, rows
        self._there = {target.rpartition("/")[2] for target in rows}
        self._people: dict[str, set[str]] = {}

    def one(self, path: Path) -> None:
        """One file; what cannot be de-identified is counted as refused and not copied."""
        report = self._report
        name = str(path.relative_to(self._start)) if self._start.is_dir() else path.name
        try:
            try:
                content = path.read_bytes()
            except OSError as error:
                raise ReadError("cannot be opened") from error
            file = f"{self._key.name(content)}.dcm"
            there = file in self._there
            if there:
                report.before += 1
                if not self._linked:
                    return
            cleaned = clean(content, self._key, self._characteristics)
            target = f"{cleaned.patient}/{file}"
            if not there:
                write(cleaned, report.out / target)
                self._there.add(file)
                self._rows[target] = _row(target, cleaned)
                self._count(cleaned)
            self._people.setdefault(cleaned.patient, set()).add(cleaned.person)
            self.links.append((name, target, cleaned.old_patient, cleaned.patient, "written"))
        except ReadError as error:
            report.refused[error.what] += 1
            self.links.append((name, "", "", "", error.what))

    def _count(self, cleaned: Cleaned) -> None:
        report = self._report
        report.written += 1
        report.counted += 1
        for (attribute, what), number in cleaned.changes.counts.items():
            report.changes.setdefault(attribute, Counter())[what] += number
        for warning in cleaned.changes.warnings:
            report.warnings[warning] += 1
        if cleaned.burned_in:
            report.burned_in[cleaned.burned_in] += 1

    def close(self, settings: dict[str, Any]) -> None:
        """Write the table and the report, also of a run that was interrupted."""
        report = self._report
        report.patients = len({row["patient_id"] for row in self._rows.values()})
        twice = sum(len(found) > 1 for found in self._people.values())
        if twice:
            report.warnings[_TWO_PEOPLE] = twice
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows[name] for name in sorted(self._rows))
        write_text(report.out / TABLE, text.getvalue())
        write_json(report.out / REPORT, {"settings": settings, **report.to_dict()})


def _row(target: str, cleaned: Cleaned) -> dict[str, str]:
    values = (target, cleaned.patient, cleaned.study, cleaned.series, cleaned.modality, cleaned.burned_in or "")
    return dict(zip(_COLUMNS, values, strict=True))


def _write_links(path: Path, links: list[tuple[str, str, str, str, str]]) -> None:
    """The owner's table, readable by nobody else from the first byte on."""
    make_folder(path.parent)
    with atomic_path(path) as temporary:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(("source", "path", "old_patient_id", "patient_id", "state"))
            writer.writerows(links)
