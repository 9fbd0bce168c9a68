"""MERL's split files: read by position as the reference does, refused when they are something else."""

from pathlib import Path

import pytest
from ecg_sets import read_table, write_ptbxl, write_split_files

from medfm.cohorts.adapters import prepare
from medfm.cohorts.adapters.ecg_labels import labels_of
from medfm.cohorts.adapters.merl_splits import read_splits
from medfm.core.errors import CohortError

SUB = labels_of("ptbxl-sub")
FIRST = ["ecg_id", "patient_id", "strat_fold", "filename_lr", "filename_hr", "sub_class"]
# The published train file orders three columns in another way.
TRAIN = [*SUB[:10], "AVB", "RAO/RAE", "ISC", *SUB[13:]]


def write(root: Path, train: list[str] | None = None, test: list[str] | None = None) -> Path:
    orders = {"train": train or TRAIN, "val": list(SUB), "test": test or list(SUB)}

    def row(record: int, order: list[str], *ones: str) -> list:
        return [record, float(record), 1, "lr", "hr", "[]", *(int(name in ones) for name in order)]

    rows = {
        "train": [row(1, orders["train"], "AVB"), row(2, orders["train"], "ISC", "NORM")],
        "val": [row(9, orders["val"], "AVB")],
        "test": [row(10, orders["test"], "RAO/RAE")],
    }
    columns = {split: [*FIRST, *order] for split, order in orders.items()}
    return write_split_files(root, "ptbxl/sub_class/ptbxl_sub_class", columns, rows)


def positive(labels: dict[str, int]) -> set[str]:
    return {name for name, one in labels.items() if one}


@pytest.mark.parametrize("inside", [".", "data_split", "finetune/data_split"])
def test_labels_are_taken_by_position(inside: str, tmp_path: Path) -> None:
    write(tmp_path / inside)
    rows = read_splits(tmp_path, "ptbxl-sub", SUB)
    assert [(r.cells["ecg_id"], r.split, positive(r.labels)) for r in rows] == [
        ("1", "train", {"ISC"}),
        ("2", "train", {"RAO/RAE", "NORM"}),
        ("9", "val", {"AVB"}),
        ("10", "test", {"RAO/RAE"}),
    ]


def test_derived_and_read_published_labels_are_equal(tmp_path: Path) -> None:
    codes = {1: "{'1AVB': 100.0}", 2: "{'ISC_': 100.0, 'NORM': 0.0}", 9: "{'1AVB': 0.0}", 10: "{'RAO/RAE': 50.0}"}
    folder = write_ptbxl(tmp_path / "p", {i: {"scp_codes": c} for i, c in codes.items()})
    tables = []
    for splits, out in ((None, "derived"), (write(tmp_path / "s"), "read")):
        done = prepare("ptbxl-sub@published", folder, tmp_path / out, splits=splits, allow_partial=True)
        tables.append(read_table(done.table))
    assert tables[0] == tables[1]
    right = prepare("ptbxl-sub", folder, tmp_path / "c", splits=tmp_path / "s", allow_partial=True)
    assert read_table(right.table)["1"]["AVB"] == "1"


def test_records_of_the_files_only(tmp_path: Path) -> None:
    folder = write_ptbxl(tmp_path / "p", {1: {}, 3: {}, 9: {}})
    done = prepare("ptbxl-sub", folder, tmp_path / "out", splits=write(tmp_path / "s"), allow_partial=True)
    assert set(read_table(done.table)) == {"1", "9"}
    assert done.differences[0] == "2 recordings of the split files are not in ptbxl_database.csv"


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"There is no ptbxl/sub_class/ptbxl_sub_class_test\.csv"):
        read_splits(tmp_path, "ptbxl-sub", SUB)
    with pytest.raises(CohortError, match="not the published ones"):
        read_splits(write(tmp_path / "a", train=[*TRAIN[:-1], "OTHER"]), "ptbxl-sub", SUB)
    with pytest.raises(CohortError, match="not the published ones"):
        read_splits(write(tmp_path / "b", test=TRAIN), "ptbxl-sub", SUB)


@pytest.mark.parametrize(
    ("old", "new", "match"), [(",1,", ",2,", "not 0 or 1"), ("hr,", "", "not 0 or 1"), (None, "", "empty")]
)
def test_damaged_files(old: str | None, new: str, match: str, tmp_path: Path) -> None:
    file = write(tmp_path) / "ptbxl/sub_class/ptbxl_sub_class_val.csv"
    head, line = file.read_text().strip().splitlines()
    file.write_text(f"{head}\n{line.replace(old, new)}\n" if old else f"{head}\n")
    with pytest.raises(CohortError, match=match):
        read_splits(tmp_path, "ptbxl-sub", SUB)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (write(tmp_path) / "ptbxl/sub_class/ptbxl_sub_class_val.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CohortError, match="cannot be read"):
        read_splits(tmp_path, "ptbxl-sub", SUB)


def test_sets_without_split_files_say_so(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for name in ("acevedo", "mimic-iv-ecg"):
        with pytest.raises(CohortError, match="leave out --splits"):
            prepare(name, tmp_path, tmp_path / "out", splits=tmp_path / "s")
