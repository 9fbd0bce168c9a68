"""What the adapters of labelled ECG sets share: tasks, label variants, splits, notes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row
from medfm.cohorts.adapters.ecg_labels import labels_of
from medfm.cohorts.adapters.merl_splits import SPLITS_FOLDER, SplitRow, read_splits
from medfm.cohorts.adapters.named import NamedAdapter
from medfm.core.errors import CohortError

CORRECTED, PUBLISHED = "corrected", "published"


class EcgAdapter(NamedAdapter):
    """A set of one or several multilabel tasks, each under two label variants.

    ``corrected`` derives the labels from the standard codes. ``published`` gives them as MERL's files
    have them, known mistakes included, so that its tables can be reproduced.
    """

    modality = "ecg"
    variants = (CORRECTED, PUBLISHED)
    multilabel = True

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        super().__init__(task, labelling)
        if self.multilabel:
            self.label_set = f"{self.id}-{self.chosen_task}" if self.chosen_task else self.id
            self.labels = labels_of(self.label_set)

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per recording."""
        yield from self.find(source).rows

    def merl_rows(self, source: Path, splits: Path | None) -> list[SplitRow] | None:
        """The rows of MERL's split files: of `splits`, else of ``data_split`` in `source`, else ``None``."""
        if splits is None and (source / SPLITS_FOLDER).is_dir():
            splits = source / SPLITS_FOLDER
        return None if splits is None else read_splits(splits, str(self.label_set), self.labels)

    def positive(self, labels: Sequence[str] | set[str]) -> dict[str, int]:
        """The 0/1 columns of a recording that has `labels`."""
        present = set(labels)
        return {label: int(label in present) for label in self.labels}


def random_split(names: Sequence[str]) -> dict[str, str]:
    """The split of every name: a fifth for testing, a tenth of the rest for validation, seed 42, names sorted.

    This is MERL's procedure (two calls of scikit-learn's ``train_test_split``) over the names in their
    order; the published files have another order, so the same numbers but other records per split.
    """
    from sklearn.model_selection import train_test_split

    ordered = sorted(names)
    if len(ordered) < 3:
        return dict.fromkeys(ordered, "train")
    rest, test = train_test_split(ordered, test_size=0.2, random_state=42)
    if len(rest) < 2:
        return {**dict.fromkeys(rest, "train"), **dict.fromkeys(test, "test")}
    train, val = train_test_split(rest, test_size=0.1, random_state=42)
    return {**dict.fromkeys(train, "train"), **dict.fromkeys(val, "val"), **dict.fromkeys(test, "test")}


def read_csv(file: Path, where: str, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row by column) of a CSV file; the first column may have no name.

    Raises:
        CohortError: The file is missing, not UTF-8, ragged, or lacks a column of `needed`.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle)
            header = [name.strip() for name in next(reader, [])]
            absent = [name for name in needed if name not in header]
            if absent:
                raise CohortError(
                    f"The table has no column '{absent[0]}'.", where=where, expected="the columns " + ", ".join(needed)
                )
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise CohortError(
                        f"Line {reader.line_num} has {len(row)} cells, the header has {len(header)}.",
                        where=where,
                        fix="download the table again",
                    )
                yield reader.line_num, dict(zip(header, (cell.strip() for cell in row), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"The table cannot be read ({type(error).__name__}).", where=where) from error


def left_out(number: int, total: int, why: str) -> str:
    """A note on recordings that are not in the table."""
    return f"{number:,} of {total:,} recordings are left out: {why}"


__all__ = ["CORRECTED", "PUBLISHED", "EcgAdapter", "Found", "Row", "left_out", "random_split", "read_csv"]
