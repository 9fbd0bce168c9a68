"""The batched solver against scikit-learn, the optimality conditions, and its own symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from medfm.core.errors import EvaluationError
from medfm.evaluation.logistic import fit_logistic, fit_sklearn, objective, probabilities


def blobs(n: int, d: int, classes: int, seed: int = 0, spread: float = 1.0, decay: float = 0.0):
    """Correlated features with `classes` overlapping groups; `decay` shrinks later axes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    y[:classes] = np.arange(classes)
    scale = np.arange(1, d + 1) ** -decay
    X = (rng.standard_normal((n, d)) + spread * rng.standard_normal((classes, d))[y]) * scale
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return X @ rotation + 0.5 * rng.standard_normal(d), y


def reference(X, y, C, weights=None):
    model = LogisticRegression(C=C, max_iter=200_000, tol=1e-10)
    model.fit(X, y, sample_weight=weights)
    return model


def gradient(X, y, C, coef, intercept, weights):
    """Gradient of scikit-learn's objective over C, by hand."""
    scores = probabilities(X, coef, intercept)
    if len(coef) == 1:
        error = ((scores[:, 1] - y) * weights)[:, None]
    else:
        error = (scores - np.eye(len(coef))[y]) * weights[:, None]
    return error.T @ X + coef / C, error.sum(axis=0)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize(("n", "d"), [(200, 5), (150, 40), (40, 90)])
@pytest.mark.parametrize("C", [1e-3, 1.0, 100.0])
def test_reaches_the_optimum_of_scikit_learn(classes: int, n: int, d: int, C: float) -> None:
    X, y = blobs(n, d, classes, seed=n + d)
    model = reference(X, y, C)
    fit = fit_logistic(X, y, C, classes=classes)
    theirs = objective(X, y, C, model.coef_, model.intercept_)
    ours = objective(X, y, C, fit.coef[0, 0], fit.intercept[0, 0])
    assert ours <= theirs * (1 + 1e-6)
    assert fit.objective[0, 0] == pytest.approx(ours, rel=1e-9)
    np.testing.assert_allclose(fit.probabilities(X, 0, 0), model.predict_proba(X), atol=2e-3)


@pytest.mark.parametrize("classes", [2, 4])
def test_optimality_conditions_at_a_tight_tolerance(classes: int) -> None:
    X, y = blobs(120, 15, classes, decay=1.0)
    fit = fit_logistic(X, y, 3.0, classes=classes, tol=1e-14)
    slopes, level = gradient(X, y, 3.0, fit.coef[0, 0], fit.intercept[0, 0], np.ones(120))
    assert np.abs(slopes).max() < 1e-5
    assert np.abs(level).max() < 1e-5


def test_one_batch_equals_single_problems() -> None:
    X, y = blobs(180, 12, 3)
    rng = np.random.default_rng(1)
    weights = (rng.random((4, 180)) < 0.8) * rng.uniform(0.5, 2, (4, 180))
    grid = np.array([0.01, 1.0, 50.0])
    batch = fit_logistic(X, y, grid, weights, tol=1e-15)
    for p in range(4):
        for g, C in enumerate(grid):
            alone = fit_logistic(X, y, C, weights[p], tol=1e-15)
            np.testing.assert_allclose(batch.coef[g, p], alone.coef[0, 0], atol=1e-5)
            rows = weights[p] > 0
            model = reference(X[rows], y[rows], C, weights[p][rows])
            theirs = objective(X, y, C, model.coef_, model.intercept_, weights[p])
            assert batch.objective[g, p] == pytest.approx(theirs, rel=1e-7)


def test_the_order_of_the_grid_does_not_matter() -> None:
    X, y = blobs(100, 8, 3)
    up = fit_logistic(X, y, np.array([0.1, 1.0, 10.0]), tol=1e-15)
    down = fit_logistic(X, y, np.array([10.0, 0.1, 1.0]), tol=1e-15)
    np.testing.assert_allclose(down.coef[[1, 2, 0]], up.coef, atol=1e-7)


def test_single_precision_products_reach_the_same_optimum() -> None:
    """Large enough for float32 Hessian products, the path of real embeddings."""
    X, y = blobs(18000, 60, 3, spread=0.3, decay=0.3)
    fit = fit_logistic(X, y, np.array([1e-4, 0.01]))
    for g, C in enumerate((1e-4, 0.01)):
        model = LogisticRegression(C=C, max_iter=2000, tol=1e-6).fit(X, y)
        theirs = objective(X, y, C, model.coef_, model.intercept_)
        assert fit.objective[g, 0] == pytest.approx(theirs, rel=1e-6)


def test_permuting_rows_changes_nothing() -> None:
    X, y = blobs(90, 10, 3)
    order = np.random.default_rng(3).permutation(90)
    a, b = fit_logistic(X, y, 1.0, tol=1e-15), fit_logistic(X[order], y[order], 1.0, tol=1e-15)
    np.testing.assert_allclose(a.coef, b.coef, atol=1e-7)


def test_permuting_features_permutes_the_weights() -> None:
    X, y = blobs(90, 10, 3)
    order = np.random.default_rng(4).permutation(10)
    a, b = fit_logistic(X, y, 1.0, tol=1e-15), fit_logistic(X[:, order], y, 1.0, tol=1e-15)
    np.testing.assert_allclose(a.coef[..., order], b.coef, atol=1e-7)


def test_renaming_classes_permutes_the_columns() -> None:
    X, y = blobs(90, 10, 3)
    names = np.array([2, 0, 1])
    a, b = fit_logistic(X, y, 1.0, tol=1e-15), fit_logistic(X, names[y], 1.0, tol=1e-15)
    np.testing.assert_allclose(a.coef[:, :, [1, 2, 0]], b.coef, atol=1e-7)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_weight_of_two_is_a_doubled_row(classes: int) -> None:
    X, y = blobs(60, 6, classes)
    weights = np.where(np.arange(60) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(np.arange(60), weights.astype(int))
    a = fit_logistic(X, y, 0.7, weights, classes=classes, tol=1e-15)
    b = fit_logistic(X[twice], y[twice], 0.7, classes=classes, tol=1e-15)
    np.testing.assert_allclose(a.coef, b.coef, atol=1e-7)
    assert a.objective[0, 0] == pytest.approx(b.objective[0, 0], rel=1e-10)


def test_rows_without_weight_are_as_if_absent() -> None:
    X, y = blobs(80, 6, 3)
    weights = np.ones((1, 80))
    weights[0, 40:] = 0
    X_wild = X.copy()
    X_wild[40:] = 1e6
    a = fit_logistic(X_wild, y, 1.0, weights, classes=3, tol=1e-15)
    b = fit_logistic(X[:40], y[:40], 1.0, classes=3, tol=1e-15)
    np.testing.assert_allclose(a.coef, b.coef, atol=1e-7)


def test_shifting_features_moves_only_the_intercept() -> None:
    X, y = blobs(70, 5, 2)
    a, b = fit_logistic(X, y, 2.0, tol=1e-15), fit_logistic(X + 1000.0, y, 2.0, tol=1e-15)
    np.testing.assert_allclose(a.coef, b.coef, atol=1e-6)
    np.testing.assert_allclose(a.probabilities(X, 0, 0), b.probabilities(X + 1000.0, 0, 0), atol=1e-6)


def test_constant_and_repeated_features() -> None:
    X, y = blobs(120, 6, 3)
    more = np.hstack([X, np.full((120, 1), 3.0), X[:, :1]])
    fit = fit_logistic(more, y, 1.0, tol=1e-15)
    model = reference(more, y, 1.0)
    assert np.abs(fit.coef[0, 0][:, 6]).max() < 1e-9
    np.testing.assert_allclose(fit.coef[0, 0][:, 0], fit.coef[0, 0][:, 7], atol=1e-9)
    assert fit.objective[0, 0] <= objective(more, y, 1.0, model.coef_, model.intercept_) * (1 + 1e-9)


def test_features_of_very_different_scale_are_not_dropped() -> None:
    X, y = blobs(200, 4, 2, spread=2.0)
    X[:, 0] = 1e8 * np.random.default_rng(0).standard_normal(200)
    fit = fit_logistic(X, y, 1.0)
    without = fit_logistic(X[:, 1:], y, 1.0)
    np.testing.assert_allclose(fit.coef[0, 0, 0, 1:], without.coef[0, 0, 0], rtol=0.2)


def test_all_features_constant_leaves_the_class_shares() -> None:
    y = np.array([0] * 30 + [1] * 10)
    fit = fit_logistic(np.ones((40, 3)), y, 1.0)
    np.testing.assert_allclose(fit.probabilities(np.ones((1, 3)), 0, 0), [[0.75, 0.25]], atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_separable_data_with_weak_regularisation(classes: int) -> None:
    X, y = blobs(60, 80, classes, spread=3.0)
    fit = fit_logistic(X, y, np.array([1.0, 1e3, 1e6]), classes=classes)
    assert np.isfinite(fit.coef).all()
    assert (np.diff(fit.objective[:, 0] / fit.C[:, 0]) < 0).all()
    slopes, _ = gradient(X, y, 1e6, fit.coef[2, 0], fit.intercept[2, 0], np.ones(60))
    assert np.abs(slopes).max() < 1e-4
    assert (fit.probabilities(X, 2, 0).argmax(axis=1) == y).all()


def test_a_class_absent_from_a_fold_gets_no_probability() -> None:
    X, y = blobs(120, 8, 4)
    weights = np.ones((2, 120))
    weights[1, y == 2] = 0
    fit = fit_logistic(X, y, 1.0, weights, tol=1e-15)
    scores = fit.probabilities(X, 0, 1)
    assert (scores[:, 2] == 0).all()
    assert fit.intercept[0, 1, 2] == -np.inf
    rows = y != 2
    model = reference(X[rows], y[rows], 1.0)
    np.testing.assert_allclose(scores[:, [0, 1, 3]], model.predict_proba(X), atol=1e-4)
    assert (fit.probabilities(X, 0, 0)[:, 2] > 0).all()


def test_imbalanced_classes() -> None:
    X, y = blobs(400, 10, 2)
    y = np.zeros(400, dtype=int)
    y[:4] = 1
    X[:4] += 1.0
    model = reference(X, y, 10.0)
    fit = fit_logistic(X, y, 10.0)
    assert fit.objective[0, 0] == pytest.approx(objective(X, y, 10.0, model.coef_, model.intercept_), rel=1e-7)


def test_many_binary_problems_with_labels_of_their_own() -> None:
    X, _ = blobs(150, 9, 2)
    rng = np.random.default_rng(0)
    labels = (X @ rng.standard_normal((9, 3)) + rng.standard_normal((150, 3)) > 0).astype(int).T
    fit = fit_logistic(X, labels, np.array([0.1, 5.0]), classes=2, tol=1e-15)
    for p in range(3):
        model = reference(X, labels[p], 5.0)
        np.testing.assert_allclose(fit.coef[1, p], model.coef_, atol=2e-4)


def test_strengths_per_problem() -> None:
    X, y = blobs(100, 7, 3)
    fit = fit_logistic(X, y, np.array([[0.1, 10.0]]), np.ones((2, 100)), tol=1e-15)
    for p, C in enumerate((0.1, 10.0)):
        np.testing.assert_allclose(fit.coef[0, p], fit_logistic(X, y, C, tol=1e-15).coef[0, 0], atol=1e-6)


def test_blocks_of_problems_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = blobs(60, 5, 3)
    weights = np.random.default_rng(0).uniform(0.5, 1, (5, 60))
    whole = fit_logistic(X, y, 1.0, weights, tol=1e-15)
    monkeypatch.setattr("medfm.evaluation.logistic._MOST_LOGITS", 2 * 60 * 3)
    np.testing.assert_allclose(fit_logistic(X, y, 1.0, weights, tol=1e-15).coef, whole.coef, atol=1e-7)


@pytest.mark.parametrize(
    ("y", "C", "weights", "said"),
    [
        (np.zeros(10, int), 1.0, None, "single class"),
        (np.arange(10) % 2, 0.0, None, "positive"),
        (np.arange(10) % 2, np.nan, None, "positive"),
        (np.arange(9) % 2, 1.0, None, "do not fit"),
        (np.arange(10) % 2, 1.0, -np.ones((1, 10)), "not negative"),
        (np.arange(10) % 2, 1.0, np.ones((1, 9)), "do not fit"),
    ],
)
def test_refusals(y, C, weights, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        fit_logistic(np.random.default_rng(0).standard_normal((10, 2)), y, C, weights)


def test_scikit_learn_says_when_it_did_not_converge() -> None:
    X, y = blobs(100, 20, 3)
    *_, converged = fit_sklearn(X, y, 100.0, max_iter=2, tol=None)
    assert not converged
    coef, intercept, classes, converged = fit_sklearn(X, y + 1, 1.0, max_iter=1000, tol=None)
    assert converged and coef.shape == (3, 20) and intercept.shape == (3,) and classes.tolist() == [1, 2, 3]


def test_probabilities_of_extreme_logits_stay_finite() -> None:
    scores = probabilities(np.array([[1e5], [-1e5]]), np.array([[1.0]]), np.array([0.0]))
    np.testing.assert_array_equal(scores, [[0, 1], [1, 0]])


def test_small_sweeps_use_one_thread_and_give_the_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from medfm.evaluation import logistic

    seen = []
    solve = logistic._solve
    monkeypatch.setattr(logistic, "_solve", lambda *given: (seen.append(torch.get_num_threads()), solve(*given))[1])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        X, y = np.random.default_rng(0).standard_normal((30, 4)), np.arange(30) % 3
        fit_logistic(X, y, 1.0)
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), logistic._threads(1):
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
        monkeypatch.setattr(logistic, "_ONE_THREAD_BELOW", 10)
        fit_logistic(X, y, 1.0)
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2]
