"""The adapter ``bids``: subjects, sessions and runs, tables beside them, pairs of visits, folders that are not BIDS."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.cohorts.adapters import get_adapter, prepare
from medfm.cohorts.adapters.bids import BIDS, PAIRS, visit_pairs
from medfm.cohorts.info import load_info
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError, ConfigError, StoreError, UnknownNameError


def scan(root: Path, name: str) -> Path:
    """An empty file where BIDS has it."""
    parts = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
    file = root.joinpath(*parts, "anat", name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three subjects: two visits, one of them with two runs; one session without a label; no session."""
    folder = tmp_path / "bids"
    for name in (
        "sub-001_ses-M000_T1w.nii.gz",
        "sub-001_ses-M000_FLAIR.nii.gz",
        "sub-001_ses-M012_run-2_T1w.nii.gz",
        "sub-001_ses-M012_run-1_T1w.nii.gz",
        "sub-001_ses-M006_acq-mprage_T1w.nii",
        "sub-B_ses-baseline_T1w.nii.gz",
        "sub-C_T1w.nii.gz",
    ):
        scan(folder, name)
    (folder / "participants.tsv").write_text(
        "participant_id\tage\tsex\tdiagnosis\tname\n"
        "sub-001\t70.5\tF\tMCI\tDOE\nsub-B\t89+\tM\tn/a\tROE\nsub-C\t55\tn/a\tCN\tPOE\nsub-D\t60\tF\tAD\tMOE\n"
    )
    (folder / "sub-001" / "sub-001_sessions.tsv").write_text(
        "session_id\tage\tdiagnosis\nses-M000\t70.5\tMCI\nses-M006\t71\tMCI\nses-M012\t71.5\tAD\n"
    )
    (folder / "sub-001" / "ses-M000" / "anat" / "sub-001_ses-M000_T1w.json").write_text('{"PatientName": "DOE"}')
    return folder


def table(root: Path, name: str = "bids", **keywords: object) -> pd.DataFrame:
    done = prepare(name, root, root.parent / "out", **keywords)
    return pd.read_csv(done.table, dtype=str, keep_default_na=False)


def test_rows(root: Path) -> None:
    rows = table(root).set_index("record_id")
    assert list(rows.index) == [
        "sub-001_ses-M000_T1w",
        "sub-001_ses-M006_acq-mprage_T1w",
        "sub-001_ses-M012_run-1_T1w",
        "sub-001_ses-M012_run-2_T1w",
        "sub-B_ses-baseline_T1w",
        "sub-C_T1w",
    ]
    last = rows.loc["sub-001_ses-M012_run-2_T1w"]
    assert last["path"] == "sub-001/ses-M012/anat/sub-001_ses-M012_run-2_T1w.nii.gz"
    assert last[["patient_id", "session", "months", "visit", "run"]].tolist() == ["001", "M012", "12", "2", "2"]
    assert last[["age", "sex", "diagnosis"]].tolist() == ["71.5", "F", "AD"]
    assert rows.loc["sub-001_ses-M006_acq-mprage_T1w", "acq"] == "mprage"
    assert rows.loc["sub-B_ses-baseline_T1w", ["age", "diagnosis", "months", "visit"]].tolist() == ["", "", "", "0"]
    assert rows.loc["sub-C_T1w", ["session", "visit", "sex"]].tolist() == ["", "", ""]


def test_no_column_is_carried_that_was_not_asked_for(root: Path) -> None:
    prepare("bids", root, root.parent / "out")
    written = "".join(file.read_text() for file in (root.parent / "out").iterdir())
    assert "DOE" not in written and "ROE" not in written


def test_the_yaml_and_the_notes(root: Path) -> None:
    done = prepare("bids", root, root.parent / "out")
    info = load_info(done.table)
    assert info.modality == "brain_mri" and info.target is None and info.prepared_as == "bids-T1w"
    assert done.counts == {"subjects": 3, "sessions": 5} and done.complete
    text = " ".join(info.notes)
    assert "1 sessions have several scans" in text and "1 participants have no such scan" in text


def test_pairs_of_visits(root: Path) -> None:
    prepare("bids", root, root.parent / "out")
    pairs = pd.read_csv(root.parent / "out" / PAIRS)
    assert pairs["gap_months"].tolist() == [6, 12, 6]
    assert pairs["first"].tolist() == ["sub-001_ses-M000_T1w"] * 2 + ["sub-001_ses-M006_acq-mprage_T1w"]
    assert pairs["second"].tolist()[1:] == ["sub-001_ses-M012_run-1_T1w"] * 2
    prepare("bids-FLAIR", root, root.parent / "flair")
    assert not (root.parent / "flair" / PAIRS).exists()


def test_gaps_come_from_ages_where_names_tell_none() -> None:
    common = {"patient_id": "1", "months": None}
    rows = [
        {**common, "record_id": "a", "visit": 0, "age": 70.0},
        {**common, "record_id": "b", "visit": 1, "age": 71.5},
        {**common, "record_id": "c", "visit": 2, "age": None},
    ]
    assert [pair["gap_months"] for pair in visit_pairs(rows)] == [18.0, None, None]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5)), max_size=12))
def test_pairs_are_every_two_visits_of_one_subject_once(rows: list[tuple[str, int]]) -> None:
    made = [
        {"patient_id": p, "visit": v, "record_id": f"{p}{v}{i}", "months": v, "age": None}
        for i, (p, v) in enumerate(rows)
    ]
    pairs = visit_pairs(made)
    naive = {(p, v, w) for p, v in set(rows) for q, w in set(rows) if p == q and v < w}
    assert len(pairs) == len(naive)
    for pair in pairs:
        assert pair["first"][0] == pair["second"][0] == pair["patient_id"]
        assert pair["gap_months"] == int(pair["second"][1]) - int(pair["first"][1]) > 0


def test_a_label_is_mapped(root: Path) -> None:
    done = prepare("bids", root, root.parent / "out", columns={"label": "diagnosis"})
    assert load_info(done.table).target == "label"
    assert done.counts == {"subjects": 3, "sessions": 5, "AD": 2, "CN": 1, "MCI": 2}
    with pytest.raises(CohortError, match="has a column 'dx'") as caught:
        prepare("bids", root, root.parent / "out", columns={"label": "dx"})
    assert "diagnosis" in str(caught.value.expected)
    with pytest.raises(UnknownNameError):
        prepare("bids", root, root.parent / "out", columns={"lable": "diagnosis"})


def test_other_scans(root: Path) -> None:
    assert table(root, "bids-FLAIR")["record_id"].tolist() == ["sub-001_ses-M000_FLAIR"]
    assert prepare("bids", root, root.parent / "again", task="FLAIR").records == 1
    assert get_adapter("bids-T2w").name == "bids-T2w" and get_adapter("bids").name == "bids-T1w"
    with pytest.raises(CohortError, match=r"with T2w scans: no record"):
        prepare("bids-T2w", root, root.parent / "none")
    with pytest.raises(UnknownNameError):
        get_adapter("bids-dwi")


def test_the_subjects_may_lie_below(root: Path) -> None:
    (root.parent / "study").mkdir()
    root.rename(root.parent / "study" / "rawdata")
    done = prepare("bids", root.parent / "study", root.parent / "out")
    assert done.records == 6
    first = pd.read_csv(done.table)["path"][0]
    assert first.startswith("rawdata/sub-001/")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("sub-001/anat", "sub-002_T1w.nii.gz"),
        ("sub-001/ses-M000/anat", "sub-001_ses-M006_T1w.nii.gz"),
    ],
)
def test_a_scan_in_another_folder_stops(root: Path, folder: str, name: str) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / name).touch()
    with pytest.raises(CohortError, match="folder of another subject or session"):
        prepare("bids", root, root.parent / "out")
    assert not (root.parent / "out").exists()


def test_files_of_other_names_are_left_out_and_counted(root: Path) -> None:
    anat = root / "sub-C" / "anat"
    for name in ("C_T1w.nii.gz", "sub-C_T1w.nii.gz.part", "sub-C_run 1_T1w.nii.gz"):
        (anat / name).touch()
    assert len(table(root)) == 6
    assert any("3 files are named otherwise" in note for note in load_info(root.parent / "out" / "labels.csv").notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("subject\tage\nsub-001\t3\n", "no column 'participant_id'"),
        ("participant_id\tage\nsub-001\t3\nsub-001\t4\n", "listed twice"),
        ("participant_id\tage\nsub-001\n", "(?i)line 2"),
        ("", "empty"),
    ],
)
def test_malformed_tables(root: Path, text: str, words: str) -> None:
    (root / "participants.tsv").write_text(text)
    with pytest.raises(CohortError, match=words):
        prepare("bids", root, root.parent / "out")


def test_what_is_no_bids_folder(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(CohortError, match="not a BIDS folder") as caught:
            prepare("bids", folder, tmp_path / "out")
        assert "sub-" in str(caught.value.expected)
    with pytest.raises(CohortError, match="split files"):
        prepare("bids", root, tmp_path / "out", splits=tmp_path)
    with pytest.raises(ConfigError):
        prepare("bids", root, tmp_path / "out", modality="retina")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "labels.csv").write_text("path\nx\n")
    with pytest.raises(StoreError):
        prepare("bids", root, tmp_path / "out")


def test_the_cohort_loads_and_reads(tmp_path: Path) -> None:
    folder = tmp_path / "bids"
    values = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    for name in ("sub-01_ses-1_T1w.nii.gz", "sub-01_ses-2_T1w.nii.gz", "sub-02_ses-1_T1w.nii.gz"):
        nib.save(nib.Nifti1Image(values, np.eye(4)), scan(folder, name))
    done = prepare("bids", folder, tmp_path / "out")
    cohort = load_cohort(done.table)
    assert cohort.modality == "brain_mri" and cohort.patients_known
    assert cohort.table["patient_id"].tolist() == ["01", "01", "02"]
    assert np.array_equal(cohort.read(2).array, values)
    assert BIDS.info()["modality"] == "brain_mri"
