"""CPSC2018 from the challenge's own table and from the headers of the PhysioNet copy."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from ecg_sets import SECRET, comments, read_table, write_record, write_split_files

from medfm.cohorts.adapters import get_adapter, prepare
from medfm.cohorts.adapters.cpsc2018 import NUMBERS, SNOMED, read_reference
from medfm.cohorts.adapters.ecg import random_split
from medfm.cohorts.adapters.ecg_labels import labels_of
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError

LABELS = labels_of("cpsc2018")
# Recording -> numbers of REFERENCE.csv.
TRUTH = {f"A{i:04d}": [1 + i % 9] for i in range(1, 31)} | {"A0031": [2, 8], "A0032": [5, 6, 8]}


def by_header(root: Path) -> Path:
    codes = {label: code for code, label in SNOMED.items()}
    for i, (name, numbers) in enumerate(TRUTH.items()):
        dx = ",".join(codes[NUMBERS[n]] for n in numbers)
        write_record(root / f"g{i // 10}" / f"{name}.hea", comments(dx, age="NaN" if i == 0 else "61", sex="Female"))
    return root


def by_reference(root: Path) -> Path:
    from scipy.io import savemat

    for name in TRUTH:
        file = root / "TrainingSet1" / f"{name}.mat"
        file.parent.mkdir(parents=True, exist_ok=True)
        wave = np.random.default_rng(0).normal(0, 0.3, (12, 60))
        savemat(file, {"ECG": {"sex": "Male", "age": 61, "data": wave}})
    lines = [f"{n},{','.join(map(str, numbers))}{',' * (3 - len(numbers))}" for n, numbers in TRUTH.items()]
    text = "\n".join(["Recording,First_label,Second_label,Third_label", *lines]) + "\n"
    (root / "REFERENCE.csv").write_text(text)
    return root


def labels_in(table: Path) -> dict[str, set[str]]:
    return {i: {label for label in LABELS if row[label] == "1"} for i, row in read_table(table).items()}


EXPECTED = {name: {NUMBERS[n] for n in numbers} for name, numbers in TRUTH.items()}


@pytest.mark.parametrize("write", [by_header, by_reference])
@pytest.mark.parametrize("variant", ["", "@published", "@corrected"])
def test_both_layouts_give_equal_labels(write, variant: str, tmp_path: Path) -> None:
    done = prepare(f"cpsc2018{variant}", write(tmp_path / "c"), tmp_path / "out", allow_partial=True)
    assert labels_in(done.table) == EXPECTED
    cohort = load_cohort(done.table)
    assert cohort.info["target"] == list(LABELS)
    assert cohort.read(0).array.shape[0] == 12
    assert not cohort.patients_known
    assert cohort.table["split"].value_counts().to_dict() == {"train": 22, "test": 7, "val": 3}


def test_age_and_sex_come_from_the_header_and_nothing_else_does(tmp_path: Path) -> None:
    done = prepare("cpsc2018", by_header(tmp_path / "c"), tmp_path / "out", allow_partial=True)
    rows = read_table(done.table)
    assert (rows["A0001"]["age"], rows["A0002"]["age"], rows["A0002"]["sex"]) == ("", "61", "female")
    for file in (tmp_path / "out").iterdir():
        assert SECRET not in file.read_text()


def test_the_table_wins_and_headers_win_over_bare_signals(tmp_path: Path) -> None:
    root = by_reference(tmp_path / "c")
    write_record(root / "zz" / "A0001.hea", comments("426783006"))
    done = prepare("cpsc2018", root, tmp_path / "out", allow_partial=True)
    row = read_table(done.table)["A0001"]
    assert row["path"] == "zz/A0001.hea"
    assert labels_in(done.table)["A0001"] == EXPECTED["A0001"]


def test_other_recordings_and_codes_are_passed_over(tmp_path: Path) -> None:
    root = by_header(tmp_path / "c")
    write_record(root / "Q0001.hea", comments("426783006"))  # CPSC2018-Extra
    write_record(root / "A0040.hea", comments("713427006,1642650031"))  # codes near those of the set
    write_record(root / "A0041.hea", comments("Unknown"))
    done = prepare("cpsc2018", root, tmp_path / "out", allow_partial=True)
    assert set(read_table(done.table)) == set(TRUTH)
    assert "2 of 34 recordings are left out" in done.info.read_text()


def test_counts_are_those_published() -> None:
    expected = dict(get_adapter("cpsc2018").expected)
    assert (expected["total"], expected["NORM"], expected["CRBBB"]) == (6877, 918, 1857)


def test_the_random_split_has_the_published_sizes() -> None:
    """The published procedure on 6,877 names; the sizes are a fact of MERL's files."""
    split = random_split([f"A{i:04d}" for i in range(1, 6878)])
    sizes = {part: sum(s == part for s in split.values()) for part in ("train", "val", "test")}
    assert sizes == {"train": 4950, "val": 551, "test": 1376}
    assert split == random_split([f"A{i:04d}" for i in range(6877, 0, -1)])


@pytest.mark.parametrize("number", range(5))
def test_tiny_sets_split_without_a_crash(number: int) -> None:
    assert len(random_split([f"A{i}" for i in range(number)])) == number


def splits_of(root: Path, labels: tuple[str, ...] = LABELS) -> Path:
    columns = ["patient_id", "ecg_id", "filename", "validation", "age", "sex", "scp_codes", *labels]
    parts = {"train": ["A0001", "A0002"], "val": ["A0003"], "test": ["A0031", "A9999"]}
    # One published label is wrong on purpose, to see which variant reads it.
    ones = {**EXPECTED, "A0001": {"STD"}, "A9999": {"STE"}}
    rows = {
        split: [[9, 9, n, False, 61.0, 0, "{}", *(int(label in ones[n]) for label in labels)] for n in names]
        for split, names in parts.items()
    }
    return write_split_files(root, "icbeb/icbeb", dict.fromkeys(parts, columns), rows)


@pytest.mark.parametrize(("variant", "first"), [("published", {"STD"}), ("corrected", EXPECTED["A0001"])])
def test_split_files_give_records_splits_and_published_labels(variant: str, first: set[str], tmp_path: Path) -> None:
    root, files = by_header(tmp_path / "c"), splits_of(tmp_path / "data_split")
    done = prepare(f"cpsc2018@{variant}", root, tmp_path / "out", splits=files, allow_partial=True)
    rows = read_table(done.table)
    assert {i: row["split"] for i, row in rows.items()} == {
        "A0001": "train",
        "A0002": "train",
        "A0003": "val",
        "A0031": "test",
    }
    assert labels_in(done.table)["A0001"] == first
    assert done.differences[0] == "1 recordings of the split files are not in the folder"
    assert "train: expected 4,950, found 2" in done.differences


def test_split_files_beside_the_recordings_are_found(tmp_path: Path) -> None:
    root = by_header(tmp_path / "c")
    splits_of(root / "data_split")
    done = prepare("cpsc2018", root, tmp_path / "out", allow_partial=True)
    assert len(read_table(done.table)) == 4
    assert any("MERL's split files" in n for n in yaml.safe_load(done.info.read_text())["notes"])


@pytest.mark.parametrize(
    ("line", "match"),
    [("A0001,10,,", "1 to 9"), ("A0001,x,,", "1 to 9"), ("A0001,0,,", "1 to 9"), ("A0001,1", "has 2 cells")],
)
def test_a_reference_that_is_not_as_published(line: str, match: str, tmp_path: Path) -> None:
    file = tmp_path / "REFERENCE.csv"
    file.write_text(f"Recording,First_label,Second_label,Third_label\n{line}\n")
    with pytest.raises(CohortError, match=match):
        read_reference(file, "REFERENCE.csv")


def test_signals_without_labels_are_refused(tmp_path: Path) -> None:
    root = by_reference(tmp_path / "c")
    (root / "REFERENCE.csv").unlink()
    with pytest.raises(CohortError, match=r"neither REFERENCE\.csv nor a header"):
        prepare("cpsc2018", root, tmp_path / "out", allow_partial=True)
