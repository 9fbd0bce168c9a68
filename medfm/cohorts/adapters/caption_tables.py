"""Tables of pictures and captions: open_clip's CSV, Quilt-1M's lookup table, PathGen's JSON, and others like them.

Sources of the layouts: ``filepath`` and ``title`` are open_clip's defaults (mlfoundations/open_clip, params.py);
Quilt-1M's lookup table has ``image_path``, ``caption``, ``subset``, ``split``, ``magnification`` and, since October
2023, ``not_histology`` and ``single_wsi`` (wisdomikezogwo/quilt1m README); PathGen's JSON has ``wsi_id`` (``WSI_id``
in its code), ``position`` as strings, ``caption`` and ``file_id`` (PathFoundation/PathGen-1.6M README).
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medfm.cohorts.adapters.base import IMAGE_ENDINGS
from medfm.cohorts.adapters.pair_rows import CARRIED, LeftOut, Picture, captions_of, facts_of, near_columns, one_line
from medfm.core.errors import CohortError

TABLES = (".csv", ".tsv", ".txt", ".json", ".jsonl")
PATH_COLUMNS = ("path", "filepath", "image_path", "image", "img", "file_name", "filename", "file")
TEXT_COLUMNS = ("text", "caption", "title", "captions", "report")
QUILT_COLUMNS = ("subset", "single_wsi", "magnification")
_PLACE = ("patch_x", "patch_y")
_YES = ("1", "1.0", "true", "yes")
Line = tuple[str, Mapping[str, Any]]


def table_lines(file: Path, left_out: LeftOut) -> Iterator[Line]:
    """Where (``line 7``) and content of every row of a CSV, TSV, JSON list or JSON-lines file.

    Raises:
        CohortError: The file is not UTF-8, has no rows, or is malformed as a whole.
    """
    try:
        if file.suffix.lower() in (".json", ".jsonl"):
            yield from _json_lines(file)
        else:
            yield from _csv_lines(file, left_out)
    except UnicodeDecodeError as error:
        raise CohortError("The table is not UTF-8 text.", where=file.name, fix="save it again as UTF-8") from error
    except OSError as error:
        raise CohortError(f"The table cannot be read: {error.strerror or error}.", where=file.name) from error


def _csv_lines(file: Path, left_out: LeftOut) -> Iterator[Line]:
    with file.open(encoding="utf-8-sig", newline="") as handle:
        first = handle.readline()
        # open_clip's default is a tab, also in .csv files.
        separator = "\t" if file.suffix.lower() == ".tsv" else max((",", ";", "\t"), key=first.count)
        handle.seek(0)
        reader = csv.reader(handle, delimiter=separator, strict=True)
        try:
            header = [cell.strip().lstrip("\ufeff") for cell in next(reader, [])]
            doubled = next((name for name in header if name and header.count(name) > 1), None)
            if doubled is not None or not any(header):
                what = "has no header" if doubled is None else f"has the column '{doubled}' twice"
                raise CohortError(f"The table {what}.", where=file.name)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                where = f"line {reader.line_num}"
                if len(cells) != len(header):
                    left_out.add(where, "the line has another number of cells than the header")
                    continue
                yield where, {name: cell for name, cell in zip(header, cells, strict=True) if name}
        except csv.Error as error:
            raise CohortError(f"Line {reader.line_num} cannot be read: {error}.", where=file.name) from error


def _json_lines(file: Path) -> Iterator[Line]:
    def need(entry: Any, where: str) -> Line:
        if not isinstance(entry, dict):
            raise CohortError("An entry is no object of keys and values.", where=f"{file.name}, {where}")
        return where, entry

    try:
        if file.suffix.lower() == ".jsonl":
            with file.open(encoding="utf-8-sig") as handle:
                for number, line in enumerate(handle, start=1):
                    if line.strip():
                        yield need(json.loads(line), f"line {number}")
            return
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise CohortError("The file is not valid JSON.", where=file.name, fix="download it again") from error
    if not isinstance(content, list):
        raise CohortError(
            "The JSON holds no list of pictures.", where=file.name, expected='[{"image": ..., "caption": ...}]'
        )
    for number, entry in enumerate(content, start=1):
        yield need(entry, f"entry {number}")


class TablePictures:
    """The pictures of a table.

    Args:
        file: The table.
        columns: Column of the cohort -> column of the table, where they differ from the usual names.
        left_out: Gets what is malformed or absent.

    Attributes:
        root: Folder that the paths of the pictures are relative to.
        kind: ``"quilt"``, ``"pathgen"`` or ``"pairs"``, by the columns; known after the first picture.
        filtered: Rows that the table itself says show no histology.
        unlisted: Pictures in the folder that no row names, where the folder was searched.
    """

    def __init__(self, file: Path, columns: Mapping[str, str], left_out: LeftOut) -> None:
        self.file, self.columns, self.left_out = file, columns, left_out
        self.root = file.parent
        self.kind = "pairs"
        self.filtered = 0
        self._found: dict[str, str] | None = None
        self._used: set[str] = set()

    @property
    def unlisted(self) -> int | None:
        """Pictures of the folder that no row names; ``None`` where it was not searched."""
        if self._found is None:
            return None
        return len(set(filter(None, self._found.values())) - self._used)

    def __iter__(self) -> Iterator[Picture]:
        names: dict[str, str] | None = None
        for where, line in table_lines(self.file, self.left_out):
            if names is None:
                names = self._names(line)
            if self.kind == "pathgen":
                line = _pathgen(line)
            if self.kind == "quilt" and one_line(line.get("not_histology")).lower() in _YES:
                self.filtered += 1
                continue
            place = self._locate(line.get(names["path"]), where)
            if place is None:
                continue
            facts = facts_of(line, {k: v for k, v in names.items() if k not in ("path", "text")})
            yield Picture(place, {"path": place}, captions_of(line.get(names["text"])), facts, where)
        if names is None:
            raise CohortError("The table has no rows.", where=self.file.name)

    def _names(self, line: Mapping[str, Any]) -> dict[str, str]:
        """Cohort column -> key of a line, from the first line."""
        present = {str(key) for key in line}
        if {"position", "caption"} <= present and present & {"wsi_id", "WSI_id"}:
            self.kind = "pathgen"
            present |= set(_pathgen(line))
        elif {"image_path", "caption"} <= present:
            self.kind = "quilt"
        names = {}
        for name, usual in (("path", PATH_COLUMNS), ("text", TEXT_COLUMNS)):
            key = self.columns.get(name) or next((column for column in usual if column in present), None)
            if key is None:
                raise CohortError(
                    f"The table has no column for the {'pictures' if name == 'path' else 'captions'}.",
                    where=self.file.name,
                    expected=", ".join(usual),
                    fix=f"name it: --map {name}=COLUMN; there are {', '.join(sorted(present)[:20])}",
                )
            names[name] = key
        for name in (*CARRIED, *_PLACE, "mpp", "laterality", *QUILT_COLUMNS):
            if name in present:
                names[name] = name
        names |= self.columns
        absent = next((key for key in names.values() if key not in present), None)
        if absent is not None:
            raise CohortError(
                f"The table has no column '{absent}'.", where=self.file.name, fix=near_columns(absent, sorted(present))
            )
        return names

    def _locate(self, value: Any, where: str) -> str | None:
        """Path of a picture relative to the root; ``None`` (and the reason kept) where there is none."""
        given = str(value or "").strip().replace("\\", "/")
        if not given or not given.isprintable():
            self.left_out.add(where, "the line names no picture")
            return None
        if Path(given).is_absolute() or given[1:2] == ":":
            try:
                given = Path(given).relative_to(self.root.absolute()).as_posix()
            except ValueError:
                self.left_out.add(where, "the path of the picture is absolute and outside the table's folder")
                return None
        given = os.path.normpath(given).replace(os.sep, "/")
        if given.startswith("../") or given == "..":
            self.left_out.add(where, "the path of the picture leaves the table's folder (..)")
            return None
        if (self.root / given).is_file():
            self._used.add(given)
            return given
        if "/" in given and self.kind == "pairs":
            self.left_out.add(where, "the picture is not there")
            return None
        found = self._search().get(Path(given).name)
        if not found:
            reason = "the picture is not there" if found is None else "pictures in several folders have this name"
            self.left_out.add(where, reason)
            return None
        self._used.add(found)
        return found

    def _search(self) -> dict[str, str]:
        """Pictures below the root by file name, one search; ``""`` for a name that occurs twice."""
        if self._found is None:
            self._found = {}
            for folder, inner, files in os.walk(self.root):
                inner[:] = sorted(d for d in inner if not d.startswith("."))
                at = Path(folder).relative_to(self.root).as_posix()
                for name in files:
                    if name.lower().endswith(IMAGE_ENDINGS) and not name.startswith("."):
                        path = name if at == "." else f"{at}/{name}"
                        # PathGen's lines name no ending.
                        known = Path(name).stem if self.kind == "pathgen" else name
                        self._found[known] = "" if known in self._found else path
        return self._found


def _pathgen(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of PathGen's JSON with the columns of a cohort.

    PathGen publishes places on slides and no file names; pictures cut from them are looked for as
    ``WSI_X_Y.png`` (or another ending), which is a convention of this package.
    """
    slide = one_line(line.get("wsi_id", line.get("WSI_id")))
    position = line.get("position")
    values = [one_line(v) for v in position] if isinstance(position, Iterable) and not isinstance(position, str) else []
    found = dict(line)
    if not slide or len(values) != 2 or not all(value.isdigit() for value in values):
        return found | {"path": ""}
    # TCGA-AB-1234-01Z-00-DX1.UUID: the first three parts are the patient.
    patient = "-".join(slide.split("-")[:3]) if slide.startswith("TCGA-") else slide
    spot = {"patch_x": int(values[0]), "patch_y": int(values[1])}
    return found | {"path": f"{slide}_{values[0]}_{values[1]}", "patient_id": patient, **spot}
