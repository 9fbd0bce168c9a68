"""L1 logistic regression against scikit-learn, its optimality conditions, and hostile input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from medfm.core.errors import EvaluationError
from medfm.evaluation.sparse_logistic import fit_sparse, largest_penalty


def problem(classes: int, n: int = 150, d: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return rng.standard_normal((n, d)) + 1.2 * np.eye(classes, d)[y], y


def objective(X: np.ndarray, y: np.ndarray, coef: np.ndarray, intercept: np.ndarray, penalty: float) -> float:
    logits = X @ coef.T + intercept
    loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]
    return float(loss.mean() + penalty * np.abs(coef).sum())


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
def test_reaches_the_optimum_of_scikit_learn(classes, share):
    from sklearn.linear_model import LogisticRegression

    X, y = problem(classes)
    penalty = share * largest_penalty(X, y, classes)
    (fit,) = fit_sparse(X, y, [penalty], classes=classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(
            penalty="l1", solver="saga", C=1 / (penalty * len(y)), tol=1e-8, max_iter=5000, random_state=0
        ).fit(X, y)
    coef, intercept = model.coef_, model.intercept_
    if classes == 2:  # one column there; the softmax of half of it on each side is the same model
        coef, intercept = np.vstack([-coef / 2, coef / 2]), np.array([-intercept[0] / 2, intercept[0] / 2])
    theirs = objective(X, y, coef, intercept, penalty)
    ours = objective(X, y, fit.coef, fit.intercept, penalty)
    assert fit.converged and ours <= theirs + 1e-7 and ours == pytest.approx(theirs, rel=1e-5)
    np.testing.assert_allclose(
        fit.probabilities(X), model.predict_proba(X), atol=2e-3, err_msg="the predictions are unique"
    )


@pytest.mark.parametrize("classes", [2, 4])
def test_the_largest_penalty_silences_all_and_a_smaller_one_does_not(classes):
    X, y = problem(classes, seed=3)
    y = np.where(np.arange(len(y)) % 7 == 0, 0, y)
    top = largest_penalty(X, y, classes)
    none, few, many = fit_sparse(X, y, [top, 0.9 * top, 0.05 * top], classes=classes)
    assert not none.coef.any() and few.coef.any()
    np.testing.assert_allclose(none.probabilities(X[:1])[0], np.bincount(y) / len(y), atol=1e-5)
    used = [int((f.coef != 0).any(axis=0).sum()) for f in (few, many)]
    assert used[0] < used[1]


def test_a_penalty_alone_or_on_a_path_in_any_order_gives_the_same():
    X, y = problem(3, seed=1)
    path = fit_sparse(X, y, [0.01, 0.1, 0.03], classes=3, tol=1e-9)
    assert [f.penalty for f in path] == [0.01, 0.1, 0.03]
    for fit in path:
        (alone,) = fit_sparse(X, y, [fit.penalty], classes=3, tol=1e-9)
        np.testing.assert_allclose(alone.coef, fit.coef, atol=1e-5)
        np.testing.assert_array_equal(alone.coef == 0, fit.coef == 0)


def test_a_feature_that_says_nothing_gets_no_weight_and_a_constant_one_neither():
    X, y = problem(2)
    X = np.hstack([X, np.zeros((len(X), 1))])
    (fit,) = fit_sparse(X, y, [0.05], classes=2)
    assert not fit.coef[:, -1].any() and fit.coef[1, 1] > 0 > fit.coef[1, 0]
    np.testing.assert_allclose(fit.coef[0], -fit.coef[1], atol=1e-8)


def test_refusals():
    X, y = problem(3)
    for bad in (X * np.nan, X[:-1], X[:, 0]):
        with pytest.raises(EvaluationError):
            fit_sparse(bad, y, [0.1], classes=3)
    with pytest.raises(EvaluationError, match="no record"):
        fit_sparse(X, np.minimum(y, 1), [0.1], classes=3)
    with pytest.raises(EvaluationError, match="penalty"):
        fit_sparse(X, y, [-0.1], classes=3)
