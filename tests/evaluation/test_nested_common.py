"""Outer folds that share their validation patients, folds by site, and what the protocol allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.config import build
from medfm.core.errors import ConfigError, EvaluationError
from medfm.evaluation.nested import Fitted, Job, final_parts, plan_folds, run_fold
from medfm.evaluation.protocol import Scheme, load_protocol
from medfm.evaluation.protocol_nested import NestedFineTune
from medfm.evaluation.target import Target

COMMON = [{"final": "ensemble"}, {"soup": "uniform"}, {"soup": "greedy"}]


def cohort(patients: int = 48, each: int = 1, sites: int = 3) -> tuple[Target, np.ndarray, np.ndarray]:
    """Two classes in turn; the site changes every two patients."""
    owner = np.repeat(np.arange(patients), each)
    truth = Target("sick", "binary", ("no", "yes"), owner % 2)
    place = np.array([f"site {i // 2 % sites}" for i in owner], dtype=object)
    return truth, np.array([f"P{i}" for i in owner], dtype=object), place


def method(**changes: Any) -> NestedFineTune:
    return build(NestedFineTune, {"candidates": ["a"], "inner_folds": 3, **changes}, where="a test")


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from(COMMON), st.integers(40, 70), st.integers(1, 2), st.integers(2, 4), st.integers(2, 4), st.integers(0, 99)
)  # fmt: skip
def test_shared_validation_patients_train_nowhere(
    product: dict[str, str], patients: int, each: int, folds: int, inner: int, seed: int
) -> None:
    truth, owner, sites = cohort(patients, each)
    scheme, plan = Scheme(kind="kfold", folds=folds, seed=seed, repeats=2), method(inner_folds=inner, **product)
    learning, choosing = final_parts(truth, owner, scheme, plan, sites)
    assert sorted([*learning, *choosing]) == list(range(len(truth)))
    assert not set(owner[learning]) & set(owner[choosing])
    found, _ = plan_folds(truth, owner, scheme, plan, sites)
    for outer in found:
        ((train, validation),) = outer.inner
        assert set(train) == set(outer.train) - set(choosing)
        assert set(validation) == set(outer.train) & set(choosing)
        assert not set(owner[outer.test]) & set(owner[np.concatenate([train, validation])])
    for repeat in (0, 1):
        tested = np.concatenate([o.test for o in found if o.repeat == repeat])
        assert sorted(tested) == list(range(len(truth)))


def test_a_refit_has_validation_patients_of_its_own_in_every_fold() -> None:
    truth, owner, sites = cohort()
    found, _ = plan_folds(truth, owner, Scheme(kind="kfold", folds=3), method(), sites)
    held = [set(outer.inner[0][1].tolist()) for outer in found]
    assert any(held[i] & set(found[j].inner[0][0].tolist()) for i in range(3) for j in range(3) if i != j)


@pytest.mark.parametrize("folds", [2, 3, 4])
def test_shared_patients_are_not_those_of_one_outer_fold(folds: int) -> None:
    """The same seed and the same number of parts must not draw the first outer fold again."""
    truth, owner, sites = cohort()
    scheme, plan = Scheme(kind="kfold", folds=folds), method(inner_folds=folds, soup="greedy")
    choosing = set(final_parts(truth, owner, scheme, plan, sites)[1].tolist())
    found, _ = plan_folds(truth, owner, scheme, plan, sites)
    assert all(0 < len(choosing & set(outer.test.tolist())) < len(choosing) for outer in found)


@pytest.mark.parametrize("seed", range(12))
def test_shared_patients_come_from_every_fold_and_class_alike(seed: int) -> None:
    """Few patients: drawn without regard to the folds, one fold was soon left without a class to choose by."""
    rng = np.random.default_rng(seed)
    truth = Target("sick", "binary", ("no", "yes"), rng.permutation(np.arange(24) % 2))
    owner = np.array([f"P{i}" for i in range(24)], dtype=object)
    found, _ = plan_folds(truth, owner, Scheme(kind="kfold", folds=2, seed=seed), method(final="ensemble"))
    for outer in found:
        held = truth.values[outer.inner[0][1]]
        assert (held == 0).sum() == 2 and (held == 1).sum() == 2


def test_every_site_is_a_fold_and_is_named() -> None:
    truth, owner, sites = cohort()
    found, notes = plan_folds(truth, owner, Scheme(kind="leave_one_site_out"), method(), sites)
    assert [o.site for o in found] == ["site 0", "site 1", "site 2"] and not notes
    for outer in found:
        assert set(sites[outer.test]) == {outer.site} and outer.site not in set(sites[outer.train])
        assert set(np.concatenate(outer.inner[0]).tolist()) == set(outer.train.tolist())


def test_a_site_of_one_class_is_a_note_and_not_the_end() -> None:
    truth, owner, sites = cohort()
    sites = np.where((truth.values == 1) & (np.arange(len(truth)) < 6), "clinic", sites)
    _, notes = plan_folds(truth, owner, Scheme(kind="leave_one_site_out"), method(), sites)
    assert len(notes) == 1 and "The site 'clinic' has records of one class only" in notes[0]


@pytest.mark.parametrize(
    ("sites", "said"),
    [(None, "needs two sites"), (np.array(["a"] * 47 + [None], dtype=object), "1 of 48 records have no site")],
    ids=["none", "one missing"],
)
def test_sites_that_cannot_be_folds_are_said(sites: np.ndarray | None, said: str) -> None:
    truth, owner, _ = cohort()
    with pytest.raises(EvaluationError, match=said):
        plan_folds(truth, owner, Scheme(kind="leave_one_site_out"), method(), sites)


def test_too_few_patients_by_site_are_said_without_a_number_of_folds() -> None:
    truth, owner, sites = cohort(6)
    with pytest.raises(EvaluationError, match="Too few patients for outer folds by site with 3 inner parts"):
        plan_folds(truth, owner, Scheme(kind="leave_one_site_out"), method(), sites)


def test_balanced_folds_hold_every_site_alike() -> None:
    truth, owner, sites = cohort(48)
    found, _ = plan_folds(truth, owner, Scheme(kind="kfold", folds=4, balance_sites=True), method(), sites)
    for outer in found:
        for rows in (outer.test, outer.inner[0][1]):
            counts = [(sites[rows] == f"site {i}").sum() for i in range(3)]
            assert max(counts) - min(counts) <= 2 and min(counts) > 0


def test_alarms_of_the_chosen_trainings_are_added_up() -> None:
    truth, owner, _ = cohort()
    plan = method(candidates=["a", "b"], inner_trained=2, recalibration="none")
    (outer, *_), _ = plan_folds(truth, owner, Scheme(kind="kfold", folds=3), plan)

    def fit(job: Job) -> Fitted:
        def scores(rows: np.ndarray) -> np.ndarray:
            sure = 0.9 if job.candidate else 0.6
            p = np.where(truth.values[rows] == 1, sure, 1 - sure)
            return np.column_stack([1 - p, p])

        return Fitted(scores(job.validation), scores(job.test), {}, job.part if job.candidate else 100)

    outcome = run_fold(outer, truth, owner, plan, fit)
    assert outcome.chosen["candidate"] == "b" and outcome.chosen["alarms"] == [0 + 1, 2 * len(outer.test)]
    without = run_fold(outer, truth, owner, plan, lambda job: Fitted(fit(job).validation, fit(job).tested, {}))
    assert without.chosen["alarms"] is None and "site" not in without.chosen


@pytest.mark.parametrize(
    ("changes", "product", "common"),
    [
        ({}, "refit", False),
        ({"final": "none"}, "none", False),
        ({"final": "ensemble"}, "ensemble", True),
        ({"soup": "uniform"}, "soup", True),
        ({"soup": "greedy"}, "soup", True),
    ],
    ids=["refit", "none", "ensemble", "uniform", "greedy"],
)
def test_what_becomes_of_the_run(changes: dict[str, str], product: str, common: bool) -> None:
    found = method(**changes)
    assert found.product == product and found.common is common


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"soup": "greedy", "final": "ensemble"}, "cannot go with final: ensemble"),
        ({"soup": "uniform", "final": "none"}, "cannot go with final: none"),
        ({"final": "ensemble", "inner_trained": 2}, "inner_trained: 1"),
        ({"soup": "greedy", "inner_trained": 3}, "inner_trained: 1"),
        ({"soup": "sour"}, "uniform"),
        ({"average": "median"}, "logits"),
    ],
    ids=["both", "none", "parts", "soup of parts", "rule", "average"],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as found:
        method(**changes)
    assert said in str(found.value)


def test_the_shipped_protocol_balances_sites_and_refits() -> None:
    found = load_protocol("nested-cv@1")
    assert found.scheme.balance_sites and isinstance(found.method, NestedFineTune)
    assert found.method.product == "refit" and not found.method.common
