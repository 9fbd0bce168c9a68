"""Targets: one map for train and test, and clear refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from probe_data import cohort_of, table_of

from medfm.core.errors import CohortError, EvaluationError
from medfm.evaluation.target import Target, labelled, make_target


def with_labels(values: list[object], name: str = "label"):
    n = len(values)
    frame = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "path": "x.png",
            "patient_id": [f"p{i}" for i in range(n)],
            "site": None,
            "split": "train",
            name: values,
        }
    )
    return cohort_of(frame)


def test_classes_are_sorted_and_one_map_serves_every_part() -> None:
    cohort = with_labels(["b", "a", "c", "a", "b", "c"])
    target = make_target(cohort, "label")
    assert target.task == "multiclass" and target.classes == ("a", "b", "c")
    assert target.values.tolist() == [1, 0, 2, 0, 1, 2]
    # A part without class "a" keeps the numbers of the whole.
    assert target.take(np.array([0, 2])).values.tolist() == [1, 2]
    assert target.take(np.array([0, 2])).classes == ("a", "b", "c")
    assert target.names(np.array([2, 0])).tolist() == ["c", "a"]
    assert len(target) == 6


def test_binary_positive_class() -> None:
    cohort = with_labels(["sick", "well", "well", "sick"])
    assert make_target(cohort, "label").classes == ("sick", "well")
    chosen = make_target(cohort, "label", positive="sick")
    assert chosen.task == "binary" and chosen.classes == ("well", "sick")
    assert chosen.values.tolist() == [1, 0, 0, 1]


def test_two_classes_can_be_kept_multiclass() -> None:
    assert make_target(with_labels(["a", "b", "a", "b"]), "label", "multiclass").task == "multiclass"


def test_unknown_positive_class_names_a_near_one() -> None:
    with pytest.raises(EvaluationError, match="did you mean 'sick'"):
        make_target(with_labels(["sick", "well", "well", "sick"]), "label", positive="sic")


def test_positive_class_needs_two_classes() -> None:
    with pytest.raises(EvaluationError, match="has 3"):
        make_target(with_labels(["a", "b", "c"] * 3), "label", positive="a")


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([0, 1, 10, 2] * 2, ("0", "1", "2", "10")),
        ([0.0, 1.0, 1.0, 0.0], ("0", "1")),
        ([True, False] * 2, ("False", "True")),
    ],
)
def test_numbers_that_are_class_names(values: list[object], classes: tuple[str, ...]) -> None:
    assert make_target(with_labels(values), "label").classes == classes


def test_numbers_that_are_measurements() -> None:
    target = make_target(with_labels([1.5, 2.5, 4.0, 8.0]), "label")
    assert target.task == "regression" and target.classes == ()
    assert target.values.tolist() == [1.5, 2.5, 4.0, 8.0]
    many = make_target(with_labels(list(range(50)) * 2), "label")
    assert many.task == "regression"


def test_task_can_be_forced() -> None:
    assert make_target(with_labels([1, 2, 3, 4] * 2), "label", "regression").task == "regression"


def test_missing_labels_are_counted_and_named() -> None:
    cohort = with_labels(["a", None, "b", None])
    with pytest.raises(EvaluationError, match="2 of 4") as caught:
        make_target(cohort, "label")
    assert "r1, r3" in str(caught.value) and "--drop-unlabelled" in str(caught.value)
    kept = labelled(cohort, "label")
    assert kept.record_ids == ["r0", "r2"]
    assert labelled(kept, "label") is kept


def test_missing_measurements_are_refused() -> None:
    with pytest.raises(EvaluationError, match="1 of 3"):
        make_target(with_labels([1.5, float("nan"), 2.5]), "label")
    with pytest.raises(EvaluationError, match="no label"):
        make_target(with_labels([1.5, float("inf"), 2.5]), "label", "regression")


@pytest.mark.parametrize(
    ("values", "task", "said"),
    [
        (["a"] * 4, "auto", "have the label 'a'"),
        ([2.0] * 4, "regression", "have the value 2"),
        (["a", "b", "c"], "regression", "holds text"),
        (["a", "b", "c"] * 3, "binary", "has 3 classes"),
        ([f"id{i}" for i in range(10)], "auto", "10 different values in 10"),
    ],
)
def test_unusable_labels(values: list[object], task: str, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        make_target(with_labels(values), "label", task)  # type: ignore[arg-type]


def test_a_wrong_column_names_a_near_one() -> None:
    with pytest.raises(CohortError, match="did you mean 'label'"):
        make_target(with_labels(["a", "b"]), "lable")


def test_multilabel_with_unknown_labels() -> None:
    table, _ = table_of(20)
    table.loc[0, "grainy"] = np.nan
    target = make_target(cohort_of(table), ["grainy", "pale"])
    assert target.task == "multilabel" and target.classes == ("grainy", "pale") and target.name == "grainy+pale"
    assert np.isnan(target.values[0, 0]) and np.isin(target.values[1:], (0, 1)).all()


@pytest.mark.parametrize(
    ("column", "said"),
    [([0, 1, 2, 0], "other values"), (["x", "y", "x", "y"], "holds text"), ([1, 1, 1, None], "both as 1 and as 0")],
)
def test_bad_multilabel_columns(column: list[object], said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        make_target(with_labels(column), ["label"])


def test_a_row_without_any_known_label_is_refused() -> None:
    with pytest.raises(EvaluationError, match="1 of 3"):
        make_target(with_labels([0, 1, None]), ["label"])


def test_several_columns_are_not_one_class() -> None:
    with pytest.raises(EvaluationError, match="one target column"):
        make_target(with_labels(["a", "b"]), ["label", "site"], "multiclass")


def test_strata() -> None:
    assert Target("t", "binary", ("a", "b"), np.array([0, 1, 1])).strata(5).tolist() == [0, 1, 1]
    bins = Target("t", "regression", (), np.arange(10.0)).strata(5)
    assert bins.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    matrix = np.array([[1, 0], [1, 1], [0, 0], [1, np.nan]])
    # Label 1 is the rarer: a row with both counts for it; a row with none gets its own stratum.
    assert Target("t", "multilabel", ("x", "y"), matrix).strata(5).tolist() == [0, 1, 2, 0]
