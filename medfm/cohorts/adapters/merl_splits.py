"""A user's own copy of MERL's split files (``finetune/data_split``): records, splits and labels as published.

The files are read as the published code reads them: label columns are named by the test file and taken
by position in all three. In PTB-XL sub_class the train file has three columns in another order, so
its train rows come out with the labels the reference trained on.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medfm.core.errors import CohortError

# Label set -> (path of the files before _train.csv and so on, number of columns before the labels).
_FILES = {
    "ptbxl-super": ("ptbxl/super_class/ptbxl_super_class", 6),
    "ptbxl-sub": ("ptbxl/sub_class/ptbxl_sub_class", 6),
    "ptbxl-form": ("ptbxl/form/ptbxl_form", 6),
    "ptbxl-rhythm": ("ptbxl/rhythm/ptbxl_rhythm", 6),
    "cpsc2018": ("icbeb/icbeb", 7),
    "csn": ("chapman/chapman", 3),
}
SPLITS_FOLDER = "data_split"
WHERE = "github.com/cheliu-computation/MERL-ICML2024 (finetune/data_split)"


@dataclass(frozen=True)
class SplitRow:
    """One row: its split, the cells before the labels by column name, and 0/1 per label of the test file."""

    split: str
    cells: dict[str, str]
    labels: dict[str, int]


def read_splits(folder: Path, label_set: str, labels: Sequence[str]) -> list[SplitRow]:
    """The rows of the three files of a task, in the order train, val, test.

    Args:
        folder: ``data_split``, ``finetune`` or the whole repository.
        label_set: The task.
        labels: Label columns expected in the test file, in order.

    Raises:
        CohortError: A file is missing, or is not laid out as published.
    """
    stem, first = _FILES[label_set]
    places = (folder, folder / SPLITS_FOLDER, folder / "finetune" / SPLITS_FOLDER)
    base = next((p for p in places if (p / f"{stem}_test.csv").is_file()), None)
    if base is None:
        raise CohortError(
            f"There is no {stem}_test.csv.", where=str(folder), expected=f"the folder {SPLITS_FOLDER} of {WHERE}"
        )
    rows: list[SplitRow] = []
    for split in ("train", "val", "test"):
        file = base / f"{stem}_{split}.csv"
        header, body = _read(file)
        # The reference checks neither: it takes whatever stands there, by position.
        known = header[first:] == list(labels) if split == "test" else sorted(header[first:]) == sorted(labels)
        if not known:
            raise CohortError(
                "The label columns are not the published ones.", where=str(file), expected=" ".join(labels)
            )
        for number, row in enumerate(body, start=2):
            values = row[first:]
            if len(row) != len(header) or any(v not in ("0", "1") for v in values):
                raise CohortError("A label is not 0 or 1, or cells are missing.", where=f"{file}, line {number}")
            ones = dict(zip(labels, map(int, values), strict=True))
            rows.append(SplitRow(split, dict(zip(header[:first], row[:first], strict=True)), ones))
    return rows


def _read(file: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.reader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"The split file cannot be read ({type(error).__name__}).", where=str(file)) from error
    if len(rows) < 2:
        raise CohortError("The split file is empty.", where=str(file))
    return rows[0], rows[1:]
