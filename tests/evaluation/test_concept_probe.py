"""The concept probe on similarities with planted findings: against scikit-learn, without leaks, every task."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import EvaluationError
from medfm.evaluation.concept_probe import _choose, run_concept_probe
from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.protocol_concepts import ConceptProbe
from medfm.evaluation.schemes import Fold
from medfm.evaluation.target import Target

K = 9
NONE = np.empty(0, dtype=np.int64)


def study(
    classes: int = 3, n: int = 180, noise: float = 0.5, seed: int = 0
) -> tuple[np.ndarray, Target, np.ndarray, Fold]:
    """Similarities where finding i is high in class i; patients of three records; the first third tests."""
    rng = np.random.default_rng(seed)
    patient = np.arange(n) // 3
    y = rng.permutation(np.arange(patient.max() + 1) % classes)[patient]
    X = 0.1 * rng.normal(size=(n, K)) * noise + 0.2
    X[np.arange(n), y] += 0.05
    task = "binary" if classes == 2 else "multiclass"
    target = Target("label", task, tuple("abcdef"[:classes]), y.astype(np.int64))
    rows = np.arange(n)
    return X, target, patient.astype(str).astype(object), Fold(rows[n // 3 :], rows[: n // 3], NONE)


def run(X, target, patients, *folds, **settings):
    return run_concept_probe(X, target, folds, ConceptProbe(**settings), patients=patients)


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("penalty", [0.05, 0.01])
def test_equals_scikit_learn_at_equal_penalty(classes, penalty):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    X, target, patients, fold = study(classes)
    (found,) = run(X, target, patients, fold, penalty=penalty)
    scaler = StandardScaler().fit(X[fold.train])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(
            penalty="l1", solver="saga", C=1 / (penalty * len(fold.train)), tol=1e-8, max_iter=5000, random_state=0
        ).fit(scaler.transform(X[fold.train]), target.values[fold.train])
    np.testing.assert_allclose(found.scores, model.predict_proba(scaler.transform(X[fold.test])), atol=2e-3)
    ours, theirs = found.coef * found.scale, model.coef_
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(found.scale, scaler.scale_, rtol=1e-6)
    # An L1 softmax may be shifted as a whole only where a finding's weights straddle zero; their spread may not.
    np.testing.assert_allclose(np.ptp(ours, axis=0), np.ptp(theirs, axis=0), atol=5e-3)
    assert np.abs(ours).sum() <= np.abs(theirs).sum() + 1e-3 and found.chosen["penalty"] == penalty


def test_multilabel_equals_scikit_learn_label_by_label():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    X, one, patients, fold = study(3)
    truth = np.eye(3)[one.values]
    truth[fold.train[:7], 1] = np.nan
    target = Target("a+b+c", "multilabel", ("a", "b", "c"), truth)
    (found,) = run(X, target, patients, fold, penalty=0.02)
    scaler = StandardScaler().fit(X[fold.train])
    for i in range(3):
        known = fold.train[~np.isnan(truth[fold.train, i])]
        model = LogisticRegression(
            penalty="l1", solver="saga", C=1 / (0.02 * len(known)), tol=1e-8, max_iter=5000, random_state=0
        ).fit(scaler.transform(X[known]), truth[known, i])
        expected = model.predict_proba(scaler.transform(X[fold.test]))[:, 1]
        np.testing.assert_allclose(found.scores[:, i], expected, atol=2e-3)
        np.testing.assert_allclose((found.coef * found.scale)[i], model.coef_[0], atol=2e-3)
    assert set(found.chosen["penalty"]) == {"a", "b", "c"}


def test_weights_name_the_planted_findings():
    X, target, patients, fold = study(3, n=360, noise=0.3)
    (found,) = run(X, target, patients, fold)
    assert [int(row.argmax()) for row in found.coef] == [0, 1, 2]
    assert found.chosen["findings used"] == int((found.coef != 0).any(axis=0).sum()) < K
    assert (found.scores.argmax(axis=1) == target.values[fold.test]).mean() > 0.8


def test_the_raw_weights_give_the_log_odds_of_the_predictions():
    X, target, patients, fold = study(2)
    (found,) = run(X, target, patients, fold)
    odds = np.log(found.scores[:, 1] / found.scores[:, 0])
    rest = odds - X[fold.test] @ found.coef[0]
    np.testing.assert_allclose(rest, rest[0], atol=1e-6)


def test_test_records_touch_neither_penalty_nor_weights():
    X, target, patients, fold = study(3)
    second = Fold(fold.test, fold.train, NONE, 0, 1)
    first = run(X, target, patients, fold, second)
    rng = np.random.default_rng(5)
    changed, other = X.copy(), target.values.copy()
    changed[fold.test] = rng.normal(size=changed[fold.test].shape)
    other[fold.test] = rng.permutation(other[fold.test])
    again = run(changed, Target("label", "multiclass", target.classes, other), patients, fold, second)
    np.testing.assert_array_equal(first[0].coef, again[0].coef)
    assert first[0].chosen == again[0].chosen and first[0].notes == again[0].notes
    assert not np.array_equal(first[1].coef, again[1].coef), "where these records train, they count"


def test_the_penalty_is_chosen_on_inner_folds_of_the_training_patients(monkeypatch):
    """Every fit of the selection is on part of the training rows, every score on their rest, no patient on both sides."""
    import medfm.evaluation.concept_probe as module

    X, target, patients, fold = study(3)
    X[:, 0] = np.arange(len(X)) * 1e-3  # tells the rows apart
    seen: list[tuple[np.ndarray, int]] = []
    inner: list[tuple[np.ndarray, np.ndarray]] = []
    fit, parts = module.fit_sparse, module.inner_folds

    def spy_fit(data, y, penalties, **rest):
        seen.append((data[:, 0], len(penalties)))
        return fit(data, y, penalties, **rest)

    def spy_folds(*given):
        found, notes = parts(*given)
        inner.extend(found)
        return found, notes

    monkeypatch.setattr(module, "fit_sparse", spy_fit)
    monkeypatch.setattr(module, "inner_folds", spy_folds)
    (found,) = run(X, target, patients, fold)
    assert len(inner) == 5 and [n for _, n in seen] == [16] * 5 + [1]
    for inside, outside in inner:
        assert not set(patients[fold.train[inside]]) & set(patients[fold.train[outside]])
        assert len(inside) + len(outside) == len(fold.train)
    train = X[fold.train, 0]
    z = (train - train.mean()) / train.std()
    for (values, _), (inside, _) in zip(seen[:5], inner, strict=True):
        np.testing.assert_allclose(values, z[inside])
    np.testing.assert_allclose(seen[5][0], z, err_msg="the last fit is on all training records, and none else")
    assert found.chosen["penalty"] > 0


def test_the_chosen_penalty_is_the_best_of_a_naive_search():
    from medfm.evaluation.protocol import Selection
    from medfm.evaluation.selection import inner_folds
    from medfm.evaluation.sparse_logistic import fit_sparse, largest_penalty

    X, target, patients, fold = study(2, noise=0.8)
    z = (X[fold.train] - X[fold.train].mean(axis=0)) / X[fold.train].std(axis=0)
    y = target.values[fold.train]
    chosen = _choose(z, target, fold.train, ConceptProbe(), patients, 0, [])
    grid = 1.001 * largest_penalty(z, y, 2) * np.geomspace(1, 1e-3, 16)
    parts, _ = inner_folds(Selection(), target, patients, fold.train, 0)
    losses = []
    for penalty in grid:
        each = []
        for inside, outside in parts:
            p = fit_sparse(z[inside], y[inside], [penalty], classes=2)[0].probabilities(z[outside])
            each.append(-np.log(p[np.arange(len(outside)), y[outside]]).mean())
        losses.append(np.mean(each))
    assert chosen == pytest.approx(grid[int(np.argmin(losses))])


def test_where_no_finding_helps_none_is_used_and_the_note_says_so():
    X, target, patients, fold = study(3)
    noise = np.random.default_rng(1).normal(size=X.shape)
    (found,) = run(noise, target, patients, fold)
    assert not found.coef.any() and any("no finding helped" in note for note in found.notes)
    shares = np.bincount(target.values[fold.train], minlength=3) / len(fold.train)
    np.testing.assert_allclose(found.scores, np.tile(shares, (len(fold.test), 1)), atol=1e-4)


def test_similarities_that_do_not_vary_are_not_used():
    X, target, patients, fold = study(2)
    X[:, 4] = 0.25 + 1e-9 * np.random.default_rng(0).normal(size=len(X))
    (found,) = run(X, target, patients, fold, penalty=1e-4)
    assert found.coef[0, 4] == 0 and np.isfinite(found.scores).all()
    (flat,) = run(np.full_like(X, 0.3), target, patients, fold)
    assert not flat.coef.any() and any("No finding varies" in note for note in flat.notes)


def test_a_class_that_does_not_train_is_never_predicted():
    X, target, patients, fold = study(3)
    without = Fold(fold.train[target.values[fold.train] != 1], fold.test, NONE)
    (found,) = run(X, target, patients, without)
    assert (found.scores[:, 1] == 0).all() and not found.coef[1].any()
    assert any("never predicted there: b" in note for note in found.notes)
    alone = Fold(fold.train[target.values[fold.train] == 1], fold.test, NONE)
    with pytest.raises(EvaluationError, match="single class"):
        run(X, target, patients, alone)


def test_labels_with_one_value_and_unknown_labels():
    X, one, patients, fold = study(3)
    truth = np.eye(3)[one.values]
    truth[fold.train, 2] = 0
    truth[fold.train[:20], 0] = np.nan
    (found,) = run(X, Target("x", "multilabel", ("a", "b", "c"), truth), patients, fold)
    assert (found.scores[:, 2] == 0).all() and not found.coef[2].any()
    assert any("'c' has a single value" in note for note in found.notes) and found.coef[:2].any()


def test_measurements_are_refused_and_few_patients_still_work():
    X, target, patients, fold = study(2)
    number = Target("age", "regression", (), np.arange(len(X), dtype=np.float64))
    with pytest.raises(EvaluationError, match="measurement"):
        run(X, number, patients, fold)
    y = target.values[fold.train]
    pair = np.concatenate([fold.train[y == 0][:3], fold.train[y == 1][:3]])
    (found,) = run(X, target, patients, Fold(pair, fold.test, NONE))
    assert np.isfinite(found.scores).all()
    (lone,) = run(X, target, np.full(len(X), "p", dtype=object), fold)
    assert any("Too few training patients" in note for note in lone.notes)


@settings(max_examples=12, deadline=None)
@given(shift=st.floats(-0.5, 0.5), scale=st.floats(0.1, 10), seed=st.integers(0, 99))
def test_shift_and_scale_of_the_similarities_do_not_matter(shift, scale, seed):
    X, target, patients, fold = study(2, n=90, seed=seed)
    (first,) = run(X, target, patients, fold, penalty=0.05)
    (second,) = run(X * scale + shift, target, patients, fold, penalty=0.05)
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-4)
    np.testing.assert_allclose(first.scores.sum(axis=1), 1)


def test_the_shipped_protocol_has_the_defaults():
    assert load_protocol("concept-probe@1").method == ConceptProbe()
    with pytest.raises(ValueError, match="name"):
        ConceptProbe(template="without a place")
