"""Absolute risks: baselines, incidence with competing events, weighted Brier scores, where they can be judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from survival_cases import cohort_of, follow_up, planted

from medfm.core.errors import EvaluationError
from medfm.evaluation.metrics import evaluate
from medfm.evaluation.protocol import Protocol, Scheme, StatisticsPlan
from medfm.evaluation.survival import run_survival
from medfm.evaluation.survival_absolute import (
    ABSOLUTE_COLUMNS,
    Baseline,
    breslow,
    brier_rows,
    incidence,
    integrated,
    null_incidence,
    status_weights,
    time_grid,
)
from medfm.evaluation.survival_config import Survival
from medfm.evaluation.survival_curves import kaplan_meier
from medfm.evaluation.survival_data import survival_data
from medfm.evaluation.survival_metrics import censoring_curve
from medfm.evaluation.survival_summary import absolute_figures

STATS = Path(__file__).resolve().parents[1] / "parity" / "stats"
# scikit-survival 0.28.0, brier_score and integrated_brier_score on the arrays of parity/stats, survival
# exp(-t / 10 * exp(risk)) with the golden's coefficients: all 90 records against themselves, and the odd rows
# (without the longest follow-up) with the censoring of the others.
TIMES = np.array([1.0, 2.0, 4.0, 8.0])
OWN = [0.11452483451062392, 0.1951342068106626, 0.18954684583946227, 0.19697823848274826, 0.16871702449146408]
OWN_INTEGRATED = 0.18581375162760125
HELD = [0.1323994237561944, 0.23349891699453434, 0.21860923235138668, 0.17714984926783933]
HELD_INTEGRATED = 0.20379649756567678


def golden() -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, object]]:
    arrays = np.load(STATS / "inputs.npz")
    figures = json.loads((STATS / "golden.json").read_text())["survival"]
    return arrays["surv_x"] @ np.array(figures["cox_coef_efron"]), arrays["surv_time"], arrays["surv_event"].astype(int), figures  # fmt: skip


def plain_risk(risk: np.ndarray, at: np.ndarray) -> np.ndarray:
    return 1 - np.exp(-0.1 * at[None, :] * np.exp(risk)[:, None])


def test_brier_scores_equal_scikit_survival() -> None:
    risk, time, event, _ = golden()
    at = np.append(TIMES, 12.0)
    rows = brier_rows(plain_risk(risk, at), *status_weights(time, event, censoring_curve(time, event > 0), at))
    np.testing.assert_allclose(rows.mean(axis=0), OWN, atol=1e-12)
    assert integrated(rows, at).mean() == pytest.approx(OWN_INTEGRATED, abs=1e-12)
    held = np.arange(1, 90, 2)
    held = held[held != time.argmax()]
    train = np.setdiff1d(np.arange(90), held)
    curve = censoring_curve(time[train], event[train] > 0)
    rows = brier_rows(plain_risk(risk[held], TIMES), *status_weights(time[held], event[held], curve, TIMES))
    np.testing.assert_allclose(rows.mean(axis=0), HELD, atol=1e-12)
    assert integrated(rows, TIMES).mean() == pytest.approx(HELD_INTEGRATED, abs=1e-12)


def test_the_baseline_equals_lifelines() -> None:
    from lifelines import CoxPHFitter

    arrays, (_, time, event, figures) = np.load(STATS / "inputs.npz"), golden()
    frame = pd.DataFrame(arrays["surv_x"], columns=list("abc")).assign(time=time, event=event)
    theirs = CoxPHFitter(penalizer=0.1).fit(frame, "time", "event")
    # lifelines centres the covariates, as our models do.
    risk = (arrays["surv_x"] - arrays["surv_x"].mean(axis=0)) @ theirs.params_.to_numpy()
    found = breslow(risk, time, event == 1)
    table = theirs.baseline_cumulative_hazard_["baseline cumulative hazard"]
    np.testing.assert_allclose(np.cumsum(found.steps), table.loc[found.times], rtol=1e-10)
    at = np.array([1.0, 5.0, 20.0])
    survival = theirs.predict_survival_function(frame, times=at).to_numpy().T
    np.testing.assert_allclose(incidence(risk, found, at), 1 - survival, atol=1e-9)
    assert isinstance(figures["baseline_cumhaz_at_5"], float)


def naive_incidence(h1: np.ndarray, h2: np.ndarray) -> float:
    """Step by step: of those left, a share leaves; of it the part of the first hazard has the event."""
    left, had = 1.0, 0.0
    for a, b in zip(h1, h2, strict=True):
        gone = left * (1 - np.exp(-(a + b)))
        had += gone * a / (a + b) if a + b else 0.0
        left -= gone
    return had


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_incidence_with_competitors_step_by_step(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = 3, 6
    times = np.arange(1.0, m + 1)
    own = Baseline(times[::2], rng.uniform(0, 0.5, 3))
    other = Baseline(times[1:5], rng.uniform(0, 0.5, 4))
    risk, rival_risk = rng.normal(size=(2, n))
    at = np.array([0.5, 2.0, 4.5, 9.0])
    found = incidence(risk, own, at, rival_risk=rival_risk, rival=other)
    for i in range(n):
        for j, t in enumerate(at):
            h1 = [np.exp(risk[i]) * own.steps[list(own.times).index(x)] if x in own.times and x <= t else 0.0 for x in times]  # fmt: skip
            h2 = [np.exp(rival_risk[i]) * other.steps[list(other.times).index(x)] if x in other.times and x <= t else 0.0 for x in times]  # fmt: skip
            assert found[i, j] == pytest.approx(naive_incidence(np.array(h1), np.array(h2)), abs=1e-12)
    alone = incidence(risk, own, at)
    assert (found <= alone + 1e-12).all() and (np.diff(found, axis=1) >= -1e-12).all() and found.max() < 1
    # A rival that never happens changes nothing.
    never = incidence(risk, own, at, rival_risk=rival_risk, rival=Baseline(times, np.zeros(m)))
    np.testing.assert_allclose(never, alone, atol=1e-12)


def test_many_rows_are_worked_in_pieces() -> None:
    rng = np.random.default_rng(0)
    own, other = Baseline(np.array([1.0, 3.0]), np.array([0.1, 0.2])), Baseline(np.array([2.0]), np.array([0.3]))
    risk = rng.normal(size=600)
    whole = incidence(risk, own, np.array([2.5, 4.0]), rival_risk=-risk, rival=other)
    some = incidence(risk[511:514], own, np.array([2.5, 4.0]), rival_risk=-risk[511:514], rival=other)
    np.testing.assert_array_equal(whole[511:514], some)
    assert incidence(np.zeros(0), own, TIMES, rival_risk=np.zeros(0), rival=other).shape == (0, 4)


def test_without_events_nothing_is_predicted() -> None:
    empty = breslow(np.zeros(3), np.array([1.0, 2.0, 3.0]), np.zeros(3, bool))
    assert len(empty.times) == 0 and (incidence(np.zeros(2), empty, TIMES) == 0).all()


def test_the_weights_stand_in_for_those_lost() -> None:
    """Under random censoring the weighted share with the event is the share without any censoring."""
    rng = np.random.default_rng(0)
    n, at = 20_000, np.array([5.0, 15.0])
    time, codes = follow_up(rng, np.zeros(n), censored=40.0)
    had, weights = status_weights(time, codes, censoring_curve(time, codes > 0), at)
    np.testing.assert_allclose((had * weights).mean(axis=0), 1 - np.exp(-at / 20), atol=0.01)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.02)
    # With the truth as prediction the score is smaller than with any other constant.
    scores = [brier_rows(np.full(2, p), had, weights).mean(axis=0)[0] for p in (0.1, 1 - np.exp(-0.25), 0.4)]
    assert scores[1] < scores[0] and scores[1] < scores[2]
    np.testing.assert_allclose(null_incidence(time, codes, at), 1 - kaplan_meier(time, codes == 1)(at), atol=1e-12)


def test_a_status_by_hand() -> None:
    """Four records, nobody censored in training before 3: event, competitor, censored, still there at 2."""
    time, codes = np.array([1.0, 1.5, 1.2, 4.0]), np.array([1, 2, 0, 0])
    curve = censoring_curve(np.array([1.0, 2.0, 3.0, 5.0]), np.array([True, True, False, True]))
    had, weights = status_weights(time, codes, curve, np.array([2.0, 3.5]))
    assert had.tolist() == [[True, True], [False, False], [False, False], [False, False]]
    np.testing.assert_allclose(weights, [[1, 1], [1, 1], [0, 0], [1, 2]])
    rows = brier_rows(np.array([0.5, 0.5]), had, weights)
    np.testing.assert_allclose(rows, [[0.25, 0.25], [0.25, 0.25], [0, 0], [0.25, 0.5]])
    np.testing.assert_allclose(integrated(rows, np.array([2.0, 3.5])), [0.25, 0.25, 0, 0.375])
    assert time_grid(2.0, 2.0) is None and len(time_grid(1.0, 2.0, 5)) == 5  # type: ignore[arg-type]


def plan(scheme: dict[str, object] | None = None, **method: object) -> Protocol:
    fast = {"components": (1, 2), "penalties": (0.1,), "inner_folds": 3, **method}
    return Protocol(
        id="s@1",
        title="s",
        method=Survival(**fast),  # type: ignore[arg-type]
        scheme=Scheme(**{"kind": "kfold", "folds": 3, **(scheme or {})}),  # type: ignore[arg-type]
    )


def run(values: np.ndarray, time: np.ndarray, code: np.ndarray, protocol: Protocol, **columns: object):  # type: ignore[no-untyped-def]
    cohort = cohort_of(time, code, **columns)
    return run_survival(survival_data(values, cohort, "time", "event", protocol.method), protocol)  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [None, 30.0])
def test_a_planted_risk_is_calibrated_and_beats_the_average(other: float | None) -> None:
    values, time, code, _ = planted(300, other=other)
    found = run(values, time, code, plan())
    assert found.metrics[-2:] == ("integrated_brier", "scaled_integrated_brier")
    assert found.predictions.classes[-5:] == ABSOLUTE_COLUMNS
    said = absolute_figures(found.predictions, StatisticsPlan(resamples=100), found.scope)
    assert said is not None and said["span"][0] < said["horizon"] < said["span"][1]
    figures = {e["metric"]: e for e in said["figures"]}
    ratio, slope = figures["observed_to_expected"], figures["horizon_slope"]
    assert ratio["low"] < 1 < ratio["high"] and 0.8 < ratio["value"] < 1.25
    assert slope["low"] < slope["value"] < slope["high"] and 0.6 < slope["value"] < 1.9
    assert evaluate(found.predictions, ["scaled_integrated_brier"])["scaled_integrated_brier"] > 0.15  # type: ignore[operator]
    groups = said["groups"]
    assert len(groups) == 5 and sum(g["n"] for g in groups) == 300
    assert [g["predicted"] for g in groups] == sorted(g["predicted"] for g in groups)
    noise = run(np.random.default_rng(9).normal(size=values.shape), time, code, plan())
    assert evaluate(noise.predictions, ["scaled_integrated_brier"])["scaled_integrated_brier"] < 0.03  # type: ignore[operator]


def test_ignoring_the_competitor_would_predict_too_much() -> None:
    values, time, code, _ = planted(300, other=15.0)
    known = run(values, time, code, plan(horizon=10.0))
    blind = run(values, time, np.where(code == 2, 0, code), plan(horizon=10.0))
    means = [r.predictions.table["risk_at_horizon"].mean() for r in (known, blind)]
    share = ((code == 1) & (time <= 10)).mean()
    assert means[0] < means[1] and means[1] > share + 0.05


def test_few_competitors_share_one_hazard() -> None:
    values, time, code, _ = planted(120)
    code = code.copy()
    code[np.flatnonzero(code == 0)[:2]] = 2
    found = run(values, time, code, plan())
    assert found.scope is not None and np.isfinite(found.predictions.table["risk_at_horizon"]).all()


def test_the_horizon_must_lie_within_the_follow_up() -> None:
    values, time, code, _ = planted(100)
    for horizon in (1e-4, 500.0):
        with pytest.raises(EvaluationError, match="Absolute risks cannot be judged") as caught:
            run(values, time, code, plan(horizon=horizon))
        assert "method.horizon" in str(caught.value) and "first event" in str(caught.value)
    kept = run(values, time, code, plan(horizon=7.5))
    assert kept.scope is not None and kept.scope.horizon == 7.5


def test_where_nobody_is_followed_on_the_ranking_figures_remain() -> None:
    """All events at one time: no span to integrate over."""
    values, _, code, _ = planted(60)
    time = np.where(code == 1, 5.0, 9.0)
    split = ["train"] * 40 + ["test"] * 20
    time[40:] = np.where(code[40:] == 1, 5.0, 5.0)
    time[-1], code[-1] = 5.0, 0
    protocol = plan({"kind": "split"}, times=())
    found = run(values, time, code, protocol, split=split)
    assert found.scope is None and "integrated_brier" not in found.metrics
    assert any("not judged" in note for note in found.notes)
    assert absolute_figures(found.predictions, StatisticsPlan(resamples=10), found.scope) is None
    assert evaluate(found.predictions, ["integrated_brier"]) == {"integrated_brier": None}


def test_test_records_change_no_prediction_of_others() -> None:
    values, time, code, _ = planted(120)
    split = ["train"] * 90 + ["test"] * 30
    first = run(values, time, code, plan({"kind": "split"}, horizon=6.0), split=split)
    changed = values.copy()
    changed[91:] += 5
    second = run(changed, time, code, plan({"kind": "split"}, horizon=6.0), split=split)
    a, b = (r.predictions.table.iloc[0] for r in (first, second))
    assert a["risk_at_horizon"] == b["risk_at_horizon"] and a["integrated_brier"] == b["integrated_brier"]
