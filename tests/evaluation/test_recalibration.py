"""Temperature and Platt scaling as one line on the logit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from medfm.evaluation.calibration import TemperatureScaling, calibration_fit, fit_temperature
from medfm.evaluation.recalibration import LEAST, MOST, Recalibration, recalibrate
from medfm.evaluation.target import Target


def binary(count: int = 400, sharp: float = 3.0, shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, Target]:
    """Scores that are `sharp` times too sure, with `shift` on the logit, and the truth."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(size=count)
    truth = (rng.random(count) < expit(logit)).astype(np.int64)
    said = expit(sharp * logit + shift)
    return np.column_stack([1 - said, said]), Target("sick", "binary", ("no", "yes"), truth)


def test_the_temperature_is_that_of_the_package_and_undoes_too_much_confidence() -> None:
    scores, truth = binary()
    found = recalibrate(scores, truth, "temperature")
    temperature = fit_temperature(scores[:, 1], truth.values).temperature
    assert found.slope == pytest.approx(1 / temperature) and found.intercept == 0 and found.rule == "temperature"
    assert found.slope == pytest.approx(1 / 3, rel=0.3)
    expected = TemperatureScaling(temperature)(scores[:, 1])
    assert found(scores, "binary")[:, 1] == pytest.approx(expected, abs=1e-9)


def test_platt_is_logistic_regression_on_the_logit() -> None:
    scores, truth = binary(shift=1.0)
    found, fit = recalibrate(scores, truth, "platt"), calibration_fit(scores[:, 1], truth.values)
    assert (found.slope, found.intercept) == (fit.slope, fit.intercept)
    after = calibration_fit(found(scores, "binary")[:, 1], truth.values)
    assert after.slope == pytest.approx(1, abs=1e-4) and after.intercept == pytest.approx(0, abs=1e-4)


def test_several_classes_are_divided_by_a_temperature() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(300, 3))
    truth = np.array([rng.choice(3, p=p) for p in softmax(logits, axis=1)])
    target = Target("cell", "multiclass", ("a", "b", "c"), truth)
    scores = softmax(4 * logits, axis=1)
    found = recalibrate(scores, target, "temperature")
    assert found.slope == pytest.approx(0.25, rel=0.3)
    assert found(scores, "multiclass") == pytest.approx(softmax(found.slope * 4 * logits, axis=1), abs=1e-4)
    assert recalibrate(scores, target, "platt") == Recalibration()


@pytest.mark.parametrize("rule", ["temperature", "platt", "none"])
def test_nothing_is_changed_where_nothing_can_be_learnt(rule: str) -> None:
    scores, truth = binary(20)
    one = Target("sick", "binary", ("no", "yes"), np.ones(20, dtype=np.int64))
    assert recalibrate(scores, one, rule) == Recalibration()
    # Scores that separate the classes would ask for certainty.
    apart = np.where(truth.values == 1, 0.6, 0.4)
    assert recalibrate(np.column_stack([1 - apart, apart]), truth, rule) == Recalibration()
    values = Target("age", "regression", (), np.arange(20.0))
    assert recalibrate(np.arange(20.0)[:, None], values, rule) == Recalibration()
    numbers = np.arange(4.0)[:, None]
    assert Recalibration(2, 1, "platt")(numbers, "regression") is numbers


def test_platt_never_turns_the_scores_around() -> None:
    scores, truth = binary()
    assert recalibrate(scores[:, ::-1], truth, "platt") == Recalibration()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 40), st.sampled_from(["temperature", "platt"]))
def test_recalibrated_scores_are_probabilities_in_the_same_order(seed: int, count: int, rule: str) -> None:
    scores, truth = binary(count, seed=seed)
    found = recalibrate(scores, truth, rule)
    assert found.rule == "none" or LEAST <= found.slope <= MOST
    after = found(scores, "binary")
    assert after.sum(axis=1) == pytest.approx(1) and (after >= 0).all()
    assert (np.diff(after[np.argsort(scores[:, 1]), 1]) >= 0).all()
    assert found.about() == {"rule": found.rule, "slope": found.slope, "intercept": found.intercept}
