"""The findings E001 to E010: each fault put into one or all recordings of a written cohort, from file to finding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from heartbeats import LEADS, heart, write_wfdb

from medfm.cohorts.checks import CODES, run_checks
from medfm.cohorts.checks.scan import scan
from medfm.cohorts.findings import Finding
from medfm.cohorts.load import load_cohort

COUNT = 6
Writer = Callable[[int], Path]


def findings(folder: Path, write: Writer) -> dict[str, Finding]:
    """The findings of a cohort whose record k is what `write(k)` writes."""
    rows = [
        {"path": write(k).name, "patient_id": f"p{k}", "label": "ab"[k % 2], "split": "train"} for k in range(COUNT)
    ]
    cohort = load_cohort(pd.DataFrame(rows), modality="ecg", root=folder)
    return {f.code: f for f in run_checks(cohort)}


def changed(
    folder: Path, change: Callable[[np.ndarray], np.ndarray], which: range = range(2, 3), **more: object
) -> Writer:
    """Writes hearts, those of `which` changed."""

    def write(k: int) -> Path:
        array = heart(k)
        return write_wfdb(folder, f"r{k}", change(array) if k in which else array, **(more if k in which else {}))  # type: ignore[arg-type]

    return write


def same(array: np.ndarray) -> np.ndarray:
    return array


def arms(array: np.ndarray) -> np.ndarray:
    i, ii, iii, r, l, f = array[:6]  # noqa: E741
    return np.concatenate([np.stack([-i, iii, ii, l, r, f]), array[6:]])


def diagonal(array: np.ndarray) -> np.ndarray:
    i, ii, iii, r, l, f = array[:6]  # noqa: E741
    return np.concatenate([np.stack([-iii, -ii, -i, f, l, r]), array[6:]])


def left(array: np.ndarray) -> np.ndarray:
    i, ii, iii, r, l, f = array[:6]  # noqa: E741
    return np.concatenate([np.stack([ii, i, -iii, r, f, l]), array[6:]])


def negative(row: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda a: np.concatenate([a[:row], -a[row : row + 1], a[row + 1 :]])


def cut(array: np.ndarray) -> np.ndarray:
    return np.clip(array, -0.4, 0.5)


def dead(array: np.ndarray) -> np.ndarray:
    result = array.copy()
    result[8] = 0
    return result


def hum(mains: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        result = array.copy()
        result[6:] += (0.08 * np.sin(2 * np.pi * mains * np.arange(array.shape[1]) / 500)).astype(np.float32)
        return result

    return change


def holed(samples: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        result = array.copy()
        result[:, 700 : 700 + samples] = np.nan
        return result

    return change


def test_a_healthy_cohort_passes_every_check(tmp_path: Path) -> None:
    found = findings(tmp_path, changed(tmp_path, same))
    codes = [code for code in CODES if code.startswith("E")]
    assert len(codes) == 10
    assert {code: found[code].severity for code in codes} == dict.fromkeys(codes, "passed")
    assert found["E009"].detail == "500 Hz"
    assert found["E008"].detail == "10 s"


def test_a_wandering_baseline_is_no_error(tmp_path: Path) -> None:
    found = findings(tmp_path, lambda k: write_wfdb(tmp_path, f"r{k}", heart(k, wander=1.0)))
    assert all(f.severity == "passed" for code, f in found.items() if code.startswith("E"))


@pytest.mark.parametrize(
    ("change", "code", "severity", "words"),
    [
        (arms, "E001", "warning", "1 of 6 records look swapped: RA/LA (1)"),
        (diagonal, "E001", "warning", "RA/LL (1)"),
        (left, "E002", "info", "a hint, no more"),
        (negative(3), "E003", "warning", "aVR (1); by up to 1"),
        (negative(2), "E003", "warning", "III (1)"),
        (lambda a: a[[0, 2, 1, *range(3, 12)]], "E003", "warning", "aVR (1)"),
        (dead, "E004", "warning", "have leads without a signal: V3 (1)"),
        (cut, "E005", "warning", "stay at their highest or lowest value"),
        (hum(50), "E006", "warning", "25 uV of it: 50 Hz (1)"),
        (hum(60), "E006", "warning", "60 Hz (1)"),
        (lambda a: a * 12, "E007", "warning", "1 record 1"),
        (lambda a: a / 12, "E007", "warning", "1 record 0.08"),
        (lambda a: a[:, :1500], "E008", "warning", "the shortest 3 s"),
        (holed(200), "E010", "info", "1 record with gaps, up to 4.0% of the samples"),
        (holed(900), "E010", "warning", "up to 18.0% of the samples"),
    ],
)
def test_a_fault_of_one_record(tmp_path: Path, change: Callable, code: str, severity: str, words: str) -> None:
    found = findings(tmp_path, changed(tmp_path, change))
    assert found[code].severity == severity
    assert words in found[code].detail
    assert found[code].records == ("r2.hea",)
    assert found[code].fix
    others = {c for c, f in found.items() if c.startswith("E") and f.severity != "passed"} - {code}
    # Limb leads that contradict each other can look swapped as well, and those cut one by one contradict each other.
    assert others <= {"E003": {"E001", "E002"}, "E005": {"E003"}}.get(code, set()), others


def test_a_thousandfold_unit_is_refused_and_named(tmp_path: Path) -> None:
    found = findings(tmp_path, changed(tmp_path, lambda a: a * 20, unit="V", gain=500))
    assert found["F002"].severity == "error"
    assert found["E007"].severity == "error"
    assert found["E007"].detail == "1 record a thousand times off and refused"
    assert found["E007"].records == ("r2.hea",)
    found = findings(tmp_path, changed(tmp_path, same, range(COUNT), unit="nV", gain=1))
    assert "6 of 6 records are a thousand times off" in found["E007"].detail
    assert "units" in found["E007"].fix


def test_a_cohort_in_units_of_a_converter_is_an_error(tmp_path: Path) -> None:
    found = findings(tmp_path, changed(tmp_path, lambda a: a * 20, range(COUNT)))
    assert found["E007"].severity == "error"
    assert "raw values of a converter" in found["E007"].detail


def test_leads_in_another_order_in_every_record_are_an_error(tmp_path: Path) -> None:
    exchanged = lambda a: a[[0, 1, 2, 3, 5, 4, *range(6, 12)]]  # noqa: E731
    found = findings(tmp_path, changed(tmp_path, exchanged, range(COUNT)))
    assert found["E003"].severity == "error"
    assert "aVL (6), aVF (6)" in found["E003"].detail


def test_rates_that_differ_are_told_with_the_rarer_records(tmp_path: Path) -> None:
    def write(k: int) -> Path:
        hz = {4: 1000.0, 5: 128.0}.get(k, 500.0)
        return write_wfdb(tmp_path, f"r{k}", heart(k, hz=hz), hz=hz)

    found = findings(tmp_path, write)
    assert found["E009"].severity == "info"
    assert found["E009"].detail == "500 Hz (4), 1000 Hz (1), 128 Hz (1)"
    assert found["E009"].records == ("r4.hea", "r5.hea")
    assert all(found[code].severity == "passed" for code in ("E001", "E004", "E006", "E007"))


def test_absent_chest_leads_and_a_record_too_short_to_judge(tmp_path: Path) -> None:
    def write(k: int) -> Path:
        if k == 1:
            return write_wfdb(tmp_path, "r1", heart(1)[:8], leads=LEADS[:8])
        return write_wfdb(tmp_path, f"r{k}", heart(k)[:, : 600 if k == 3 else 5000])

    found = findings(tmp_path, write)
    assert found["E010"].severity == "warning"
    assert found["E010"].detail == "1 record without V3 (1), V4 (1), V5 (1), V6 (1)"
    assert found["E001"].detail == "4 records; 2 records could not be judged"
    assert found["E006"].detail == "5 records; 1 record too slow or too short to see it"


def test_unreadable_records_are_left_to_the_file_checks(tmp_path: Path) -> None:
    def write(k: int) -> Path:
        return write_wfdb(tmp_path, f"r{k}", heart(k), promised=9000 if k == 0 else None)

    found = findings(tmp_path, write)
    assert found["F002"].records == ("r0.hea",)
    assert "E007" in found and found["E007"].severity == "passed"
    none = findings(tmp_path, lambda k: write_wfdb(tmp_path, f"r{k}", heart(k), promised=9000))
    assert not [code for code in none if code.startswith("E")]


def test_a_pass_keeps_numbers_not_signals(tmp_path: Path) -> None:
    rows = [{"path": changed(tmp_path, holed(50))(k).name, "label": "a"} for k in range(COUNT)]
    seen = scan(load_cohort(pd.DataFrame(rows), modality="ecg", root=tmp_path), workers=2)
    for one in seen:
        assert one.quality is not None
        values = [*vars(one).values(), *vars(one.quality).values()]
        assert not any(isinstance(value, np.ndarray) for value in values)
        assert one.facts == {}
