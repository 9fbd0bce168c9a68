"""MMD and Fréchet distance: known values, naive formulas, invariances, what a resample must not do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from medfm.core.errors import EvaluationError
from medfm.evaluation.distribution_distance import Kernel, distance_estimates, frechet_distance, median_width, mmd2

GAUSSIAN = Kernel("gaussian", 2.0)
POLYNOMIAL = Kernel("polynomial")


def naive_mmd2(x: np.ndarray, y: np.ndarray, kernel: Kernel) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        if kernel.name == "gaussian":
            return float(np.exp(-((a - b) ** 2).sum() / (2 * kernel.width**2)))
        return float((a @ b / len(a) + 1) ** 3)

    n, m = len(x), len(y)
    own = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    other = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return own + other - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9999), st.integers(2, 9), st.integers(2, 9), st.sampled_from([GAUSSIAN, POLYNOMIAL]))
def test_mmd_equals_the_sum_over_pairs(seed: int, n: int, m: int, kernel: Kernel) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, 3)), rng.normal(1, 2, (m, 3))
    assert mmd2(x, y, kernel) == pytest.approx(naive_mmd2(x, y, kernel), rel=1e-9, abs=1e-12)
    assert mmd2(y, x, kernel) == pytest.approx(mmd2(x, y, kernel), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9999), st.integers(2, 12), st.integers(2, 12), st.integers(1, 8))
def test_frechet_equals_the_textbook_formula(seed: int, n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)), rng.normal(0.5, 2, (m, d))
    a, b = (np.atleast_2d(np.cov(v, rowvar=False)) for v in (x, y))
    root = np.real(sqrtm(a @ b + 1e-13 * np.eye(d)))
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_known_distances_of_gaussians_are_found() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4000, 2)), rng.normal([3, 0], [1, 2], (4000, 2))
    assert frechet_distance(x, y) == pytest.approx(9 + (2 - 1) ** 2, rel=0.03)
    # E k(x, y) of the Gaussian kernel between normals of unit variance, mean apart by t, in one dimension.
    s2, t = 4.0, 3.0
    within = np.sqrt(s2 / (s2 + 2))
    apart = within * np.exp(-(t**2) / (2 * (s2 + 2)))
    first, second = rng.normal(size=(3000, 1)), rng.normal(t, 1, (3000, 1))
    assert mmd2(first, second, GAUSSIAN) == pytest.approx(2 * within - 2 * apart, rel=0.03)


def test_mmd_is_unbiased_where_nothing_differs() -> None:
    rng = np.random.default_rng(1)
    values = [mmd2(rng.normal(size=(12, 3)), rng.normal(size=(12, 3)), GAUSSIAN) for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20 and min(values) < 0


def test_turning_and_moving_both_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(20, 4)), rng.normal(1, 1, (30, 4))
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    assert frechet_distance(x @ turn + 5, y @ turn + 5) == pytest.approx(frechet_distance(x, y))
    assert mmd2(x @ turn + 5, y @ turn + 5, GAUSSIAN) == pytest.approx(mmd2(x, y, GAUSSIAN))
    assert frechet_distance(3 * x, 3 * y) == pytest.approx(9 * frechet_distance(x, y))


def test_the_default_width_is_the_median_distance() -> None:
    x = np.array([[0.0], [1], [3]])
    assert median_width(x) == 2.0
    with pytest.raises(EvaluationError, match="no width"):
        median_width(np.ones((5, 2)))


def test_intervals_hold_the_value_and_separate_what_differs() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(80, 3))
    same, far = (distance_estimates(x, rng.normal(shift, 1, (80, 3)), resamples=100) for shift in (0, 2))
    for mmd, frechet in (same, far):
        assert mmd.metric == "mmd2" and "Gaussian kernel, width" in mmd.note and frechet.method.endswith("basic")
        for e in (mmd, frechet):
            assert e.low is not None and e.high is not None and e.low <= e.value <= e.high  # type: ignore[operator]
    assert same[0].low < 0.02 < far[0].low and same[1].high < far[1].low  # type: ignore[operator]
    again = distance_estimates(x, x + 1, resamples=20)
    assert again == distance_estimates(x, x + 1, resamples=20)
    assert distance_estimates(x, x + 1, resamples=0)[0].low is None


def test_images_of_one_patient_come_together() -> None:
    rng = np.random.default_rng(4)
    people = np.repeat(np.arange(10), 8)
    x = rng.normal(size=(10, 2))[people] + 0.05 * rng.normal(size=(80, 2))
    y = rng.normal(size=(80, 2))
    single = distance_estimates(x, y, resamples=100)
    together = distance_estimates(x, y, real_patients=people, resamples=100)
    widths = [e[0].high - e[0].low for e in (single, together)]  # type: ignore[operator]
    assert widths[1] > 1.5 * widths[0] and together[0].n_patients == 90
    with pytest.raises(EvaluationError, match="80 features but 3 patients"):
        distance_estimates(x, y, real_patients=np.arange(3))


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.zeros((3, 2)), np.zeros((3, 4)), "cannot be compared"),
        (np.zeros(3), np.zeros((3, 4)), "cannot be compared"),
        (np.zeros((1, 2)), np.zeros((3, 2)), "at least two"),
        (np.full((3, 2), np.nan), np.zeros((3, 2)), "not finite"),
    ],
)
def test_what_has_no_distance_is_refused(x: np.ndarray, y: np.ndarray, words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        frechet_distance(x, y)
    with pytest.raises(EvaluationError, match=words):
        mmd2(x, y, POLYNOMIAL)
