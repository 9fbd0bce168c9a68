"""Ridge against scikit-learn, and its leave-one-out error against leaving one out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from medfm.core.errors import EvaluationError
from medfm.evaluation.ridge import fit_ridge

GRID = np.array([1e-3, 0.1, 1.0, 100.0])


def data(n: int, d: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + 3
    return X, X @ rng.standard_normal(d) + rng.standard_normal(n) - 7


@pytest.mark.parametrize(("n", "d"), [(50, 4), (20, 60), (30, 30)])
def test_every_penalty_is_scikit_learns(n: int, d: int) -> None:
    X, y = data(n, d)
    path = fit_ridge(X, y, GRID)
    for g, C in enumerate(GRID):
        model = Ridge(alpha=1 / C, solver="svd").fit(X, y)
        np.testing.assert_allclose(path.coef[g], model.coef_, atol=1e-8)
        np.testing.assert_allclose(path.predict(X, g), model.predict(X), atol=1e-8)


def test_leave_one_out_error() -> None:
    X, y = data(15, 4)
    path = fit_ridge(X, y, GRID)
    for g, C in enumerate(GRID):
        errors = []
        for i in range(15):
            rest = np.arange(15) != i
            errors.append(y[i] - Ridge(alpha=1 / C).fit(X[rest], y[rest]).predict(X[i : i + 1])[0])
        # The mean is refitted without row i; the closed form accounts for it through 1/n.
        assert path.leave_one_out[g] == pytest.approx(np.mean(np.square(errors)), rel=1e-6)


def test_constant_and_repeated_features() -> None:
    X, y = data(30, 3)
    more = np.hstack([X, np.ones((30, 1)), X[:, :1]])
    path = fit_ridge(more, y, 1e6)
    assert abs(path.coef[0, 3]) < 1e-9
    assert path.coef[0, 0] == pytest.approx(path.coef[0, 4])
    assert np.isfinite(path.coef).all()


def test_constant_features_only_predict_the_mean() -> None:
    path = fit_ridge(np.ones((5, 2)), np.arange(5.0), 1.0)
    np.testing.assert_allclose(path.predict(np.ones((2, 2)), 0), 2.0)


@pytest.mark.parametrize("C", [0.0, -1.0, np.inf])
def test_bad_penalties(C: float) -> None:
    with pytest.raises(EvaluationError, match="positive"):
        fit_ridge(np.zeros((3, 1)), np.zeros(3), C)


def test_one_row_is_too_few() -> None:
    with pytest.raises(EvaluationError, match="two training"):
        fit_ridge(np.zeros((1, 1)), np.zeros(1), 1.0)
