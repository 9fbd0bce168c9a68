"""Texts of public ECG sets: headers with anything in them, machine reports, split files, against plain readings."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medfm.cohorts.adapters.ecg_header import HeaderFacts, age_of, header_facts, sex_of
from medfm.cohorts.adapters.ecg_labels import labels_of, positives, positives_in_test, split_sizes
from medfm.cohorts.adapters.merl_splits import read_splits
from medfm.cohorts.adapters.mimic_report import EMPTY, clean_report
from medfm.core.errors import CohortError

ANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TASKS = ("ptbxl-super", "ptbxl-sub", "ptbxl-form", "ptbxl-rhythm", "cpsc2018", "csn")


@ANY
@given(
    codes=st.lists(st.integers(0, 10**12).map(str), max_size=6),
    age=st.integers(0, 130),
    sex=st.sampled_from(["Male", "FEMALE", "m", "F"]),
    other=st.text(alphabet=string.printable.replace("\n", "").replace("\r", "").replace("\x0b", "")
                  .replace("\x0c", ""), max_size=40),
    separator=st.sampled_from([",", ", ", ";", " ", "\t"]),
)  # fmt: skip
def test_facts_come_back_between_any_other_comments(
    tmp_path: Path, codes: list[str], age: int, sex: str, other: str, separator: str
) -> None:
    lines = ["A 12 500 5000", f"# Name: {other}", f"#Dx: {separator.join(codes)}", f"# Age:{age}", f"#{other}#",
             f"#   Sex :  {sex} ", "#Age: 999"]  # fmt: skip
    file = tmp_path / "a.hea"
    file.write_text("\n".join(lines))
    found = header_facts(file, "a")
    assert found == HeaderFacts(tuple(dict.fromkeys(codes)), age, "male" if sex.lower()[0] == "m" else "female")


@ANY
@given(content=st.binary(max_size=400))
def test_any_bytes_are_facts_or_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.hea").write_bytes(content)
    found = header_facts(tmp_path / "a.hea", "a")
    assert all(code.isascii() and code.isdigit() for code in found.codes)
    assert found.age is None or 0 <= found.age <= 130
    assert found.sex in (None, "male", "female")


@pytest.mark.parametrize("text", ["", "-1", "131", "NaN", "nan", "1e2", "74.5", "²", "٣", "9" * 5000, "0x10", " "])
def test_ages_that_are_none(text: str) -> None:
    assert age_of(text) is None


@pytest.mark.parametrize(("text", "age"), [("0", 0), (" 74 ", 74), ("130", 130), ("007", 7), ("74.0", 74)])
def test_ages(text: str, age: int) -> None:
    assert age_of(text) == age


@pytest.mark.parametrize("text", ["", "Unknown", "malefemale", "0", "männlich", "w"])
def test_sexes_that_are_not_said(text: str) -> None:
    assert sex_of(text) is None


def test_headers_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "long.hea").write_bytes(b"#" * 65537)
    with pytest.raises(CohortError, match="longer than 64 kB") as caught:
        header_facts(tmp_path / "long.hea", "record 7")
    assert caught.value.where == "record 7"
    (tmp_path / "border.hea").write_bytes(b"#" * 65536)
    assert header_facts(tmp_path / "border.hea", "a") == HeaderFacts()
    for path in (tmp_path / "absent.hea", tmp_path):
        with pytest.raises(CohortError, match="cannot be read") as caught:
            header_facts(path, "record 7")
        assert str(tmp_path) not in str(caught.value)


LINES = st.lists(st.one_of(st.none(), st.text(alphabet=string.ascii_letters + " *-=.\n\tEKG", max_size=25)), max_size=6)


@settings(max_examples=120, deadline=None)
@given(lines=LINES)
def test_a_cleaned_report_is_one_line_with_a_full_stop(lines: list[str | None]) -> None:
    text, words = clean_report(lines)
    assert "\n" not in text and "\t" not in text and text == text.lower()
    if words == 0:
        assert text == EMPTY
        return
    assert text.endswith(".") and "ekg" not in text
    assert len(text[:-1].split()) == words
    # Cells between that are absent change nothing.
    assert clean_report([x for line in lines for x in (None, line)]) == (text, words)


@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.text(alphabet=string.ascii_lowercase, min_size=1, max_size=8), min_size=1, max_size=9))
def test_plain_words_come_back(words: list[str]) -> None:
    text, number = clean_report([" ".join(words)])
    assert text == " ".join(words).replace("ekg", "ecg") + "." and number == len(words)
    upper, _ = clean_report([" ".join(words).upper()])
    assert upper == text


@pytest.mark.parametrize("task", TASKS)
def test_published_numbers_fit_each_other(task: str) -> None:
    labels, sizes, test = labels_of(task), split_sizes(task), positives_in_test(task)
    assert len(set(labels)) == len(labels) and list(sizes) == ["train", "val", "test"]
    assert list(test) == [f"{label} in test" for label in labels]
    assert all(1 <= number <= sizes["test"] for number in test.values())
    whole = positives(task)
    if whole:
        assert list(whole) == list(labels)
        assert all(test[f"{label} in test"] <= whole[label] <= sum(sizes.values()) for label in labels)
    else:
        assert task == "csn"


@pytest.mark.parametrize("task", TASKS)
def test_published_numbers_cannot_be_changed(task: str) -> None:
    with pytest.raises(TypeError):
        positives(task)["NORM"] = 1  # type: ignore[index]


SUPER = labels_of("ptbxl-super")


def write_super(root: Path, rows: dict[str, list[str]], header: str | None = None) -> Path:
    folder = root / "ptbxl" / "super_class"
    folder.mkdir(parents=True)
    head = header or "ecg_id,patient_id,strat_fold,filename_lr,filename_hr,super_class," + ",".join(SUPER)
    for split in ("train", "val", "test"):
        lines = [head, *rows.get(split, ["1,1.0,1,lr,hr,[],0,0,0,0,0"])]
        (folder / f"ptbxl_super_class_{split}.csv").write_text("\n".join(lines) + "\n")
    return root


@ANY
@given(ones=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=5))
def test_labels_of_split_files_come_back(tmp_path_factory: pytest.TempPathFactory, ones: list[list[bool]]) -> None:
    rows = [f'{i},{i}.0,1,lr,"a,b",[],' + ",".join(str(int(v)) for v in values) for i, values in enumerate(ones)]
    found = read_splits(write_super(tmp_path_factory.mktemp("s"), {"val": rows}), "ptbxl-super", SUPER)
    val = [row for row in found if row.split == "val"]
    assert [list(map(bool, row.labels.values())) for row in val] == ones
    assert [row.cells["ecg_id"] for row in val] == [str(i) for i in range(len(ones))]
    assert all(row.cells["filename_hr"] == "a,b" and tuple(row.labels) == SUPER for row in val)


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("2,1.0,1,lr,hr,[],0,0,0,0", 3),
        ("2,1.0,1,lr,hr,[],0,0,0,0,2", 3),
        ("2,1.0,1,lr,hr,[],0,0,0,0,", 3),
        ("2,1.0,1,lr,hr,[],0,0,0,0,1.0", 3),
        ("2,1.0,1,lr,hr,[],0,0,0,0,0,0", 3),
    ],
)
def test_a_wrong_row_is_named_by_its_line(tmp_path: Path, row: str, line: int) -> None:
    write_super(tmp_path, {"test": ["1,1.0,1,lr,hr,[],0,0,0,0,0", row]})
    with pytest.raises(CohortError, match="not 0 or 1, or cells are missing") as caught:
        read_splits(tmp_path, "ptbxl-super", SUPER)
    assert str(caught.value.where).endswith(f"ptbxl_super_class_test.csv, line {line}")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    write_super(tmp_path, {})
    for file in tmp_path.rglob("*.csv"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_splits(tmp_path, "ptbxl-super", SUPER)[0].cells["ecg_id"] == "1"
