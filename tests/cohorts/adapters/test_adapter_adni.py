"""ADNI: the archive met with ADNIMERGE, the choice of one T1 per visit, reasons, conversion, no date in the output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from brain_layouts import PROCESSED, archived, beside, dates_in, made, merge_row, put, reasons, sheet
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.cohorts.adapters import get_adapter, prepare
from medfm.cohorts.adapters.adni import ADNI, TABLE
from medfm.cohorts.adapters.conversion import RULES
from medfm.cohorts.info import load_info
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError, UnknownNameError

A, B, C, D = "999_S_0001", "999_S_0002", "998_S_0003", "997_S_10004"


@pytest.fixture
def adni(tmp_path: Path) -> Path:
    """A: MCI, converts. B: CN with a change of phase. C: AD at the scan. D: five digits, a visit without a diagnosis."""
    root = tmp_path / "download"
    images = root / "ADNI"
    archived(images, A, "2006-03-10", 101)
    archived(images, A, "2006-03-10", 102, PROCESSED)
    archived(images, A, "2006-03-10", 103, "MP-RAGE_REPEAT")
    archived(images, A, "2006-09-20", 104)
    archived(images, A, "2007-12-31", 105)  # more than 90 days from every visit
    archived(images, A, "2006-03-10", 106, "Axial_DTI")
    archived(images, B, "2010-05-02", 201, "MPRAGE_GRAPPA2", dicom=True)
    archived(images, B, "2010-05-02", 202, "MPRAGE", dicom=True)
    archived(images, B, "2011-05-20", 203, "Accelerated_Sagittal_MPRAGE", dicom=True)
    archived(images, C, "2008-01-15", 301)
    archived(images, D, "2015-06-01", 401)
    archived(images, "996_S_0005", "2009-01-01", 501)
    archived(images, "381_S_10999", "2023-01-01", 601)
    sheet(
        root / "ADNIMERGE_01Jan2025.csv",
        [
            merge_row(A, "bl", "2006-03-01", "MCI", DX_bl="LMCI", AGE=71.3, MMSE=26),
            merge_row(A, "m06", "2006-09-05", "MCI", DX_bl="LMCI", AGE=71.3),
            merge_row(A, "m12", "2007-03-04", "Dementia", DX_bl="LMCI", AGE=71.3, MMSE=21),
            merge_row(A, "m24", "", "Dementia", DX_bl="LMCI", AGE=71.3),
            merge_row(B, "bl", "2010-05-01", "", DX_bl="SMC", PTGENDER="Male", COLPROT="ADNIGO"),
            merge_row(B, "m12", "2011-05-01", "NL to MCI", DX_bl="SMC", PTGENDER="Male", COLPROT="ADNI2"),
            merge_row(C, "bl", "2008-01-10", "AD", APOE4=""),
            merge_row(D, "bl", "2015-06-01", "", AGE=""),
            merge_row("381_S_10999", "bl", "2023-01-01", "CN"),
        ],
    )
    return root


def test_rows(adni: Path) -> None:
    rows, done = made("adni", adni)
    chosen = {
        f"{A}_M000_I102",
        f"{A}_M006_I104",
        f"{B}_M000_I202",
        f"{B}_M012_I203",
        f"{C}_M000_I301",
        f"{D}_M000_I401",
    }
    assert set(rows.index) == chosen
    first = rows.loc[f"{A}_M000_I102"]
    assert first["path"] == f"ADNI/{A}/{PROCESSED}/2006-03-10_09_10_11.0/I102/ADNI_{A}_MR_{PROCESSED}_Br_S77_I102.nii"
    assert first[["patient_id", "site", "label", "session", "months", "scan_months", "visit"]].tolist() == [
        A, "999", "MCI", "M000", "0", "0.3", "0",
    ]  # fmt: skip
    assert first[["age", "sex", "mmse", "education", "apoe4", "phase"]].tolist() == [
        "71.3", "F", "26.0", "16.0", "1.0", "ADNI2",
    ]  # fmt: skip
    later = rows.loc[f"{A}_M006_I104"]
    assert later[["label", "months", "scan_months", "visit", "age", "correction"]].tolist() == [
        "MCI", "6", "6.7", "1", "71.9", "none",
    ]  # fmt: skip
    # A DICOM series is its folder.
    assert rows.loc[f"{B}_M000_I202", "path"] == f"ADNI/{B}/MPRAGE/2010-05-02_09_10_11.0/I202"
    assert rows.loc[f"{B}_M012_I203", "label"] == "MCI" and rows.loc[f"{B}_M012_I203", "phase"] == "ADNI2"
    assert done.counts == {"subjects": 4, "sessions": 6, "AD": 1, "CN": 1, "MCI": 3}
    assert done.complete


def test_the_diagnosis_at_screening_stands_in_at_baseline_alone(adni: Path) -> None:
    rows, _ = made("adni", adni)
    assert rows.loc[f"{B}_M000_I202", "label"] == "CN"  # SMC
    assert rows.loc[f"{D}_M000_I401", "label"] == "" and rows.loc[f"{D}_M000_I401", "age"] == ""


def test_every_scan_that_is_left_out_has_its_reason(adni: Path) -> None:
    put(adni / "ADNI" / A, "MPRAGE/2006-03-10_09_10_11.0/I107/readme.txt")
    put(adni / "ADNI" / A, "MPRAGE/2006-03-10_09_10_11.0/I108/a.nii", "MPRAGE/2006-03-10_09_10_11.0/I108/b.nii")
    archived(adni / "again", A, "2006-09-20", 104)
    _, done = made("adni", adni)
    told = reasons(done)
    assert told["I101"] == told["I103"] == told["I201"] == "another T1 of the visit was taken"
    assert told["I105"] == "no visit within 90 days"
    assert told["I107"] == "no NIfTI or DICOM file in the folder of the image"
    assert told["I108"] == "several volumes in one folder of an image"
    assert told["I501"] == f"the subject is not in {TABLE}"
    assert told["I601"] == "withdrawn by ADNI's data advisory"
    assert told["I104"] == "a copy of the same image"
    assert "I106" not in told  # no T1 volume: counted by description
    notes = " ".join(load_info(done.table).notes)
    assert "Axial_DTI 1" in notes and "no visit within 90 days 1" in notes


@pytest.mark.parametrize(("days", "kept"), [(90, True), (91, False)])
def test_the_limit_of_90_days(tmp_path: Path, days: int, kept: bool) -> None:
    root = tmp_path / "x"
    visit = pd.Timestamp("2010-06-01")
    for who, shift in ((A, days), (B, -days), (C, 0)):
        archived(root / "ADNI", who, str((visit + pd.Timedelta(days=shift)).date()), 1)
    sheet(root / "ADNIMERGE.csv", [merge_row(who, "bl", "2010-06-01", "CN") for who in (A, B, C)])
    rows, done = made("adni", root)
    assert len(rows) == (3 if kept else 1)
    assert len(reasons(done)) == (0 if kept else 1)  # both are called I1


def test_which_images(adni: Path) -> None:
    preferred, _ = made("adni", adni)
    original, done = made("adni@original", adni)
    processed, _ = made("adni@processed", adni)
    assert f"{A}_M000_I101" in original.index and f"{A}_M000_I102" in processed.index
    assert set(original["correction"]) == {"none"} and len(processed) == 1
    assert set(preferred["correction"]) == {"none", "gradient, B1, N3, scaled"}
    assert reasons(done)["I102"] == "not original"
    assert load_info(done.table).prepared_as == "adni-all@original"


def test_tasks(adni: Path) -> None:
    for task, classes in (
        ("ad-cn", {"AD", "CN"}),
        ("mci-cn", {"CN", "MCI"}),
        ("ad-mci", {"AD", "MCI"}),
        ("ad-mci-cn", {"AD", "CN", "MCI"}),
    ):
        rows, done = made(f"adni-{task}", adni)
        assert set(rows["label"]) == classes
        assert load_info(done.table).target == "label"
    everyone, done = made("adni", adni)
    assert load_info(done.table).target is None  # one scan has no diagnosis
    assert len(everyone) == 6
    with pytest.raises(UnknownNameError):
        get_adapter("adni-ad-ftd")


def test_pairs_of_visits(adni: Path) -> None:
    _, done = made("adni", adni)
    assert beside(done, "pairs.csv") == [
        {"patient_id": A, "first": f"{A}_M000_I102", "second": f"{A}_M006_I104", "gap_months": "6.0"},
        {"patient_id": B, "first": f"{B}_M000_I202", "second": f"{B}_M012_I203", "gap_months": "12.0"},
    ]


def test_follow_up(adni: Path) -> None:
    _, done = made("adni", adni)
    [row] = beside(done, "survival.csv")
    assert row["record_id"] == f"{A}_M000_I102" and row["patient_id"] == A and row["site"] == "999"
    # 2006-03-10 to 2007-03-04: 359 days.
    assert (row["time"], row["event"]) == ("11.8", "1")
    info = load_info(done.table.parent / "survival.csv")
    assert info.modality == "brain_mri" and info.target is None and info.units["time"] == "months"
    assert set(RULES) <= set(info.notes) and info.counts == {"subjects": 1, "events": 1}
    # B has no visit after the scan at MCI, C and D never were MCI.
    assert any("no scan at MCI 2, AD at or before 0, no later visit 1" in note for note in info.notes)
    cohort = load_cohort(done.table.parent / "survival.csv")
    assert cohort.table["event"].tolist() == [1] and cohort.patients_known


def test_follow_up_is_written_where_the_task_has_mci(adni: Path) -> None:
    _, done = made("adni-ad-cn", adni)
    assert not (done.table.parent / "survival.csv").exists() and not (done.table.parent / "survival.yaml").exists()
    _, done = made("adni-mci-cn", adni)
    assert len(beside(done, "survival.csv")) == 1


def test_tables_of_an_earlier_run_do_not_stay(adni: Path) -> None:
    out = adni.parent / "same"
    prepare("adni", adni, out)
    assert {f.name for f in out.iterdir()} == {
        "labels.csv", "labels.yaml", "pairs.csv", "left_out.csv", "survival.csv", "survival.yaml",
    }  # fmt: skip
    frame = pd.read_csv(adni / "ADNIMERGE_01Jan2025.csv", dtype=str)
    frame[frame["PTID"] == C].to_csv(adni / "ADNIMERGE_01Jan2025.csv", index=False)
    prepare("adni", adni, out)
    assert {f.name for f in out.iterdir()} == {"labels.csv", "labels.yaml", "left_out.csv"}


def test_no_date_is_written_but_in_paths(adni: Path) -> None:
    _, done = made("adni", adni)
    assert dates_in(done) == []
    assert dates_in(done, but=()) != []  # the archive's folders: the check would see one


def test_preparing_twice_gives_equal_bytes(adni: Path) -> None:
    _, one = made("adni", adni, splits="ldae")
    before = {f.name: f.read_bytes() for f in one.table.parent.iterdir()}
    _, other = made("adni", adni, splits="ldae")
    assert {f.name: f.read_bytes() for f in other.table.parent.iterdir()} == before


def test_the_set_of_a_checked_cohort(adni: Path) -> None:
    _, done = made("adni", adni, splits="ldae")
    cohort = load_cohort(done.table)
    assert cohort.modality == "brain_mri" and cohort.patients_known
    assert cohort.table.groupby("patient_id")["split"].nunique().le(1).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"EXAMDATE": "01-03-2006"}, "YYYY-MM-DD"),
        ({"VISCODE": "m06"}, "listed twice"),
    ],
)
def test_a_malformed_table_stops(adni: Path, change: dict[str, Any], words: str) -> None:
    file = adni / "ADNIMERGE_01Jan2025.csv"
    frame = pd.read_csv(file, dtype=str)
    for name, value in change.items():
        frame.loc[0, name] = value
    frame.to_csv(file, index=False)
    with pytest.raises(CohortError, match=words) as caught:
        prepare("adni", adni, adni.parent / "out")
    assert "ADNIMERGE_01Jan2025.csv, line" in str(caught.value)
    assert not (adni.parent / "out").exists()


def test_missing_and_doubled_tables(adni: Path) -> None:
    put(adni, "ADNIMERGE_DICT.csv")
    file = adni / "ADNIMERGE_01Jan2025.csv"
    (adni / "tables").mkdir()
    (adni / "tables" / "ADNIMERGE.csv").write_bytes(file.read_bytes())
    with pytest.raises(CohortError, match="several ADNIMERGE"):
        prepare("adni", adni, adni.parent / "out")
    file.unlink()
    assert len(made("adni", adni)[0]) == 6
    frame = pd.read_csv(adni / "tables" / "ADNIMERGE.csv", dtype=str).drop(columns="DX")
    frame.to_csv(adni / "tables" / "ADNIMERGE.csv", index=False)
    with pytest.raises(CohortError, match="no column 'DX'"):
        prepare("adni", adni, adni.parent / "out")
    (adni / "tables" / "ADNIMERGE.csv").unlink()
    with pytest.raises(CohortError, match=r"not ADNI: there is no ADNIMERGE"):
        prepare("adni", adni, adni.parent / "out")


def test_folders_that_are_no_archive(tmp_path: Path) -> None:
    put(tmp_path / "x", f"ADNI/{A}/T1.nii")
    sheet(tmp_path / "x" / "ADNIMERGE.csv", [merge_row(A, "bl", "2010-06-01", "CN")])
    with pytest.raises(CohortError, match="DESCRIPTION/DATE/IMAGE ID"):
        prepare("adni", tmp_path / "x", tmp_path / "out")
    archived(tmp_path / "x" / "ADNI", A, "2010-06-01", 1, "Axial_DTI")
    with pytest.raises(CohortError, match="no record was found"):
        prepare("adni", tmp_path / "x", tmp_path / "out")


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_one_image_per_visit_and_every_t1_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("adni")
    kinds = ("MPRAGE", "MPRAGE_REPEAT", PROCESSED, "MT1__N3m", "Accelerated_Sagittal_MPRAGE")
    drawn = data.draw(st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 1200)), min_size=1, max_size=8))
    start = pd.Timestamp("2010-01-01")
    for i, (kind, day) in enumerate(drawn):
        archived(root / "ADNI", A, str((start + pd.Timedelta(days=day)).date()), i + 1, kind)
    codes = ["bl", "m12", "m24"]
    rows = [merge_row(A, code, str((start + pd.Timedelta(days=365 * i)).date()), "MCI") for i, code in enumerate(codes)]
    sheet(root / "ADNIMERGE.csv", rows)
    gathered = ADNI.gather(root)
    taken = [row["image"] for row in gathered.rows]
    assert sorted([*taken, *(left.scan for left in gathered.left_out)]) == sorted(
        f"I{i + 1}" for i in range(len(drawn))
    )
    assert len({row["session"] for row in gathered.rows}) == len(taken)
    near = {round(day / 365) for _, day in drawn if min(abs(day - 365 * i) for i in range(3)) <= 90}
    assert {row["months"] for row in gathered.rows} == {12 * visit for visit in near}
    for row in gathered.rows:
        assert abs(row["_day"] - row["_visit_day"]) <= 90
