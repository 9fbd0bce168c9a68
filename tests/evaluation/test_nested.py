"""Nested cross-validation: every patient tested once, and no choice that saw a tested patient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import EvaluationError
from medfm.evaluation import nested
from medfm.evaluation.nested import Fitted, FoldOutcome, Job, choose, inner_threshold, majority, plan_folds, run_fold
from medfm.evaluation.protocol import Scheme
from medfm.evaluation.protocol_nested import NestedFineTune
from medfm.evaluation.selection import quality
from medfm.evaluation.target import Target

SCHEME = Scheme(kind="kfold", folds=4)
METHOD = NestedFineTune(candidates=("a", "b", "c"), inner_folds=3)


def cohort(patients: int = 40, each: int = 2, classes: int = 2, seed: int = 0) -> tuple[Target, np.ndarray]:
    """Target and patients: `each` records of every patient, shuffled."""
    rng = np.random.default_rng(seed)
    owner = rng.permutation(np.repeat(np.arange(patients), each))
    names = tuple(f"class {i}" for i in range(classes))
    task = "binary" if classes == 2 else "multiclass"
    return Target("sick", task, names, owner % classes), np.array([f"P{i}" for i in owner], dtype=object)  # type: ignore[arg-type]


def two_columns(positive: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - positive, positive])


class Recorder:
    """A stand-in for training: the nearest-mean classifier on `values`, told apart by a column per candidate."""

    def __init__(self, values: np.ndarray, truth: Target) -> None:
        self.values, self.truth, self.jobs = values, truth, []  # type: ignore[var-annotated]

    def __call__(self, job: Job) -> Fitted:
        self.jobs.append(job)
        column = self.values[:, job.candidate]
        labels = self.truth.values[job.train]
        low, high = (column[job.train][labels == c].mean() for c in (0, 1))

        def scores(rows: np.ndarray) -> np.ndarray:
            side = (column[rows] - (low + high) / 2) * (high - low)
            return two_columns(1 / (1 + np.exp(-side)))

        return Fitted(scores(job.validation), scores(job.test), {"epoch": 1, "stage": "s", "loss": None})


@settings(max_examples=8, deadline=None)
@given(
    st.integers(20, 60), st.integers(1, 3), st.integers(2, 4), st.integers(2, 4), st.integers(1, 2), st.integers(0, 99)
)
def test_every_patient_is_tested_once_per_repeat_and_never_on_two_sides(
    patients: int, each: int, folds: int, parts: int, repeats: int, seed: int
) -> None:
    truth, owner = cohort(patients, each, seed=seed)
    method = NestedFineTune(candidates=("a",), inner_folds=parts, inner_trained=parts)
    plan, _ = plan_folds(truth, owner, Scheme(kind="kfold", folds=folds, repeats=repeats, seed=seed), method)
    for repeat in range(repeats):
        own = [outer for outer in plan if outer.repeat == repeat]
        assert sorted(np.concatenate([outer.test for outer in own])) == list(range(len(truth)))
    for outer in plan:
        assert not set(owner[outer.train]) & set(owner[outer.test])
        assert sorted(np.concatenate([v for _, v in outer.inner])) == sorted(outer.train)
        for train, validation in outer.inner:
            assert not set(owner[train]) & set(owner[validation])
            assert not (set(train) | set(validation)) & set(outer.test)
            assert set(train) | set(validation) == set(outer.train)


def test_folds_are_stratified_reproducible_and_those_of_a_probe() -> None:
    from medfm.evaluation.schemes import make_folds

    truth, owner = cohort()
    plan, notes = plan_folds(truth, owner, SCHEME, METHOD)
    again, _ = plan_folds(truth, owner, SCHEME, METHOD)
    other, _ = plan_folds(truth, owner, SCHEME.model_copy(update={"seed": 1}), METHOD)
    assert notes == [] and all(np.array_equal(a.test, b.test) for a, b in zip(plan, again, strict=True))
    assert any(not np.array_equal(a.test, b.test) for a, b in zip(plan, other, strict=True))
    assert {float(truth.values[outer.test].mean()) for outer in plan} == {0.5}
    given_split = np.array(["train", "test"] * 40, dtype=object)  # which is not looked at
    probe, _ = make_folds(SCHEME, split=given_split, patients=owner, strata=truth.strata(4))
    assert all(np.array_equal(a.test, b.test) for a, b in zip(plan, probe, strict=True))


def test_one_part_of_the_training_patients_is_held_out_by_default() -> None:
    truth, owner = cohort()
    plan, _ = plan_folds(truth, owner, SCHEME, METHOD)
    assert all(len(outer.inner) == 1 for outer in plan)
    shares = [len(outer.inner[0][1]) / len(outer.train) for outer in plan]
    assert shares == pytest.approx([1 / 3] * 4, abs=0.05)


def test_a_patient_of_two_classes_stops_the_run_unless_labels_belong_to_records() -> None:
    truth, owner = cohort()
    values = truth.values.copy()
    values[np.flatnonzero(owner == "P7")[0]] ^= 1
    mixed = replace(truth, values=values)
    with pytest.raises(EvaluationError, match="1 patients have records of two or more classes") as found:
        plan_folds(mixed, owner, SCHEME, METHOD)
    assert "P7" in str(found.value) and "patient_labels=any" in str(found.value)
    plan, _ = plan_folds(mixed, owner, SCHEME, METHOD.model_copy(update={"patient_labels": "any"}))
    assert len(plan) == 4


@pytest.mark.parametrize(("folds", "inner"), [(4, 3), (3, 4), (5, 2)])
def test_too_few_patients_of_a_class_are_counted(folds: int, inner: int) -> None:
    owner = np.array([f"P{i}" for i in range(30)], dtype=object)
    need = max(folds, inner + 1)
    scheme, method = Scheme(kind="kfold", folds=folds), NestedFineTune(candidates=("a",), inner_folds=inner)
    truth = Target("sick", "binary", ("no", "yes"), (np.arange(30) < need - 1).astype(np.int64))
    with pytest.raises(EvaluationError, match=rf"yes \({need - 1}\)") as found:
        plan_folds(truth, owner, scheme, method)
    assert f"at least {need} patients" in str(found.value)
    enough = Target("sick", "binary", ("no", "yes"), (np.arange(30) < need + folds).astype(np.int64))
    assert len(plan_folds(enough, owner, scheme, method)[0]) == folds


def test_many_records_of_few_patients_do_not_help() -> None:
    truth, owner = cohort(patients=6, each=30)
    with pytest.raises(EvaluationError, match="Too few patients"):
        plan_folds(truth, owner, SCHEME, METHOD)


def test_a_fold_of_one_class_is_named_before_any_training() -> None:
    """Unshuffled and unstratified, folds follow the order of the table."""
    owner = np.array([f"P{i:02d}" for i in range(40)], dtype=object)
    truth = Target("sick", "binary", ("no", "yes"), (np.arange(40) < 20).astype(np.int64))
    scheme = Scheme(kind="kfold", folds=4, shuffle=False, stratify=False)
    with pytest.raises(
        EvaluationError, match="no record of the class no among the tested records of outer fold 1 of 4"
    ):
        plan_folds(truth, owner, scheme, METHOD)


def test_measurements_need_no_classes() -> None:
    owner = np.array([f"P{i}" for i in range(24)], dtype=object)
    truth = Target("age", "regression", (), np.linspace(20, 80, 24))
    plan, _ = plan_folds(truth, owner, SCHEME, METHOD)
    outcome = run_fold(
        plan[0], truth, owner, METHOD,
        lambda job: Fitted(truth.values[job.validation][:, None] + job.candidate, np.full((len(job.test), 1), 50.0)),
    )  # fmt: skip
    assert outcome.chosen["candidate"] == "a" and outcome.chosen["recalibration"]["rule"] == "none"
    assert (outcome.scores == 50).all() and outcome.chosen["threshold_rule"] == "not used"


def test_no_job_and_no_choice_sees_a_tested_row(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, owner = cohort()
    plan, _ = plan_folds(truth, owner, SCHEME, METHOD)
    fit = Recorder(np.random.default_rng(0).normal(size=(len(truth), 3)), truth)
    seen: list[tuple[str, ...]] = []

    def spied(scores, inner, patients, method):  # type: ignore[no-untyped-def]
        seen.append(tuple(patients))
        assert all(len(s) == len(inner) == len(patients) for s in scores.values())
        return choose(scores, inner, patients, method)

    monkeypatch.setattr(nested, "choose", spied)
    for outer in plan:
        fit.jobs.clear()
        run_fold(outer, truth, owner, METHOD, fit)
        tested = set(owner[outer.test])
        assert [job.candidate for job in fit.jobs] == [0, 1, 2]
        assert all(not tested & set(owner[job.train]) and not tested & set(owner[job.validation]) for job in fit.jobs)
        assert not tested & set(seen[-1])
    assert len(seen) == 4


def test_other_labels_of_tested_patients_change_nothing() -> None:
    """The strongest form of the same: scores, threshold and choices are equal to the last bit."""
    truth, owner = cohort()
    values = np.random.default_rng(1).normal(size=(len(truth), 3)) + truth.values[:, None]
    for outer in plan_folds(truth, owner, SCHEME, METHOD)[0]:
        turned = truth.values.copy()
        turned[outer.test] ^= 1
        other = replace(truth, values=turned)
        one = run_fold(outer, truth, owner, METHOD, Recorder(values, truth))
        two = run_fold(outer, other, owner, METHOD, Recorder(values, other))
        assert np.array_equal(one.scores, two.scores) and one.threshold == two.threshold
        assert one.chosen == two.chosen


def test_noise_gives_an_auroc_of_a_half() -> None:
    """Mean over cohorts of pure noise with many candidates to choose from: selection inside earns nothing outside."""
    found, inside = [], []
    method = NestedFineTune(candidates=tuple("abcdefgh"), inner_folds=3, metric="auroc")
    for seed in range(12):
        truth, owner = cohort(60, 1, seed=seed)
        fit = Recorder(np.random.default_rng(100 + seed).normal(size=(60, 8)), truth)
        scores = np.empty((60, 2))
        for outer in plan_folds(truth, owner, SCHEME, method)[0]:
            outcome = run_fold(outer, truth, owner, method, fit)
            scores[outer.test] = outcome.scores
            inside.append(max(row["quality"] for row in outcome.chosen["inner"]))
        found.append(quality("auroc", truth, scores))
    # One cohort's AUROC has a standard error of 0.075 at 30 against 30.
    assert abs(np.mean(found) - 0.5) < 3 * 0.085 / np.sqrt(12)
    assert np.mean(inside) > 0.65  # what a report of the inner figures would have claimed


def test_a_real_difference_is_found_by_every_fold() -> None:
    truth, owner = cohort()
    values = np.random.default_rng(2).normal(size=(len(truth), 3))
    values[:, 1] += 4 * truth.values
    outcomes = [
        run_fold(o, truth, owner, METHOD, Recorder(values, truth)) for o in plan_folds(truth, owner, SCHEME, METHOD)[0]
    ]
    assert [o.chosen["candidate"] for o in outcomes] == ["b"] * 4 and majority(outcomes, METHOD.candidates) == "b"
    assert all(quality("auroc", truth.take(o.outer.test), o.scores) > 0.95 for o in outcomes)


def test_models_of_several_parts_are_averaged_and_judged_together() -> None:
    truth, owner = cohort()
    method = METHOD.model_copy(update={"inner_trained": 3, "recalibration": "none", "candidates": ("a",)})
    outer = plan_folds(truth, owner, SCHEME, method)[0][0]
    fit = Recorder(np.random.default_rng(3).normal(size=(len(truth), 1)) + truth.values[:, None], truth)
    outcome = run_fold(outer, truth, owner, method, fit)
    assert [job.part for job in fit.jobs] == [0, 1, 2] and outcome.chosen["validation"] == len(outer.train)
    assert outcome.scores == pytest.approx(np.mean([fit(job).tested for job in fit.jobs[:3]], axis=0))
    assert len({job.name for job in fit.jobs[:3]}) == 3


def test_the_best_is_taken_and_the_one_standard_error_rule_takes_the_simplest_near_it() -> None:
    rng = np.random.default_rng(4)
    truth = Target("sick", "binary", ("no", "yes"), np.arange(40) % 2)
    owner = np.array([f"P{i}" for i in range(40)], dtype=object)
    good = np.clip(0.5 + (truth.values - 0.5) * 0.5 + rng.normal(0, 0.2, 40), 0.02, 0.98)
    near = np.clip(good + rng.normal(0, 0.02, 40), 0.02, 0.98)
    options = {"poor": two_columns(1 - good), "near": two_columns(near), "good": two_columns(good)}
    names = sorted(("near", "good"), key=lambda n: -quality("log_loss", truth, options[n]))
    best, table = choose(options, truth, owner, METHOD)
    assert best == names[0] and [row["candidate"] for row in table] == ["poor", "near", "good"]
    careful, _ = choose(options, truth, owner, METHOD.model_copy(update={"rule": "one_standard_error"}))
    assert careful == "near"
    errors = [row["error"] for row in table if row["error"] is not None]
    assert len(errors) == 1


def test_the_jackknife_error_of_a_mean_is_the_textbook_one() -> None:
    rng = np.random.default_rng(5)
    truth = Target("sick", "binary", ("no", "yes"), rng.integers(0, 2, 30))
    said = rng.uniform(0.05, 0.95, 30)
    owner = np.array([f"P{i}" for i in range(30)], dtype=object)
    _, table = choose({"a": two_columns(said)}, truth, owner, METHOD)
    losses = np.log(np.where(truth.values == 1, said, 1 - said))
    assert table[0]["quality"] == pytest.approx(losses.mean())
    assert table[0]["error"] == pytest.approx(losses.std(ddof=1) / np.sqrt(30))


def test_the_error_is_over_patients_not_records() -> None:
    """Ten copies of every record say nothing new."""
    rng = np.random.default_rng(6)
    values, said = rng.integers(0, 2, 20), rng.uniform(0.05, 0.95, 20)
    owner = np.array([f"P{i}" for i in range(20)], dtype=object)
    single = Target("sick", "binary", ("no", "yes"), values)
    many = Target("sick", "binary", ("no", "yes"), np.repeat(values, 10))
    one = choose({"a": two_columns(said)}, single, owner, METHOD)[1][0]
    ten = choose({"a": two_columns(np.repeat(said, 10))}, many, np.repeat(owner, 10), METHOD)[1][0]
    assert one == pytest.approx(ten)


def test_an_undefined_quality_never_wins() -> None:
    truth = Target("sick", "binary", ("no", "yes"), np.zeros(6, dtype=np.int64))
    owner = np.array(list("abcdef"), dtype=object)
    method = METHOD.model_copy(update={"metric": "auroc", "rule": "one_standard_error"})
    picked, table = choose({"a": two_columns(np.full(6, 0.5)), "b": two_columns(np.full(6, 0.4))}, truth, owner, method)
    assert picked == "a" and [row["quality"] for row in table] == [None, None] and table[0]["error"] is None


def test_thresholds() -> None:
    truth = Target("sick", "binary", ("no", "yes"), np.array([0, 0, 1, 1]))
    scores = two_columns(np.array([0.1, 0.2, 0.3, 0.4]))
    value, rule = inner_threshold(scores, truth, METHOD)
    assert value == pytest.approx(0.25) and "4 validation records" in rule
    assert inner_threshold(scores, truth, METHOD.model_copy(update={"threshold": "half"}))[0] == 0.5
    assert inner_threshold(np.full((4, 2), 0.5), truth, METHOD)[1].endswith("all equal")


@pytest.mark.parametrize(("votes", "winner"), [("aab", "a"), ("bba", "b"), ("cb", "b"), ("cab", "a"), ("ccab", "c")])
def test_the_majority_and_of_equals_the_simplest(votes: str, winner: str) -> None:
    outcomes = [FoldOutcome(None, np.zeros((0, 2)), 0.5, {"candidate": v}) for v in votes]  # type: ignore[arg-type]
    assert majority(outcomes, ("a", "b", "c")) == winner


def test_three_classes_go_all_the_way() -> None:
    truth, owner = cohort(45, 1, classes=3)
    rng = np.random.default_rng(7)

    def fit(job: Job) -> Fitted:
        def scores(rows: np.ndarray) -> np.ndarray:
            raw = rng.random((len(rows), 3)) + (3 * np.eye(3)[truth.values[rows]] if job.candidate == 2 else 0)
            return raw / raw.sum(axis=1, keepdims=True)

        return Fitted(scores(job.validation), scores(job.test))

    outcome = run_fold(plan_folds(truth, owner, SCHEME, METHOD)[0][0], truth, owner, METHOD, fit)
    assert outcome.chosen["candidate"] == "c" and outcome.scores.sum(axis=1) == pytest.approx(1)
