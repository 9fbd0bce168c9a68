"""Who is who (T006, T007), how classes are spelt (S006), and names of sets that are only common words (L008)."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfm.cohorts.checks.codes import named, planned_folds
from medfm.cohorts.checks.labels import UNCERTAIN, counted, label_table
from medfm.cohorts.checks.people import births_and_ages, check_people, check_spelling, is_free_text, spelling
from medfm.cohorts.checks.run import run_checks
from medfm.cohorts.checks.table import _same_set, check_classes, check_groups
from medfm.core.errors import CohortError


def people(cohort) -> dict:
    return {finding.code: finding for finding in check_people(cohort)}


def spelt(labels: list[str]):
    return check_spelling(pd.Series(labels), pd.Series([f"r{i}" for i in range(len(labels))]))


def test_one_id_with_two_sexes_is_two_people(make_cohort: Callable) -> None:
    cohort = make_cohort(files=False, patient_id=list("ppqqs"), sex=["F", "male", "M", " m", None])
    finding = people(cohort)["T006"]
    assert finding.severity == "warning"
    assert finding.detail == "1 of 2 patients with two sexes, in 2 records"
    assert finding.records == ("r0000", "r0001") and "p" not in finding.detail.split()


@pytest.mark.parametrize("sex", [["F", "f", "M", "male"], [None] * 4, ["F", "other", "U", ""], ["0", "1", "1", "1"]])
def test_a_sex_that_agrees_or_says_nothing(make_cohort: Callable, sex: list) -> None:
    assert people(make_cohort(files=False, patient_id=list("ppqq"), sex=sex))["T006"].severity == "passed"


def test_one_patient_at_two_sites(make_cohort: Callable) -> None:
    cohort = make_cohort(files=False, patient_id=list("ppqqs"), site=["north", "south", "north", "north", None])
    finding = people(cohort)["T007"]
    assert finding.severity == "warning" and "1 of 2 patients at more than one site, in 2 records" in finding.detail
    assert "in front of the id" in finding.fix
    apart = make_cohort(files=False, patient_id=list("ppqq"), site=["north", "north", "south", "south"])
    assert people(apart)["T007"].severity == "passed"


def test_nothing_to_say_without_patients_sites_or_sex(make_cohort: Callable) -> None:
    assert people(make_cohort(files=False, patients_known=False, site=list("ab"), sex=list("FM"))) == {}
    assert people(make_cohort(files=False, site=["a", "a"])) == {}


def test_sentences_are_no_classes(make_cohort: Callable) -> None:
    texts = [f"No focal consolidation in picture {i}." for i in range(12)]
    finding = spelt(texts)
    assert finding.severity == "error" and "12 different values in 12 records, up to" in finding.detail
    codes = [f.code for f in check_classes(make_cohort(files=False, label=texts), "label", 5)]
    assert codes == ["S006"], "the other checks would list every record"
    assert any(f.code == "S006" and f.severity == "error" for f in run_checks(make_cohort(label=texts), deep=False))
    assert not is_free_text(pd.Series(texts * 2)), "two records each may be classes"
    assert not is_free_text(pd.Series(list("abcdefghij"))), "ten are few"


def test_spellings_of_one_class(make_cohort: Callable) -> None:
    finding = spelt(["Pneumonia", "pneumonia ", "normal", "Pleural_Thickening", "pleural thickening"])
    assert finding.severity == "error" and finding.records == ("r0", "r1", "r3", "r4")
    assert "'Pneumonia' / 'pneumonia '" in finding.detail and "normal" not in finding.detail
    assert "label_map" in finding.fix
    cohort = make_cohort(files=False, label=["a ", "b", "a", "b"])
    codes = {f.code: f.severity for f in check_classes(cohort, "label", 2)}
    assert codes["S006"] == "error" and "S001" in codes


@pytest.mark.parametrize("labels", [["A", "a", "E", "e"], ["1+", "1-", "2+"], ["SR", "AF/AFL", "SB"], ["no", "node"]])
def test_classes_that_only_look_alike(labels: list[str]) -> None:
    assert spelt(labels).severity == "passed"


@given(st.text(alphabet="abAB _-+1", min_size=0, max_size=8), st.sampled_from([" {}", "{} ", "{}  "]))
def test_blanks_around_a_class_never_count(text: str, form: str) -> None:
    assert spelling(form.format(text)) == spelling(text) == spelling(spelling(text))


def test_numbers_are_not_looked_at(make_cohort: Callable) -> None:
    found = {f.code for f in check_classes(make_cohort(files=False, label=[0, 1, 0, 1]), "label", 2)}
    assert "S006" not in found and "S001" in found


@pytest.mark.parametrize(
    ("folds", "split", "words"),
    [
        (3, None, "fewer than 3 patients for 3 folds: b (1)"),
        (4, ["train"] * 4 + ["test"] * 2, "fewer than 4 patients for 4 folds inside train: "),
        (1, None, None),
    ],
)
def test_the_folds_that_are_planned_are_named(make_cohort: Callable, folds: int, split, words: str | None) -> None:
    columns = {"label": list("aaabaa"), **({"split": split} if split else {})}
    finding = {f.code: f for f in check_classes(make_cohort(files=False, **columns), "label", folds)}["S002"]
    if words is None:
        assert finding.severity == "passed" and "fold" not in finding.detail
    else:
        assert finding.severity == "warning" and words in finding.detail


def test_lists_are_cut() -> None:
    assert named(["a", "b"]) == "a, b"
    assert named([str(i) for i in range(12)], 3) == "0, 1, 2 and 9 more"
    assert counted({"x": 9, "y": 1}) == "y (1), x (9)"
    assert planned_folds(5, True) == " for 5 folds inside train" and planned_folds(1, True) == ""


@pytest.mark.parametrize(
    ("theirs", "mine", "same"),
    [
        ("Chula RBC-12", "Chula", True),
        ("bccd", "bccd_cell", True),
        ("MIMIC-CXR", "mimic cxr jpg", True),
        ("CheXpert", "CheXpert-v1.0-small", True),
        ("NIH ChestX-ray14", "chest", False),
        ("RSNA Pneumonia Detection Challenge", "pneumonia", False),
        ("RSNA Pneumonia Detection Challenge", "kermany_pneumonia", False),
        ("PadChest", "chest_xray", False),
        ("VinDr-CXR", "cxr", False),
        ("Raabin WBC", "wbc", False),
        ("SIIM-ACR Pneumothorax", "iim", False),
        ("PTB-XL", "xl", False),
        ("BMC", "bmc", True),
    ],
)
def test_common_words_and_parts_of_words_name_no_set(theirs: str, mine: str, same: bool) -> None:
    assert _same_set(theirs, mine) is same
    assert _same_set(mine, theirs) is same


def test_a_filter_by_class_names_no_set(make_cohort: Callable) -> None:
    for column, severity in (("label", "passed"), ("task", "warning")):
        cohort = make_cohort(files=False, label=[1, 2], info={"where": {column: "Kermany"}})
        found = {f.code: f for f in check_groups(cohort, None, ("Kermany 2018",))}
        assert found["L008"].severity == severity


def test_minus_one_is_called_uncertain(make_cohort: Callable) -> None:
    with pytest.raises(CohortError) as error:
        label_table(make_cohort(files=False, edema=[1.0, 0.0, -1.0]), ["edema"])
    assert error.value.fix == UNCERTAIN and "u-ones" in UNCERTAIN
    with pytest.raises(CohortError) as error:
        label_table(make_cohort(files=False, edema=[1.0, 0.0, 2.0]), ["edema"])
    assert "one per label" in str(error.value.fix)


@pytest.mark.parametrize(
    ("columns", "bad"),
    [
        ({"birth_year": ["1950", "1951", "1960", "1960"]}, 1),
        ({"birth_date": ["1950-01-02", "1950-01-02", None, "1960-01-01"]}, 0),
        ({"dob": ["1950-01-02", "", "1960-01-01", "1960-01-01"]}, 0),
        ({"age": [30, 35, 40, 41], "study_date": ["20100301", "20150301", "2010-01-01", "2011-06-30 10:20"]}, 0),
        ({"age": [30, 50, 40, 41], "study_date": ["20100301", "20110301", "20100101", "20110630"]}, 1),
        ({"age": [30, 31, 40, 60], "date": ["2010", "no date", "20100101", "20100102"]}, 1),
        ({"age": [30, 69, 20, 61]}, 1),
        ({"age": [30, 300, 20, 95]}, 0),
        ({"age": [30, 31, 20, 20], "study_id": ["s1", "s1", "s2", "s3"]}, 1),
        ({"age": [30, 31, 20, 20], "study_id": ["s1", "s2", "s3", "s4"]}, 0),
        ({"age": [None, None, "x", ""]}, 0),
    ],
)
def test_births_and_ages_of_one_person(make_cohort: Callable, columns: dict[str, list], bad: int) -> None:
    finding = people(make_cohort(files=False, patient_id=list("ppqq"), **columns))["T006"]
    assert finding.severity == ("warning" if bad else "passed"), finding
    if bad:
        assert finding.detail.startswith("1 of 2 patients with ") and finding.detail.endswith(", in 2 records")
        assert not any(str(v) in finding.detail for v in ("1950", "1951", "69", "61", "2010"))


def test_what_contradicts_is_told_together(make_cohort: Callable) -> None:
    cohort = make_cohort(
        files=False,
        patient_id=list("ppqqss"),
        sex=list("FMFFMM"),
        birth_year=[1, 1, 2, 3, 4, 4],
        age=[1, 2, 3, 4, 5, 80],
    )
    finding = people(cohort)["T006"]
    assert finding.detail == (
        "1 of 3 patients with two sexes, 1 with two births, 1 with ages that are not one person's, in 6 records"
    )
    assert finding.records == tuple(f"r{i:04d}" for i in range(6))


@given(st.lists(st.integers(1, 80), min_size=1, max_size=5), st.integers(1950, 2000))
def test_a_person_who_ages_with_the_calendar_is_one(ages: list[int], born: int) -> None:
    table = pd.DataFrame(
        {
            "record_id": [str(i) for i in range(len(ages))],
            "patient_id": "p",
            "age": ages,
            "study_date": [f"{born + age}-07-01" for age in ages],
        }
    )
    (looked,) = births_and_ages(SimpleNamespace(table=table))  # type: ignore[arg-type]
    assert not looked[0].any()
