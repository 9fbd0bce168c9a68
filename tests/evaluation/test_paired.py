"""Matching two sets of predictions and their differences."""

import numpy as np
import pandas as pd
import pytest
from statistics_cases import binary_case, case, multiclass_case, multilabel_case, regression_case

from medfm.core.errors import EvaluationError
from medfm.evaluation.bootstrap import percentile_interval
from medfm.evaluation.metrics import evaluate, metrics_for
from medfm.evaluation.paired import compare_pair, match
from medfm.evaluation.paired_tests import nadeau_bengio
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan

PLAN = StatisticsPlan(resamples=300)


def rescored(base: Predictions, noise: float, seed: int = 1) -> Predictions:
    """The same records under another (worse) model."""
    rng = np.random.default_rng(seed)
    table = base.table.copy()
    logits = np.log(np.clip(base.scores(), 1e-9, None)) + rng.normal(0, noise, (len(table), len(base.classes)))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for c, name in enumerate(base.classes):
        table[f"score:{name}"] = scores[:, c]
    table["predicted"] = np.array(base.classes)[scores.argmax(axis=1)]
    return Predictions(table, base.task, base.classes, base.target)


def with_table(base: Predictions, table) -> Predictions:
    return Predictions(table, base.task, base.classes, base.target)


def differences(a, b, names, plan=PLAN, **options):
    pair = match(a, b, **options)
    return compare_pair(pair, metrics_for(names, a.task), plan)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression"])
def test_a_model_against_itself_shows_no_difference(task):
    found = differences(case(task), case(task), ())
    for row in found:
        assert row.difference == 0.0
        assert row.p == 1.0
        assert row.low == pytest.approx(0.0, abs=1e-12)
        assert row.high == pytest.approx(0.0, abs=1e-12)


def test_values_and_sign():
    a = multiclass_case(600)
    b = rescored(a, 2.0)
    for row in differences(a, b, ["accuracy", "log_loss"]):
        assert row.first == pytest.approx(evaluate(a, [row.metric])[row.metric])
        assert row.second == pytest.approx(evaluate(b, [row.metric])[row.metric])
        assert row.difference == pytest.approx(row.second - row.first)
        assert row.low < row.difference < row.high
        assert row.p < 0.05
    worse, loss = differences(a, b, ["accuracy", "log_loss"])
    assert worse.difference < 0 < loss.difference
    assert (worse.better, loss.better) == ("higher", "lower")
    assert worse.method == "paired patient-clustered bootstrap, B=300"


def test_swapping_turns_the_sign():
    a = multiclass_case()
    b = rescored(a, 1.0)
    (forward,), (backward,) = differences(a, b, ["brier"]), differences(b, a, ["brier"])
    assert forward.difference == pytest.approx(-backward.difference)
    assert forward.low == pytest.approx(-backward.high)
    assert forward.p == pytest.approx(backward.p)


def test_pairing_is_narrower_than_not_pairing():
    a = binary_case(600, 600)
    b = rescored(a, 0.3)
    (row,) = differences(a, b, ["brier"])
    rng = np.random.default_rng(0)
    losses = [(p.scores()[:, 1] - p.truth_index()) ** 2 for p in (a, b)]
    unpaired = np.array([rng.choice(losses[1], 600).mean() - rng.choice(losses[0], 600).mean() for _ in range(500)])
    low, high = percentile_interval(unpaired, 0.95)
    assert row.high - row.low < 0.7 * (high - low)


def test_record_order_does_not_matter():
    a = multiclass_case()
    b = rescored(a, 1.0)
    shuffled = with_table(b, b.table.sample(frac=1, random_state=3))
    assert differences(a, b, ["f1_macro"]) == differences(a, shuffled, ["f1_macro"])


def test_class_order_of_multiclass_does_not_matter():
    a = multiclass_case()
    b = rescored(a, 1.0)
    turned = Predictions(b.table, b.task, b.classes[::-1], b.target)
    for one, two in zip(differences(a, b, ()), differences(a, turned, ()), strict=True):
        assert one.second == pytest.approx(two.second)
        assert one.p == two.p


def test_only_common_records_count():
    a = multiclass_case()
    b = rescored(a, 1.0)
    half = with_table(b, b.table.iloc[100:])
    pair = match(with_table(a, a.table.iloc[:250]), half)
    assert (pair.n_common, pair.n_first, pair.n_second) == (150, 250, 200)
    assert len(pair.first) == len(pair.second) == 150


def test_binary_auroc_has_delong():
    a = binary_case(300, 300)
    a = with_table(a, a.table.assign(patient_id=a.table["record_id"]))
    (row,) = differences(a, rescored(a, 1.5), ["auroc"])
    assert row.method == "DeLong, paired"
    assert row.low <= row.difference <= row.high
    clustered = binary_case(300, 60)
    (row,) = differences(clustered, rescored(clustered, 1.5), ["auroc"])
    assert row.method == "DeLong, paired, clustered by patient"


def test_delong_and_bootstrap_agree():
    a = binary_case(800, 200)
    b = rescored(a, 1.0)
    (row,) = differences(a, b, ["auroc"], StatisticsPlan(resamples=1000))
    # Doubling one side's rows prevents row matching, which leaves the bootstrap.
    double = with_table(b, b.table.loc[b.table.index.repeat(2)].assign(repeat=[0, 1] * len(b)))
    (boot,) = differences(a, double, ["auroc"], StatisticsPlan(resamples=1000))
    assert "bootstrap" in boot.method
    assert boot.difference == pytest.approx(row.difference)
    assert boot.low == pytest.approx(row.low, abs=0.006)
    assert boot.high == pytest.approx(row.high, abs=0.006)


def test_mcnemar_only_for_independent_records():
    a = multiclass_case()
    (row,) = differences(a, rescored(a, 1.0), ["accuracy"])
    assert "mcnemar_exact" not in row.others
    single = with_table(a, a.table.assign(patient_id=a.table["record_id"]))
    (row,) = differences(single, rescored(single, 1.0), ["accuracy"])
    assert 0 <= row.others["mcnemar_exact"] <= 1


def test_repeated_cross_validation_has_the_corrected_t():
    base = multiclass_case(300)
    rng = np.random.default_rng(0)
    parts = [base.table.assign(repeat=r, fold=rng.permutation(300) % 5) for r in range(3)]
    a = with_table(base, pd.concat(parts, ignore_index=True))
    worse = rescored(a, 2.0)
    (row,) = differences(a, worse, ["accuracy"])
    assert set(row.others) == {"nadeau_bengio"}  # three repeats cannot give a Wilcoxon p below 0.25
    right = [(t["truth"] == t["predicted"]).groupby([t["repeat"], t["fold"]]).mean() for t in (a.table, worse.table)]
    expected = nadeau_bengio((right[1] - right[0]).to_numpy(), 240, 60)
    assert row.others["nadeau_bengio"] == pytest.approx(expected.p)
    other = rescored(a, 2.0)
    moved = with_table(other, other.table.assign(fold=(other.table["fold"] + 1) % 5))
    (row,) = differences(a, moved, ["accuracy"])
    assert row.others == {}


def test_wilcoxon_is_over_the_means_of_six_repeats():
    base = multiclass_case(150)
    rng = np.random.default_rng(0)
    parts = [base.table.assign(repeat=r, fold=rng.permutation(150) % 5) for r in range(6)]
    a = with_table(base, pd.concat(parts, ignore_index=True))
    worse = rescored(a, 3.0)
    (row,) = differences(a, worse, ["accuracy"], StatisticsPlan(resamples=20))
    means = [(t["truth"] == t["predicted"]).groupby(t["repeat"]).mean() for t in (a.table, worse.table)]
    assert (means[1] < means[0]).all()
    # All six of one sign: the smallest p there is, however clear the difference.
    assert row.others["wilcoxon_repeats"] == pytest.approx(0.03125)


def test_folds_that_test_the_same_records_are_no_cross_validation():
    base = multiclass_case(100)
    a = with_table(base, pd.concat([base.table.assign(fold=f) for f in range(4)], ignore_index=True))
    (row,) = differences(a, rescored(a, 1.0), ["accuracy"])
    assert "nadeau_bengio" not in row.others


def test_unknown_patients_give_record_level_clusters():
    a = multiclass_case()
    pair = match(a, rescored(a, 1.0), patients_known=False)
    assert pair.clusters[0].count == 300
    (row,) = compare_pair(pair, metrics_for(["accuracy"], "multiclass"), PLAN)
    assert row.method == "paired record-level bootstrap, B=300"


def test_no_resamples_and_one_patient():
    a = multiclass_case()
    (row,) = differences(a, rescored(a, 1.0), ["accuracy"], StatisticsPlan(resamples=0))
    assert (row.low, row.p) == (None, None)
    assert "no resamples" in row.note
    alone = with_table(a, a.table.assign(patient_id="p"))
    (row,) = differences(alone, rescored(alone, 1.0), ["accuracy"])
    assert (row.low, row.p) == (None, None)
    assert "single patient" in row.note


def test_undefined_metric_is_not_nan():
    a = binary_case()
    ill = with_table(a, a.table[a.table["truth"] == "ill"])
    (row,) = differences(ill, rescored(ill, 1.0), ["auroc"])
    assert (row.first, row.difference, row.p) == (None, None, None)
    assert row.note


def test_refusals():
    a = multiclass_case()
    with pytest.raises(EvaluationError, match="task"):
        match(a, regression_case())
    with pytest.raises(EvaluationError, match="target"):
        match(a, Predictions(a.table, a.task, a.classes, "grade"))
    with pytest.raises(EvaluationError, match="classes"):
        match(multiclass_case(classes=3), multiclass_case(classes=4))
    renamed = with_table(a, a.table.assign(record_id="x" + a.table["record_id"]))
    with pytest.raises(EvaluationError, match="no record in common"):
        match(a, renamed)
    b = binary_case()
    with pytest.raises(EvaluationError, match="positive"):
        match(b, Predictions(b.table, b.task, b.classes[::-1], b.target))


@pytest.mark.parametrize("maker", [multiclass_case, regression_case])
def test_another_truth_is_refused(maker):
    a = maker()
    table = a.table.copy()
    table.loc[[3, 9], "truth"] = table["truth"].iloc[[0, 0]].to_numpy() if a.task != "regression" else [1.0, 2.0]
    if a.task != "regression":
        others = [next(c for c in a.classes if c != t) for t in a.table["truth"].iloc[[3, 9]]]
        table.loc[[3, 9], "truth"] = others
    with pytest.raises(EvaluationError, match="another truth") as caught:
        match(a, with_table(a, table))
    assert "r00003" in str(caught.value)


def test_another_multilabel_truth_is_refused_but_equal_gaps_are_fine():
    a = multilabel_case(unknown=0.2)
    match(a, a)
    table = a.table.copy()
    column = f"truth:{a.classes[0]}"
    known = table.index[table[column].notna()][0]
    table.loc[known, column] = np.nan
    with pytest.raises(EvaluationError, match="another truth"):
        match(a, with_table(a, table))


def test_another_patient_is_refused_where_patients_are_known():
    a = multiclass_case()
    other = with_table(a, a.table.assign(patient_id="q" + a.table["patient_id"]))
    with pytest.raises(EvaluationError, match="another patient"):
        match(a, other)
    assert match(a, other, patients_known=False).n_common == 300


def test_a_difference_that_cannot_vary_has_no_interval_but_no_difference_has():
    base = binary_case()
    right = with_table(base, base.table.assign(predicted=base.table["truth"]))
    flipped = base.table["truth"].map({"ill": "healthy", "healthy": "ill"})
    wrong = with_table(base, base.table.assign(predicted=flipped))
    row = differences(wrong, right, ["specificity"])[0]
    assert (row.difference, row.low, row.high, row.p) == (1.0, None, None, None)
    assert "same difference" in row.note
    same = differences(right, right, ["specificity"])[0]
    assert (same.difference, same.low, same.high) == (0.0, 0.0, 0.0)
