import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from statistics_cases import binary_case, binary_outcomes, multiclass_case, multilabel_case

from medfm.core.errors import EvaluationError
from medfm.evaluation.bootstrap import Clusters, collect
from medfm.evaluation.calibration import (
    TemperatureScaling,
    calibration_fit,
    fit_isotonic,
    fit_temperature,
    reliability_bins,
)
from medfm.evaluation.metrics import evaluate
from medfm.evaluation.metrics_outcomes import Outcomes


def calibrated(n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.beta(2, 3, n)
    return scores, (rng.random(n) < scores).astype(int)


def test_calibrated_scores_have_slope_one_and_no_offset():
    fit = calibration_fit(*calibrated(20_000))
    assert fit.slope == pytest.approx(1.0, abs=0.06)
    assert fit.intercept == pytest.approx(0.0, abs=0.06)
    assert fit.in_the_large == pytest.approx(0.0, abs=0.06)


def test_overconfident_and_shifted_scores_are_found():
    scores, truth = calibrated(20_000)
    fit = calibration_fit(expit(2 * logit(scores) + 0.6), truth)
    assert fit.slope == pytest.approx(0.5, abs=0.04)
    # logit p = (given - 0.6) / 2
    assert fit.intercept == pytest.approx(-0.3, abs=0.06)
    assert fit.in_the_large < -0.2


def test_equals_unpenalised_sklearn():
    scores, truth = calibrated(500)
    fit = calibration_fit(scores, truth)
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(logit(scores)[:, None], truth)
    assert fit.slope == pytest.approx(theirs.coef_[0, 0], rel=1e-4)
    assert fit.intercept == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_calibration_in_the_large_solves_its_equation():
    """At the optimum the mean recalibrated score equals the prevalence."""
    scores, truth = calibrated(300)
    fit = calibration_fit(scores**2, truth)
    assert expit(logit(scores**2) + fit.in_the_large).mean() == pytest.approx(truth.mean(), abs=1e-9)


def test_scores_of_zero_and_one_do_not_break_it():
    fit = calibration_fit(np.array([0.0, 0.0, 1.0, 1.0, 0.5, 0.4]), np.array([0, 1, 1, 0, 1, 0]))
    assert np.isfinite([fit.slope, fit.intercept, fit.in_the_large]).all()


@pytest.mark.parametrize(
    ("scores", "truth"),
    [([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]), ([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0]), ([0.4, 0.4, 0.4, 0.4], [0, 1, 0, 1])],
)
def test_without_a_finite_slope_there_is_none(scores, truth):
    fit = calibration_fit(np.array(scores), np.array(truth))
    assert fit.slope is None
    assert fit.intercept is None
    assert fit.in_the_large is not None


def test_one_class_has_nothing():
    fit = calibration_fit(np.array([0.2, 0.4]), np.array([1, 1]))
    assert (fit.slope, fit.intercept, fit.in_the_large) == (None, None, None)


@pytest.mark.parametrize("maker", [binary_case, multiclass_case, multilabel_case])
def test_bins_add_up_to_the_calibration_error(maker):
    outcomes = Outcomes.of(maker())
    bins = reliability_bins(outcomes, None, 0.95, independent=True)
    total = sum(b.n for b in bins)
    gaps = [b.n / total * abs(b.observed - b.mean_score) for b in bins if b.n]
    assert sum(gaps) == pytest.approx(evaluate(outcomes, ["ece"])["ece"])
    assert total == len(outcomes.confidences[0])
    for b in bins:
        if b.n:
            assert b.lower <= b.mean_score <= b.upper
            assert b.low <= b.observed <= b.high
        else:
            assert (b.mean_score, b.observed, b.low, b.high) == (None, None, None, None)


def test_bands_of_clustered_records_come_from_the_bootstrap():
    predictions = binary_case(400, 40)
    outcomes = Outcomes.of(predictions)
    clusters = Clusters.of(predictions.patients(), outcomes.truth)
    drawn = collect(outcomes, clusters, {"b": lambda view: view.calibration_bins}, resamples=200, seed=0)["b"]
    banded = reliability_bins(outcomes, drawn, 0.95, independent=False)
    wilson = reliability_bins(outcomes, None, 0.95, independent=True)
    assert [b.observed for b in banded] == [b.observed for b in wilson]
    assert [b.low for b in banded] != [b.low for b in wilson]
    assert all(b.low <= b.observed <= b.high for b in banded if b.n)
    bare = reliability_bins(outcomes, None, 0.95, independent=False)
    assert all(b.low is None for b in bare)


def test_temperature_mends_overconfidence():
    scores, truth = calibrated()
    hot = expit(3 * logit(scores))
    scaling = fit_temperature(hot, truth)
    assert scaling.temperature == pytest.approx(3.0, rel=0.1)
    np.testing.assert_allclose(scaling(hot), scores, atol=0.05)
    assert log_loss(truth, scaling(hot)) < log_loss(truth, hot)


def test_temperature_of_many_classes():
    outcomes = Outcomes.of(multiclass_case(3000))
    hot = outcomes.scores**2.5 / (outcomes.scores**2.5).sum(axis=1, keepdims=True)
    base, scaling = fit_temperature(outcomes.scores, outcomes.truth), fit_temperature(hot, outcomes.truth)
    assert scaling.temperature == pytest.approx(2.5 * base.temperature, rel=0.01)
    after = scaling(hot)
    np.testing.assert_allclose(after.sum(axis=1), 1.0)
    assert (after.argmax(axis=1) == hot.argmax(axis=1)).all()


def test_temperature_one_changes_nothing():
    scores, _ = calibrated(50)
    np.testing.assert_allclose(TemperatureScaling(1.0)(scores), scores, atol=1e-6)
    three = np.random.default_rng(0).dirichlet([1, 1, 1], 20)
    np.testing.assert_allclose(TemperatureScaling(1.0)(three), three, atol=1e-5)


def test_isotonic_rises_and_mends():
    scores, truth = calibrated()
    bent = scores**3
    scaling = fit_isotonic(bent, truth)
    grid = np.linspace(0, 1, 101)
    assert (np.diff(scaling(grid)) >= 0).all()
    assert 0 <= scaling(grid).min() <= scaling(grid).max() <= 1
    fresh, labels = calibrated(seed=5)
    before = evaluate(binary_outcomes(labels, fresh**3), ["ece"])["ece"]
    after = evaluate(binary_outcomes(labels, scaling(fresh**3)), ["ece"])["ece"]
    assert after < before / 2


@pytest.mark.parametrize("fit", [fit_temperature, fit_isotonic])
def test_scaling_needs_both_classes(fit):
    with pytest.raises(EvaluationError, match="one class"):
        fit(np.array([0.2, 0.7]), np.array([1, 1]))
