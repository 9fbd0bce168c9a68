"""Quick checks of the files: present and not empty, without opening them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.checks.codes import count, found, passed
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding
from medfm.cohorts.paths import refuse_escaping_links
from medfm.core.errors import CohortError
from medfm.modalities.registry import get_modality


def check_files(cohort: Cohort, *, deep: bool) -> Iterator[Finding]:
    """F001, F003 and F006.

    Before a run some absent files are a warning (embedding records each and goes on); in a
    full check, or when none is there, they are an error.
    """
    folders = bool(getattr(get_modality(cohort.modality), "folders", False))
    start = os.path.join(cohort.root, "")  # noqa: PTH118  (plain strings: a Path costs more than the look at the file)
    sizes = {path: _size(start + path, folders) for path in cohort.table["path"].unique()}
    per_record = cohort.table["path"].map(sizes)
    for code, bad, words in (("F001", per_record < 0, "do not exist"), ("F003", per_record == 0, "have 0 bytes")):
        if not bad.any():
            yield passed(code, count(len(sizes), "file"))
            continue
        rows = cohort.table[bad]
        number = rows["path"].nunique()
        detail = f"{number:,} of {count(len(sizes), 'file')} {words}, first: {rows['path'].iloc[0]}"
        if code == "F001":
            detail += _elsewhere(cohort.root, str(rows["path"].iloc[0]))
        yield found(code, "error" if deep or bad.all() else "warning", detail, rows["record_id"])
    try:
        refuse_escaping_links(cohort.root, cohort.table["path"].unique().tolist(), cohort.name)
    except CohortError as error:
        yield found("F006", "error", error.what)
    else:
        yield passed("F006")


def _elsewhere(root: Path, path: str) -> str:
    """A hint when the file is there relative to a folder above the root."""
    for folder in list(root.parents)[:3]:
        if _size(folder / path) >= 0:
            return f" (it is there under --root {folder})"
    return ""


def _size(file: str | Path, folders: bool = False) -> int:
    """Bytes of the file; -1 where there is none. Of a folder, where records may be some, how much is in it."""
    try:
        status = os.stat(file)  # noqa: PTH116
        if folders and stat.S_ISDIR(status.st_mode):
            return sum(1 for _ in Path(file).iterdir())
        return status.st_size if stat.S_ISREG(status.st_mode) else -1
    except (OSError, ValueError):
        return -1
