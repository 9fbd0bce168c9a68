"""BPDneo's balanced folds as a scheme, from a protocol: six repeats of five folds by patient, and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from medfm.core.errors import EvaluationError
from medfm.evaluation.balanced_folds import balanced_folds
from medfm.evaluation.nested import plan_folds
from medfm.evaluation.protocol import Scheme, load_protocol
from medfm.evaluation.protocol_nested import NestedFineTune
from medfm.evaluation.schemes import Fold, make_folds
from medfm.evaluation.target import Target
from medfm.workflows.nested import nested_plan


def cohort(positive: int = 12, negative: int = 20, each: int = 2, seed: int = 0) -> tuple[Target, np.ndarray]:
    """Records of patients in no order, `each` of every patient."""
    sick = np.arange(positive + negative) < positive
    owner = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sick)), each))
    names = np.array([f"P{i:03d}" for i in owner], dtype=object)
    return Target("sick", "binary", ("no", "yes"), sick[owner].astype(np.int64)), names


def folds_of(truth: Target, patients: np.ndarray, **changes: int) -> tuple[list[Fold], list[str]]:
    scheme = Scheme(kind="balanced_kfold", folds=5, repeats=6).model_copy(update=changes)
    nowhere = np.full(len(patients), "", dtype=object)
    return make_folds(scheme, split=nowhere, patients=patients, strata=truth.strata(scheme.folds))


def test_every_positive_patient_is_tested_once_in_each_of_six_repeats() -> None:
    truth, patients = cohort()
    folds, notes = folds_of(truth, patients)
    assert [(f.repeat, f.fold) for f in folds] == [(r, k) for r in range(6) for k in range(5)]
    sick = set(patients[truth.values == 1])
    for repeat in range(6):
        tested = Counter(p for f in folds if f.repeat == repeat for p in set(patients[f.test]))
        assert set(tested.values()) == {1} and sick <= set(tested) and len(tested) == 2 * len(sick)
    assert len(notes) == 1 and "8 negative patients are not tested in a repeat" in notes[0]


def test_with_as_many_negatives_every_patient_is_tested_once() -> None:
    truth, patients = cohort(10, 10)
    folds, notes = folds_of(truth, patients)
    for repeat in range(6):
        rows = np.concatenate([f.test for f in folds if f.repeat == repeat])
        assert sorted(rows.tolist()) == list(range(len(patients)))
    assert "not tested" not in notes[0] and "prevalence" in notes[0]


def test_patients_stay_whole_and_classes_balance() -> None:
    truth, patients = cohort(each=3)
    for fold in folds_of(truth, patients)[0]:
        assert not set(patients[fold.train]) & set(patients[fold.test])
        assert sorted([*fold.train, *fold.test]) == list(range(len(patients)))
        assert (truth.values[fold.test] == 1).mean() == 0.5 and len(fold.validation) == 0


def test_folds_by_generator_are_drawn_over_sorted_patients() -> None:
    truth, patients = cohort()
    names = sorted(set(patients))
    sick = np.array([truth.values[patients == name].max() == 1 for name in names])
    for found, published in zip(folds_of(truth, patients)[0], balanced_folds(sick, draw="generator"), strict=True):
        assert set(patients[found.test]) == {names[i] for i in published.test}
        assert (found.repeat + 1, found.fold) == (published.run, published.fold)


def test_the_order_of_the_table_does_not_matter() -> None:
    truth, patients = cohort()
    order = np.random.default_rng(4).permutation(len(patients))
    other = folds_of(truth.take(order), patients[order])[0]
    for one, two in zip(folds_of(truth, patients)[0], other, strict=True):
        assert set(patients[one.test]) == set(patients[order][two.test])


def test_a_patient_with_one_positive_record_is_positive() -> None:
    truth, patients = cohort(10, 12)
    mixed = patients[truth.values == 1][0]
    values = truth.values.copy()
    values[np.flatnonzero(patients == mixed)[0]] = 0
    folds, _ = folds_of(Target("sick", "binary", ("no", "yes"), values), patients)
    assert all(sum(mixed in patients[f.test] for f in folds if f.repeat == r) == 1 for r in range(6))


@pytest.mark.parametrize(("positive", "negative"), [(4, 20), (12, 11), (0, 9)])
def test_what_cannot_be_balanced_is_refused(positive: int, negative: int) -> None:
    with pytest.raises(EvaluationError, match="cannot make 5 balanced folds"):
        folds_of(*cohort(positive, negative))


def test_three_classes_are_refused() -> None:
    truth = Target("kind", "multiclass", ("a", "b", "c"), np.arange(30) % 3)
    with pytest.raises(EvaluationError, match="two classes") as found:
        folds_of(truth, np.arange(30).astype(str).astype(object))
    assert "scheme.kind=kfold" in str(found.value.fix)


def test_the_protocol_plans_thirty_trainings_and_chooses_nothing() -> None:
    plan = nested_plan("bpd-folds@1")
    assert plan.inside == 30 and str(plan).startswith("30 trainings: 5 outer folds x 6 repeats")
    assert [r.name for r in plan.recipes] == ["bpd-progressive@1"] and plan.recipes[0].selection.keep == "last"
    assert (plan.method.threshold, plan.method.recalibration, plan.method.final) == ("half", "none", "none")


def test_an_ablation_takes_the_place_of_the_recipe() -> None:
    plan = nested_plan("bpd-folds@1", ["method.candidates=[bpd-full@1]"])
    assert [r.name for r in plan.recipes] == ["bpd-full@1"] and plan.inside == 30


def test_the_outer_folds_of_a_run_are_the_balanced_ones_and_inner_parts_lie_inside() -> None:
    truth, patients = cohort(16, 24)
    plan = load_protocol("bpd-folds@1")
    assert isinstance(plan.method, NestedFineTune)
    found, notes = plan_folds(truth, patients, plan.scheme, plan.method)
    expected, _ = make_folds(
        plan.scheme, split=np.full(len(patients), ""), patients=patients, strata=truth.strata(plan.scheme.folds)
    )
    assert len(found) == 30 and any("equally many positive" in note for note in notes)
    for outer, fold in zip(found, expected, strict=True):
        assert set(outer.test) <= set(fold.test) and np.array_equal(outer.train, fold.train)
        assert sorted(patients[outer.test]) == sorted(set(patients[fold.test]))  # one record of each
        ((train, validation),) = outer.inner
        assert sorted([*train, *validation]) == sorted(fold.train)
        assert not set(patients[validation]) & set(patients[train])
