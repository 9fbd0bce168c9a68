"""Checks of 0/1 columns, and the target that a list or a label set means."""

from collections.abc import Callable

import numpy as np
import pytest

from medfm.cohorts.checks import run_checks
from medfm.cohorts.checks.labels import check_filled, check_labels, label_table
from medfm.cohorts.checks.run import default_target, resolve_target
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding
from medfm.core.errors import CohortError

NUMBER = 60


@pytest.fixture
def cohort(make_cohort: Callable[..., Cohort]) -> Callable[..., Cohort]:
    def make(**columns: list) -> Cohort:
        split = ["train"] * 40 + ["test"] * 20
        return make_cohort(files=False, **{"split": split, "a": [0, 1] * 30, "b": [0, 0, 1] * 20, **columns})

    return make


def codes(findings: object) -> dict[str, Finding]:
    return {f.code: f for f in findings}  # type: ignore[attr-defined]


def check(cohort: Cohort, labels: list[str], folds: int = 5) -> dict[str, Finding]:
    return codes(check_labels(cohort, labels, folds, 5))


def test_a_sound_cohort_passes(cohort: Callable[..., Cohort]) -> None:
    found = check(cohort(), ["a", "b"])
    assert {code: f.severity for code, f in found.items()} == dict.fromkeys(("S001", "S002", "S003", "S004"), "passed")


def test_a_label_without_both_values_is_an_error(cohort: Callable[..., Cohort]) -> None:
    found = check(cohort(c=[0] * NUMBER), ["a", "c"])
    assert (found["S001"].severity, found["S001"].detail) == ("error", "not both 0 and 1 in all records: c")


def test_a_label_that_one_part_lacks_is_a_warning(cohort: Callable[..., Cohort]) -> None:
    only_test = [0] * 40 + [1] * 10 + [0] * 10
    found = check(cohort(c=only_test), ["a", "c"])
    assert (found["S001"].severity, found["S001"].detail) == ("warning", "not both 0 and 1 in train: c")
    assert found["S004"].detail == "positive in test but never in train: c"
    assert "c (0)" in found["S002"].detail


def test_few_patients_count_by_patient_not_by_record(cohort: Callable[..., Cohort]) -> None:
    rare = [1] * 6 + [0] * 34 + [1] * 10 + [0] * 10
    one_patient = ["same"] * 6 + [f"p{i}" for i in range(54)]
    assert check(cohort(c=rare), ["c"])["S002"].severity == "passed"
    assert "c (1)" in check(cohort(c=rare, patient_id=one_patient), ["c"])["S002"].detail


def test_small_labels_are_listed_smallest_first_and_not_all(cohort: Callable[..., Cohort]) -> None:
    columns = {f"l{i}": [1] * 40 + [1] * (i % 5) + [0] * (20 - i % 5) for i in range(12)}
    detail = check(cohort(**columns), list(columns))["S003"].detail
    assert detail.startswith("fewer than 5 positive records in the test split: l0 (0), l5 (0), l10 (0), l1 (1)")
    assert detail.endswith("and 4 more")


def test_sites(cohort: Callable[..., Cohort]) -> None:
    site = ["s1", "s2"] * 30
    assert check(cohort(site=site), ["b"])["S005"].severity == "passed"
    assert check(cohort(site=site), ["a"])["S005"].detail == "only at one site: a"


def test_filled(cohort: Callable[..., Cohort]) -> None:
    holes = [np.nan] * 3 + [0.0, 1.0] * 28 + [0.0]
    assert check_filled(cohort(c=holes), ["a", "c"]).severity == "passed"
    found = check_filled(cohort(c=holes), ["c"])
    assert (found.severity, found.detail) == ("warning", "every label is empty in 3 records")
    assert found.records == ("r0000", "r0001", "r0002")
    assert check_filled(cohort(c=[np.nan] * NUMBER), ["c"]).severity == "error"


@pytest.mark.parametrize("wrong", [2, "yes", -1, 0.5])
def test_other_values_name_the_record(wrong: object, cohort: Callable[..., Cohort]) -> None:
    values: list = [0, 1] * 30
    values[17] = wrong
    with pytest.raises(CohortError, match="other values than 0 and 1") as caught:
        label_table(cohort(c=values), ["a", "c"])
    assert "r0017" in str(caught.value)
    with pytest.raises(CohortError, match="no column 'd'"):
        label_table(cohort(), ["d"])


def test_all_checks_take_the_cohorts_own_list(make_cohort: Callable[..., Cohort]) -> None:
    cohort = make_cohort(
        files=False,
        info={"target": ["a", "b"], "label_set": "csn"},
        split=["train", "test"] * 30,
        a=[0, 0, 1, 1] * 15,
        b=[0, 0, 1] * 20,
    )
    found = codes(run_checks(cohort, deep=False))
    assert found["T003"].detail == "2 labels"
    assert found["S001"].detail == "2 labels"
    assert "L007" not in found
    with pytest.raises(CohortError, match="no column 'x'"):
        run_checks(cohort, ["a", "x"], deep=False)


def test_what_a_target_means(make_cohort: Callable[..., Cohort]) -> None:
    cohort = make_cohort(files=False, info={"target": ["a", "b"], "label_set": "csn"}, a=[0, 1], b=[1, 0])
    assert default_target(cohort) == ["a", "b"]
    assert resolve_target(cohort, None) == ["a", "b"]
    assert resolve_target(cohort, "csn") == ["a", "b"]
    assert resolve_target(cohort, "a") == "a"
    assert resolve_target(cohort, ("b",)) == ["b"]
    # A column of that name wins; a cohort without a label set has no such word.
    assert resolve_target(make_cohort(files=False, info={"target": ["a"], "label_set": "a"}, a=[0, 1]), "a") == "a"
    assert resolve_target(make_cohort(files=False, label=[0, 1]), "csn") == "csn"
    # A listed column that is gone is not passed over in silence.
    assert default_target(make_cohort(files=False, info={"target": ["gone"]}, label=[0, 1])) == ["gone"]


def test_copies_with_other_labels(make_cohort: Callable[..., Cohort]) -> None:
    cohort = make_cohort(
        files=False, info={"target": ["a", "b"]}, split=["train", "train", "test"], a=[0, 0, 1], b=[0, 1, 1]
    )
    found = codes(run_checks(cohort, deep=False, content_keys=["k", "k", "m"]))
    assert found["L003"].detail == "1 file appear with different labels"
    same = make_cohort(files=False, info={"target": ["a"]}, split=["train", "train", "test"], a=[0, 0, 1])
    assert codes(run_checks(same, deep=False, content_keys=["k", "k", "m"]))["L003"].severity == "passed"


def test_rows_that_share_a_file_with_other_labels(make_cohort: Callable[..., Cohort]) -> None:
    cohort = make_cohort(files=False, info={"target": ["a", "b"]}, path=["x.png", "x.png"], a=[0, 0], b=[0, 1])
    found = codes(run_checks(cohort, deep=False))["T005"]
    assert (found.severity, found.detail) == ("error", "2 rows share a file with different labels")
