"""Curves, log-rank, hazard ratios and the check of proportional hazards by risk group."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from survival_cases import follow_up

from medfm.evaluation.survival_groups import _proportional, group_figures, ticks_of

NAMES = ("lower risk", "higher risk")


def table_of(risk: np.ndarray, time: np.ndarray, code: np.ndarray, **columns: object) -> pd.DataFrame:
    n = len(risk)
    return pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "patient_id": [f"p{i}" for i in range(n)],
            "repeat": 0,
            "fold": np.arange(n) % 3,
            "time": time,
            "event": code,
            "risk": risk,
            "risk_group": np.where(risk > 0, NAMES[1], NAMES[0]),
            **columns,
        }
    )


def drawn(n: int = 300, seed: int = 0, strength: float = 1.0, **settings: float) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    return table_of(risk, *follow_up(rng, strength * risk, **settings))


def test_groups_curves_and_log_rank_equal_lifelines() -> None:
    from lifelines import KaplanMeierFitter
    from lifelines.statistics import logrank_test

    table = drawn()
    found = group_figures(table, NAMES)
    assert [g["name"] for g in found["groups"]] == list(NAMES)
    high = table["risk_group"] == NAMES[1]
    test = logrank_test(*(table.loc[m, "time"] for m in (high, ~high)), *(table.loc[m, "event"] for m in (high, ~high)))
    assert found["logrank"] == {
        "statistic": pytest.approx(test.test_statistic),
        "df": 1,
        "p": pytest.approx(test.p_value),
    }
    for entry, mask in zip(found["groups"], (~high, high), strict=True):
        part = table[mask]
        with np.errstate():  # lifelines changes it for the process
            theirs = KaplanMeierFitter().fit(part["time"], part["event"])
        at = entry["curve"]["time"]
        np.testing.assert_allclose(entry["curve"]["value"], theirs.survival_function_at_times(at), atol=1e-12)
        assert at[-1] == part["time"].max() and (entry["median"] or np.inf) == theirs.median_survival_time_
        assert entry["n"] == len(part) and entry["events"] == part["event"].sum()
        assert entry["at_risk"][0] == len(part) and entry["at_risk"] == sorted(entry["at_risk"], reverse=True)
        assert "incidence" not in entry
        assert set(entry["curve"]["censored"]) == set(part.loc[part["event"] == 0, "time"])


def test_the_hazard_ratio_finds_the_planted_one_and_its_slope_is_one() -> None:
    found = group_figures(drawn(1500), NAMES)["hazards"]
    assert len(found) == 1 and found[0]["event"] == 1
    assert found[0]["low"] < np.exp(1) < found[0]["high"] and found[0]["p"] < 1e-6
    assert found[0]["slope_low"] < 1 < found[0]["slope_high"]
    too_sure = drawn(1500).assign(risk=lambda t: 3 * t["risk"])
    again = group_figures(too_sure, NAMES)["hazards"][0]
    assert again["ratio"] == pytest.approx(found[0]["ratio"], rel=1e-4)
    assert again["slope"] == pytest.approx(found[0]["slope"] / 3, rel=1e-4)


def test_competing_events_have_a_hazard_and_an_incidence_of_their_own() -> None:
    found = group_figures(drawn(600, other=30.0), NAMES)
    own, other = found["hazards"]
    assert own["low"] > 1.5 and other["event"] == 2 and other["low"] < 1 < other["high"] and "slope" not in other
    for entry in found["groups"]:
        last = entry["incidence"]["value"][-1]
        assert 0 < last < 1 - entry["curve"]["value"][-1] and entry["competing"] > 0


def test_a_risk_whose_effect_fades_is_seen() -> None:
    steady = group_figures(drawn(600), NAMES)["proportional"]["p"]
    rng = np.random.default_rng(1)
    risk = rng.normal(size=600)
    early = rng.exponential(size=600) * 20 * np.exp(-2 * risk)
    # After 10 the risk works the other way round.
    time = np.where(early < 10, early, 10 + rng.exponential(size=600) * 20 * np.exp(2 * risk))
    fading = group_figures(table_of(risk, time, np.ones(600, int)), NAMES)["proportional"]["p"]
    assert steady > 0.01 and fading < 1e-6


def test_the_check_of_proportional_hazards_is_rarely_wrong() -> None:
    alarms = sum(_proportional(t, t["event"] == 1)["p"] < 0.1 for t in (drawn(60, seed) for seed in range(25)))
    assert alarms <= 8


def test_only_the_first_repeat_is_drawn_and_empty_groups_are_left_out() -> None:
    table = drawn(100)
    twice = pd.concat([table, table.assign(repeat=1, risk=0.0)], ignore_index=True)
    assert group_figures(twice, NAMES) == group_figures(table, NAMES)
    one = group_figures(table.assign(risk_group=NAMES[0]), NAMES)
    assert len(one["groups"]) == 1 and "one risk group" in one["logrank"]["note"]


def test_equal_risks_have_no_hazard_ratio_and_say_so() -> None:
    found = group_figures(drawn(50).assign(risk=0.0), NAMES)
    assert "equal" in found["hazards"][0]["note"] and "note" in found["proportional"]


@pytest.mark.parametrize("last", [0.37, 1, 4.9, 12, 37, 60, 119, 365, 4000])
def test_ticks_are_few_round_and_within_the_follow_up(last: float) -> None:
    ticks = ticks_of(last)
    assert ticks[0] == 0 and 3 <= len(ticks) <= 7 and ticks[-1] <= last * 1.001
    assert len({round(b - a, 9) for a, b in itertools.pairwise(ticks)}) == 1
