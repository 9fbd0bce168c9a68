"""Score intervals against their equations, published worked examples, naive loops and limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit, logit
from statistics_cases import binary_case, multiclass_case, multilabel_case

from medfm.core.errors import ConfigError, EvaluationError
from medfm.evaluation.bootstrap import Clusters, collect
from medfm.evaluation.delong import delong
from medfm.evaluation.metrics import metric
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.precision import hanley_mcneil_se
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.score_intervals import (
    auroc_interval,
    auroc_variance,
    clustered_wilson,
    log_bootstrap_interval,
    logit_bootstrap_interval,
    mean_of_proportions,
    newcombe_interval,
)
from medfm.evaluation.statistics_estimates import Sample, estimate
from medfm.evaluation.statistics_intervals import direct_interval

Z = 1.959963984540054


# Newcombe's interval of an AUROC.


@given(st.floats(0.5, 0.999), st.integers(2, 200))
def test_the_variance_is_hanley_and_mcneils_where_both_kinds_are_as_many(auroc, each):
    assert np.sqrt(auroc_variance(auroc, each, each)) == pytest.approx(hanley_mcneil_se(auroc, each, each), rel=1e-9)


def test_the_variance_is_the_same_for_either_direction():
    assert auroc_variance(0.8, 10, 40) == pytest.approx(auroc_variance(0.2, 10, 40))
    assert auroc_variance(0.8, 10, 40) == pytest.approx(auroc_variance(0.8, 40, 10))


@given(st.floats(0.02, 0.98), st.integers(1, 90), st.integers(1, 90), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=40)
def test_the_bounds_solve_the_equation(auroc, m, n, level):
    low, high = newcombe_interval(auroc, m, n, level)
    z = stats.norm.ppf((1 + level) / 2)

    def gap(theta):
        return abs(theta - auroc) - z * np.sqrt(auroc_variance(theta, m, n))

    assert low == pytest.approx(brentq(gap, 1e-15, auroc, xtol=1e-14), abs=1e-9)
    assert high == pytest.approx(brentq(gap, auroc, 1 - 1e-15, xtol=1e-14), abs=1e-9)
    assert 0 < low < auroc < high < 1


def test_a_perfect_auroc_has_a_lower_bound_that_more_patients_raise():
    found = [newcombe_interval(1.0, n, n) for n in (2, 5, 10, 20, 50, 200)]
    assert all(high == 1.0 for _, high in found)
    assert [low for low, _ in found] == sorted(low for low, _ in found)
    assert found[0][0] < 0.5 < found[2][0] < 0.85 < found[3][0] < found[-1][0] < 1
    low, high = newcombe_interval(0.0, 10, 10)
    assert low == 0.0 and high == pytest.approx(1 - found[2][0], abs=1e-9)


def test_more_variance_is_a_wider_interval():
    plain, wide = newcombe_interval(0.8, 20, 20), newcombe_interval(0.8, 20, 20, scale=2.0)
    assert wide[0] < plain[0] < plain[1] < wide[1]
    assert newcombe_interval(0.8, 10, 10, scale=0.5)[0] == pytest.approx(plain[0], abs=0.01)


@pytest.mark.parametrize("bad", [(-0.1, 5, 5), (1.1, 5, 5), (float("nan"), 5, 5), (0.5, 0, 5), (0.5, 5, 0.5)])
def test_impossible_counts_are_refused(bad):
    with pytest.raises(EvaluationError, match="AUROC"):
        newcombe_interval(*bad)


# With DeLong's variance.


def scores_of(patients: int, each: int, seed: int = 0, own: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ill = np.repeat(np.arange(patients) % 2 == 1, each)
    scores = np.repeat(rng.normal(size=patients), each) + own * rng.normal(size=patients * each) + 1.2 * ill
    return scores, ill, np.repeat(np.arange(patients), each)


def test_with_many_patients_it_is_delongs():
    scores, ill, _ = scores_of(6000, 1)
    assert auroc_interval(scores, ill) == pytest.approx(delong(scores, ill).interval(), abs=2e-3)


def test_the_scale_is_delongs_ratio_or_its_mean_with_one():
    for seed in range(6):
        scores, ill, _ = scores_of(40, 1, seed)
        found = delong(scores, ill)
        value, ratio = float(found.aurocs[0]), float(found.covariance[0, 0]) / auroc_variance(found.aurocs[0], 20, 20)
        scale = ratio if ratio > 1 else (20 * ratio + 50) / 70
        assert auroc_interval(scores, ill) == pytest.approx(newcombe_interval(value, 20, 20, scale=float(scale)))


def test_one_record_per_patient_is_no_cluster():
    scores, ill, who = scores_of(50, 1)
    assert auroc_interval(scores, ill, who) == pytest.approx(auroc_interval(scores, ill))


def test_copies_of_a_record_bring_no_certainty():
    scores, ill, who = scores_of(60, 1)
    once = auroc_interval(scores, ill)
    thrice = auroc_interval(np.tile(scores, 3), np.tile(ill, 3), np.tile(who, 3))
    assert thrice == pytest.approx(once, abs=2e-3)
    even, owners = np.tile([True, False], 20), np.arange(40) // 2
    shares = [clustered_wilson(np.tile(even, k), np.tile(owners, k), repeats=k) for k in (1, 4)]
    assert shares[1] == pytest.approx(shares[0])


def test_records_that_resemble_one_another_little_count_for_more_than_their_patients():
    alike, apart = (scores_of(20, 12, own=own) for own in (0.1, 4.0))
    widths = [np.subtract(*auroc_interval(*case)[::-1]) for case in (alike, apart)]
    assert widths[1] < 0.6 * widths[0]
    scores, ill, _ = alike
    assert widths[0] > 1.5 * np.subtract(*auroc_interval(scores, ill)[::-1])


def test_direction_names_and_order_do_not_matter():
    scores, ill, who = scores_of(30, 3)
    low, high = auroc_interval(scores, ill, who)
    assert auroc_interval(-scores, ill, who) == pytest.approx((1 - high, 1 - low), abs=1e-9)
    order = np.random.default_rng(1).permutation(len(ill))
    names = np.array([f"p{99 - w}" for w in who])
    assert auroc_interval(scores[order], ill[order], names[order]) == pytest.approx((low, high), abs=1e-9)


def test_perfect_scores_of_clusters_count_patients():
    _, ill, who = scores_of(20, 5)
    assert auroc_interval(ill.astype(float), ill, who) == pytest.approx(newcombe_interval(1.0, 10, 10))
    with pytest.raises(EvaluationError, match="Too few patients"):
        auroc_interval(ill.astype(float), ill, ill.astype(int))


# Proportions of clusters.


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_without_clusters_it_is_wilsons(hits):
    share, low, high = clustered_wilson(np.array(hits))
    theirs = stats.binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    assert (share, low, high) == pytest.approx((np.mean(hits), theirs.low, theirs.high), abs=1e-12)


def test_the_design_effect_is_that_of_a_plain_loop():
    rng = np.random.default_rng(0)
    who = rng.integers(0, 12, 90)
    hits = rng.random(90) < np.linspace(0.2, 0.9, 12)[who]
    share = hits.mean()
    names = np.unique(who)
    g = len(names)
    variance = sum(float(np.sum(hits[who == w] - share)) ** 2 for w in names) * g / (g - 1) / 90**2
    size = share * (1 - share) / variance * (Z / stats.t.ppf(0.975, g - 1)) ** 2
    centre = (share + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z * np.sqrt(share * (1 - share) / size + Z**2 / (4 * size**2)) / (1 + Z**2 / size)
    assert clustered_wilson(hits, who) == pytest.approx((share, centre - half, centre + half))


def test_patients_that_are_right_or_wrong_as_a_whole_count_once():
    hits = np.repeat([True, True, True, False, True, False, True, True, True, True], 50)
    who = np.repeat(np.arange(10), 50)
    share, low, high = clustered_wilson(hits, who)
    once = stats.binomtest(8, 10).proportion_ci(method="wilson")
    assert low < once.low and high > once.high - 0.01
    assert share == 0.8 and high - low < 1.25 * (once.high - once.low)


def test_ends_and_single_patients():
    assert clustered_wilson(np.ones(40, bool), np.arange(40) // 4)[1:] == pytest.approx((10 / (10 + Z**2), 1.0))
    share, low, high = clustered_wilson(np.array([True, False, True]), np.zeros(3))
    assert share == pytest.approx(2 / 3) and high - low > 0.8
    # As many hits in every patient: not taken for more than independent records.
    even = clustered_wilson(np.tile([True, False], 20), np.arange(40) // 2)
    assert even[2] - even[1] >= np.subtract(*clustered_wilson(np.tile([True, False], 20))[:0:-1])
    with pytest.raises(EvaluationError, match="no records"):
        clustered_wilson(np.array([], bool))


# Means of proportions.


def test_a_mean_of_one_is_its_own_interval_and_of_two_the_root_of_squares():
    assert mean_of_proportions([(0.7, 0.5, 0.8)]) == pytest.approx((0.5, 0.8))
    low, high = mean_of_proportions([(0.7, 0.5, 0.8), (0.9, 0.6, 0.95)])
    assert low == pytest.approx(0.8 - np.hypot(0.2, 0.3) / 2) and high == pytest.approx(0.8 + np.hypot(0.1, 0.05) / 2)
    assert mean_of_proportions([(1.0, 0.7, 1.0)] * 3)[1] == 1.0
    assert mean_of_proportions([(0.5, 0.0, 1.0)] * 4) == pytest.approx((0.25, 0.75))
    with pytest.raises(EvaluationError, match="no proportions"):
        mean_of_proportions([])


# The bootstrap's spread on the logit scale.


def test_the_logit_interval_in_a_plain_formula():
    rng = np.random.default_rng(0)
    values = rng.normal(0.7, 0.05, 400)
    values[:7] = np.nan
    low, high = logit_bootstrap_interval(0.7, values, 30)
    reach = stats.t.ppf(0.975, 29) * np.nanstd(values, ddof=1) * np.sqrt(30 / 29) / (0.7 * 0.3)
    assert (low, high) == pytest.approx((expit(logit(0.7) - reach), expit(logit(0.7) + reach)))
    scaled = logit_bootstrap_interval(0.4, 2 * values - 1, 30, lowest=-1.0)
    assert scaled == pytest.approx((2 * low - 1, 2 * high - 1))
    wide = logit_bootstrap_interval(0.7, values, 30, 0.99)
    assert wide[0] < low < 0.7 < high < wide[1]


@pytest.mark.parametrize(("value", "values", "clusters"), [(1.0, [0.9, 1.0], 9), (0.0, [0.1, 0.2], 9), (0.5, [0.5, 0.5], 9), (0.5, [0.4, np.nan], 9), (0.5, [0.4, 0.6], 1)])  # fmt: skip
def test_no_logit_interval_at_an_end_or_without_spread(value, values, clusters):
    assert logit_bootstrap_interval(value, np.array(values), clusters) is None


def test_the_log_interval_is_written_out():
    values = np.append(2.0 + 0.1 * np.random.default_rng(0).normal(size=400), np.nan)
    low, high = log_bootstrap_interval(2.0, values, 30)
    reach = stats.t.ppf(0.975, 29) * np.nanstd(values, ddof=1) * np.sqrt(30 / 29) / 2.0
    assert (low, high) == pytest.approx((2.0 * np.exp(-reach), 2.0 * np.exp(reach)))
    assert log_bootstrap_interval(20.0, 10 * values, 30) == pytest.approx((10 * low, 10 * high))  # units do not matter
    wide = log_bootstrap_interval(2.0, values, 30, beside=0.1)
    assert 0 < wide[0] < low < high < wide[1]
    for case in ((0.0, [0.1, 0.2], 9), (1.0, [1.0, 1.0], 9), (1.0, [0.9, np.nan], 9), (1.0, [0.9, 1.2], 1)):
        assert log_bootstrap_interval(case[0], np.array(case[1]), case[2]) is None


@pytest.mark.parametrize("name", ["r2", "mae", "rmse", "pearson", "spearman"])
def test_figures_of_a_number_stay_on_their_side_of_the_end(name):
    rng = np.random.default_rng(1)
    truth = rng.normal(size=12)
    outcomes = Outcomes("regression", (), truth, truth + rng.normal(size=12), np.zeros((12, 0)))
    made = Sample(outcomes, Clusters.of(np.arange(12)), StatisticsPlan(resamples=200), 12)
    found = metric(name, "regression")
    drawn = collect(outcomes, made.clusters, {"x": found.compute}, resamples=200, seed=0)["x"]
    value = point(made, name)
    ends = estimate(made, found, value, drawn)
    assert found.lowest <= ends.low < value < ends.high <= found.highest
    assert "(log)" in ends.method if name in ("r2", "mae", "rmse") else "(logit)" in ends.method
    if name == "r2":  # 1 - R² is an error: its interval is the error's, turned round
        turned = log_bootstrap_interval(1 - value, 1 - drawn, 12)
        assert (ends.low, ends.high) == pytest.approx((1 - turned[1], 1 - turned[0]))
    old = Sample(outcomes, made.clusters, StatisticsPlan(resamples=200, intervals="resampled"), 12)
    ends = estimate(old, found, value, drawn)
    assert (ends.low, ends.high) == pytest.approx(np.nanquantile(drawn, [0.025, 0.975]))


# Which figure has which.


def sample(predictions: Predictions, **options: object) -> Sample:
    return Sample.of(predictions, StatisticsPlan(resamples=50, **options))


def point(made: Sample, name: str) -> float:
    view = Weighted(made.outcomes, np.ones((len(made.outcomes), 1)))
    return float(metric(name, made.outcomes.task).compute(view)[0])


@pytest.mark.parametrize("name", ["accuracy", "sensitivity", "specificity", "ppv", "npv", "f1_micro"])
def test_binary_proportions_are_wilsons_of_their_own_records(name):
    base = binary_case()
    truth, predicted = (base.table[c].to_numpy() == "ill" for c in ("truth", "predicted"))
    rows, hits = {
        "sensitivity": (truth, predicted),
        "specificity": (~truth, ~predicted),
        "ppv": (predicted, truth),
        "npv": (~predicted, ~truth),
    }.get(name, (np.ones(len(truth), bool), truth == predicted))
    expected = clustered_wilson(hits[rows], base.table["patient_id"].to_numpy()[rows])
    made = sample(base)
    found = estimate(made, metric(name, "binary"), point(made, name), None)
    assert (found.value, found.low, found.high) == pytest.approx(expected)
    assert found.method == "Wilson, clustered by patient"
    old = estimate(sample(base, intervals="resampled"), metric(name, "binary"), found.value, None)
    assert old.low is None and "no resamples" in old.note


def test_balanced_accuracy_joins_the_recall_of_each_class():
    base = multiclass_case()
    table, parts = base.table, []
    for name in base.classes:
        own = (table["truth"] == name).to_numpy()
        parts.append(
            clustered_wilson((table["predicted"] == name).to_numpy()[own], table["patient_id"].to_numpy()[own])
        )
    made = sample(base)
    for name in ("balanced_accuracy", "mean_per_class_recall"):
        found = estimate(made, metric(name, "multiclass"), point(made, name), None)
        assert (found.low, found.high) == pytest.approx(mean_of_proportions(parts))
        assert found.value == pytest.approx(np.mean([p[0] for p in parts])) and "joined" in found.method


def test_labels_leave_unknown_truths_out():
    base = multilabel_case(unknown=0.3)
    made, name = sample(base), base.classes[0]
    known = base.table[base.table[f"truth:{name}"] == 1]
    expected = clustered_wilson((known[f"score:{name}"] >= 0.5).to_numpy(), known["patient_id"].to_numpy())
    found = direct_interval(made, metric("sensitivity", "binary"), expected[0], 0)
    assert found[:2] == pytest.approx(expected[1:])


def test_a_value_that_is_not_the_share_of_hits_is_left_to_the_bootstrap():
    made = sample(binary_case())
    assert direct_interval(made, metric("accuracy", "binary"), 0.123, None) is None
    assert direct_interval(made, metric("balanced_accuracy", "binary"), 0.123, None) is None
    assert direct_interval(made, metric("mcc", "binary"), 0.5, None) is None
    assert direct_interval(sample(multiclass_case()), metric("top5_accuracy", "multiclass"), 0.5, None) is None


def test_other_words_for_the_setting_are_refused():
    with pytest.raises((ConfigError, ValueError), match="intervals"):
        StatisticsPlan(intervals="bayesian")
