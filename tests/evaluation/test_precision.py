"""Precision of an AUROC from counts, exact intervals, recalibration: against published and library figures."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from medfm.core.errors import EvaluationError
from medfm.evaluation.calibration import calibration_fit, fit_platt, scaled_brier
from medfm.evaluation.intervals import clopper_pearson_interval, wilson_interval
from medfm.evaluation.precision import hanley_mcneil_se, patients_for_width
from medfm.evaluation.score_intervals import newcombe_interval

STATS = Path(__file__).parents[1] / "parity" / "stats"
GOLDEN = json.loads((STATS / "golden.json").read_text())["binary"]
INPUTS = dict(np.load(STATS / "inputs.npz"))


def naive_se(auroc: float, m: int, n: int) -> float:
    """Equation 1 of Hanley and McNeil, term by term."""
    q1, q2 = auroc / (2 - auroc), 2 * auroc * auroc / (1 + auroc)
    return ((auroc * (1 - auroc) + (m - 1) * (q1 - auroc * auroc) + (n - 1) * (q2 - auroc * auroc)) / (m * n)) ** 0.5


@pytest.mark.parametrize(("auroc", "m", "n"), [(0.893, 51, 58), (0.5, 27, 33), (0.6386, 27, 33), (0.99, 5, 500)])
def test_hanley_mcneil(auroc, m, n):
    assert hanley_mcneil_se(auroc, m, n) == pytest.approx(naive_se(auroc, m, n), rel=1e-12)


def test_hanley_mcneil_lies_near_delong_on_the_golden():
    y = INPUTS["y"]
    found = hanley_mcneil_se(GOLDEN["auroc_a"], int(y.sum()), int((1 - y).sum()))
    assert found == pytest.approx(GOLDEN["delong_se_a"], rel=0.05)


@given(st.floats(0.5, 0.99), st.floats(0.05, 0.95), st.floats(0.05, 0.4))
@settings(max_examples=40, deadline=None)
def test_the_planned_size_is_the_least_that_is_enough(auroc, prevalence, width):
    size = patients_for_width(auroc, prevalence, width)

    def planned(total: int) -> float:
        if min(total * prevalence, total * (1 - prevalence)) < 1:
            return np.inf
        low, high = newcombe_interval(auroc, total * prevalence, total * (1 - prevalence))
        return high - low

    # One patient of rounding: the share of negatives is a difference.
    assert planned(size + 1) <= width < planned(size - 2)


def test_planning_near_one_is_not_that_of_a_symmetric_interval():
    """Of 17 patients an AUROC of 0.99 has a standard error that looks precise; its interval is not."""
    assert 3.92 * hanley_mcneil_se(0.99, 8.5, 8.5) < 0.11
    assert 40 < patients_for_width(0.99, 0.5, 0.1) < 100
    assert patients_for_width(0.8, 0.5, 0.1) == pytest.approx(
        (3.92 / 0.1) ** 2 * 120 * hanley_mcneil_se(0.8, 60, 60) ** 2, rel=0.1
    )


@pytest.mark.parametrize("changed", [{"auroc": 1.1}, {"prevalence": 0.0}, {"width": 0.0}, {"level": 1.0}])
def test_what_cannot_be_planned(changed):
    with pytest.raises(EvaluationError):
        patients_for_width(**({"auroc": 0.8, "prevalence": 0.3, "width": 0.1} | changed))


def test_an_auroc_needs_both_kinds():
    with pytest.raises(EvaluationError, match="positives and negatives"):
        hanley_mcneil_se(0.8, 0, 10)


@pytest.mark.parametrize("total", [1, 7, 27])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_clopper_pearson_equals_scipy(total, level):
    hits = np.arange(total + 1)
    low, high = clopper_pearson_interval(hits, total, level)
    for k in hits:
        expected = binomtest(int(k), total).proportion_ci(level, method="exact")
        assert (low[k], high[k]) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_clopper_pearson_covers_wherever_the_truth_lies():
    hits, rates = np.arange(31), np.linspace(0.02, 0.98, 49)
    exact, wilson = (f(hits, 30) for f in (clopper_pearson_interval, wilson_interval))
    chance = binom.pmf(hits[None], 30, rates[:, None])
    covered = [(chance * ((lo <= rates[:, None]) & (rates[:, None] <= hi))).sum(axis=1) for lo, hi in (exact, wilson)]
    assert covered[0].min() >= 0.95
    assert covered[1].min() < 0.95 < covered[1].mean()  # Wilson's covers it on average only


def test_clopper_pearson_of_nothing_and_of_nonsense():
    assert np.isnan(clopper_pearson_interval(0, 0)).all()
    for hits, total, level in ((3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)):
        with pytest.raises(EvaluationError):
            clopper_pearson_interval(hits, total, level)


def test_platt_is_the_goldens_line_and_mends_calibration():
    scores, truth = INPUTS["score_a"], INPUTS["y"]
    scaling = fit_platt(scores, truth)
    assert scaling.slope == pytest.approx(GOLDEN["calibration_slope_a"], rel=1e-6)
    assert scaling.intercept == pytest.approx(GOLDEN["calibration_intercept_joint_a"], rel=1e-6)
    mended = calibration_fit(scaling(scores), truth)
    assert (mended.slope, mended.intercept, mended.in_the_large) == pytest.approx((1, 0, 0), abs=1e-6)
    assert (np.argsort(scaling(scores)) == np.argsort(scores)).all()


@pytest.mark.parametrize("truth", [[1, 1, 1, 1], [0, 0, 1, 1]], ids=["one class", "separated"])
def test_platt_without_an_optimum(truth):
    with pytest.raises(EvaluationError, match="no finite optimum"):
        fit_platt(np.array([0.1, 0.2, 0.7, 0.9]), np.array(truth))


def test_scaled_brier():
    truth = INPUTS["y"]
    rate = truth.mean()
    expected = 1 - GOLDEN["brier_a"] / (rate * (1 - rate))
    assert scaled_brier(INPUTS["score_a"], truth) == pytest.approx(expected, rel=1e-9)
    assert scaled_brier(np.full(len(truth), rate), truth) == pytest.approx(0, abs=1e-12)
    assert scaled_brier(truth.astype(float), truth) == 1
    assert scaled_brier(np.array([0.2, 0.3]), np.array([0, 0])) is None
