"""The linear probe: selection without test data, every task kind, both solvers."""

from __future__ import annotations

import numpy as np
import pytest
from probe_data import pair, table_of
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from medfm.core.errors import EvaluationError
from medfm.evaluation.linear_probe import run_linear_probe
from medfm.evaluation.protocol import LinearProbe, Selection
from medfm.evaluation.schemes import Fold
from medfm.evaluation.target import Target, make_target

NONE = np.empty(0, dtype=np.int64)
FIXED = Selection(rule="fixed", value=1.0)
INNER = Selection(rule="inner_cv", folds=3, grid=(0.001, 0.1, 10.0))


def setting(task: str = "multiclass", n: int = 160, classes: int = 4):
    cohort, embeddings = pair(n=n, classes=classes)
    names = {"multilabel": ["grainy", "pale"], "regression": "age"}.get(task, "label")
    target = make_target(cohort, names)
    test = (cohort.table["split"] == "test").to_numpy()
    fold = Fold(np.flatnonzero(~test), np.flatnonzero(test), NONE)
    return embeddings.values, target, fold, cohort.table["patient_id"].to_numpy(dtype=object)


def run(X, target, fold, method, patients):
    return run_linear_probe(X, target, [fold], method, patients=patients)[0]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("standardise", [True, False])
def test_fixed_strength_is_scikit_learns_pipeline(classes: int, standardise: bool) -> None:
    X, target, fold, patients = setting(classes=classes)
    method = LinearProbe(selection=FIXED, standardise=standardise, tol=1e-13)
    train, test = X[fold.train].astype(float), X[fold.test].astype(float)
    if standardise:
        scaler = StandardScaler().fit(train)
        train, test = scaler.transform(train), scaler.transform(test)
    model = LogisticRegression(C=1.0, tol=1e-9, max_iter=10_000).fit(train, target.values[fold.train])
    outcome = run(X, target, fold, method, patients)
    np.testing.assert_allclose(outcome.scores, model.predict_proba(test), atol=1e-4)
    assert outcome.chosen == {"C": 1.0}


def test_balanced_classes_are_scikit_learns() -> None:
    X, target, fold, patients = setting()
    keep = np.concatenate([np.flatnonzero(target.values != 0), np.flatnonzero(target.values == 0)[:8]])
    fold = Fold(np.intersect1d(fold.train, keep), fold.test, NONE)
    method = LinearProbe(selection=FIXED, standardise=False, class_weight="balanced", tol=1e-13)
    model = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-9, max_iter=10_000)
    model.fit(X[fold.train].astype(float), target.values[fold.train])
    for solver in ("batched", "sklearn"):
        chosen = method.model_copy(update={"solver": solver, "tol": 1e-9})
        scores = run(X, target, fold, chosen, patients).scores
        np.testing.assert_allclose(scores, model.predict_proba(X[fold.test].astype(float)), atol=1e-4)


def test_shared_folds_equal_single_folds() -> None:
    X, target, fold, patients = setting()
    folds = [Fold(fold.train[i::2], fold.test, NONE) for i in range(2)]
    method = LinearProbe(selection=FIXED, standardise=False, tol=1e-13)
    together = run_linear_probe(X, target, folds, method, patients=patients)
    for one, outcome in zip(folds, together, strict=True):
        np.testing.assert_allclose(outcome.scores, run(X, target, one, method, patients).scores, atol=1e-6)


def test_strength_counts_the_classes_of_each_training_set() -> None:
    X, target, fold, patients = setting()
    some = fold.train[target.values[fold.train] != 3]
    two = fold.train[target.values[fold.train] < 2]
    method = LinearProbe(selection=Selection(rule="dim_times_classes_over_100"), standardise=False)
    folds = [fold, Fold(some, fold.test, NONE)]
    outcomes = run_linear_probe(X, target, folds, method, patients=patients)
    assert [o.chosen["C"] for o in outcomes] == pytest.approx([12 * 4 / 100, 12 * 3 / 100])
    assert (outcomes[1].scores[:, 3] == 0).all() and "never predicted there: d" in outcomes[1].notes[0]
    # Two classes left: scikit-learn's binary objective, not the multinomial one.
    binary = run_linear_probe(X, target, [Fold(two, fold.test, NONE)], method, patients=patients)[0]
    model = LogisticRegression(C=0.24, tol=1e-9).fit(X[two].astype(float), target.values[two])
    np.testing.assert_allclose(binary.scores[:, :2], model.predict_proba(X[fold.test].astype(float)), atol=1e-3)


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
@pytest.mark.parametrize("rule", ["inner_cv", "validation"])
def test_nothing_of_the_test_set_reaches_fit_or_selection(task: str, rule: str) -> None:
    X, target, fold, patients = setting(task)
    fold = Fold(fold.train[:-24], fold.test, fold.train[-24:])
    method = LinearProbe(selection=INNER.model_copy(update={"rule": rule, "metric": "log_loss"}))
    before = run(X, target, fold, method, patients)
    rng = np.random.default_rng(0)
    spoiled = target.values.copy()
    spoiled[fold.test] = rng.permutation(spoiled[fold.test])
    wild = X.copy()
    wild[fold.test[1:]] *= 100  # scaling must not look at test vectors either
    after = run(wild, Target(target.name, target.task, target.classes, spoiled), fold, method, patients)
    assert after.chosen == before.chosen
    np.testing.assert_array_equal(after.scores[0], before.scores[0])


def test_validation_labels_choose_but_do_not_train() -> None:
    X, target, fold, patients = setting()
    fold = Fold(fold.train[:-40], fold.test, fold.train[-40:])
    method = LinearProbe(selection=INNER.model_copy(update={"rule": "validation"}))
    found = run(X, target, fold, method, patients)
    fixed = Selection(rule="fixed", value=found.chosen["C"])
    alone = run(X, target, fold, LinearProbe(selection=fixed), patients)
    np.testing.assert_allclose(found.scores, alone.scores, atol=1e-4)


def test_validation_needs_validation_records() -> None:
    X, target, fold, patients = setting()
    with pytest.raises(EvaluationError, match="there are none"):
        run(X, target, fold, LinearProbe(selection=Selection(rule="validation")), patients)


def test_fixed_needs_a_value() -> None:
    X, target, fold, patients = setting()
    with pytest.raises(EvaluationError, match="needs a value"):
        run(X, target, fold, LinearProbe(selection=Selection(rule="fixed")), patients)


def test_inner_selection_prefers_strong_regularisation_on_noise() -> None:
    X, target, fold, patients = setting()
    noise = np.random.default_rng(0).standard_normal(X.shape)
    assert run(noise, target, fold, LinearProbe(selection=INNER), patients).chosen["C"] == 0.001
    signal = run(X, target, fold, LinearProbe(selection=INNER), patients)
    assert signal.chosen["C"] > 0.001
    assert (signal.scores.argmax(axis=1) == target.values[fold.test]).mean() > 0.7


def test_the_edge_of_the_grid_is_noted() -> None:
    X, target, fold, patients = setting()
    noise = np.random.default_rng(0).standard_normal(X.shape)
    notes = run(noise, target, fold, LinearProbe(selection=INNER), patients).notes
    assert any("edge of the grid" in n for n in notes)


def test_one_training_patient_per_class_still_works() -> None:
    X, target, _, _ = setting(classes=2)
    rows = np.array([np.flatnonzero(target.values == 0)[0], np.flatnonzero(target.values == 1)[0]])
    fold = Fold(rows, np.arange(20, 40), NONE)
    one = np.array(["same"] * len(X), dtype=object)
    outcome = run(X, target, fold, LinearProbe(selection=INNER), one)
    assert outcome.chosen == {"C": 1.0} and any("Too few training patients" in n for n in outcome.notes)


def test_one_class_cannot_be_learned() -> None:
    X, target, fold, patients = setting()
    rows = np.flatnonzero(target.values == 1)
    for selection in (FIXED, INNER):
        with pytest.raises(EvaluationError, match="single class"):
            run(X, target, Fold(rows, fold.test, NONE), LinearProbe(selection=selection), patients)


@pytest.mark.parametrize("solver", ["batched", "sklearn"])
def test_multilabel_ignores_unknown_labels(solver: str) -> None:
    X, target, fold, patients = setting("multilabel")
    values = target.values.copy()
    unknown = fold.train[::3]
    values[unknown, 0] = np.nan
    masked = Target(target.name, "multilabel", target.classes, values)
    method = LinearProbe(selection=FIXED, standardise=False, solver=solver, tol=1e-9)  # type: ignore[arg-type]
    scores = run(X, masked, fold, method, patients).scores
    known = np.setdiff1d(fold.train, unknown)
    for label, rows in ((0, known), (1, fold.train)):
        model = LogisticRegression(C=1.0, tol=1e-9).fit(X[rows].astype(float), values[rows, label])
        np.testing.assert_allclose(scores[:, label], model.predict_proba(X[fold.test].astype(float))[:, 1], atol=1e-4)


def test_a_label_with_one_value_in_training_is_constant() -> None:
    X, target, fold, patients = setting("multilabel")
    values = target.values.copy()
    values[fold.train, 1] = 0
    outcome = run(X, Target("t", "multilabel", target.classes, values), fold, LinearProbe(selection=FIXED), patients)
    assert (outcome.scores[:, 1] == 0).all() and any("'pale' has a single value" in n for n in outcome.notes)


def test_one_vs_rest_scores_sum_to_one() -> None:
    X, target, fold, patients = setting()
    method = LinearProbe(selection=FIXED, multi_class="one_vs_rest", standardise=False, tol=1e-12)
    scores = run(X, target, fold, method, patients).scores
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    raw = []
    for c in range(4):
        model = LogisticRegression(C=1.0, tol=1e-9).fit(X[fold.train].astype(float), target.values[fold.train] == c)
        raw.append(model.predict_proba(X[fold.test].astype(float))[:, 1])
    expected = np.array(raw).T
    np.testing.assert_allclose(scores, expected / expected.sum(axis=1, keepdims=True), atol=1e-4)


def test_regression_finds_the_planted_line() -> None:
    X, target, fold, patients = setting("regression")
    outcome = run(X, target, fold, LinearProbe(selection=INNER), patients)
    truth = target.values[fold.test]
    assert outcome.scores.shape == (len(fold.test), 1)
    assert np.corrcoef(truth, outcome.scores[:, 0])[0, 1] > 0.9


def test_constant_dimensions_survive_standardising() -> None:
    X, target, fold, patients = setting()
    X = np.hstack([X, np.full((len(X), 1), 0.1, np.float32)])
    X[fold.test[0], -1] = 5.0
    assert np.isfinite(run(X, target, fold, LinearProbe(selection=FIXED), patients).scores).all()


def test_scikit_learn_not_converging_is_noted() -> None:
    X, target, fold, patients = setting()
    method = LinearProbe(selection=FIXED, solver="sklearn", standardise=False, max_iter=1)
    notes = run(X, target, fold, method, patients).notes
    assert sum("without converging" in n for n in notes) == 1


def test_progress_counts_folds() -> None:
    from medfm.core.progress import Silent

    X, target, fold, patients = setting()
    for method in (LinearProbe(selection=FIXED), LinearProbe(selection=FIXED, standardise=False)):
        shown = Silent("probing", 2)
        run_linear_probe(X, target, [fold, fold], method, patients=patients, progress=shown)
        assert shown.done == 2


def test_inner_folds_keep_patients_together(monkeypatch: pytest.MonkeyPatch) -> None:
    from medfm.evaluation import linear_probe as module

    X, target, fold, patients = setting()
    seen = []
    original = module.inner_folds

    def spy(*arguments):
        parts, notes = original(*arguments)
        seen.extend(parts)
        return parts, notes

    monkeypatch.setattr(module, "inner_folds", spy)
    run(X, target, fold, LinearProbe(selection=INNER), patients)
    assert len(seen) == 3
    for inside, outside in seen:
        assert not set(patients[fold.train][inside]) & set(patients[fold.train][outside])


def test_table_helper_has_one_class_per_patient() -> None:
    table, _ = table_of()
    assert (table.groupby("patient_id")["label"].nunique() == 1).all()
