from __future__ import annotations

import pytest

from medfm.evaluation.summary import Calibration, Curve, Estimate, ReliabilityBin
from medfm.reporting.curves import decision_plot, pr_plot, reliability_plot, roc_plot

GRID = tuple(i / 10 for i in range(11))


def curve(name: str, **changes) -> Curve:
    settings = {"name": name, "x": GRID, "y": tuple(v**0.5 for v in GRID)} | changes
    return Curve(**settings)


def test_roc_and_pr_of_a_real_summary(result):
    roc, pr = roc_plot(result.summary), pr_plot(result.summary)
    assert roc is not None and pr is not None
    for name in result.summary.classes:
        assert name in roc.alt and name in pr.alt
    assert "guessing" in roc.caption
    assert "95 %" in roc.caption


@pytest.mark.parametrize("plot", [roc_plot, pr_plot, decision_plot])
def test_without_curves_there_is_no_figure(result, plot):
    bare = result.summary.model_copy(update={"roc": (), "pr": (), "decision": ()})
    assert plot(bare) is None


def test_undefined_curves_are_left_out(result):
    empty = curve("absent", y=(None,) * 11)
    summary = result.summary.model_copy(update={"roc": (curve("present"), empty)})
    plot = roc_plot(summary)
    assert plot is not None
    assert "present" in plot.alt and "absent" not in plot.alt
    assert roc_plot(result.summary.model_copy(update={"roc": (empty,)})) is None


def test_gaps_and_missing_bands_are_drawn(result):
    gap = curve("gap", y=(None, *[0.5] * 10), low=(None, *[0.4] * 10), high=(None, *[0.6] * 10))
    assert roc_plot(result.summary.model_copy(update={"roc": (gap, curve("no band"))})) is not None


def test_too_many_classes_are_counted(result):
    many = tuple(curve(f"class {i}") for i in range(30))
    plot = roc_plot(result.summary.model_copy(update={"roc": many}))
    assert plot is not None
    assert "6 further curves are not drawn" in plot.caption
    assert "class 23" in plot.alt and "class 24" not in plot.alt


def test_bands_change_the_figure(result):
    plain = roc_plot(result.summary.model_copy(update={"roc": (curve("a"),)}))
    banded = roc_plot(result.summary.model_copy(update={"roc": (curve("a", low=(0.0,) * 11, high=(1.0,) * 11),)}))
    assert plain is not None and banded is not None and plain.uri != banded.uri


def test_reliability_of_a_real_summary(result):
    plot = reliability_plot(result.summary.calibration)
    assert plot is not None
    assert f"{result.summary.calibration.ece.value:.3f}" in plot.alt


def test_reliability_needs_a_filled_bin():
    estimate = Estimate(metric="ece", value=0.1)
    empty = ReliabilityBin(lower=0, upper=0.1, n=0, mean_score=None, observed=None)
    assert reliability_plot(None) is None
    assert reliability_plot(Calibration(ece=estimate, brier=estimate)) is None
    assert reliability_plot(Calibration(ece=estimate, brier=estimate, bins=(empty,))) is None
    filled = ReliabilityBin(lower=0.5, upper=0.6, n=5, mean_score=0.55, observed=0.6)
    assert reliability_plot(Calibration(ece=estimate, brier=estimate, bins=(empty, filled))) is not None


def test_decision_curve_names_its_lines(make, tasks):
    summary = make(tasks["binary"]).summary
    plot = decision_plot(summary)
    assert plot is not None
    assert all(c.name in plot.alt for c in summary.decision)
