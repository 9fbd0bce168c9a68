"""Intervals of fairness gaps: by hand, against scipy's Wilson intervals, how often they hold the truth, which groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medfm.evaluation.group_gaps import difference
from medfm.evaluation.groups import group_gaps, group_rows
from medfm.evaluation.metrics import metrics_for
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.score_intervals import clustered_wilson
from medfm.evaluation.summarise import summarise
from medfm.evaluation.summary import GroupGap
from medfm.reporting.gaps import gap_figure, gap_table

PLAN = StatisticsPlan(resamples=0, minimum_cell=2)


def newcombe(hits: int, size: int, others: int, other_size: int, alpha: float = 0.05) -> tuple[float, float]:
    """Of a difference of two proportions (1998, method 10), written out from scipy's Wilson intervals."""
    one, two = (
        stats.binomtest(k, n).proportion_ci(1 - alpha, method="wilson") for k, n in ((hits, size), (others, other_size))
    )
    p, q = hits / size, others / other_size
    low = p - q - ((p - one.low) ** 2 + (two.high - q) ** 2) ** 0.5
    return max(low, 0.0), p - q + ((one.high - p) ** 2 + (q - two.low) ** 2) ** 0.5


def predictions(groups: list[str | None], truth: np.ndarray, called: np.ndarray, each: int = 1) -> Predictions:
    n = len(truth)
    names = np.array(["no", "yes"])
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "patient_id": [f"p{i // each}" for i in range(n)],
            "site": None,
            "ward": groups,
            "variant": "main",
            "repeat": 0,
            "fold": 0,
            "truth": names[truth.astype(int)],
            "predicted": names[called.astype(int)],
            "score:no": 1 - called.astype(float),
            "score:yes": called.astype(float),
        }
    )
    return Predictions(table, "binary", ("no", "yes"))


def gaps_of(made: Predictions, level: float = 0.95) -> dict[str, GroupGap]:
    rows = group_rows(made, "ward", metrics_for(["accuracy"], "binary"), PLAN)
    return {g.metric: g for g in group_gaps(made, rows, level)}


def two_wards() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ward a: 18 of 20 ill found, 5 of 20 well called; ward b: 10 of 16 found, 2 of 24 called."""
    groups = ["a"] * 40 + ["b"] * 40
    truth = np.array([1] * 20 + [0] * 20 + [1] * 16 + [0] * 24)
    called = np.array([1] * 18 + [0] * 2 + [1] * 5 + [0] * 15 + [1] * 10 + [0] * 6 + [1] * 2 + [0] * 22)
    return groups, truth, called


def test_two_groups_have_newcombes_interval_of_a_difference():
    found = gaps_of(predictions(*two_wards()))
    chance, parity = found["equal_opportunity_difference"], found["demographic_parity_difference"]
    low, high = newcombe(18, 20, 10, 16)
    assert chance.value == pytest.approx(18 / 20 - 10 / 16)
    assert (chance.low, chance.high) == pytest.approx((low, high), abs=1e-6)
    assert (chance.highest, chance.lowest) == ("a", "b")
    low, high = newcombe(23, 40, 12, 40)
    assert (parity.value, parity.low, parity.high) == pytest.approx((11 / 40, low, high), abs=1e-6)


def test_two_rates_are_looked_at_with_half_the_error_each():
    found = gaps_of(predictions(*two_wards()))
    odds, chance = found["equalized_odds_difference"], found["equal_opportunity_difference"]
    low, high = newcombe(18, 20, 10, 16, alpha=0.025)
    assert odds.value == chance.value
    assert (odds.low, odds.high) == pytest.approx((low, high), abs=1e-6)
    assert odds.high > chance.high


def test_more_groups_pay_for_the_choice_of_two():
    groups, truth, called = two_wards()
    third = (["c"] * 40, truth[:40], called[:40].copy())
    third[2][[0, 1, 2]] = 0  # 15 of 20 found: between the other two
    made = predictions(groups + third[0], np.append(truth, third[1]), np.append(called, third[2]))
    found = gaps_of(made)["equal_opportunity_difference"]
    low, high = newcombe(18, 20, 10, 16, alpha=0.05 / 3)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)
    assert (found.highest, found.lowest) == ("a", "b")


def test_bounds_stay_between_0_and_1_and_hold_the_gap():
    rng = np.random.default_rng(0)
    for _ in range(30):
        first, second = (clustered_wilson(rng.random(rng.integers(1, 9)) < rng.random()) for _ in range(2))
        first, second = sorted((first, second), reverse=True)
        value, low, high = difference(first, second)
        assert 0 <= low <= value <= high <= 1
    assert difference((0.4, 0.2, 0.6), (0.4, 0.2, 0.6))[1] == 0.0


@pytest.mark.parametrize("rates", [(0.8, 0.8), (0.9, 0.7)])
def test_the_interval_of_two_groups_covers(rates):
    """A true difference of 0 is held where the lower bound is 0; 400 cohorts of 30 ill patients in each group."""
    rng, held, runs = np.random.default_rng(1), 0, 400
    for _ in range(runs):
        parts = [clustered_wilson(rng.random(30) < rate) for rate in rates]
        first, second = sorted(parts, reverse=True)
        _, low, high = difference(first, second)
        held += low <= abs(rates[0] - rates[1]) <= high
    assert held / runs >= stats.binom.ppf(0.0005, runs, 0.95) / runs


def test_records_of_one_patient_count_once():
    groups, truth, called = two_wards()
    single = gaps_of(predictions(groups, truth, called))["equal_opportunity_difference"]
    copies = predictions(list(np.repeat(groups, 4)), np.repeat(truth, 4), np.repeat(called, 4), each=4)
    several = gaps_of(copies)["equal_opportunity_difference"]
    assert several.value == single.value
    assert several.high - several.low == pytest.approx(single.high - single.low, rel=0.1)
    unknown = group_gaps(
        copies, group_rows(copies, "ward", metrics_for(["accuracy"], "binary"), PLAN), patients_known=False
    )[0]
    assert unknown.high - unknown.low < 0.7 * (several.high - several.low)


def test_a_gap_that_is_undefined_has_no_interval():
    made = predictions(["a"] * 10 + ["b"] * 10, np.array([1] * 10 + [0] * 10), np.array([1, 0] * 10))
    found = gaps_of(made)
    assert found["equal_opportunity_difference"].value is None and found["equal_opportunity_difference"].low is None
    assert found["demographic_parity_difference"].low == 0.0


def test_the_report_lists_them():
    made = predictions(*two_wards())
    summary = summarise(made, StatisticsPlan(resamples=0, minimum_cell=2, subgroups=("ward",)))
    table = gap_table(summary)
    assert len(table.rows) == 3 and all(row[0].endswith(", by ward") for row in table.rows)
    assert table.rows[0][0].startswith("equal opportunity difference") and table.rows[0][2] == "a / b"
    assert table.rows[0][1].startswith("0.275 (") and " to " in table.rows[0][1]
    assert gap_figure(GroupGap(column="sex", metric="x", value=0.25)) == "0.250"
    assert gap_table(summary.model_copy(update={"gaps": ()})) is None
    bare = summary.model_copy(update={"gaps": (GroupGap(column="sex", metric="x", value=0.25),)})
    assert gap_table(bare).rows[0][1:] == ("0.250", "–")
