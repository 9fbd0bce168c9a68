"""MIMIC-IV-ECG: a true join, cleaned reports, splits by patient, batches, damaged tables."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medfm.cohorts.adapters import get_adapter, prepare
from medfm.cohorts.adapters import mimic_iv_ecg as module
from medfm.cohorts.adapters.mimic_report import clean_report
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError, StoreError

LINES = ("Sinus rhythm", "Normal ECG", "*** Poor Quality EKG ***", "Left axis deviation", 'T "inverted", lateral')


def write(root: Path, studies: int, per_patient: int = 4, seed: int = 0, shuffle: bool = True) -> Path:
    """Both tables, in different orders, of invented patients."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    rows = [(10_000_000 + i // per_patient, 40_000_000 + i) for i in range(studies)]
    orders = [rng.permutation(studies) if shuffle else np.arange(studies) for _ in range(2)]
    with (root / "record_list.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["subject_id", "study_id", "file_name", "ecg_time", "path"])
        for i in orders[0]:
            s, t = rows[i]
            writer.writerow([s, t, t, "2180-07-23 08:44:00", f"files/p{str(s)[:4]}/p{s}/s{t}/{t}"])
    with (root / "machine_measurements.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["subject_id", "study_id", "cart_id", "ecg_time", *module.REPORT_COLUMNS, "rr_interval"])
        for i in orders[1]:
            s, t = rows[i]
            lines = [LINES[(i + k) % len(LINES)] for k in range(1 + i % 4)]
            writer.writerow([s, t, 1, "2180-07-23 08:44:00", *lines, *[""] * (18 - len(lines)), 659])
    return root


def naive(root: Path) -> pd.DataFrame:
    """The same by pandas, row by row."""
    records = pd.read_csv(root / "record_list.csv").set_index("study_id")
    reports = pd.read_csv(root / "machine_measurements.csv")
    rows = []
    for _, report in reports.iterrows():
        text, words = clean_report(report[list(module.REPORT_COLUMNS)].dropna())
        if words >= 4 and report["study_id"] in records.index:
            record = records.loc[report["study_id"]]
            rows.append((str(report["study_id"]), f"{record['path']}.hea", str(record["subject_id"]), text))
    return pd.DataFrame(rows, columns=["record_id", "path", "patient_id", "text"])


@pytest.mark.parametrize("variant", ["", "@published"])
def test_it_equals_a_naive_join(variant: str, tmp_path: Path) -> None:
    root = write(tmp_path / "m", 300)
    done = prepare(f"mimic-iv-ecg{variant}", root, tmp_path / "out", allow_partial=True)
    table = pd.read_parquet(done.table)
    pd.testing.assert_frame_equal(table[["record_id", "path", "patient_id", "text"]], naive(root), check_dtype=False)
    assert done.records == len(table)
    assert done.counts == {"train": int((table["split"] == "train").sum()), "val": int((table["split"] == "val").sum())}


def test_small_batches_give_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "m", 2000)
    one = pd.read_parquet(prepare("mimic-iv-ecg@published", root, tmp_path / "a", allow_partial=True).table)
    monkeypatch.setattr(module, "_BLOCK", 4096)
    other = pd.read_parquet(prepare("mimic-iv-ecg@published", root, tmp_path / "b", allow_partial=True).table)
    pd.testing.assert_frame_equal(one, other)
    monkeypatch.undo()
    rows = list(get_adapter("mimic-iv-ecg@published").rows(root))
    pd.testing.assert_frame_equal(pd.DataFrame(rows), one, check_dtype=False)


def test_patients_stay_in_one_part(tmp_path: Path) -> None:
    root = write(tmp_path / "m", 2000)
    table = pd.read_parquet(prepare("mimic-iv-ecg", root, tmp_path / "out", allow_partial=True).table)
    parts = table.groupby("patient_id")["split"].nunique()
    assert (parts == 1).all()
    # 2 in 100 of the 500 patients of the list; those without a long report are not in the table.
    assert 0 < table.loc[table["split"] == "val", "patient_id"].nunique() <= 10


def test_the_published_split_is_by_record(tmp_path: Path) -> None:
    from sklearn.model_selection import train_test_split

    root = write(tmp_path / "m", 2000)
    table = pd.read_parquet(prepare("mimic-iv-ecg@published", root, tmp_path / "out", allow_partial=True).table)
    _, val = train_test_split(np.arange(len(table)), test_size=0.02, random_state=42)
    assert sorted(val) == np.flatnonzero(table["split"] == "val").tolist()
    assert table.groupby("patient_id")["split"].nunique().max() == 2


def test_it_loads_as_a_cohort_of_pairs(tmp_path: Path) -> None:
    done = prepare("mimic-iv-ecg", write(tmp_path / "m", 200), tmp_path / "out", allow_partial=True)
    cohort = load_cohort(done.table, check=False)
    assert (cohort.modality, cohort.info["adapter"]) == ("ecg", "mimic-iv-ecg@1")
    assert "target" not in cohort.info
    assert cohort.patients_known
    assert cohort.table["text"].notna().all()
    notes = " ".join(yaml.safe_load(done.info.read_text())["notes"])
    assert "joined by study_id" in notes
    assert "fewer than 4 words" in notes


def test_counts_are_enforced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    root = write(tmp_path / "m", 20)
    with pytest.raises(CohortError, match="total: expected 771,693"):
        prepare("mimic-iv-ecg", root, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_another_table_is_not_replaced(tmp_path: Path) -> None:
    root = write(tmp_path / "m", 20)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "labels.parquet").write_bytes(b"mine")
    with pytest.raises(StoreError, match="another table"):
        prepare("mimic-iv-ecg", root, tmp_path / "out", allow_partial=True)
    assert (tmp_path / "out" / "labels.parquet").read_bytes() == b"mine"


def test_reports_without_recordings_are_counted(tmp_path: Path) -> None:
    root = write(tmp_path / "m", 60)
    lines = (root / "record_list.csv").read_text().splitlines()
    (root / "record_list.csv").write_text("\n".join(lines[:31]) + "\n")
    done = prepare("mimic-iv-ecg", root, tmp_path / "out", allow_partial=True)
    assert done.records == len(naive(root)) < 31
    assert "the study is not in record_list.csv" in " ".join(yaml.safe_load(done.info.read_text())["notes"])


def test_cells_that_pandas_takes_for_absent(tmp_path: Path) -> None:
    root = write(tmp_path / "m", 8, shuffle=False)
    file = root / "machine_measurements.csv"
    file.write_text(file.read_text().replace("Left axis deviation", "N/A").replace("Normal ECG", '"NA"'))
    table = pd.read_parquet(prepare("mimic-iv-ecg", root, tmp_path / "out", allow_partial=True).table)
    assert table["text"].tolist() == naive(root)["text"].tolist()
    assert not table["text"].str.contains("n/a").any()


@pytest.mark.parametrize(
    ("file", "change", "match"),
    [
        ("record_list.csv", lambda t: t.replace("study_id", "study"), "KeyError"),
        ("record_list.csv", lambda t: t + "1,2\n", "ArrowInvalid"),
        ("record_list.csv", lambda t: t.replace("40000001", "MUSTERMANN"), "ArrowInvalid"),
        ("record_list.csv", lambda t: t.replace("40000001", "40000002"), "twice"),
        ("record_list.csv", lambda t: t.replace(",40000001,", ",,", 1), "no study_id"),
        ("machine_measurements.csv", lambda t: t.replace("report_17", "report_99"), "KeyError"),
        ("machine_measurements.csv", lambda t: t + "1,2\n", "ArrowInvalid"),
    ],
)
def test_damaged_tables(file: str, change, match: str, tmp_path: Path) -> None:
    root = write(tmp_path / "m", 8)
    (root / file).write_text(change((root / file).read_text()))
    with pytest.raises(CohortError, match=match) as caught:
        prepare("mimic-iv-ecg", root, tmp_path / "out", allow_partial=True)
    assert "MUSTERMANN" not in str(caught.value)
    assert not (tmp_path / "out" / "labels.parquet").exists()


def test_tables_without_a_row(tmp_path: Path) -> None:
    root = write(tmp_path / "m", 0)
    for variant in ("", "@published"):
        with pytest.raises(CohortError, match="no report has a recording"):
            prepare(f"mimic-iv-ecg{variant}", root, tmp_path / "out", allow_partial=True)


@given(st.lists(st.text(alphabet=" *=-aEKGekg.\n\t", max_size=8), max_size=4))
def test_cleaned_reports_are_one_line_of_lower_case(lines: list[str]) -> None:
    text, words = clean_report(lines)
    assert text == text.lower()
    assert not set(text) & set("\n\r\t")
    assert (text == "empty") == (words == 0)
    assert words == 0 or (text.endswith(".") and len(text.split()) >= words)
