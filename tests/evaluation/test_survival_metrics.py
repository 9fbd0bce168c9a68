"""C-index and time-dependent AUC: goldens of scikit-survival, naive pairs, a known C, coverage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from survival_cases import follow_up

from medfm.core.errors import EvaluationError, UnknownNameError
from medfm.evaluation.metrics import metric
from medfm.evaluation.survival_metrics import (
    auc_name,
    censoring_curve,
    censoring_weights,
    concordance,
    time_of,
    usual_tau,
)

STATS = Path(__file__).resolve().parents[1] / "parity" / "stats"


def one(n: int) -> np.ndarray:
    return np.ones((n, 1))


def golden() -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, object]]:
    arrays = np.load(STATS / "inputs.npz")
    figures = json.loads((STATS / "golden.json").read_text())["survival"]
    risk = arrays["surv_x"] @ np.array(figures["cox_coef_efron"])
    return risk, arrays["surv_time"], arrays["surv_event"].astype(bool), figures


def test_harrell_uno_and_timed_auc_equal_scikit_survival() -> None:
    risk, time, event, figures = golden()
    assert concordance(risk, time, event, one(90))[0] == pytest.approx(figures["c_index"], abs=1e-12)
    curve = censoring_curve(time, event)
    weights = censoring_weights(curve, time, event, figures["tau"])
    found = concordance(risk, time, event, one(90), factor=weights**2)[0]
    assert found == pytest.approx(figures["uno_c_ipcw_tau"], abs=1e-12)
    weights = censoring_weights(curve, time, event, np.inf)
    for horizon, value in zip(figures["td_auc_times"], figures["td_auc"], strict=True):
        auc = concordance(risk, time, event, one(90), factor=weights, horizon=horizon)[0]
        assert auc == pytest.approx(value, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30))
def test_every_pair_written_out(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    time, event = rng.integers(1, 8, n).astype(float), rng.random(n) < 0.6
    risk, strata = rng.integers(0, 4, n).astype(float), rng.integers(0, 3, n)
    factor, weights = rng.random(n) + 0.1, rng.integers(0, 3, (n, 4)).astype(np.float32)
    for horizon in (None, 4.0):
        won, total = np.zeros(4), np.zeros(4)
        for i in range(n):
            for j in range(n):
                if not event[i] or strata[i] != strata[j]:
                    continue
                if horizon is None:
                    known = time[j] > time[i] or (time[j] == time[i] and not event[j])
                else:
                    known = time[i] <= horizon < time[j]
                if known:
                    score = 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
                    won += score * factor[i] * weights[i] * weights[j]
                    total += factor[i] * weights[i] * weights[j]
        expected = np.where(total > 0, won / np.where(total > 0, total, 1), np.nan)
        found = concordance(risk, time, event, weights, factor=factor, strata=strata, horizon=horizon)
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_equals_lifelines() -> None:
    from lifelines.utils import concordance_index

    rng = np.random.default_rng(1)
    risk = rng.normal(size=200).round(1)
    time, code = follow_up(rng, risk, digits=0)
    ours = concordance(risk, time, code == 1, one(200))[0]
    assert ours == pytest.approx(concordance_index(time, -risk, code == 1), abs=1e-12)


def test_the_known_c_of_a_proportional_model_is_found() -> None:
    """Under exponential times a pair's chance of the right order is h1 / (h1 + h2): its mean is the true C."""
    rng = np.random.default_rng(2)
    risk = rng.normal(size=2500)
    first, second = rng.normal(size=(2, 400_000))
    truth = float(np.mean(1 / (1 + np.exp(-np.abs(first - second)))))
    time = rng.exponential(size=2500) * np.exp(-risk)
    everyone = np.ones(2500, bool)
    assert concordance(risk, time, everyone, one(2500))[0] == pytest.approx(truth, abs=0.012)
    # Censoring biases Harrell's C; the weights of Uno's take this back up to tau.
    late = np.minimum(time, 3.0)
    uncensored = concordance(risk, late, time < 3.0, one(2500))[0]
    end = rng.exponential(size=2500)
    seen, event = np.minimum(time, end), time <= end
    weights = censoring_weights(censoring_curve(seen, event), seen, event, 3.0)
    uno = concordance(risk, seen, event, one(2500), factor=weights**2)[0]
    harrell = concordance(risk, seen, event, one(2500))[0]
    assert uno == pytest.approx(uncensored, abs=0.02)
    assert abs(uno - uncensored) < abs(harrell - uncensored) + 0.005


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_turning_the_risk_around_turns_c_around(seed: int) -> None:
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=30).round(1)
    time, code = follow_up(rng, risk, digits=1)
    if not (code == 1).any():
        return
    right, wrong = (concordance(r, time, code == 1, one(30))[0] for r in (risk, -risk))
    assert right + wrong == pytest.approx(1.0) or np.isnan(right)
    # Any rising function of the risk is the same order.
    assert concordance(np.exp(risk), time, code == 1, one(30))[0] == pytest.approx(right, nan_ok=True)
    assert concordance(np.zeros(30), time, code == 1, one(30))[0] == pytest.approx(0.5, nan_ok=True)


def test_weights_are_counts_of_records() -> None:
    rng = np.random.default_rng(4)
    risk = rng.normal(size=40)
    time, code = follow_up(rng, risk)
    counts = rng.integers(0, 4, 40)
    rows = np.repeat(np.arange(40), counts)
    copied = concordance(risk[rows], time[rows], code[rows] == 1, one(len(rows)))[0]
    assert concordance(risk, time, code == 1, counts[:, None].astype(float))[0] == pytest.approx(copied)


def test_no_pair_is_no_figure() -> None:
    nothing = concordance(np.zeros(3), np.ones(3), np.zeros(3, bool), one(3))
    assert np.isnan(nothing).all()
    apart = concordance(np.arange(3.0), np.arange(3.0), np.ones(3, bool), one(3), strata=np.arange(3))
    assert np.isnan(apart).all()


def test_weights_of_censoring_and_tau() -> None:
    time = np.arange(1.0, 11)
    event = np.array([1, 0] * 5, bool)
    curve = censoring_curve(time, event)
    weights = censoring_weights(curve, time, event, 7.0)
    assert (weights[~event] == 0).all() and (weights[time >= 7] == 0).all()
    assert weights[0] == 1.0 and (np.diff(weights[[0, 2, 4]]) > 0).all()
    tau = usual_tau(curve, time, 0.3)
    assert curve(np.nextafter(tau, 0)) >= 0.3 and tau > time[curve(time) >= 0.3].max()
    assert usual_tau(curve, time, 2.0) == 0.0


def test_names_of_timed_metrics() -> None:
    assert auc_name(24.0) == "auc_at_24" and time_of("auc_at_24") == 24.0
    assert time_of("auc_at_2.5e+03") == 2500 and time_of("auroc") is None and time_of("auc_at_1.2.3") is None
    assert metric("auc_at_12", "survival").title == "AUC at 12"
    with pytest.raises(UnknownNameError):
        metric("auc_at_soon", "survival")
    with pytest.raises(EvaluationError, match="survival"):
        metric("c_index", "binary")
