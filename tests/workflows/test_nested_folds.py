"""Outer folds of cohorts that are too small: the smallest change that helps, against trying every number."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import EvaluationError
from medfm.evaluation.nested import plan_folds
from medfm.evaluation.target import Target
from medfm.workflows.nested import NestedPlan, nested_plan
from medfm.workflows.nested_folds import folds_of, patients_of, split_note


def people(counts: tuple[int, ...], split: Any = None, each: int = 1) -> tuple[Cohort, Target]:
    """So many patients of each class, each with that many records."""
    owner = np.repeat(np.arange(sum(counts)), each)
    values = np.repeat(np.arange(len(counts)), counts)[owner]
    table = pd.DataFrame({"record_id": [f"r{i}" for i in range(len(owner))], "path": "x", "site": None})
    table["patient_id"], table["split"] = [f"P{i}" for i in owner], split
    names = tuple("abcdef"[: len(counts)])
    table["label"] = [names[v] for v in values]
    kind = "binary" if len(counts) == 2 else "multiclass"
    return Cohort(table, "ecg", Path(), "some"), Target("label", kind, names, values)


def plan(*changes: str) -> NestedPlan:
    return nested_plan(overrides=("method.candidates=[linear-probe]", *changes))


def works(cohort: Cohort, truth: Target, made: NestedPlan, folds: int, inner: int) -> bool:
    scheme = made.protocol.scheme.model_copy(update={"folds": folds})
    method = made.method.model_copy(update={"inner_folds": inner})
    try:
        plan_folds(truth, patients_of(cohort), scheme, method, np.full(len(truth), None, dtype=object))
    except EvaluationError:
        return False
    return True


def advice(error: EvaluationError) -> tuple[int, int]:
    """The numbers of folds that the error proposes."""
    said = str(error.fix)
    numbers = [re.search(rf"--set {key}=(\d+)", said) for key in ("scheme.folds", "method.inner_folds")]
    return tuple(int(n[1]) if n else default for n, default in zip(numbers, (5, 4), strict=True))  # type: ignore[return-value]


def test_a_cohort_that_is_large_enough_has_the_folds_of_the_plan() -> None:
    cohort, truth = people((20, 20), each=2)
    folds, notes = folds_of(cohort, truth, plan())
    expected, _ = plan_folds(
        truth, patients_of(cohort), plan().protocol.scheme, plan().method, np.full(80, None, dtype=object)
    )
    assert len(folds) == 5 and notes == []
    assert all((a.test == b.test).all() for a, b in zip(folds, expected, strict=True))


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 6), st.integers(4, 12))
def test_what_is_proposed_works_and_nothing_smaller_does(few: int, many: int) -> None:
    cohort, truth = people((few, many))
    made = plan()
    possible = [n for n in product(range(2, 6), range(2, 5)) if works(cohort, truth, made, *n)]
    if (5, 4) in possible:
        assert len(folds_of(cohort, truth, made)[0]) == 5
        return
    with pytest.raises(EvaluationError) as found:
        folds_of(cohort, truth, made)
    if not possible:
        assert "--set" not in str(found.value.fix) and "more patients" in str(found.value.fix)
        return
    chosen = advice(found.value)
    assert chosen in possible
    changed = lambda n: (n[0] != 5) + (n[1] != 4)  # noqa: E731
    assert changed(chosen) == min(map(changed, possible))
    assert sum(chosen) == max(sum(n) for n in possible if changed(n) == changed(chosen))


def test_a_split_that_serves_is_named_with_what_it_tests() -> None:
    cohort, truth = people((4, 4), split=["train", "train", "val", "test"] * 2)
    with pytest.raises(EvaluationError, match="Too few patients") as found:
        folds_of(cohort, truth, plan())
    assert "--recipe lp-ft (tested on 2 records only)" in str(found.value.fix)
    assert "fewer folds: --set" in str(found.value.fix) and "leave it out" in str(found.value.fix)


def test_without_a_split_it_says_that_one_would_do_and_a_useless_one_is_not_named() -> None:
    cohort, truth = people((2, 2))
    with pytest.raises(EvaluationError) as found:
        folds_of(cohort, truth, plan())
    assert "give the table a column 'split'" in str(found.value.fix)
    cohort, truth = people((2, 2), split="train")
    with pytest.raises(EvaluationError) as found:
        folds_of(cohort, truth, plan())
    assert "--recipe" not in str(found.value.fix)


def test_two_classes_in_one_patient_keep_their_own_advice() -> None:
    cohort, truth = people((20, 20))
    cohort.table.loc[0, "patient_id"] = cohort.table.loc[39, "patient_id"]
    with pytest.raises(EvaluationError, match="two or more classes") as found:
        folds_of(cohort, truth, plan())
    assert "method.patient_labels=any" in str(found.value.fix) and "fewer folds" not in str(found.value.fix)


def test_folds_by_site_are_not_made_fewer() -> None:
    cohort, truth = people((3, 3))
    cohort.table["site"] = ["a", "b"] * 3
    with pytest.raises(EvaluationError) as found:
        folds_of(cohort, truth, plan("scheme.kind=leave_one_site_out"))
    assert "--recipe lp-ft" not in str(found.value.fix)


def test_a_measurement_with_too_few_patients_is_told_without_classes() -> None:
    cohort, _ = people((2, 1))
    with pytest.raises(EvaluationError) as found:
        folds_of(cohort, Target("age", "regression", (), np.arange(3.0)), plan())
    assert str(found.value.fix).endswith("more patients")


def test_the_note_on_a_split_counts_its_tests() -> None:
    cohort, _ = people((3, 3), split=["train", "test", None] * 2)
    (note,) = split_note(cohort)
    assert "all 6 records" in note and "its 2 records of 'test'" in note and "--where split=train" in note
    for split in (None, "train"):
        assert split_note(people((3, 3), split=split)[0]) == []
