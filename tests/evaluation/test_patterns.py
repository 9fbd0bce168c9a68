"""Patterns of linear weights: against the covariance matrix, in the textbook's example, and in a probe's result."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import EvaluationError
from medfm.evaluation.patterns import pattern
from medfm.evaluation.ridge import fit_ridge


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.integers(1, 6), st.integers(1, 4), st.integers(0, 10_000))
def test_it_is_the_covariance_matrix_times_the_weights(records, columns, rows, seed):
    random = np.random.default_rng(seed)
    values, weights = random.normal(2.0, 3.0, (records, columns)), random.normal(size=(rows, columns))
    covariance = np.atleast_2d(np.cov(values, rowvar=False))
    found = pattern(values, weights)
    assert found.shape == weights.shape
    np.testing.assert_allclose(found, weights @ covariance, atol=1e-9, rtol=1e-9)
    for row, one in zip(weights, found, strict=True):
        np.testing.assert_allclose(pattern(values, row), one, atol=1e-12)


def test_of_uncorrelated_inputs_it_is_the_weights():
    values = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * np.sqrt(3 / 4)
    np.testing.assert_allclose(pattern(values, np.array([2.0, -5.0])), [2.0, -5.0], atol=1e-12)


def test_the_example_of_a_channel_that_only_cancels_noise():
    """Haufe et al. 2014, section 2: x1 = signal + noise, x2 = noise; the weights are (1, -1), the pattern is not."""
    random = np.random.default_rng(0)
    signal, noise = random.normal(size=(2, 4000))
    values = np.stack([signal + noise, noise], axis=1)
    weights = fit_ridge(values, signal, 1e6).coef[0]
    np.testing.assert_allclose(weights, [1.0, -1.0], atol=1e-4)
    found = pattern(values, weights)
    assert found[0] == pytest.approx(1.0, abs=0.06) and abs(found[1]) < 0.06


def test_moving_along_the_pattern_changes_what_the_score_is_of():
    """Two inputs hold one cause, one as its square: the pattern follows both, nearly parallel weights need not."""
    random = np.random.default_rng(1)
    cause = random.uniform(0.5, 1.5, 2000)
    values = np.stack([cause, 3 * cause + 0.01 * random.normal(size=2000)], axis=1)
    found = pattern(values, fit_ridge(values, cause, 1e4).coef[0])
    assert found[1] / found[0] == pytest.approx(3.0, rel=0.01)


@pytest.mark.parametrize(
    ("values", "weights"),
    [
        (np.zeros((1, 2)), np.zeros(2)),
        (np.zeros((0, 2)), np.zeros(2)),
        (np.zeros((4, 2)), np.zeros(3)),
        (np.zeros(4), np.zeros(4)),
        (np.zeros((4, 2)), np.zeros((1, 1, 2))),
        (np.zeros((4, 2)), np.array(1.0)),
    ],
    ids=["one record", "none", "other length", "one axis", "three axes", "a number"],
)
def test_shapes_that_do_not_fit_are_refused(values, weights):
    with pytest.raises(EvaluationError, match="have no pattern"):
        pattern(values, weights)
