from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from medfm.cohorts.checks.table import check_classes, check_groups, check_table, is_continuous
from medfm.cohorts.findings import Finding

TRAIN_TEST = ["train", "train", "test", "test"]


def by_code(findings: object) -> dict[str, Finding]:
    return {f.code: f for f in findings}  # type: ignore[attr-defined]


def test_a_sound_table_passes_everything(make_cohort: Callable) -> None:
    cohort = make_cohort(files=False, split=TRAIN_TEST, label=list("abab"))
    found = by_code([*check_table(cohort, "label"), *check_groups(cohort, "label", ("BMC",))])
    assert {f.severity for f in found.values()} == {"passed"}
    assert set(found) == {"T001", "T002", "T003", "T004", "T005", "L001", "L007", "L008"}


def test_doubled_record_ids(make_cohort: Callable) -> None:
    finding = by_code(check_table(make_cohort(files=False, record_id=["a", "a", "b"]), None))["T001"]
    assert finding.severity == "error"
    assert finding.records == ("a",)


def test_labels_partly_and_wholly_missing(make_cohort: Callable) -> None:
    some = by_code(check_table(make_cohort(files=False, label=["a", None, "b"]), "label"))["T003"]
    assert (some.severity, some.records) == ("warning", ("r0001",))
    none = by_code(check_table(make_cohort(files=False, label=[np.nan] * 3), "label"))["T003"]
    assert none.severity == "error"


@pytest.mark.parametrize(
    ("split", "severity"), [([None] * 3, "info"), (["train", None, "test"], "warning"), (["train"] * 3, "passed")]
)
def test_splits_missing(make_cohort: Callable, split: list, severity: str) -> None:
    assert by_code(check_table(make_cohort(files=False, split=split), None))["T004"].severity == severity


@pytest.mark.parametrize(
    ("columns", "severity"),
    [
        ({"label": ["x", "x", "y"]}, "warning"),
        ({"label": ["x", "y", "y"]}, "error"),
        ({"label": ["x", "x", "y"], "split": ["train", "test", "test"]}, "error"),
        ({"label": ["x", "y", "y"], "xmin": [0, 5, 0], "ymin": 0, "xmax": 9, "ymax": 9}, "passed"),
    ],
)
def test_one_file_listed_twice(make_cohort: Callable, columns: dict, severity: str) -> None:
    cohort = make_cohort(files=False, path=["a.png", "a.png", "b.png"], **columns)
    assert by_code(check_table(cohort, "label"))["T005"].severity == severity


class TestGroups:
    def test_a_patient_in_two_splits(self, make_cohort: Callable) -> None:
        cohort = make_cohort(files=False, split=TRAIN_TEST, patient_id=list("ppqp"), label=list("abab"))
        finding = by_code(check_groups(cohort, "label", ()))["L001"]
        assert finding.severity == "error"
        assert finding.records == ("r0000", "r0001", "r0003")
        assert "1 of 2 patients" in finding.detail
        assert "test and train" in finding.detail

    def test_rows_without_a_split_do_not_count(self, make_cohort: Callable) -> None:
        cohort = make_cohort(files=False, split=["train", None, "test"], patient_id=list("ppq"))
        assert by_code(check_groups(cohort, None, ()))["L001"].severity == "passed"

    def test_studies_are_checked_where_they_are_named(self, make_cohort: Callable) -> None:
        cohort = make_cohort(files=False, split=TRAIN_TEST, study_id=list("ssst"))
        finding = by_code(check_groups(cohort, None, ()))["L006"]
        assert (finding.severity, "1 of 2 studies" in finding.detail) == ("error", True)

    @pytest.mark.parametrize(
        ("paths", "severity"),
        [
            (["Target Cell/1.png", "target_cell/2.png", "ring/3.png"], "info"),
            (["img/target-cell_1.png", "img/2_ring.png", "img/ring.3.png"], "passed"),
            (["img/1.png", "img/2.png", "img/3.png"], "passed"),
            (["ringed/1.png", "targets/2.png", "ringed/3.png"], "passed"),
        ],
    )
    def test_labels_in_paths(self, make_cohort: Callable, paths: list, severity: str) -> None:
        labels = ["target_cell", "target_cell", "ring"] if severity == "info" else ["target cell", "x9", "y9"]
        cohort = make_cohort(files=False, path=paths, label=labels)
        assert by_code(check_groups(cohort, "label", ()))["L007"].severity == severity

    @pytest.mark.parametrize(
        ("info", "trained_on", "hit"),
        [
            ({"adapter": "bmc@1"}, ("BMC (Matek 2021)", "Raabin"), "BMC"),
            ({"where": {"task": "pbc_cell"}}, ("Acevedo",), "Acevedo"),
            ({"source": "Chula RBC-12"}, ("Chula",), "Chula"),
            ({"adapter": "acevedo@1"}, ("BMC", "Raabin WBC"), None),
            ({}, ("BMC",), None),
        ],
    )
    def test_overlap_with_training_data(
        self, make_cohort: Callable, info: dict, trained_on: tuple, hit: object
    ) -> None:
        finding = by_code(check_groups(make_cohort(files=False, label=[1, 2], info=info), None, trained_on))["L008"]
        assert finding.severity == ("warning" if hit else "passed")
        assert str(hit or "none") in finding.detail

    @pytest.mark.parametrize(("known", "severity"), [(True, "passed"), (False, "warning")])
    def test_augmented_copies(self, make_cohort: Callable, known: bool, severity: str) -> None:
        info = {"copies": "each picture was turned ten times"}
        cohort = make_cohort(files=False, label=[1, 2], info=info, patients_known=known)
        finding = by_code(check_groups(cohort, None, ()))["L009"]
        assert finding.severity == severity and "turned ten times" in finding.detail
        assert "L009" not in by_code(check_groups(make_cohort(files=False, label=[1, 2]), None, ()))


class TestClasses:
    def classes(self, make_cohort: Callable, folds: int = 2, **columns: list) -> dict[str, Finding]:
        return by_code(check_classes(make_cohort(files=False, **columns), "label", folds))

    def test_one_class_in_all_or_in_one_split(self, make_cohort: Callable) -> None:
        assert self.classes(make_cohort, label=["a"] * 4)["S001"].severity == "error"
        finding = self.classes(make_cohort, label=list("abaa"), split=TRAIN_TEST)["S001"]
        assert finding.severity == "error"
        assert "test" in finding.detail
        assert self.classes(make_cohort, label=list("abab"), split=TRAIN_TEST)["S001"].severity == "passed"

    def test_classes_with_fewer_patients_than_folds(self, make_cohort: Callable) -> None:
        found = self.classes(make_cohort, folds=3, label=list("aaabbb"), patient_id=list("pqrsst"))
        assert found["S002"].severity == "warning"
        assert "b (2)" in found["S002"].detail
        assert "a (" not in found["S002"].detail

    def test_tiny_classes_are_counted_in_the_test_split(self, make_cohort: Callable) -> None:
        label = ["a", "b"] * 30
        found = self.classes(make_cohort, label=label, split=["train"] * 42 + ["test"] * 18)
        assert "a (9), b (9)" in found["S003"].detail
        assert self.classes(make_cohort, label=label)["S003"].severity == "passed"

    def test_a_class_that_is_tested_but_never_trained(self, make_cohort: Callable) -> None:
        found = self.classes(make_cohort, label=list("ababac"), split=["train"] * 4 + ["test"] * 2)
        assert (found["S004"].severity, found["S004"].detail[-1]) == ("warning", "c")

    def test_a_class_of_one_site_only(self, make_cohort: Callable) -> None:
        found = self.classes(make_cohort, label=list("aabb"), site=["n", "s", "s", "s"])
        assert found["S005"].detail.endswith(": b")
        assert "S005" not in self.classes(make_cohort, label=list("aabb"), site=["n"] * 4)

    def test_a_quantity_has_no_classes(self, make_cohort: Callable) -> None:
        assert self.classes(make_cohort, label=[0.1, 0.2, 0.3]) == {}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, 1], False),
        ([0.0, 1.0, np.nan], False),
        (["0.5", "0.7"], False),
        ([True, False], False),
        ([], False),
        ([0.5, 1.0], True),
        (list(range(21)), True),
    ],
)
def test_quantities_and_classes_are_told_apart(values: list, expected: bool) -> None:
    assert is_continuous(pd.Series(values)) is expected
