"""Kaplan-Meier and Aalen-Johansen against lifelines, by hand, and under censoring and ties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from survival_cases import follow_up

from medfm.core.errors import EvaluationError
from medfm.evaluation.survival_curves import cumulative_incidence, kaplan_meier, number_at_risk

STATS = Path(__file__).resolve().parents[1] / "parity" / "stats"


def test_golden_figures() -> None:
    arrays = np.load(STATS / "inputs.npz")
    golden = json.loads((STATS / "golden.json").read_text())["survival"]
    curve = kaplan_meier(arrays["surv_time"], arrays["surv_event"].astype(bool))
    for time, value in golden["km_S_at"].items():
        assert float(curve(float(time))) == pytest.approx(value, abs=1e-12)
    assert curve.first_below(0.5) == golden["km_median"]


def test_by_hand() -> None:
    curve = kaplan_meier(np.array([1.0, 2, 2, 3, 4]), np.array([1, 1, 0, 0, 1], bool))
    np.testing.assert_allclose(curve.values, [0.8, 0.6, 0.6, 0.0])
    np.testing.assert_allclose(curve(np.array([0.5, 1, 1.5, 2, 3.9, 9])), [1, 0.8, 0.8, 0.6, 0.6, 0])
    assert curve.first_below(0.7) == 2 and kaplan_meier(np.array([1.0]), np.array([False])).first_below(0.5) is None
    # The censoring curve: those with the event at 2 have left before the censoring at 2.
    marks = np.array([1, 1, 0, 0, 1], bool)
    lost = kaplan_meier(np.array([1.0, 2, 2, 3, 4]), ~marks, before=marks)
    np.testing.assert_allclose(lost.values, [1, 1 - 1 / 3, (2 / 3) * 0.5, (2 / 3) * 0.5])


@pytest.mark.parametrize("digits", [0, 6])
def test_kaplan_meier_and_its_interval_equal_lifelines(digits: int) -> None:
    from lifelines import KaplanMeierFitter

    time, code = follow_up(np.random.default_rng(2), np.zeros(90), digits=digits)
    with np.errstate():  # lifelines changes it for the process
        theirs = KaplanMeierFitter(alpha=0.1).fit(time, code == 1)
    ours = kaplan_meier(time, code == 1, level=0.9)
    at = theirs.survival_function_.index.to_numpy()
    np.testing.assert_allclose(ours(at), theirs.survival_function_.iloc[:, 0], atol=1e-12)
    bounds = theirs.confidence_interval_survival_function_.loc[ours.times].to_numpy()
    good = ours.values > 0
    np.testing.assert_allclose(ours.low[good], bounds[good, 0], atol=1e-12)
    np.testing.assert_allclose(ours.high[good], bounds[good, 1], atol=1e-12)


def test_cumulative_incidence_and_its_interval_equal_lifelines() -> None:
    from lifelines import AalenJohansenFitter

    time, code = follow_up(np.random.default_rng(3), np.zeros(120), other=30)
    with np.errstate():
        theirs = AalenJohansenFitter(calculate_variance=True).fit(time, code, 1)
    ours = cumulative_incidence(time, code, 1, level=0.95)
    there = theirs.cumulative_density_.iloc[:, 0]
    np.testing.assert_allclose(ours(there.index.to_numpy()), there, atol=1e-12)
    bounds = theirs.confidence_interval_.loc[ours.times].to_numpy()
    good = ours.values > 0
    np.testing.assert_allclose(np.c_[ours.low, ours.high][good], np.sort(bounds[good], axis=1), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_what_must_hold_whatever_the_data(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    time, code = rng.integers(1, 12, n).astype(float), rng.integers(0, 4, n)
    alive = kaplan_meier(time, code > 0, level=0.95)
    shares = [cumulative_incidence(time, code, c, level=0.95) for c in (1, 2, 3)]
    # Everybody has had one of the events or none: the curves add up.
    np.testing.assert_allclose(alive.values + sum(s.values for s in shares), 1.0, atol=1e-12)
    for curve in (alive, *shares):
        known = np.isfinite(curve.low) & np.isfinite(curve.high)
        assert (curve.low[known] <= curve.values[known] + 1e-9).all()
        assert (curve.high[known] >= curve.values[known] - 1e-9).all()
        assert ((curve.values >= -1e-12) & (curve.values <= 1 + 1e-12)).all()
    assert (np.diff(alive.values) <= 1e-12).all() and all((np.diff(s.values) >= -1e-12).all() for s in shares)
    # Without competing events the incidence is one minus Kaplan-Meier.
    alone = np.minimum(code, 1)
    np.testing.assert_allclose(
        cumulative_incidence(time, alone, 1).values, 1 - kaplan_meier(time, alone == 1).values, atol=1e-12
    )


def test_competing_events_lower_the_incidence() -> None:
    time, code = follow_up(np.random.default_rng(5), np.zeros(400), other=20)
    naive = 1 - kaplan_meier(time, code == 1).values[-1]
    assert cumulative_incidence(time, code, 1).values[-1] < naive - 0.1


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng, inside = np.random.default_rng(6), 0
    for _ in range(400):
        time, code = follow_up(rng, np.zeros(60))
        curve = kaplan_meier(time, code == 1, level=0.9)
        place = np.searchsorted(curve.times, 10.0, side="right") - 1
        inside += curve.low[place] <= np.exp(-10 / 20) <= curve.high[place]
    assert 0.86 <= inside / 400 <= 0.94  # three standard errors of 0.9 are 0.045


def test_numbers_at_risk() -> None:
    time = np.array([1.0, 2, 2, 5])
    assert number_at_risk(time, np.array([0, 1, 2, 2.1, 5, 6])).tolist() == [4, 4, 3, 1, 1, 0]
    with pytest.raises(EvaluationError, match="at least one"):
        kaplan_meier(np.zeros(0), np.zeros(0, bool))
