"""Deep checks of recordings: no pixel checks, and copies seen through header and signal file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medfm.cohorts.checks import run_checks
from medfm.cohorts.load import load_cohort

LEADS = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]


def write(folder: Path, name: str, seed: int) -> None:
    samples = np.random.default_rng(seed).integers(-800, 800, (5000, 12)).astype("<i2")
    (folder / f"{name}.dat").write_bytes(samples.tobytes())
    lines = [f"{name} 12 500 5000"] + [f"{name}.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


def cohort(folder: Path, rows: list[tuple[str, str, str]]):
    table = pd.DataFrame(rows, columns=["path", "label", "split"])
    table.to_csv(folder / "labels.csv", index=False)
    return load_cohort(folder / "labels.csv", modality="ecg")


def test_pixel_checks_are_silent_and_files_are_read(tmp_path: Path) -> None:
    for seed in range(4):
        write(tmp_path, f"r{seed}", seed)
    rows = [(f"r{i}.hea", "ab"[i % 2], ("train", "test")[i // 2]) for i in range(4)]
    codes = {f.code: f.severity for f in run_checks(cohort(tmp_path, rows), target="label")}
    assert codes["F002"] == "passed"
    assert codes["L002"] == "passed"
    assert not {"U001", "U002", "U003", "U004", "U005", "L005"} & set(codes)


def test_equal_headers_with_other_signals_are_no_copies_and_equal_signals_are(tmp_path: Path) -> None:
    for part, seed in (("one", 0), ("two", 1), ("three", 0)):
        (tmp_path / part).mkdir()
        write(tmp_path / part, "rec", seed)
    rows = [("one/rec.hea", "a", "train"), ("two/rec.hea", "b", "test"), ("three/rec.hea", "a", "test")]
    found = [f for f in run_checks(cohort(tmp_path, rows), target="label") if f.code == "L002"]
    assert found[0].severity == "error"
    assert set(found[0].records) == {"one/rec.hea", "three/rec.hea"}


def test_a_missing_signal_file_is_a_readable_finding(tmp_path: Path) -> None:
    for seed in range(2):
        write(tmp_path, f"r{seed}", seed)
    (tmp_path / "r1.dat").unlink()
    rows = [("r0.hea", "a", "train"), ("r1.hea", "b", "test")]
    found = [f for f in run_checks(cohort(tmp_path, rows), target="label") if f.code == "F002"]
    assert found[0].severity == "error"
    assert found[0].records == ("r1.hea",)
