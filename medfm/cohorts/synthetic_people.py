"""What all synthetic cohorts are made of: invented people, their splits, and rows that are drawn one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from medfm.core.progress import ProgressMaker

Row = dict[str, Any]
# Of every ten patients of a site: six train, one val, three test. The first four hold all three splits ...
SPLITS = ("train", "val", "test", "train", "train", "test", "train", "train", "test", "train")
# ... but for cells and ECGs, which were drawn first and stay as they were.
FIRST_SPLITS = ("train", "test", "train", "train", "val", "train", "test", "train", "test", "train")


@dataclass(frozen=True)
class Person:
    """One invented person: the columns that every cohort has."""

    patient_id: str
    site: str
    split: str
    age: int
    sex: str


def split_of(number: int, splits: tuple[str, ...] = SPLITS) -> str:
    """The split of the patient of this number within a site."""
    return splits[number % len(splits)]


def draw_rows(
    draw: Callable[[int], Row], records: int, progress: ProgressMaker, title: str, unit: str = "images"
) -> list[Row]:
    """The rows of the records 0 to `records` - 1, each drawn and written by `draw`, with a display."""
    rows: list[Row] = []
    with progress(title, records, unit) as bar:
        for index in range(records):
            rows.append(draw(index))
            bar.advance()
    return rows
