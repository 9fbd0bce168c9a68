"""AIBL: the archive met with its tables; codes, missing values, visits without a date, years of birth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from brain_layouts import archived, beside, dates_in, made, put, reasons, sheet

from medfm.cohorts.adapters import prepare
from medfm.cohorts.info import load_info
from medfm.core.errors import CohortError

TABLES = "aibl_01Jan2020/Data_extract"


def tables(root: Path, **more: list[dict[str, Any]]) -> None:
    """The tables as released (RID, SITEID, VISCODE first), dates American, -4 for what is missing."""
    given: dict[str, list[dict[str, Any]]] = {
        "pdxconv": [
            {"RID": 7, "VISCODE": "bl", "DXCURREN": 2},
            {"RID": 7, "VISCODE": "m18", "DXCURREN": 2},
            {"RID": 7, "VISCODE": "m36", "DXCURREN": 3},
            {"RID": 7, "VISCODE": "m54", "DXCURREN": -4},
            {"RID": 21, "VISCODE": "bl", "DXCURREN": 1},
            {"RID": 300, "VISCODE": "bl", "DXCURREN": 7},
        ],
        "ptdemog": [
            {"RID": 7, "VISCODE": "bl", "PTGENDER": 2, "PTDOB": "/1931"},
            {"RID": 21, "VISCODE": "bl", "PTGENDER": 1, "PTDOB": "-4"},
        ],
        "mri3meta": [
            {"RID": 7, "VISCODE": "bl", "EXAMDATE": "3/5/2007"},
            {"RID": 7, "VISCODE": "m18", "EXAMDATE": "-4"},
        ],
        "mrimeta": [{"RID": 7, "VISCODE": "m18", "EXAMDATE": "9/20/2008"}],
        "mmse": [
            {"RID": 7, "VISCODE": "bl", "EXAMDATE": "2/1/2007", "MMSCORE": 26},
            {"RID": 7, "VISCODE": "m18", "EXAMDATE": "8/1/2008", "MMSCORE": -4},
            {"RID": 21, "VISCODE": "bl", "EXAMDATE": "6/10/2007", "MMSCORE": 30},
            {"RID": 300, "VISCODE": "m18", "EXAMDATE": "6/10/2010", "MMSCORE": 24},
        ],
        "cdr": [{"RID": 7, "VISCODE": "bl", "EXAMDATE": "2/1/2007", "CDGLOBAL": 0.5}],
        **more,
    }
    for name, rows in given.items():
        if rows:
            filled = [{"RID": r["RID"], "SITEID": 2, **r} for r in rows]
            sheet(root / TABLES / f"aibl_{name}_01-Jun-2018.csv", filled)


@pytest.fixture
def aibl(tmp_path: Path) -> Path:
    root = tmp_path / "download"
    images = root / "AIBL"
    archived(images, "7", "2007-03-05", 11, "MPRAGE_ADNI_confirmed", dicom=True)
    archived(images, "7", "2007-03-05", 12, "MPRAGE_ADNI_confirmed_RPT", dicom=True)
    archived(images, "7", "2008-09-21", 13, "MPRAGESAGISOp2ABCDE")
    archived(images, "7", "2007-03-05", 14, "Axial_PD-T2_TSE")
    archived(images, "21", "2007-06-12", 21, "MPRAGE")
    archived(images, "300", "2010-06-10", 31, "MPRAGE")
    archived(images, "999", "2010-06-10", 41, "MPRAGE")
    tables(root)
    return root


def test_rows(aibl: Path) -> None:
    rows, done = made("aibl", aibl)
    assert set(rows.index) == {"7_M000_I11", "7_M018_I13", "21_M000_I21", "300_M018_I31"}
    first = rows.loc["7_M000_I11"]
    assert first["path"] == "AIBL/7/MPRAGE_ADNI_confirmed/2007-03-05_09_10_11.0/I11"
    assert first[["patient_id", "label", "months", "scan_months", "visit"]].tolist() == ["7", "MCI", "0", "0.0", "0"]
    assert first[["age", "sex", "mmse", "cdr"]].tolist() == ["76.0", "F", "26.0", "0.5"]
    later = rows.loc["7_M018_I13"]
    assert later[["label", "months", "visit", "age", "mmse", "cdr"]].tolist() == ["MCI", "18", "1", "77.5", "", ""]
    assert rows.loc["21_M000_I21", ["label", "sex", "age"]].tolist() == ["CN", "M", ""]
    assert rows.loc["300_M018_I31", ["label", "sex"]].tolist() == ["", ""]
    assert done.counts == {"subjects": 3, "sessions": 4, "CN": 1, "MCI": 2}


def test_reasons(aibl: Path) -> None:
    archived(aibl / "AIBL", "21", "2009-01-01", 22, "MPRAGE")
    _, done = made("aibl", aibl)
    assert reasons(done) == {
        "I12": "another T1 of the visit was taken",
        "I22": "no visit within 180 days",
        "I41": "the subject is not in the tables with a date",
    }
    assert any("Axial_PD-T2_TSE 1" in note for note in load_info(done.table).notes)


def test_follow_up_goes_by_nominal_months_where_there_is_no_date(aibl: Path) -> None:
    """m36 has no date in any table: 36 months of 30.4375 days after the baseline of 5 March 2007."""
    _, done = made("aibl", aibl)
    [row] = beside(done, "survival.csv")
    assert row["record_id"] == "7_M000_I11"
    assert (row["time"], row["event"]) == ("36.0", "1")


def test_a_date_of_the_scan_wins_over_those_of_the_tests(aibl: Path) -> None:
    """The baseline is 5 March (MRI), not 1 February (MMSE): the scan of that day is at 0.0 months."""
    rows, _ = made("aibl", aibl)
    assert rows.loc["7_M000_I11", "scan_months"] == "0.0"
    assert rows.loc["7_M018_I13", "scan_months"] == "18.6"


def test_without_a_baseline_visit_time_counts_back_from_the_first(aibl: Path) -> None:
    rows, _ = made("aibl", aibl)
    # The only dated visit of 300 is m18, and the scan is of that day.
    assert rows.loc["300_M018_I31", ["months", "scan_months"]].tolist() == ["18", "18.0"]


def test_a_second_row_of_a_visit_fills_only_what_the_first_left_open(aibl: Path) -> None:
    rows = [{"RID": 7, "VISCODE": "BL", "DXCURREN": -4}, {"RID": 7, "VISCODE": "bl", "DXCURREN": 3}]
    tables(aibl, pdxconv=rows)
    table, _ = made("aibl", aibl)
    assert table.loc["7_M000_I11", "label"] == "AD"


def test_no_date_is_written_but_in_paths(aibl: Path) -> None:
    _, done = made("aibl", aibl)
    assert dates_in(done) == [] and dates_in(done, but=()) != []
    written = "".join(f.read_text() for f in done.table.parent.iterdir())
    assert "1931" not in written


def test_variants_and_tasks(aibl: Path) -> None:
    rows, done = made("aibl-mci-cn@original", aibl)
    assert set(rows["label"]) == {"MCI", "CN"} and load_info(done.table).prepared_as == "aibl-mci-cn@original"
    assert [pair["gap_months"] for pair in beside(done, "pairs.csv")] == ["18.0"]


@pytest.mark.parametrize("name", ["pdxconv", "ptdemog"])
def test_tables_that_must_be_there(aibl: Path, name: str) -> None:
    (aibl / TABLES / f"aibl_{name}_01-Jun-2018.csv").unlink()
    with pytest.raises(CohortError, match=f"not AIBL: there is no aibl_{name}"):
        prepare("aibl", aibl, aibl.parent / "out")


def test_tables_that_may_be_absent(aibl: Path) -> None:
    for name in ("cdr", "mrimeta", "mri3meta"):
        (aibl / TABLES / f"aibl_{name}_01-Jun-2018.csv").unlink()
    rows, _ = made("aibl", aibl)
    assert rows.loc["7_M000_I11", "scan_months"] == "1.1"  # now from the day of the MMSE
    assert "cdr" not in rows.columns
    (aibl / TABLES / "aibl_mmse_01-Jun-2018.csv").unlink()
    with pytest.raises(CohortError, match="no table has dates"):
        prepare("aibl", aibl, aibl.parent / "out")


def test_malformed_tables(aibl: Path) -> None:
    file = aibl / TABLES / "aibl_mmse_01-Jun-2018.csv"
    frame = pd.read_csv(file, dtype=str)
    frame.loc[0, "EXAMDATE"] = "31/12/2007"
    frame.to_csv(file, index=False)
    with pytest.raises(CohortError, match="YYYY-MM-DD") as caught:
        prepare("aibl", aibl, aibl.parent / "out")
    assert "2007" not in str(caught.value)
    frame.drop(columns="MMSCORE").to_csv(file, index=False)
    with pytest.raises(CohortError, match="no column 'MMSCORE'"):
        prepare("aibl", aibl, aibl.parent / "out")
    put(aibl, "copy/aibl_pdxconv_28-Apr-2015.csv")
    with pytest.raises(CohortError, match="several tables aibl_pdxconv"):
        prepare("aibl", aibl, aibl.parent / "out")
