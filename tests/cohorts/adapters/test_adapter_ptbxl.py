"""PTB-XL from its own tables: tasks, folds, the published permutation, bad tables."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from ecg_sets import read_table, write_ptbxl

from medfm.cohorts.adapters import get_adapter, prepare
from medfm.cohorts.adapters.ecg_labels import labels_of
from medfm.cohorts.adapters.ptbxl import PUBLISHED_SUB_TRAIN_COLUMNS, parse_codes, whole_number
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError
from medfm.modalities.registry import read_record

CODES = {
    1: "{'NORM': 100.0, 'SR': 0.0}",
    2: "{'IMI': 35.0, '1AVB': 0.0, 'SR': 0.0}",
    3: "{'ISC_': 50, 'LVH': 100.0}",
    4: "{'RAO/RAE': 100.0, 'AFIB': 0.0}",
    5: "{'NDT': 100.0, 'NST_': 0.0, 'PVC': 100.0}",
    6: "{'SR': 0.0}",
    7: "{'PRC(S)': 100.0, 'UNHEARD': 100.0}",
    9: "{'1AVB': 100.0}",
    10: "{'ISC_': 100.0, '1AVB': 80.0}",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_ptbxl(tmp_path / "ptb-xl-1.0.3", {i: {"scp_codes": codes} for i, codes in CODES.items()})


def positive(row: dict[str, str], task: str) -> set[str]:
    return {label for label in labels_of(f"ptbxl-{task}") if row[label] == "1"}


def made(name: str, folder: Path, out: Path) -> dict[str, dict[str, str]]:
    return read_table(prepare(name, folder, out, allow_partial=True).table)


def test_super_takes_every_diagnostic_statement_whatever_its_likelihood(folder: Path, tmp_path: Path) -> None:
    rows = made("ptbxl", folder, tmp_path / "out")
    assert {i: positive(row, "super") for i, row in rows.items()} == {
        "1": {"NORM"},
        "2": {"MI", "CD"},
        "3": {"STTC", "HYP"},
        "4": {"HYP"},
        "5": {"STTC"},
        "9": {"CD"},
        "10": {"STTC", "CD"},
    }


def test_the_other_tasks(folder: Path, tmp_path: Path) -> None:
    sub = made("ptbxl-sub", folder, tmp_path / "sub")
    assert positive(sub["2"], "sub") == {"IMI", "AVB"}
    assert positive(sub["3"], "sub") == {"ISC", "LVH"}
    # A statement may be diagnostic and of form, and then counts in both tasks.
    assert positive(sub["5"], "sub") == {"STTC", "NST"}
    form = made("ptbxl-form", folder, tmp_path / "form")
    assert {i: positive(row, "form") for i, row in form.items()} == {"5": {"NDT", "NST", "PVC"}, "7": {"PRC(S)"}}
    rhythm = made("ptbxl-rhythm", folder, tmp_path / "rhythm")
    assert {i: positive(row, "rhythm") for i, row in rhythm.items()} == {
        "1": {"SR"},
        "2": {"SR"},
        "4": {"AFIB"},
        "6": {"SR"},
    }


def test_the_table_and_its_yaml(folder: Path, tmp_path: Path) -> None:
    done = prepare("ptbxl-super", folder, tmp_path / "out", allow_partial=True)
    row = read_table(done.table)["1"]
    assert row["path"] == "records500/00000/00001_hr.hea"
    assert (row["patient_id"], row["site"], row["age"], row["sex"]) == ("15001", "0", "56", "female")
    assert row["text"] == "sinusrhythmus normales ekg"
    assert row["scp_codes"] == "NORM SR"
    assert not {"recording_date", "nurse"} & set(row)
    info = yaml.safe_load(done.info.read_text())
    assert info["target"] == ["HYP", "NORM", "MI", "CD", "STTC"]
    assert (info["label_set"], info["adapter"], info["modality"]) == ("ptbxl-super", "ptbxl-super@1", "ecg")
    assert any("2 of 9 recordings are left out" in note for note in info["notes"])
    assert any("likelihood" in note for note in info["notes"])
    assert done.counts == {"HYP": 2, "NORM": 1, "MI": 1, "CD": 3, "STTC": 3}
    cohort = load_cohort(done.table)
    assert cohort.modality == "ecg"
    assert cohort.read(0).array.shape == (12, 200)


def test_folds(tmp_path: Path) -> None:
    write_ptbxl(tmp_path / "p", {i: {} for i in range(1, 11)}, files=True)
    rows = made("ptbxl", tmp_path / "p", tmp_path / "out")
    assert [rows[str(i)]["split"] for i in range(1, 11)] == ["train"] * 8 + ["val", "test"]


def test_published_sub_permutes_three_columns_of_train_rows_only(folder: Path, tmp_path: Path) -> None:
    right = made("ptbxl-sub", folder, tmp_path / "right")
    published = made("ptbxl-sub@published", folder, tmp_path / "published")
    assert list(right) == list(published)
    # What MERL's train file has in the places of ISC, AVB, RAO/RAE: AVB, RAO/RAE, ISC.
    assert positive(published["2"], "sub") == {"IMI", "ISC"}  # 1AVB
    assert positive(published["3"], "sub") == {"RAO/RAE", "LVH"}  # ISC_
    assert positive(published["4"], "sub") == {"AVB"}  # RAO/RAE
    for record in ("9", "10"):
        assert published[record] == right[record], "val and test rows are right"
    notes = yaml.safe_load((tmp_path / "published" / "labels.yaml").read_text())["notes"]
    assert any("by position" in note for note in notes)
    assert not any(
        "by position" in n for n in yaml.safe_load((tmp_path / "right" / "labels.yaml").read_text())["notes"]
    )


def test_the_permutation_is_that_of_the_two_column_orders() -> None:
    """The switch equals reading the train file's columns by position under the test file's names."""
    test = list(labels_of("ptbxl-sub"))
    train = [*test[:10], "AVB", "RAO/RAE", "ISC", *test[13:]]
    held = {name: column for name, column in zip(test, train, strict=True) if name != column}
    assert held == PUBLISHED_SUB_TRAIN_COLUMNS


@pytest.mark.parametrize("task", ["super", "form", "rhythm"])
def test_published_equals_corrected_elsewhere(task: str, folder: Path, tmp_path: Path) -> None:
    assert made(f"ptbxl-{task}", folder, tmp_path / "a") == made(f"ptbxl-{task}@published", folder, tmp_path / "b")


def test_recordings_that_are_not_there_are_left_out_and_said(folder: Path, tmp_path: Path) -> None:
    (folder / "records500/00000/00001_hr.hea").unlink()
    done = prepare("ptbxl", folder, tmp_path / "out", allow_partial=True)
    assert "1" not in read_table(done.table)
    assert done.differences[0] == "1 recordings of the table are not in the folder"
    with pytest.raises(CohortError, match="HYP in test: expected 262"):
        prepare("ptbxl", folder, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.fixture
def both_rates(tmp_path: Path) -> Path:
    cells = {i: {"scp_codes": codes} for i, codes in CODES.items()}
    return write_ptbxl(tmp_path / "both", cells, low_rate=True)


def test_the_recordings_at_100_hz(both_rates: Path, tmp_path: Path) -> None:
    high = read_table(prepare("ptbxl-sub", both_rates, tmp_path / "high", allow_partial=True).table)
    done = prepare("ptbxl-sub", both_rates, tmp_path / "low", allow_partial=True, rate=100)
    low = read_table(done.table)
    assert {row["path"] for row in low.values()} == {f"records100/00000/{int(i):05d}_lr.hea" for i in low}
    # Nothing else differs: labels, folds, patients.
    assert [{**row, "path": ""} for row in low.values()] == [{**row, "path": ""} for row in high.values()]
    notes = yaml.safe_load(done.info.read_text())["notes"]
    assert sum("at 100 Hz (records100)" in note for note in notes) == 1
    assert read_record(both_rates / low["1"]["path"], "ecg").facts["sampling_hz"] == 100


def test_the_rate_of_one_table_does_not_stick(both_rates: Path, tmp_path: Path) -> None:
    prepare("ptbxl", both_rates, tmp_path / "low", allow_partial=True, rate=100)
    done = prepare("ptbxl", both_rates, tmp_path / "plain", allow_partial=True)
    asked = prepare("ptbxl", both_rates, tmp_path / "asked", allow_partial=True, rate=500)
    assert done.table.read_bytes() == asked.table.read_bytes()
    assert done.info.read_text() == asked.info.read_text()
    assert "records500" in done.table.read_text() and "records100" not in done.table.read_text()
    assert get_adapter("ptbxl-sub@published").at_rate(100).name == "ptbxl-sub@published"
    assert get_adapter("ptbxl").at_rate(100).info()["task"] == get_adapter("ptbxl").info()["task"]


@pytest.mark.parametrize(("present", "rate", "said"), [("100", None, "--rate 100"), ("500", 100, "--rate 500")])
def test_a_download_of_one_rate_names_the_option(
    present: str, rate: int | None, said: str, both_rates: Path, tmp_path: Path
) -> None:
    shutil.rmtree(both_rates / {"100": "records500", "500": "records100"}[present])
    with pytest.raises(CohortError, match=said):
        prepare("ptbxl", both_rates, tmp_path / "out", allow_partial=True, rate=rate)
    assert not (tmp_path / "out").exists()
    done = prepare("ptbxl", both_rates, tmp_path / "out", allow_partial=True, rate=int(present))
    assert done.records == len(read_table(done.table)) > 0


def test_a_rate_that_there_is_not(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="not released at 250 Hz") as caught:
        prepare("ptbxl", folder, tmp_path / "out", rate=250)
    assert "500 or 100" in str(caught.value)
    for name in ("csn", "cpsc2018", "mimic-iv-ecg", "acevedo"):
        with pytest.raises(CohortError, match="several sampling rates"):
            prepare(name, folder, tmp_path / "out", rate=100)


def test_a_table_without_the_column_of_the_other_rate(folder: Path, tmp_path: Path) -> None:
    table = folder / "ptbxl_database.csv"
    table.write_text(table.read_text().replace("filename_lr", "filename_xx"))
    assert prepare("ptbxl", folder, tmp_path / "out", allow_partial=True).records > 0
    (folder / "records100").mkdir()
    with pytest.raises(CohortError, match="no column 'filename_lr'"):
        prepare("ptbxl", folder, tmp_path / "low", allow_partial=True, rate=100)


def test_ages_above_89_and_absent_cells(tmp_path: Path) -> None:
    cells = {1: {"age": "300.0"}, 2: {"age": "", "sex": "", "site": "", "report": ""}}
    rows = made("ptbxl", write_ptbxl(tmp_path / "p", cells), tmp_path / "out")
    assert rows["1"]["age"] == "90"
    assert [rows["2"][c] for c in ("age", "sex", "site", "text")] == ["", "", "", ""]


def test_a_folder_above_is_found(folder: Path, tmp_path: Path) -> None:
    done = prepare("ptbxl", folder.parent, tmp_path / "out", allow_partial=True)
    assert read_table(done.table)["1"]["path"] == "ptb-xl-1.0.3/records500/00000/00001_hr.hea"
    assert load_cohort(done.table).read(0).array.shape[0] == 12


@pytest.mark.parametrize(
    ("cells", "match"),
    [
        ({"scp_codes": "NORM"}, "not a dictionary"),
        ({"scp_codes": "__import__('os').system('true')"}, "not a dictionary"),
        ({"scp_codes": "{1: 2}"}, "not a dictionary"),
        ({"scp_codes": "{'NORM': [1]}"}, "not a dictionary"),
        ({"strat_fold": 11}, "strat_fold"),
        ({"strat_fold": ""}, "strat_fold"),
        ({"patient_id": "x"}, "patient_id"),
        ({"ecg_id": ""}, "ecg_id"),
    ],
)
def test_malformed_rows_name_their_line(cells: dict[str, object], match: str, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=match) as caught:
        prepare("ptbxl", write_ptbxl(tmp_path / "p", {1: {}, 2: cells}), tmp_path / "out", allow_partial=True)
    # The first report has a line break, so the second row ends on line 5.
    assert "line 5" in str(caught.value.where)
    assert not (tmp_path / "out").exists()


def test_malformed_tables(folder: Path, tmp_path: Path) -> None:
    table = folder / "ptbxl_database.csv"
    good = table.read_bytes()
    for bad, match in (
        (good.replace(b"scp_codes", b"codes"), "no column 'scp_codes'"),
        (good + b"1,2,3\n", "has 3 cells"),
        (good + b"\xff\xfe", "cannot be read"),
        (b"", "no column"),
    ):
        table.write_bytes(bad)
        with pytest.raises(CohortError, match=match):
            prepare("ptbxl", folder, tmp_path / "out", allow_partial=True)
    table.write_bytes(good)
    (folder / "scp_statements.csv").write_text(",diagnostic,diagnostic_class\nNORM,0.0,NORM\n")
    with pytest.raises(CohortError, match="No statement"):
        prepare("ptbxl", folder, tmp_path / "out", allow_partial=True)


def test_small_parsers() -> None:
    assert parse_codes("{'NORM': 100.0, 'SR': 0}", "x") == {"NORM": 100.0, "SR": 0}
    assert [whole_number(t) for t in ("15709.0", "7", "", "nan", "-1", "1.5", "²")] == [15709, 7, *[None] * 5]


def test_random_tables_agree_with_a_naive_derivation(tmp_path: Path) -> None:
    from ecg_sets import STATEMENTS

    rng = np.random.default_rng(3)
    codes = [s[0] for s in STATEMENTS]
    drawn = {i: [str(c) for c in rng.choice(codes, rng.integers(1, 5), replace=False)] for i in range(1, 41)}
    cells = {i: {"scp_codes": repr({c: float(rng.choice([0, 50, 100])) for c in d})} for i, d in drawn.items()}
    folder = write_ptbxl(tmp_path / "p", cells)
    facts = {s[0]: s for s in STATEMENTS}
    for task, flag, place in (("super", 1, 4), ("sub", 1, 5), ("form", 2, 0), ("rhythm", 3, 0)):
        rows = made(f"ptbxl-{task}", folder, tmp_path / task)
        naive = {str(i): {facts[c][place].strip("_") for c in d if facts[c][flag]} for i, d in drawn.items()}
        assert {i: positive(row, task) for i, row in rows.items()} == {i: p for i, p in naive.items() if p}


def test_the_adapter_of_a_task_is_one_object() -> None:
    assert get_adapter("ptbxl-sub@published") is get_adapter("ptbxl-sub@published")
    assert get_adapter("ptbxl-super").labels == ("HYP", "NORM", "MI", "CD", "STTC")
