"""OASIS-1 and OASIS-2: discs, sheets as CSV and Excel, labels from ratings and groups, rescans, pairs of visits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from brain_layouts import beside, dates_in, made, put, reasons, sheet
from workbooks import workbook

from medfm.cohorts.adapters import get_adapter, prepare
from medfm.cohorts.adapters.oasis1 import IMAGES, OASIS1
from medfm.cohorts.adapters.oasis2 import OASIS2
from medfm.cohorts.info import load_info
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError, UnknownNameError

HEAD1 = ("ID", "M/F", "Hand", "Age", "Educ", "SES", "MMSE", "CDR", "eTIV", "nWBV", "ASF", "Delay")
HEAD2 = ("Subject ID", "MRI ID", "Group", "Visit", "MR Delay", "M/F", "Hand", "Age", "EDUC", "SES", "MMSE", "CDR")


def disc(root: Path, session: str, number: int = 1) -> None:
    """A session of OASIS-1 with all four kinds of images."""
    stem = f"{session}_mpr_n4_anon"
    names = (
        f"PROCESSED/MPRAGE/T88_111/{stem}_111_t88_masked_gfc",
        f"PROCESSED/MPRAGE/T88_111/{stem}_111_t88_gfc",
        f"PROCESSED/MPRAGE/SUBJ_111/{stem}_sbj_111",
        f"RAW/{session}_mpr-1_anon",
        f"RAW/{session}_mpr-2_anon",
        f"FSL_SEG/{stem}_111_t88_masked_gfc_fseg",
    )
    put(root, *(f"disc{number}/{session}/{name}{end}" for name in names for end in (".hdr", ".img")))


def person(session: str, age: int, cdr: Any = "", delay: Any = "N/A", **more: Any) -> dict[str, Any]:
    return {"ID": session, "M/F": "F", "Hand": "R", "Age": age, "CDR": cdr, "Delay": delay, **more}


@pytest.fixture
def oasis1(tmp_path: Path) -> Path:
    root = tmp_path / "oasis1"
    for i, session in enumerate(("OAS1_9001_MR1", "OAS1_9002_MR1", "OAS1_9003_MR1", "OAS1_9003_MR2", "OAS1_9004_MR1")):
        disc(root, session, i % 2 + 1)
    sheet(
        root / "oasis_cross-sectional.csv",
        [
            person("OAS1_9001_MR1", 74, 0, MMSE=29, Educ=2, SES=3),
            person("OAS1_9002_MR1", 81, 0.5, MMSE=22, **{"M/F": "M"}),
            person("OAS1_9003_MR1", 23),
            person("OAS1_9003_MR2", 23, delay=61),
            person("OAS1_9004_MR1", 79, 2),
            person("OAS1_9005_MR1", 60, 0),
        ],
        HEAD1,
    )
    return root


def test_sessions_of_oasis1(oasis1: Path) -> None:
    rows, done = made("oasis1", oasis1)
    assert list(rows.index) == [
        "OAS1_9001_MR1", "OAS1_9003_MR1", "OAS1_9004_MR1", "OAS1_9002_MR1", "OAS1_9003_MR2",
    ]  # fmt: skip
    first = rows.loc["OAS1_9001_MR1"]
    assert first["path"] == (
        "disc1/OAS1_9001_MR1/PROCESSED/MPRAGE/T88_111/OAS1_9001_MR1_mpr_n4_anon_111_t88_masked_gfc.hdr"
    )
    assert first[["patient_id", "label", "session", "age", "sex", "mmse", "cdr", "education", "ses"]].tolist() == [
        "OAS1_9001", "CN", "MR1", "74.0", "F", "29.0", "0.0", "2.0", "3.0",
    ]  # fmt: skip
    assert rows["label"].to_dict() == {
        "OAS1_9001_MR1": "CN",
        "OAS1_9002_MR1": "AD",
        "OAS1_9003_MR1": "",
        "OAS1_9003_MR2": "",
        "OAS1_9004_MR1": "AD",
    }
    assert done.counts == {"subjects": 4, "sessions": 5, "AD": 2, "CN": 1}
    assert any("table without a folder: 1" in note for note in load_info(done.table).notes)


def test_a_second_session_is_the_same_person_later(oasis1: Path) -> None:
    rows, done = made("oasis1", oasis1)
    again = rows.loc["OAS1_9003_MR2"]
    assert again[["patient_id", "visit", "months"]].tolist() == ["OAS1_9003", "1", "2.0"]
    assert beside(done, "pairs.csv") == [
        {"patient_id": "OAS1_9003", "first": "OAS1_9003_MR1", "second": "OAS1_9003_MR2", "gap_months": "2.0"}
    ]


@pytest.mark.parametrize("kind", IMAGES)
def test_which_image(oasis1: Path, kind: str) -> None:
    rows, done = made(f"oasis1@{kind}", oasis1)
    assert len(rows) == 5
    ends = {"masked": "_t88_masked_gfc", "head": "_111_t88_gfc", "subject": "_sbj_111", "raw": "_mpr-1_anon"}
    assert rows["path"].str.endswith(f"{ends[kind]}.hdr").all()
    assert load_info(done.table).prepared_as == ("oasis1-all" if kind == "masked" else f"oasis1-all@{kind}")


def test_the_task_of_oasis1(oasis1: Path) -> None:
    rows, done = made("oasis1-ad-cn", oasis1)
    assert set(rows["label"]) == {"AD", "CN"} and len(rows) == 3
    assert "AD: expected 100, found 2" in done.differences and "CN: expected 135, found 1" in done.differences
    assert not any(line.startswith("total") for line in done.differences)
    assert load_info(done.table).target == "label"
    with pytest.raises(UnknownNameError):
        get_adapter("oasis1-mci-cn")


def test_published_counts_are_enforced(oasis1: Path) -> None:
    with pytest.raises(CohortError, match="total: expected 436, found 5") as caught:
        prepare("oasis1", oasis1, oasis1.parent / "out")
    assert "patients: expected 416, found 4" in str(caught.value)
    assert dict(OASIS1.expected) == {"total": 436, "patients": 416, "AD": 100, "CN": 135}


def test_reasons_of_oasis1(oasis1: Path) -> None:
    disc(oasis1, "OAS1_9099_MR1")
    masked = oasis1 / "disc1/OAS1_9001_MR1/PROCESSED/MPRAGE/T88_111"
    (masked / "OAS1_9001_MR1_mpr_n4_anon_111_t88_masked_gfc.img").unlink()
    _, done = made("oasis1", oasis1)
    told = {row["patient_id"]: row["reason"] for row in beside(done, "left_out.csv")}
    assert told == {
        "OAS1_9001": "no masked image (.hdr with .img)",
        "OAS1_9099": "the session is not in oasis_cross-sectional.csv",
    }


def test_oasis1_from_a_workbook(oasis1: Path) -> None:
    (oasis1 / "oasis_cross-sectional.csv").unlink()
    rows = [list(HEAD1), ["OAS1_9001_MR1", "F", "R", "74", "2", "3", "29", "0", "1344", "0.743", "1.306", "N/A"]]
    workbook(oasis1 / "oasis_cross-sectional-5708aa0a98d82080.xlsx", rows)
    table, done = made("oasis1", oasis1)
    assert table.loc["OAS1_9001_MR1", ["label", "age"]].tolist() == ["CN", "74.0"]
    assert len(beside(done, "left_out.csv")) == 4


def test_folders_that_are_not_oasis1(oasis1: Path) -> None:
    (oasis1 / "oasis_cross-sectional.csv").unlink()
    with pytest.raises(CohortError, match="not OASIS-1: there is no oasis_cross-sectional"):
        prepare("oasis1", oasis1, oasis1.parent / "out")
    sheet(oasis1 / "oasis_cross-sectional.csv", [{"ID": "x", "Age": 3}])
    with pytest.raises(CohortError, match="no column 'M/F'"):
        prepare("oasis1", oasis1, oasis1.parent / "out")
    sheet(oasis1 / "oasis_cross-sectional.csv", [person("OAS1_9001_MR1", 74)], HEAD1)
    disc(oasis1, "OAS1_9001_MR1", 7)
    with pytest.raises(CohortError, match="there twice"):
        prepare("oasis1", oasis1, oasis1.parent / "out")


def visit(subject: str, number: int, group: str, delay: Any, cdr: Any, **more: Any) -> dict[str, Any]:
    return {
        "Subject ID": subject,
        "MRI ID": f"{subject}_MR{number}",
        "Group": group,
        "Visit": number,
        "MR Delay": delay,
        "M/F": "M",
        "Hand": "R",
        "Age": 70 + number,
        "EDUC": 14,
        "MMSE": 28,
        "CDR": cdr,
        **more,
    }


VISITS = [
    visit("OAS2_9001", 1, "Nondemented", 0, 0),
    visit("OAS2_9001", 3, "Nondemented", 1096, 0.5),
    visit("OAS2_9002", 1, "Demented", 0, 0.5),
    visit("OAS2_9002", 2, "Demented", 560, 1),
    visit("OAS2_9003", 1, "Converted", 0, 0, SES=2),
    visit("OAS2_9003", 2, "Converted", 489, 0),
    visit("OAS2_9003", 3, "Converted", 1933, 0.5),
]


@pytest.fixture
def oasis2(tmp_path: Path) -> Path:
    root = tmp_path / "oasis2"
    for i, row in enumerate(VISITS):
        for name in ("mpr-1", "mpr-2"):
            put(root, *(f"OAS2_RAW_PART{i % 2 + 1}/{row['MRI ID']}/RAW/{name}.nifti{end}" for end in (".hdr", ".img")))
    sheet(root / "oasis_longitudinal.csv", VISITS, HEAD2)
    return root


def test_visits_of_oasis2(oasis2: Path) -> None:
    rows, done = made("oasis2", oasis2)
    assert rows["label"].to_dict() == {
        "OAS2_9001_MR1": "CN",
        "OAS2_9001_MR3": "",  # the rating contradicts the group
        "OAS2_9002_MR1": "AD",
        "OAS2_9002_MR2": "AD",
        "OAS2_9003_MR1": "CN",
        "OAS2_9003_MR2": "CN",
        "OAS2_9003_MR3": "AD",
    }
    third = rows.loc["OAS2_9001_MR3"]
    assert third["path"] == "OAS2_RAW_PART2/OAS2_9001_MR3/RAW/mpr-1.nifti.hdr"
    assert third[["session", "visit", "months", "age", "sex", "group", "cdr"]].tolist() == [
        "MR3", "1", "36.0", "73.0", "M", "Nondemented", "0.5",
    ]  # fmt: skip
    assert done.counts == {"subjects": 3, "sessions": 7, "AD": 3, "CN": 3}
    assert any("contradicts the group Nondemented: 1" in note for note in load_info(done.table).notes)
    assert dates_in(done, but=()) == []


def test_pairs_of_oasis2(oasis2: Path) -> None:
    _, done = made("oasis2", oasis2)
    pairs = beside(done, "pairs.csv")
    gaps = [(pair["second"], pair["gap_months"]) for pair in pairs if pair["patient_id"] == "OAS2_9003"]
    assert gaps == [("OAS2_9003_MR2", "16.1"), ("OAS2_9003_MR3", "63.5"), ("OAS2_9003_MR3", "47.4")]
    assert len(pairs) == 5


def test_published_counts_of_oasis2(oasis2: Path) -> None:
    assert dict(OASIS2.expected) == {"total": 373, "patients": 150, "AD": 165, "CN": 206}
    with pytest.raises(CohortError, match="patients: expected 150, found 3"):
        prepare("oasis2", oasis2, oasis2.parent / "out")


def test_reasons_of_oasis2(oasis2: Path) -> None:
    put(oasis2, "OAS2_RAW_PART1/OAS2_9098_MR1/RAW/mpr-1.nifti.hdr", "OAS2_RAW_PART1/OAS2_9098_MR1/RAW/mpr-1.nifti.img")
    (oasis2 / "OAS2_RAW_PART1/OAS2_9001_MR1/RAW/mpr-1.nifti.img").unlink()
    _, done = made("oasis2", oasis2)
    told = {row["patient_id"]: row["reason"] for row in beside(done, "left_out.csv")}
    assert told == {
        "OAS2_9001": "no RAW/mpr-1.nifti.hdr with .img",
        "OAS2_9098": "the session is not in oasis_longitudinal.csv",
    }
    assert reasons(done) == {"MR1": "the session is not in oasis_longitudinal.csv"}


@pytest.mark.parametrize(
    "change", [{"Subject ID": "OAS2_9002"}, {"MR Delay": ""}, {"Group": "Mild"}], ids=["subject", "delay", "group"]
)
def test_a_malformed_sheet_of_oasis2(oasis2: Path, change: dict[str, Any]) -> None:
    sheet(oasis2 / "oasis_longitudinal.csv", [{**VISITS[0], **change}, *VISITS[1:]], HEAD2)
    with pytest.raises(CohortError, match="not as published") as caught:
        prepare("oasis2", oasis2, oasis2.parent / "out")
    assert "OAS2_9001_MR1" in str(caught.value)


def test_folders_that_are_not_oasis2(oasis2: Path) -> None:
    put(oasis2, f"more/{VISITS[0]['MRI ID']}/RAW/mpr-1.nifti.hdr")
    with pytest.raises(CohortError, match="there twice"):
        prepare("oasis2", oasis2, oasis2.parent / "out")
    (oasis2 / "oasis_longitudinal.csv").unlink()
    with pytest.raises(CohortError, match="not OASIS-2: there is no oasis_longitudinal"):
        prepare("oasis2", oasis2, oasis2.parent / "out")


def test_analyze_pairs_of_that_name_are_read(tmp_path: Path) -> None:
    """``mpr-1.nifti.hdr`` is a header with its ``.img`` beside it, whatever the middle of the name says."""
    values = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    file = tmp_path / "x/OAS2_RAW_PART1/OAS2_9001_MR1/RAW/mpr-1.nifti.hdr"
    file.parent.mkdir(parents=True)
    nib.save(nib.AnalyzeImage(values, np.eye(4)), file.with_suffix(".img"))
    sheet(tmp_path / "x" / "oasis_longitudinal.csv", VISITS[:1], HEAD2)
    _, done = made("oasis2", tmp_path / "x")
    array = load_cohort(done.table).read(0).array
    assert sorted(array.ravel().tolist()) == sorted(values.ravel().tolist())
