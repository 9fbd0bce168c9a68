"""Layouts of the brain MRI sets with invented people; files hold one byte, for no adapter opens a volume."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medfm.cohorts.adapters import prepare
from medfm.cohorts.adapters.base import Prepared

DATE = re.compile(r"(19|20)\d{2}-\d{2}-\d{2}|\d{1,2}/\d{1,2}/(19|20)\d{2}")
PROCESSED = "MPR__GradWarp__B1_Correction__N3__Scaled"


def put(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return root


def sheet(file: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> Path:
    """A CSV file; columns that a row lacks stay empty."""
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.getvalue(), encoding="utf-8")
    return file


def archived(root: Path, subject: str, day: str, image: int, description: str = "MP-RAGE", dicom: bool = False) -> None:
    """An image where LONI's archive has it: a NIfTI file named as there, or three DICOM files."""
    folder = f"{subject}/{description}/{day}_09_10_11.0/I{image}"
    names = [f"ADNI_{subject}_MR_{description}_br_raw_S77_{n}_I{image}.dcm" for n in range(3)]
    put(
        root,
        *(
            f"{folder}/{name}"
            for name in (names if dicom else [f"ADNI_{subject}_MR_{description}_Br_S77_I{image}.nii"])
        ),
    )


def merge_row(subject: str, code: str, day: str, dx: str = "", **more: Any) -> dict[str, Any]:
    """A row of ADNIMERGE as released, reduced to some of its columns."""
    return {
        "RID": int(subject[-4:]),
        "COLPROT": "ADNI2",
        "ORIGPROT": "ADNI1",
        "PTID": subject,
        "SITE": int(subject[:3]),
        "VISCODE": code,
        "EXAMDATE": day,
        "DX_bl": more.pop("DX_bl", ""),
        "AGE": more.pop("AGE", 70.0),
        "PTGENDER": more.pop("PTGENDER", "Female"),
        "PTEDUCAT": 16,
        "APOE4": more.pop("APOE4", 1),
        "MMSE": more.pop("MMSE", 27),
        "DX": dx,
        "Month": 0 if code == "bl" else int(code[1:]),
        "M": 0 if code == "bl" else int(code[1:]),
        **more,
    }


def made(name: str, source: Path, **keywords: Any) -> tuple[pd.DataFrame, Prepared]:
    """The table that `prepare` writes, as text, by record id; counts are not enforced."""
    out = source.parent / f"out-{name.replace('@', '-')}"
    done = prepare(name, source, out, allow_partial=True, **keywords)
    return pd.read_csv(done.table, dtype=str, keep_default_na=False).set_index("record_id"), done


def beside(done: Prepared, name: str) -> list[dict[str, str]]:
    """The rows of another table in the folder; none where it is absent."""
    file = done.table.parent / name
    if not file.exists():
        return []
    with file.open(newline="") as handle:
        return list(csv.DictReader(handle))


def reasons(done: Prepared) -> dict[str, str]:
    """Why each scan was left out."""
    return {row["scan"]: row["reason"] for row in beside(done, "left_out.csv")}


def dates_in(done: Prepared, but: Iterable[str] = ("path",)) -> list[str]:
    """Everything that looks like a date in all files written, columns of `but` and the root aside."""
    found = []
    for file in sorted(done.table.parent.iterdir()):
        if file.suffix == ".csv":
            with file.open(newline="") as handle:
                cells = [v for row in csv.DictReader(handle) for k, v in row.items() if k not in but]
        else:
            cells = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("root:")]
        found += [cell for cell in cells if DATE.search(cell)]
    return found
