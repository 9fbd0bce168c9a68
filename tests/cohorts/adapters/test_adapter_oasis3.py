"""OASIS-3: sessions by day, visits of the clinical tables within 180 days, form D1 and dx1, older tables, follow-up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from brain_layouts import beside, dates_in, made, put, reasons, sheet

from medfm.cohorts.adapters import prepare
from medfm.cohorts.adapters.oasis3 import LIMIT
from medfm.cohorts.info import load_info
from medfm.core.errors import CohortError

FLAGS = ("NORMCOG", "DEMENTED", "MCIAMEM", "MCIAPLUS", "MCINON1", "MCINON2", "IMPNOMCI", "PROBAD", "POSSAD", "alzdis")
FILES = "OASIS3_data_files/scans"


def session(root: Path, subject: str, day: int, *names: str, bids: bool = False) -> None:
    """A session with its T1 volumes; `names` are entities such as ``run-01``."""
    for i, name in enumerate(names or ("",)):
        entities = f"_{name}" if name else ""
        if bids:
            put(root, f"sub-{subject}/ses-d{day:04d}/anat/sub-{subject}_ses-d{day:04d}{entities}_T1w.nii.gz")
        else:
            put(root, f"{subject}_MR_d{day:04d}/anat{i + 1}/NIFTI/sub-{subject}_sess-d{day:04d}{entities}_T1w.nii.gz")


def rated(subject: str, day: int, cdr: float = 0, dx1: str = "Cognitively normal", **more: Any) -> dict[str, Any]:
    return {
        "OASISID": subject,
        "OASIS_session_label": f"{subject}_UDSb4_d{day:04d}",
        "days_to_visit": day,
        "age at visit": round(65 + day / 365.25, 2),
        "MMSE": 28,
        "CDRSUM": 0,
        "CDRTOT": cdr,
        "dx1": dx1,
        **more,
    }


def diagnosed(subject: str, day: int, *ticked: str) -> dict[str, Any]:
    return {
        "OASISID": subject,
        "OASIS_session_label": f"{subject}_UDSd1_d{day:04d}",
        "days_to_visit": day,
        "age at visit": 65,
        **{flag: int(flag in ticked) for flag in FLAGS},
    }


A, B, C, D = "OAS39001", "OAS39002", "OAS39003", "OAS39004"


@pytest.fixture
def oasis3(tmp_path: Path) -> Path:
    """A: MCI and later AD. B: normal, two runs. C: far from every visit. D: not in the tables."""
    root = tmp_path / "oasis3"
    session(root, A, 129, "run-01", "run-02")
    session(root, A, 757, "acq-TSE_run-01", "run-02")
    session(root, B, 0)
    session(root, B, 2000)
    session(root, C, 1000)
    session(root, D, 10)
    put(
        root,
        f"{A}_MR_d0129/anat9/NIFTI/sub-{A}_sess-d0129_T2w.nii.gz",
        f"{A}_MR_d0129/BIDS/sub-{A}_sess-d0129_T1w.json",
    )
    put(root, f"{B}_MR_d0000/anat9/NIFTI/sub-{B}_sess-d0000_acq-hippocampus_T1w.nii.gz")
    sheet(
        root / FILES / "UDSb4/resources/csv/files/OASIS3_UDSb4_cdr.csv",
        [
            rated(A, 100, 0.5, "uncertain dementia", MMSE=27),
            rated(A, 700, 0.5, "uncertain dementia", MMSE=25),
            rated(A, 1100, 1, "AD Dementia"),
            rated(B, 5),
            rated(B, 1900, 0.5, "0.5 in memory only"),
            rated(B, 2060, 0, "Cognitively normal"),
            rated(C, 1181),
        ],
    )
    sheet(
        root / FILES / "UDSd1/resources/csv/files/OASIS3_UDSd1_diagnoses.csv",
        [
            diagnosed(A, 100, "MCIAMEM", "alzdis"),
            diagnosed(A, 700, "MCIAPLUS"),
            diagnosed(A, 1100, "DEMENTED", "PROBAD"),
            diagnosed(B, 5, "NORMCOG"),
            diagnosed(B, 1900, "IMPNOMCI"),
        ],
    )
    sheet(
        root / FILES / "demo/resources/csv/files/OASIS3_demographics.csv",
        [
            {"OASISID": A, "Subject_accession": "x", "AgeatEntry": 64.5, "GENDER": 2, "EDUC": 16, "HAND": "R"},
            {"OASISID": B, "Subject_accession": "x", "AgeatEntry": "", "GENDER": 1, "EDUC": 12, "HAND": "L"},
        ],
    )
    return root


def test_sessions(oasis3: Path) -> None:
    rows, done = made("oasis3", oasis3)
    assert set(rows.index) == {f"{A}_d0129", f"{A}_d0757", f"{B}_d0000", f"{B}_d2000"}
    first = rows.loc[f"{A}_d0129"]
    assert first["path"] == f"{A}_MR_d0129/anat1/NIFTI/sub-{A}_sess-d0129_run-01_T1w.nii.gz"
    assert first[["patient_id", "label", "session", "months", "visit", "days_apart"]].tolist() == [
        A, "MCI", "d0129", "4.2", "0", "-29",
    ]  # fmt: skip
    assert first[["age", "sex", "mmse", "cdr"]].tolist() == ["64.9", "F", "27.0", "0.5"]
    # A T1 with acq- comes after one without.
    assert rows.loc[f"{A}_d0757", "path"].endswith("_run-02_T1w.nii.gz")
    assert done.counts == {"subjects": 2, "sessions": 4, "CN": 2, "MCI": 2}
    assert load_info(done.table).target == "label"


def test_the_diagnosis_is_that_of_the_nearest_visit_that_has_any(oasis3: Path) -> None:
    """Day 2000: at 1900 form D1 says neither (impaired, not MCI); at 2060 there is no D1, but dx1 says normal."""
    rows, _ = made("oasis3", oasis3)
    assert rows.loc[f"{B}_d2000", ["label", "days_apart", "mmse"]].tolist() == ["CN", "60", "28.0"]
    # Without an age at entry that of the nearest visit counts (65 + 2060 / 365.25, less 60 days).
    assert rows.loc[f"{B}_d2000", "age"] == "70.5"


def test_reasons(oasis3: Path) -> None:
    _, done = made("oasis3", oasis3)
    told = {(row["patient_id"], row["scan"]): row["reason"] for row in beside(done, "left_out.csv")}
    assert told == {
        (A, "d0129_run-02"): "another T1 of the session was taken",
        (A, "d0757_acq-TSE_run-01"): "another T1 of the session was taken",
        (C, "d1000"): f"no visit within {LIMIT} days",
        (D, "d0010"): "the subject is not in the clinical tables",
    }
    assert reasons(done)["d1000"] == "no visit within 180 days"


@pytest.mark.parametrize(("day", "kept"), [(180, True), (181, False)])
def test_the_limit_of_180_days(tmp_path: Path, day: int, kept: bool) -> None:
    root = tmp_path / "x"
    session(root, A, 0)
    session(root, B, 0)
    sheet(root / "OASIS3_UDSb4_cdr.csv", [rated(A, day), rated(B, 0)])
    rows, _ = made("oasis3", root)
    assert (f"{A}_d0000" in rows.index) == kept


def test_follow_up(oasis3: Path) -> None:
    _, done = made("oasis3", oasis3)
    [row] = beside(done, "survival.csv")
    assert (row["record_id"], row["time"], row["event"]) == (f"{A}_d0129", "31.9", "1")  # 971 days
    assert load_info(done.table.parent / "survival.csv").name == "oasis3-conversion"


def test_without_form_d1_there_is_no_mci_and_no_follow_up(oasis3: Path) -> None:
    next(oasis3.rglob("OASIS3_UDSd1*.csv")).unlink()
    rows, done = made("oasis3", oasis3)
    assert rows["label"].tolist() == ["", "", "CN", "CN"]
    assert not beside(done, "survival.csv")
    assert any("MCI cannot be told" in note for note in load_info(done.table).notes)


def test_form_d1_alone_is_enough(oasis3: Path) -> None:
    next(oasis3.rglob("OASIS3_UDSb4*.csv")).unlink()
    rows, done = made("oasis3", oasis3)
    assert rows["label"].tolist() == ["MCI", "MCI", "CN", ""]
    assert "mmse" not in rows.columns
    assert len(beside(done, "survival.csv")) == 1


def test_the_older_tables(tmp_path: Path) -> None:
    root = tmp_path / "old"
    session(root, A, 129)
    session(root, B, 0)
    sheet(
        root / "ADRC_Clinical_Data.csv",
        [
            {"ADRC_ADRCCLINICALDATA ID": f"{A}_ClinicalData_d0100", "Subject": A, "Date": "", "Age": "", "mmse": 20,
             "ageAtEntry": 70.2, "cdr": 1, "dx1": "AD dem w/depresss, contribut", "sumbox": 5, "M/F": "F"},
            {"ADRC_ADRCCLINICALDATA ID": f"{B}_ClinicalData_d0000", "Subject": B, "Date": "", "Age": "", "mmse": 30,
             "ageAtEntry": 60, "cdr": 0, "dx1": "Cognitively normal", "sumbox": 0, "M/F": "M"},
        ],
    )  # fmt: skip
    sheet(root / "MR_sessions.csv", [{"MR ID": f"{A}_MR_d0129", "Subject": A, "M/F": "F", "Age": 71}])
    rows, done = made("oasis3", root)
    assert rows["label"].tolist() == ["AD", "CN"]
    assert rows[["age", "sex", "mmse", "cdr"]].to_numpy().tolist() == [
        ["70.6", "F", "20.0", "1.0"],
        ["60.0", "M", "30.0", "0.0"],
    ]
    assert done.counts["AD"] == 1


def test_bids_downloads(tmp_path: Path) -> None:
    root = tmp_path / "bids"
    session(root, A, 129, "run-01", bids=True)
    sheet(root / "OASIS3_UDSb4_cdr.csv", [rated(A, 100)])
    rows, _ = made("oasis3", root)
    assert rows["path"].tolist() == [f"sub-{A}/ses-d0129/anat/sub-{A}_ses-d0129_run-01_T1w.nii.gz"]


def test_no_date_is_written(oasis3: Path) -> None:
    _, done = made("oasis3", oasis3, splits=None)
    assert dates_in(done, but=()) == []
    assert [pair["gap_months"] for pair in beside(done, "pairs.csv")] == ["20.7", "65.7"]


@pytest.mark.parametrize("folder", [f"{B}_MR_d0129/anat1/NIFTI", f"{A}_MR_d0130/anat1", f"sub-{B}/ses-d0129/anat"])
def test_a_scan_in_another_folder_stops(oasis3: Path, folder: str) -> None:
    put(oasis3, f"{folder}/sub-{A}_sess-d0129_run-07_T1w.nii.gz")
    with pytest.raises(CohortError, match="another subject or session"):
        prepare("oasis3", oasis3, oasis3.parent / "out")
    assert not (oasis3.parent / "out").exists()


def test_doubled_and_missing_tables(oasis3: Path) -> None:
    file = next(oasis3.rglob("OASIS3_UDSb4*.csv"))
    (oasis3 / "copy.csv").write_bytes(file.read_bytes())
    with pytest.raises(CohortError, match="two tables for OASIS3_UDSb4_cdr"):
        prepare("oasis3", oasis3, oasis3.parent / "out")
    for table in oasis3.rglob("*.csv"):
        table.unlink()
    (oasis3 / "latin.csv").write_bytes("Größe,OASISID\n1,2\n".encode("latin-1"))
    put(oasis3, "empty.csv")
    with pytest.raises(CohortError, match="not OASIS-3: there is no OASIS3_UDSb4_cdr"):
        prepare("oasis3", oasis3, oasis3.parent / "out")


def test_rows_without_a_day_are_passed_over(oasis3: Path) -> None:
    file = next(oasis3.rglob("OASIS3_UDSb4*.csv"))
    text = file.read_text()
    more = rated(C, 0)
    file.write_text(text + ",".join(str(v) if k != "days_to_visit" else "" for k, v in more.items()) + "\n")
    rows, _ = made("oasis3", oasis3)
    assert len(rows) == 4
