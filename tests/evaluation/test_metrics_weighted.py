"""Weighted metrics equal scikit-learn's on records that are literally repeated."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn import metrics as sk
from statistics_cases import binary_case, binary_outcomes, case, multiclass_case, multilabel_case, regression_case

from medfm.evaluation.metrics import list_metrics, metric
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted, bin_of
from medfm.evaluation.metrics_ranking import RankPlan, ratio


def resampled(n: int, seed: int, count: int = 3) -> np.ndarray:
    """Counts of `count` ordinary resamples: int (n, count)."""
    rng = np.random.default_rng(seed)
    return np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(count)], axis=1)


def specificity_macro(y, p) -> float:
    matrix = sk.multilabel_confusion_matrix(y, p)
    return float((matrix[:, 0, 0] / matrix[:, 0].sum(axis=1)).mean())


BINARY = {
    "auroc": lambda y, p, s: sk.roc_auc_score(y, s),
    "average_precision": lambda y, p, s: sk.average_precision_score(y, s),
    "accuracy": lambda y, p, s: sk.accuracy_score(y, p),
    "balanced_accuracy": lambda y, p, s: sk.balanced_accuracy_score(y, p),
    "f1": lambda y, p, s: sk.f1_score(y, p),
    "mean_per_class_recall": lambda y, p, s: sk.balanced_accuracy_score(y, p),
    "specificity_macro": lambda y, p, s: specificity_macro(y, p),
    "f1_macro": lambda y, p, s: sk.f1_score(y, p, average="macro"),
    "f1_weighted": lambda y, p, s: sk.f1_score(y, p, average="weighted"),
    "f1_micro": lambda y, p, s: sk.f1_score(y, p, average="micro"),
    "sensitivity": lambda y, p, s: sk.recall_score(y, p),
    "specificity": lambda y, p, s: sk.recall_score(y, p, pos_label=0),
    "ppv": lambda y, p, s: sk.precision_score(y, p),
    "npv": lambda y, p, s: sk.precision_score(y, p, pos_label=0),
    "mcc": lambda y, p, s: sk.matthews_corrcoef(y, p),
    "kappa": lambda y, p, s: sk.cohen_kappa_score(y, p),
    "brier": lambda y, p, s: sk.brier_score_loss(y, s),
    "log_loss": lambda y, p, s: sk.log_loss(y, s),
}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", sorted(BINARY))
def test_binary(name, ties):
    outcomes = Outcomes.of(binary_case(ties=ties))
    weights = resampled(len(outcomes), 1)
    found = metric(name, "binary").compute(Weighted(outcomes, weights.astype(np.float32)))
    for b in range(weights.shape[1]):
        rows = np.repeat(np.arange(len(outcomes)), weights[:, b])
        expected = BINARY[name](outcomes.truth[rows], outcomes.predicted[rows], outcomes.scores[rows, 1])
        assert found[b] == pytest.approx(expected, rel=1e-12, abs=1e-12)


MULTICLASS = {
    "accuracy": lambda y, p, s: sk.accuracy_score(y, p),
    "balanced_accuracy": lambda y, p, s: sk.balanced_accuracy_score(y, p),
    "mean_per_class_recall": lambda y, p, s: sk.balanced_accuracy_score(y, p),
    "specificity_macro": lambda y, p, s: specificity_macro(y, p),
    "f1_macro": lambda y, p, s: sk.f1_score(y, p, average="macro"),
    "f1_weighted": lambda y, p, s: sk.f1_score(y, p, average="weighted"),
    "mcc": lambda y, p, s: sk.matthews_corrcoef(y, p),
    "kappa": lambda y, p, s: sk.cohen_kappa_score(y, p),
    "linear_kappa": lambda y, p, s: sk.cohen_kappa_score(y, p, weights="linear"),
    "top5_accuracy": lambda y, p, s: 1.0,  # of four classes; test_metrics_zero_shot.py has more
    "quadratic_kappa": lambda y, p, s: sk.cohen_kappa_score(y, p, weights="quadratic"),
    "auroc_ovr_macro": lambda y, p, s: sk.roc_auc_score(y, s, multi_class="ovr"),
    "auroc_ovr_weighted": lambda y, p, s: sk.roc_auc_score(y, s, multi_class="ovr", average="weighted"),
    "auroc_ovo_macro": lambda y, p, s: sk.roc_auc_score(y, s, multi_class="ovo"),
    "average_precision_macro": lambda y, p, s: sk.average_precision_score(np.eye(s.shape[1])[y], s),
    "log_loss": lambda y, p, s: sk.log_loss(y, s),
    "brier": lambda y, p, s: float(((np.eye(s.shape[1])[y] - s) ** 2).sum(axis=1).mean()),
}


@pytest.mark.parametrize("name", sorted(MULTICLASS))
def test_multiclass(name):
    outcomes = Outcomes.of(multiclass_case())
    weights = resampled(len(outcomes), 2)
    found = metric(name, "multiclass").compute(Weighted(outcomes, weights.astype(np.float32)))
    for b in range(weights.shape[1]):
        rows = np.repeat(np.arange(len(outcomes)), weights[:, b])
        expected = MULTICLASS[name](outcomes.truth[rows], outcomes.predicted[rows], outcomes.scores[rows])
        assert found[b] == pytest.approx(expected, rel=1e-12, abs=1e-12)


MULTILABEL = {
    "auroc_macro": lambda y, p, s: sk.roc_auc_score(y, s, average="macro"),
    "auroc_micro": lambda y, p, s: sk.roc_auc_score(y, s, average="micro"),
    "map": lambda y, p, s: sk.average_precision_score(y, s, average="macro"),
    "f1_micro": lambda y, p, s: sk.f1_score(y, p, average="micro"),
    "f1_macro": lambda y, p, s: sk.f1_score(y, p, average="macro", zero_division=0),
    "f1_samples": lambda y, p, s: sk.f1_score(y, p, average="samples", zero_division=0),
    "hamming_loss": lambda y, p, s: sk.hamming_loss(y, p),
    "subset_accuracy": lambda y, p, s: sk.accuracy_score(y, p),
    "brier": lambda y, p, s: float(((y - s) ** 2).mean()),
}


@pytest.mark.parametrize("name", sorted(MULTILABEL))
def test_multilabel(name):
    outcomes = Outcomes.of(multilabel_case(unknown=0.0))
    weights = resampled(len(outcomes), 3)
    found = metric(name, "multilabel").compute(Weighted(outcomes, weights.astype(np.float32)))
    for b in range(weights.shape[1]):
        rows = np.repeat(np.arange(len(outcomes)), weights[:, b])
        expected = MULTILABEL[name](outcomes.truth[rows].astype(int), outcomes.predicted[rows], outcomes.scores[rows])
        assert found[b] == pytest.approx(expected, rel=1e-12, abs=1e-12)


REGRESSION = {
    "r2": sk.r2_score,
    "mae": sk.mean_absolute_error,
    "rmse": sk.root_mean_squared_error,
    "pearson": lambda y, p: stats.pearsonr(y, p).statistic,
    "spearman": lambda y, p: stats.spearmanr(y, p).statistic,
}


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("name", sorted(REGRESSION))
def test_regression(name, rounded):
    outcomes = Outcomes.of(regression_case())
    if rounded:
        outcomes = Outcomes("regression", (), outcomes.truth.round(), outcomes.predicted.round(), outcomes.scores)
    weights = resampled(len(outcomes), 4)
    found = metric(name, "regression").compute(Weighted(outcomes, weights.astype(np.float32)))
    for b in range(weights.shape[1]):
        rows = np.repeat(np.arange(len(outcomes)), weights[:, b])
        assert found[b] == pytest.approx(REGRESSION[name](outcomes.truth[rows], outcomes.predicted[rows]), rel=1e-9)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression"])
def test_float32_and_float64_counts_agree(task):
    outcomes = Outcomes.of(case(task))
    weights = resampled(len(outcomes), 5)
    for name in list_metrics(task):
        compute = metric(name, task).compute
        small = compute(Weighted(outcomes, weights.astype(np.float32)))
        large = compute(Weighted(outcomes, weights.astype(np.float64)))
        np.testing.assert_allclose(small, large, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression"])
def test_weight_zero_equals_leaving_out(task):
    outcomes = Outcomes.of(case(task))
    keep = np.arange(len(outcomes)) % 3 != 0
    for name in list_metrics(task):
        compute = metric(name, task).compute
        zeroed = compute(Weighted(outcomes, keep[:, None].astype(np.float64)))
        fewer = compute(Weighted(outcomes.take(keep), np.ones((int(keep.sum()), 1))))
        np.testing.assert_allclose(zeroed, fewer, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression"])
def test_no_weight_at_all_is_undefined_without_warnings(task):
    outcomes = Outcomes.of(case(task))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in list_metrics(task):
            found = metric(name, task).compute(Weighted(outcomes, np.zeros((len(outcomes), 2))))
            assert np.isnan(found).all(), name


SCORES = st.integers(0, 8).map(lambda v: v / 8)


@settings(max_examples=60, deadline=None)
@given(
    data=st.lists(st.tuples(st.booleans(), SCORES, st.integers(0, 4)), min_size=2, max_size=25),
)
def test_auroc_and_precision_of_any_small_tied_data(data):
    truth, scores, counts = (np.array(column) for column in zip(*data, strict=True))
    rows = np.repeat(np.arange(len(truth)), counts)
    plan = RankPlan(scores, truth, np.arange(len(truth)), len(truth))
    auroc = plan.auroc(counts[:, None].astype(np.float32))[0]
    precision = plan.average_precision(counts[:, None].astype(np.float32))[0]
    if len(set(truth[rows])) < 2:
        assert np.isnan(auroc)
        assert np.isnan(precision)
    else:
        assert auroc == pytest.approx(sk.roc_auc_score(truth[rows], scores[rows]), abs=1e-12)
        assert precision == pytest.approx(sk.average_precision_score(truth[rows], scores[rows]), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    truth=hnp.arrays(np.int64, 20, elements=st.integers(0, 1)).filter(lambda a: 0 < a.sum() < 20),
    scores=hnp.arrays(np.float64, 20, elements=SCORES),
)
def test_turning_the_scores_round_turns_the_auroc_round(truth, scores):
    ones = np.ones((20, 1))
    forward = binary_outcomes(truth, scores).rank_plan(1).auroc(ones)[0]
    backward = binary_outcomes(truth, 1 - scores).rank_plan(1).auroc(ones)[0]
    assert forward + backward == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(
    truth=hnp.arrays(np.int64, 15, elements=st.integers(0, 2)),
    predicted=hnp.arrays(np.int64, 15, elements=st.integers(0, 2)),
    factor=st.integers(1, 5),
)
def test_counting_everything_more_often_changes_nothing(truth, predicted, factor):
    outcomes = Outcomes("multiclass", ("a", "b", "c"), truth, predicted, np.full((15, 3), 1 / 3))
    once, often = (Weighted(outcomes, np.full((15, 1), float(f))) for f in (1, factor))
    for name in ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "mcc", "kappa", "quadratic_kappa"):
        compute = metric(name, "multiclass").compute
        np.testing.assert_allclose(compute(once), compute(often), rtol=1e-9, atol=1e-12, err_msg=name)


def test_the_auroc_of_the_rarer_kind_as_reference():
    """More positives than negatives: the plan swaps the kinds, the value stays."""
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.9
    scores = rng.random(300).round(2)
    found = RankPlan(scores, truth, np.arange(300), 300).auroc(np.ones((300, 1)))[0]
    assert found == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-12)


def test_bins_are_closed_on_the_right():
    assert bin_of(np.array([0.0, 0.05, 0.1, 0.10001, 0.3, 0.5, 0.9, 0.95, 1.0])).tolist() == [0, 0, 0, 1, 2, 4, 8, 9, 9]


def test_ratio_is_nan_where_the_denominator_is_not_positive():
    found = ratio(np.array([1.0, 1.0, 0.0]), np.array([2.0, 0.0, -1.0]))
    assert found[0] == 0.5
    assert np.isnan(found[1:]).all()
