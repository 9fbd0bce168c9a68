"""The part of a figure's variance that comes from the mix of classes, against formulas and against redrawn cohorts."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.evaluation import class_mix
from medfm.evaluation.bootstrap import Clusters, collect
from medfm.evaluation.class_mix import mix_variance
from medfm.evaluation.metrics import metric
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.score_intervals import logit_bootstrap_interval
from medfm.evaluation.statistics_classes import PER_CLASS
from medfm.evaluation.statistics_estimates import Sample, estimate


def _script():
    path = Path(__file__).parents[2] / "scripts" / "interval_coverage.py"
    spec = importlib.util.spec_from_file_location("interval_coverage_of_grades", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = _script()


def graded(patients: int = 60, each: int = 1, grades: int = 3, seed: int = 0) -> tuple[Outcomes, np.ndarray]:
    truth, predicted, who = script.graded_cohort(np.random.default_rng(seed), patients, each, grades)
    return script.graded_outcomes(truth, predicted, grades), who


def sample(outcomes: Outcomes, who: np.ndarray, **options: object) -> Sample:
    return Sample(outcomes, Clusters.of(who, outcomes.truth), StatisticsPlan(resamples=200, **options), len(outcomes))


def compute(name: str):
    return metric(name, "multiclass").compute


def test_one_stratum_adds_nothing():
    outcomes, who = graded()
    assert mix_variance(outcomes, Clusters.of(who), compute("quadratic_kappa")) == 0.0


def test_of_accuracy_it_is_the_variance_between_classes():
    """Accuracy is sum(p_s a_s): its derivative by the weight of stratum s is p_s (a_s - a), to first order."""
    truth = np.repeat([0, 1], [400, 100])
    right = np.concatenate([np.arange(400) < 360, np.arange(100) < 40])
    outcomes = script.graded_outcomes(truth, np.where(right, truth, 1 - truth), 2)
    found = mix_variance(outcomes, Clusters.of(np.arange(500), truth), compute("accuracy"))
    share, rate, whole = np.array([0.8, 0.2]), np.array([0.9, 0.4]), 0.8
    assert found == pytest.approx(np.sum((share * (rate - whole)) ** 2 / [400, 100]), rel=0.02)


def test_both_parts_together_are_the_variance_of_the_bootstrap_that_draws_from_all():
    """Of accuracy exactly known: share (1 - share) / n is the variance within classes plus that of their mix."""
    outcomes, who = graded(patients=300)
    strata, one = Clusters.of(who, outcomes.truth), Clusters.of(who)
    for name in ("accuracy", "quadratic_kappa", "kappa", "mcc"):
        drawn = [collect(outcomes, c, {"x": compute(name)}, resamples=2000, seed=1)["x"].var() for c in (strata, one)]
        whole = drawn[0] + float(mix_variance(outcomes, strata, compute(name)))
        assert whole == pytest.approx(drawn[1], rel=0.15), name


def test_a_figure_that_does_not_depend_on_the_mix_gains_nothing():
    outcomes, who = graded()
    found = mix_variance(outcomes, Clusters.of(who, outcomes.truth), compute("balanced_accuracy"))
    assert found == pytest.approx(0.0, abs=1e-20)


def test_figures_of_all_classes_come_at_once_and_in_chunks_alike(monkeypatch):
    outcomes, who = graded(grades=4)
    clusters = Clusters.of(who, outcomes.truth)
    whole = mix_variance(outcomes, clusters, PER_CLASS["f1"].compute)
    assert whole.shape == (4,) and (whole >= 0).all()
    monkeypatch.setattr(class_mix, "_CHUNK_BYTES", 1)
    np.testing.assert_allclose(mix_variance(outcomes, clusters, PER_CLASS["f1"].compute), whole)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), each=st.integers(1, 3), grades=st.integers(2, 4))
def test_copies_of_every_record_change_nothing_and_more_patients_make_it_smaller(seed, each, grades):
    outcomes, who = graded(40, each, grades, seed)
    rows = np.tile(np.arange(len(outcomes)), 2)
    clusters = Clusters.of(who, outcomes.truth)
    found = mix_variance(outcomes, clusters, compute("f1_macro"))
    copies = mix_variance(outcomes.take(rows), Clusters.of(who[rows], outcomes.truth[rows]), compute("f1_macro"))
    assert copies == pytest.approx(float(found), nan_ok=True)
    more = np.concatenate([who, who + who.max() + 1])
    double = float(mix_variance(outcomes.take(rows), Clusters.of(more, outcomes.truth[rows]), compute("f1_macro")))
    assert double <= float(found) + 1e-12 or np.isnan(found)


def test_the_interval_of_a_report_has_it():
    outcomes, who = graded()
    made, name = sample(outcomes, who), "quadratic_kappa"
    value = script.value_of(name, outcomes)
    drawn = collect(outcomes, made.clusters, {"x": compute(name)}, resamples=200, seed=0)["x"]
    found = estimate(made, metric(name, "multiclass"), value, drawn)
    without = logit_bootstrap_interval(value, drawn, made.clusters.count, lowest=-1.0)
    assert found.low < without[0] and without[1] < found.high
    with_it = logit_bootstrap_interval(
        value, drawn, made.clusters.count, lowest=-1.0, beside=float(mix_variance(outcomes, made.clusters, compute(name)))
    )  # fmt: skip
    assert (found.low, found.high) == pytest.approx(with_it)
    old = estimate(sample(outcomes, who, intervals="resampled"), metric(name, "multiclass"), value, drawn)
    assert (old.low, old.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def test_the_variance_is_computed_once_for_all_classes(monkeypatch):
    outcomes, who = graded()
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return mix_variance(*arguments)

    monkeypatch.setattr("medfm.evaluation.statistics_intervals.mix_variance", counted)
    made = sample(outcomes, who)
    drawn = collect(outcomes, made.clusters, {"x": PER_CLASS["f1"].compute}, resamples=50, seed=0)["x"]
    for c in range(3):
        estimate(made, PER_CLASS["f1"], 0.5, drawn[c], positive=c)
    assert len(calls) == 1


def test_an_undefined_figure_under_a_moved_weight_leaves_the_bootstrap_alone():
    outcomes, who = graded()

    def undefined(view: Weighted) -> np.ndarray:
        return np.full(view.count, np.nan)

    made = sample(outcomes, who)
    broken = type(metric("kappa", "multiclass"))("kappa", "kappa", partial(undefined), lowest=-1.0)
    found = estimate(made, broken, 0.4, np.linspace(0.3, 0.5, 50))
    assert (found.low, found.high) == pytest.approx(
        logit_bootstrap_interval(0.4, np.linspace(0.3, 0.5, 50), made.clusters.count, lowest=-1.0)
    )


@pytest.mark.parametrize(("patients", "each", "grades"), [(40, 1, 3), (30, 3, 3), (60, 1, 5)])
def test_quadratic_kappa_is_covered(patients, each, grades):
    """Before the mix was counted it was 82 to 91 %."""
    low, _ = script.margin(150)
    found = script.graded_coverage(150, patients, each, grades, names=("quadratic_kappa",), resamples=80)
    assert low - 0.02 <= found["quadratic_kappa"] <= 1.0


@pytest.mark.parametrize("known", [True, False])
def test_no_error_at_all_says_what_it_still_allows(known):
    truth = np.array([0, 1, 2] * 4)
    outcomes = script.graded_outcomes(truth, truth, 3)
    clusters = Clusters.of(np.arange(12), truth)
    made = Sample(outcomes, clusters, StatisticsPlan(), 12, patients_known=known)
    for name in ("f1_macro", "quadratic_kappa", "mcc"):
        found = estimate(made, metric(name, "multiclass"), 1.0, np.ones(100))
        unit = "patients" if known else "records"
        assert found.low is None and "all resamples gave the same value" in found.note
        # Wilson's upper bound of 0 of 12: z^2 / (12 + z^2)
        assert f"no error in 12 {unit} still allows errors in up to 24 % of such {unit}" in found.note
    worst = script.graded_outcomes(truth, (truth + 1) % 3, 3)
    spoilt = Sample(worst, clusters, StatisticsPlan(), 12)
    assert "still allows" not in estimate(spoilt, metric("f1_macro", "multiclass"), 0.0, np.zeros(100)).note
