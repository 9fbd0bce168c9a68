"""PTB-XL: 21,799 twelve-lead recordings with SCP-ECG statements, reports and official folds."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import Self

from medfm.cohorts.adapters.base import Found, Row
from medfm.cohorts.adapters.ecg import CORRECTED, PUBLISHED, EcgAdapter, left_out, read_csv
from medfm.cohorts.adapters.ecg_labels import positives, positives_in_test, split_sizes
from medfm.core.errors import CohortError

TABLE, STATEMENTS = "ptbxl_database.csv", "scp_statements.csv"
TASKS = ("super", "sub", "form", "rhythm")
# In MERL's train file of sub_class the columns that the reference takes for these labels hold those ones.
PUBLISHED_SUB_TRAIN_COLUMNS = {"ISC": "AVB", "AVB": "RAO/RAE", "RAO/RAE": "ISC"}
_NEEDED = ("ecg_id", "patient_id", "age", "sex", "site", "report", "scp_codes", "strat_fold")
# Samples per second -> the column of ptbxl_database.csv that names the recording, and its folder.
RATES = {500: ("filename_hr", "records500"), 100: ("filename_lr", "records100")}
# scp_statements.csv: which rows count for a task, and the column that names the class (the code itself if None).
_STATEMENTS: dict[str, tuple[str, str | None]] = {
    "super": ("diagnostic", "diagnostic_class"),
    "sub": ("diagnostic", "diagnostic_subclass"),
    "form": ("form", None),
    "rhythm": ("rhythm", None),
}
_WORDS = {
    "super": "5 diagnostic superclasses",
    "sub": "23 diagnostic subclasses",
    "form": "19 form statements",
    "rhythm": "12 rhythm statements",
}


class Ptbxl(EcgAdapter):
    """Tasks super, sub, form, rhythm; folds 1 to 8 train, 9 validates, 10 tests; the 500 Hz recordings, or the 100 Hz
    ones (:meth:`at_rate`)."""

    id = "ptbxl"
    title = "PTB-XL"
    aliases = ("PTBXL", "ptb-xl", "ptb-xl-a-large-publicly-available-electrocardiography-dataset-1.0.3")
    layout = f"{TABLE}, {STATEMENTS} and records500/NNNNN/NNNNN_hr.hea with .dat (release 1.0.3)"
    where = "physionet.org/content/ptb-xl/1.0.3"
    licence = "CC BY 4.0"
    citation = "Wagner P. et al., Scientific Data 7 (2020) 154"
    patients = True
    tasks = TASKS
    columns = ("strat_fold", "age", "sex", "device", "validated_by_human", "scp_codes", "text")
    unverified = ("the counts are those of MERL's split files, which agree with release 1.0.3",)

    def __init__(self, task: str | None = None, labelling: str = CORRECTED) -> None:
        super().__init__(task, labelling)
        self.kind = task or TASKS[0]
        self.hz = 500
        self.task = f"multilabel, {_WORDS[self.kind]}"
        self._task_named = task is not None
        name = str(self.label_set)
        self.expected = {**split_sizes(name), **positives_in_test(name)}
        if not self._permuted:
            self.expected |= positives(name)
        self.notes = (
            "all statements of a recording count whatever their likelihood, 0 (= not stated) included: the rule of "
            "the PTB-XL benchmark (Strodthoff et al. 2021)",
            "statements are named without the underscores of scp_statements.csv (NST_ is NST, _AVB is AVB)",
            "age 90 stands for 90 and older; sex is coded 0 male, 1 female in the release",
            "'text' is the report as published, most often German",
        )
        if self._permuted:
            self.notes += (
                "as published: in train rows the columns ISC, AVB and RAO/RAE hold AVB, RAO/RAE and ISC, because "
                "MERL's train file orders its columns differently and the reference takes them by position; val "
                "and test rows are right",
            )
        elif labelling == PUBLISHED:
            self.notes += ("for this task the published labels equal the corrected ones",)

    def info(self) -> dict[str, Any]:
        """As of :meth:`Adapter.info`; of the set as a whole, all tasks."""
        facts = super().info()
        return facts if self._task_named else facts | {"task": "multilabel: super (5 labels), sub, form, rhythm"}

    def at_rate(self, hz: int) -> Self:
        """As of :meth:`Adapter.at_rate`: 500 or 100."""
        if hz not in RATES:
            raise CohortError(f"{self.title} is not released at {hz} Hz.", expected="500 or 100")
        other = type(self)(self.kind if self._task_named else None, self.labelling)
        if hz != other.hz:
            other.hz, folder = hz, RATES[hz][1]
            other.layout = f"{TABLE}, {STATEMENTS} and {folder}/NNNNN/NNNNN_lr.hea with .dat (release 1.0.3)"
            other.notes += (f"the recordings at {hz} Hz ({folder}); MERL's published figures are from those at 500 Hz",)
        return other

    @property
    def _permuted(self) -> bool:
        return self.kind == "sub" and self.labelling == PUBLISHED

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """One row per recording that has a label of the task."""
        folder = self.folder_with(source, TABLE, STATEMENTS, why=f"there are no files {TABLE} and {STATEMENTS}")
        column, recordings = RATES[self.hz]
        beside = [hz for hz, (_, other) in RATES.items() if hz != self.hz and (folder / other).is_dir()]
        if beside and not (folder / recordings).is_dir():
            raise self.missing(source, f"there is no folder {recordings} (--rate {beside[0]} takes the other one)")
        classes = statement_classes(folder / STATEMENTS, self.kind)
        published = self.merl_rows(source, splits)
        listed = None if published is None else {row.cells.get("ecg_id", ""): row for row in published}
        rows: list[Row] = []
        total = unlabelled = absent = 0
        for line, cells in read_csv(folder / TABLE, TABLE, [*_NEEDED, column]):
            total += 1
            row, labels = self._row(cells, classes, f"{TABLE}, line {line}")
            if listed is not None:
                known = listed.pop(str(row["record_id"]), None)
                if known is None:
                    continue
                row["split"] = known.split
                ones = known.labels if self.labelling == PUBLISHED else self.positive(labels)
            else:
                ones = self._labels(labels, str(row["split"]))
            if not any(ones.values()):
                unlabelled += 1
                continue
            if not (folder / row["path"]).is_file():
                absent += 1
                continue
            row["path"] = (folder / row["path"]).relative_to(source).as_posix()
            rows.append(row | ones)
        partial = [f"{absent:,} recordings of the table are not in the folder"] if absent else []
        if listed:
            partial.append(f"{len(listed):,} recordings of the split files are not in {TABLE}")
        notes = [left_out(unlabelled, total, f"no label of the task {self.kind}")] if unlabelled else []
        if listed is not None:
            notes.append("records and splits are those of MERL's split files")
        return Found(rows, tuple(notes), tuple(partial))

    def _row(self, cells: Mapping[str, str], classes: Mapping[str, str], where: str) -> tuple[Row, set[str]]:
        codes = parse_codes(cells["scp_codes"], where)
        fold = whole_number(cells["strat_fold"])
        record, patient = whole_number(cells["ecg_id"]), whole_number(cells["patient_id"])
        if record is None or patient is None or fold is None or not 1 <= fold <= 10:
            raise CohortError("ecg_id, patient_id or strat_fold is not as published.", where=where)
        age, site = whole_number(cells["age"]), whole_number(cells["site"])
        row: Row = {
            "record_id": str(record),
            "path": f"{cells[RATES[self.hz][0]]}.hea",
            "patient_id": str(patient),
            "site": None if site is None else str(site),
            "split": {9: "val", 10: "test"}.get(fold, "train"),
            "strat_fold": fold,
            # The release writes 300 for everybody above 89.
            "age": None if age is None else min(age, 90),
            "sex": {"0": "male", "1": "female"}.get(cells["sex"].removesuffix(".0")),
            "device": " ".join(cells.get("device", "").split()) or None,
            "validated_by_human": cells.get("validated_by_human") or None,
            "scp_codes": " ".join(codes),
            "text": " ".join(cells["report"].split()) or None,
        }
        return row, {classes[code] for code in codes if code in classes}

    def _labels(self, labels: set[str], split: str) -> dict[str, int]:
        ones = self.positive(labels)
        if self._permuted and split == "train":
            ones |= {label: ones[held] for label, held in PUBLISHED_SUB_TRAIN_COLUMNS.items()}
        return ones


def statement_classes(file: Path, task: str) -> dict[str, str]:
    """Statement -> class for the statements that count for `task`, from ``scp_statements.csv``.

    Raises:
        CohortError: The table is not as published.
    """
    flag, column = _STATEMENTS[task]
    classes = {}
    for _, cells in read_csv(file, STATEMENTS, [flag, *([column] if column else [])]):
        code = next(iter(cells.values()))
        name = cells[column] if column else code
        if cells[flag] in ("1", "1.0") and name:
            classes[code] = name.strip("_")
    if not classes:
        raise CohortError(f"No statement is marked '{flag}'.", where=STATEMENTS, fix="download the table again")
    return classes


def parse_codes(text: str, where: str) -> dict[str, float]:
    """The published dictionary of statements and likelihoods (0 to 100).

    Raises:
        CohortError: It is no such dictionary.
    """
    try:
        codes = ast.literal_eval(text)
        if not isinstance(codes, dict) or not all(
            isinstance(k, str) and isinstance(v, (int, float)) for k, v in codes.items()
        ):
            raise ValueError
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise CohortError(
            "scp_codes is not a dictionary of statements.", where=where, expected="{'NORM': 100.0, 'SR': 0.0}"
        ) from error
    return codes


def whole_number(text: str) -> int | None:
    """A whole number, also as ``"15709.0"``; ``None`` for anything else."""
    text = text.removesuffix(".0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else None


PTBXL = Ptbxl()
