"""The Cox regression against lifelines, golden figures and a likelihood written out pair by pair."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from survival_cases import follow_up

from medfm.core.errors import EvaluationError
from medfm.evaluation.survival_cox import fit_cox, partial_log_likelihood

STATS = Path(__file__).resolve().parents[1] / "parity" / "stats"


def naive_efron(X: np.ndarray, time: np.ndarray, event: np.ndarray, b: np.ndarray) -> float:
    """Efron's partial log-likelihood as in the textbook, one event time after the other."""
    total = 0.0
    for t in sorted(set(time[event])):
        tied, at_risk = event & (time == t), time >= t
        hazard = np.exp(X @ b)
        total += float((X[tied] @ b).sum())
        m = int(tied.sum())
        for part in range(m):
            total -= float(np.log(hazard[at_risk].sum() - part / m * hazard[tied].sum()))
    return total


def drawn(seed: int, n: int = 80, k: int = 3, digits: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, k)) * [1.0, 5.0, 0.2][:k]
    time, code = follow_up(rng, X[:, 0], digits=digits)
    return X, time, code == 1


def test_golden_figures() -> None:
    arrays = np.load(STATS / "inputs.npz")
    golden = json.loads((STATS / "golden.json").read_text())["survival"]
    X, time, event = arrays["surv_x"], arrays["surv_time"], arrays["surv_event"].astype(bool)
    plain = fit_cox(X, time, event)
    np.testing.assert_allclose(plain.coef, golden["cox_coef_efron"], atol=5e-6)
    assert plain.log_likelihood == pytest.approx(golden["cox_log_likelihood"], abs=1e-8)
    np.testing.assert_allclose(fit_cox(X, time, event, 0.1).coef, golden["cox_ridge0.1_coef"], atol=5e-6)


@pytest.mark.parametrize("penalty", [0.0, 0.01, 1.0, 10.0])
@pytest.mark.parametrize("digits", [0, 6])
def test_equals_lifelines_with_and_without_ties(penalty: float, digits: int) -> None:
    from lifelines import CoxPHFitter

    X, time, event = drawn(1, digits=digits)
    frame = pd.DataFrame(X, columns=list("abc")).assign(time=time, event=event)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = CoxPHFitter(penalizer=penalty).fit(frame, "time", "event", fit_options={"precision": 1e-10})
    ours = fit_cox(X, time, event, penalty)
    np.testing.assert_allclose(ours.coef, theirs.params_.to_numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        np.exp(ours.risk(X)), theirs.predict_partial_hazard(frame).to_numpy(), rtol=1e-4, atol=1e-7
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 40))
def test_the_likelihood_equals_the_textbook_sum(seed: int, n: int) -> None:
    X, time, event = drawn(seed, n)
    b = np.random.default_rng(seed).normal(size=3) / 5
    assert partial_log_likelihood(X, time, event, b) == pytest.approx(naive_efron(X, time, event, b), rel=1e-10)


def test_the_fit_is_a_maximum_and_finds_the_planted_effect() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3000, 2))
    time, code = follow_up(rng, 0.8 * X[:, 0] - 0.4 * X[:, 1])
    found = fit_cox(X, time, code == 1)
    np.testing.assert_allclose(found.coef, [0.8, -0.4], atol=0.08)
    best = partial_log_likelihood(X, time, code == 1, found.coef)
    assert best == pytest.approx(found.log_likelihood)
    for step in ([0.01, 0], [-0.01, 0], [0, 0.01], [0, -0.01]):
        assert partial_log_likelihood(X, time, code == 1, found.coef + step) < best


def test_a_penalty_shrinks_and_units_do_not_matter() -> None:
    X, time, event = drawn(5, 120)
    sizes = [np.abs(fit_cox(X, time, event, p).coef * X.std(axis=0)).sum() for p in (0.0, 0.1, 1.0, 10.0)]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 0.2 * sizes[0]
    scaled = fit_cox(X * [10, 0.1, 3] + 7, time * 30, event, 0.1)
    np.testing.assert_allclose(scaled.coef * [10, 0.1, 3], fit_cox(X, time, event, 0.1).coef, rtol=1e-6)


def test_a_start_changes_nothing_but_the_way() -> None:
    X, time, event = drawn(6)
    first = fit_cox(X, time, event, 0.1)
    np.testing.assert_allclose(fit_cox(X, time, event, 0.1, first.coef * 3).coef, first.coef, atol=1e-7)


def test_what_cannot_be_fitted_is_said() -> None:
    X, time, event = drawn(7)
    with pytest.raises(EvaluationError, match="No training record has the event"):
        fit_cox(X, time, np.zeros(len(X), bool))
    with pytest.raises(EvaluationError, match="constant"):
        fit_cox(np.ones((len(X), 1)), time, event)
    with pytest.raises(EvaluationError, match="not finite"):
        fit_cox(np.where(X > 2, np.nan, X), np.where(time > 1, np.inf, time), event)
    with pytest.raises(EvaluationError, match="at least 2"):
        fit_cox(X, time[:-1], event)
    apart = np.r_[np.zeros(10), np.ones(10)][:, None]
    early = np.r_[np.arange(11, 21), np.arange(1, 11)].astype(float)
    with pytest.raises(EvaluationError, match="separates"):
        fit_cox(apart, early, np.r_[np.zeros(10, bool), np.ones(10, bool)])
    assert np.isfinite(fit_cox(apart, early, np.r_[np.zeros(10, bool), np.ones(10, bool)], 0.1).coef).all()
    assert partial_log_likelihood(X, time, np.zeros(len(X), bool), np.ones(3)) == 0.0
