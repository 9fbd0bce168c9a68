"""Messages on folds that lack a class or patients: the advice is another number than the one set, and following it helps."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.config import build
from medfm.core.errors import EvaluationError
from medfm.evaluation.nested import _check_classes, plan_folds
from medfm.evaluation.protocol import Scheme
from medfm.evaluation.protocol_nested import NestedFineTune
from medfm.evaluation.schemes import split_rows
from medfm.evaluation.target import Target


def method(inner: int) -> NestedFineTune:
    return build(NestedFineTune, {"candidates": ["a"], "inner_folds": inner}, where="a test")


def advised(error: EvaluationError) -> dict[str, int]:
    return {key: int(value) for key, value in re.findall(r"--set (\S+)=(\d+)", str(error.fix))}


def cohort(rare: int, common: int = 40) -> tuple[Target, np.ndarray]:
    values = (np.arange(rare + common) < rare).astype(np.int64)
    return Target("sick", "binary", ("no", "yes"), values), np.array(
        [f"P{i}" for i in range(len(values))], dtype=object
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(2, 8), st.integers(2, 6))
def test_following_the_advice_on_too_few_patients_gets_past_it(rare: int, folds: int, inner: int) -> None:
    truth, patients = cohort(rare)
    try:
        plan_folds(truth, patients, Scheme(kind="kfold", folds=folds), method(inner))
    except EvaluationError as error:
        if "Too few patients" not in str(error):
            return
        found = advised(error)
        assert bool(found) == (rare > 2) and "--where" in str(error.fix)
        given_now = {"scheme.folds": folds, "method.inner_folds": inner}
        assert all(2 <= value < given_now[key] for key, value in found.items())
        if found:
            scheme = Scheme(kind="kfold", folds=found.get("scheme.folds", folds))
            try:
                plan_folds(truth, patients, scheme, method(found.get("method.inner_folds", inner)))
            except EvaluationError as other:  # chance may still leave a part without the class
                assert "Too few patients" not in str(other)
    else:
        assert rare >= max(folds, inner + 1)


def test_a_class_with_a_patient_or_two_is_not_sent_to_fewer_folds() -> None:
    truth, patients = cohort(2)
    with pytest.raises(EvaluationError) as found:
        plan_folds(truth, patients, Scheme(kind="kfold", folds=2), method(2))
    assert "fewer folds" not in str(found.value.fix) and "more patients" in str(found.value.fix)


@pytest.mark.parametrize("folds", [2, 3, 4, 5, 10])
@pytest.mark.parametrize("setting", ["scheme.folds", "method.inner_folds"])
def test_a_fold_with_one_class_is_never_told_the_number_already_set(folds: int, setting: str) -> None:
    truth, _ = cohort(3, 7)
    with pytest.raises(EvaluationError, match="no record of the class yes among the tested records") as found:
        _check_classes(truth, np.arange(5, 10), "the tested records of outer fold 1", (setting, folds))
    assert advised(found.value) == ({} if folds == 2 else {setting: folds - 1})
    assert "scheme.seed" in str(found.value.fix) and found.value.where == "column 'sick'"


def test_training_records_of_one_class_are_not_helped_by_larger_parts() -> None:
    truth, _ = cohort(3, 7)
    with pytest.raises(EvaluationError) as found:
        _check_classes(truth, np.arange(3), "the inner training records of outer fold 1", all_of_them=True)
    assert "class no" in str(found.value) and advised(found.value) == {}


def test_two_classes_among_several_are_enough_to_be_tested_but_not_to_train() -> None:
    truth = Target("kind", "multiclass", ("a", "b", "c"), np.arange(9) % 3)
    rows = np.array([0, 1, 3, 4])
    _check_classes(truth, rows, "tested", ("scheme.folds", 3))
    with pytest.raises(EvaluationError, match="class c"):
        _check_classes(truth, rows, "trained", all_of_them=True)
    _check_classes(Target("age", "regression", (), np.zeros(4)), np.arange(4), "of measurements", all_of_them=True)


@pytest.mark.parametrize(("units", "folds"), [(2, 3), (4, 5), (1, 2), (3, 9)])
def test_more_folds_than_patients(units: int, folds: int) -> None:
    with pytest.raises(EvaluationError, match=f"{units} records cannot be cut into {folds} folds") as found:
        split_rows(folds, None, None, seed=0, count=units)
    said = advised(found.value)
    assert said == ({"scheme.folds": units} if units > 1 else {})
    if said:
        assert len(split_rows(said["scheme.folds"], None, None, seed=0, count=units)[0]) == units
