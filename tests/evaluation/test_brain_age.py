"""The brain-age gap: the bias line, where it comes from, and what the correction may and may not do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import EvaluationError
from medfm.evaluation.brain_age import AgeBias, age_biases, gap_figures
from medfm.evaluation.linear_probe import run_linear_probe
from medfm.evaluation.protocol import LinearProbe, Selection, StatisticsPlan
from medfm.evaluation.schemes import Fold
from medfm.evaluation.target import Target

METHOD = LinearProbe(selection=Selection(rule="fixed", value=0.01))
NONE = np.empty(0, dtype=np.int64)


def brains(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, 6) that know age only roughly, and ages."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(50, 90, n)
    return np.outer(age - 70, rng.normal(size=6)) / 10 + 1.5 * rng.normal(size=(n, 6)), age


def test_the_line_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    age = rng.uniform(40, 90, 50)
    predicted = 30 + 0.6 * age + rng.normal(size=50)
    found = AgeBias.fit(age, predicted)
    slope, intercept = np.polyfit(age, predicted - age, 1)
    assert found.slope == pytest.approx(slope) and found.intercept == pytest.approx(intercept) and found.n == 50
    left = found.corrected(age, predicted)
    assert np.corrcoef(left, age)[0, 1] == pytest.approx(0, abs=1e-9) and left.mean() == pytest.approx(0, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.floats(-20, 20), st.floats(-0.9, 0.9), st.floats(-15, 15))
def test_a_line_is_taken_out_and_a_true_gap_stays(intercept: float, slope: float, shift: float) -> None:
    age = np.linspace(45, 85, 20)
    bias = AgeBias.fit(age, age + intercept + slope * age)
    np.testing.assert_allclose(bias.corrected(age, age + intercept + slope * age + shift), shift, atol=1e-8)


def test_shrinkage_is_corrected_on_subjects_that_never_helped() -> None:
    X, age = brains()
    target = Target("age", "regression", (), age)
    fold = Fold(np.arange(200), np.arange(200, 300), NONE)
    patients = np.arange(300).astype(str)
    predicted = run_linear_probe(X, target, [fold], METHOD, patients=patients)[0].scores[:, 0]
    gap = predicted - age[200:]
    bias = age_biases(X, target, [fold], METHOD, [0.01], patients=patients)[0]
    assert bias.n == 200 and bias.slope < -0.05
    left = bias.corrected(age[200:], predicted)
    assert np.corrcoef(gap, age[200:])[0, 1] < -0.2
    assert abs(np.corrcoef(left, age[200:])[0, 1]) < 0.2
    # Whatever the tested subjects are, the line stays the same.
    changed, ages = X.copy(), age.copy()
    changed[200:], ages[200:] = 1e6, 20.0
    again = age_biases(changed, Target("age", "regression", (), ages), [fold], METHOD, [0.01], patients=patients)[0]
    assert again == bias


def test_inner_predictions_come_from_models_that_saw_nobody_of_the_patient() -> None:
    """With scans of one patient copied, seen copies would make the training errors vanish."""
    rng = np.random.default_rng(1)
    X, age = rng.normal(size=(40, 60)), rng.uniform(50, 90, 40)
    X, age = np.repeat(X, 5, axis=0), np.repeat(age, 5)
    target, fold = Target("age", "regression", (), age), Fold(np.arange(200), NONE, NONE)
    loose = LinearProbe(selection=Selection(rule="fixed", value=1e6))
    kept = age_biases(X, target, [fold], loose, [1e6], patients=np.repeat(np.arange(40), 5).astype(str))[0]
    torn = age_biases(X, target, [fold], loose, [1e6], patients=np.arange(200).astype(str))[0]
    assert abs(torn.slope) < 0.05 < abs(kept.slope)


def test_figures_before_and_after_and_by_group() -> None:
    rng = np.random.default_rng(2)
    age = rng.uniform(50, 90, 200)
    ill = np.arange(200) % 2 == 1
    corrected = 4.0 * ill + rng.normal(size=200)
    table = pd.DataFrame(
        {
            "truth": age,
            "gap": corrected - 0.3 * (age - 70),
            "corrected_gap": corrected,
            "patient_id": np.arange(200),
            "diagnosis": np.where(ill, "AD", "CN"),
        }
    )
    plan = StatisticsPlan(resamples=200, subgroups=("diagnosis",))
    found = gap_figures(table, plan)
    before, after = (found[k]["correlation_with_age"] for k in ("uncorrected", "corrected"))
    assert before["value"] == pytest.approx(np.corrcoef(table["gap"], age)[0, 1]) and before["high"] < -0.5
    assert after["low"] < 0 < after["high"]
    groups = found["corrected_gap_by"]["diagnosis"]
    assert groups["AD"]["low"] > 3 and groups["CN"]["low"] < 0 < groups["CN"]["high"]
    assert groups["AD"]["n_patients"] == 100
    few = gap_figures(table.assign(diagnosis=["AD"] * 3 + ["CN"] * 197), plan)["corrected_gap_by"]["diagnosis"]
    assert few["AD"] == {"hidden": True}
    assert gap_figures(table, StatisticsPlan(resamples=0))["corrected"]["mean_gap"]["low"] is None


def test_scans_of_one_patient_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    person = np.repeat(np.arange(20), 10)
    gap = rng.normal(size=20)[person]
    table = pd.DataFrame({"truth": rng.uniform(50, 90, 200), "gap": gap, "corrected_gap": gap, "patient_id": person})
    wide = gap_figures(table, StatisticsPlan(resamples=300))["corrected"]["mean_gap"]
    narrow = gap_figures(table.assign(patient_id=np.arange(200)), StatisticsPlan(resamples=300))["corrected"][
        "mean_gap"
    ]
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"])


def test_what_has_no_gap_is_refused() -> None:
    with pytest.raises(EvaluationError, match="three training subjects"):
        AgeBias.fit(np.array([60.0, 70]), np.array([61.0, 69]))
    with pytest.raises(EvaluationError, match="different ages"):
        AgeBias.fit(np.full(9, 60.0), np.arange(9.0))
    X, age = brains(20)
    with pytest.raises(EvaluationError, match="needs ages"):
        age_biases(X, Target("label", "binary", ("a", "b"), np.arange(20) % 2), [], METHOD, [], patients=age)
    fold = Fold(np.arange(20), NONE, NONE)
    with pytest.raises(EvaluationError, match="two training patients"):
        age_biases(X, Target("age", "regression", (), age), [fold], METHOD, [1.0], patients=np.full(20, "one"))
