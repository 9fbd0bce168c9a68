"""Every figure of tests/parity/stats/golden.json (scikit-learn, scipy, statsmodels) within 1e-9."""

import json
from pathlib import Path

import numpy as np
import pytest

from medfm.evaluation.calibration import calibration_fit, reliability_bins
from medfm.evaluation.decision import NetBenefit
from medfm.evaluation.delong import delong
from medfm.evaluation.groups import fairness_gaps
from medfm.evaluation.intervals import wilson_interval
from medfm.evaluation.metrics import evaluate
from medfm.evaluation.metrics_labels import selection_rate
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.multiple import benjamini_hochberg, bonferroni, holm
from medfm.evaluation.paired_tests import mcnemar, nadeau_bengio, wilcoxon
from medfm.evaluation.thresholds import youden

FOLDER = Path(__file__).parent / "stats"
GOLDEN = json.loads((FOLDER / "golden.json").read_text())
INPUTS = dict(np.load(FOLDER / "inputs.npz"))
CLOSE = {"rel": 1e-9, "abs": 1e-9}


def binary(rows=slice(None), score="score_a") -> Outcomes:
    truth, scores = INPUTS["y"][rows], INPUTS[score][rows]
    return Outcomes("binary", ("0", "1"), truth, (scores >= 0.5).astype(int), np.stack([1 - scores, scores], axis=1))


def multiclass() -> Outcomes:
    scores = INPUTS["prob_multi"]
    return Outcomes("multiclass", tuple("abcde"), INPUTS["y_multi"], scores.argmax(axis=1), scores)


def multilabel() -> Outcomes:
    scores = INPUTS["score_multilabel"]
    truth = INPUTS["y_multilabel"].astype(float)
    return Outcomes("multilabel", tuple("abcdef"), truth, (scores >= 0.5).astype(int), scores)


def ones(outcomes: Outcomes) -> Weighted:
    return Weighted(outcomes, np.ones((len(outcomes), 1)))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("auroc", "auroc_a"),
        ("average_precision", "average_precision_a"),
        ("brier", "brier_a"),
        ("log_loss", "log_loss_a"),
        ("ece", "ece10_a"),
        ("mce", "mce10_a"),
        ("accuracy", "accuracy_a"),
        ("balanced_accuracy", "balanced_accuracy_a"),
        ("sensitivity", "sensitivity_a"),
        ("specificity", "specificity_a"),
        ("ppv", "ppv_a"),
        ("npv", "npv_a"),
        ("f1", "f1_a"),
        ("mcc", "mcc_a"),
        ("kappa", "cohen_kappa_a"),
    ],
)
def test_binary_metrics(name, key):
    assert evaluate(binary(), [name])[name] == pytest.approx(GOLDEN["binary"][key], **CLOSE)


def test_binary_auroc_of_the_second_score():
    assert evaluate(binary(score="score_b"), ["auroc"])["auroc"] == pytest.approx(GOLDEN["binary"]["auroc_b"], **CLOSE)


def test_binary_confusion():
    golden = GOLDEN["binary"]
    expected = [[golden["tn"], golden["fp"]], [golden["fn"], golden["tp"]]]
    assert ones(binary()).confusion[:, :, 0].tolist() == expected


def test_delong():
    golden = GOLDEN["binary"]
    found = delong(np.stack([INPUTS["score_a"], INPUTS["score_b"]]), INPUTS["y"] == 1)
    np.testing.assert_allclose(found.covariance, golden["delong_cov"], rtol=1e-9)
    assert found.covariance[0, 0] == pytest.approx(golden["delong_var_a"], **CLOSE)
    assert np.sqrt(found.covariance[0, 0]) == pytest.approx(golden["delong_se_a"], **CLOSE)
    assert found.interval(scale="wald") == pytest.approx(golden["delong_ci95_a_wald"], **CLOSE)
    assert found.interval(scale="logit") == pytest.approx(golden["delong_ci95_a_logit"], **CLOSE)
    _, _, z, p = found.paired(0, 1)
    assert z == pytest.approx(golden["delong_paired_z"], **CLOSE)
    assert p == pytest.approx(golden["delong_paired_p_two_sided"], **CLOSE)


def test_reliability_bins():
    found = reliability_bins(binary(), None, 0.95, independent=True)
    for row, (index, n, score, label) in zip(found, GOLDEN["binary"]["ece10_bins_a"], strict=True):
        assert (row.lower, row.n) == (index / 10, n)
        assert (row.mean_score is None) == (score is None)
        if score is not None:
            assert row.mean_score == pytest.approx(score, **CLOSE)
            assert row.observed == pytest.approx(label, **CLOSE)


def test_calibration_slope_and_intercepts():
    golden = GOLDEN["binary"]
    fit = calibration_fit(INPUTS["score_a"], INPUTS["y"])
    assert fit.slope == pytest.approx(golden["calibration_slope_a"], rel=1e-8)
    assert fit.intercept == pytest.approx(golden["calibration_intercept_joint_a"], rel=1e-8)
    assert fit.in_the_large == pytest.approx(golden["calibration_in_the_large_a"], rel=1e-8)


def test_wilson():
    golden = GOLDEN["binary"]
    low, high = wilson_interval(golden["tp"], golden["tp"] + golden["fn"])
    assert [float(low), float(high)] == pytest.approx(golden["sensitivity_wilson95_a"], **CLOSE)


def test_net_benefit():
    golden = GOLDEN["binary"]
    benefit = NetBenefit(binary(), np.array([0.2, 0.5]))(ones(binary()))[:, :, 0]
    assert benefit[0].tolist() == pytest.approx([golden["net_benefit_a_t0.2"], golden["net_benefit_a_t0.5"]], **CLOSE)
    assert benefit[1, 0] == pytest.approx(golden["net_benefit_all_t0.2"], **CLOSE)


def test_youden():
    # Ours lies in the gap below the published score; the same records are positive.
    found = youden(INPUTS["score_a"], INPUTS["y"] == 1)
    expected = INPUTS["score_a"] >= GOLDEN["binary"]["youden_threshold_a"]
    assert found is not None and np.array_equal(INPUTS["score_a"] >= found, expected)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *((name, name) for name in ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "f1_micro", "mcc")),
        *((name, name) for name in ("kappa", "linear_kappa", "quadratic_kappa")),
        *((name, name) for name in ("auroc_ovr_macro", "auroc_ovr_weighted", "auroc_ovo_macro")),
        ("brier", "brier_multiclass_sum"),
        ("ece", "ece10_top_label"),
    ],
)
def test_multiclass_metrics(name, key):
    assert evaluate(multiclass(), [name])[name] == pytest.approx(GOLDEN["multiclass"][key], **CLOSE)


def test_multiclass_confusion():
    assert ones(multiclass()).confusion[:, :, 0].tolist() == GOLDEN["multiclass"]["confusion_matrix"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("auroc_macro", "auroc_macro_defined_labels"),
        ("auroc_micro", "auroc_micro"),
        ("map", "map_defined_labels"),
        ("f1_micro", "f1_micro_t0.5"),
        ("f1_macro", "f1_macro_t0.5_zero_division_0"),
        ("f1_samples", "f1_samples_t0.5"),
        ("hamming_loss", "hamming_loss_t0.5"),
        ("subset_accuracy", "subset_accuracy_t0.5"),
    ],
)
def test_multilabel_metrics(name, key):
    assert evaluate(multilabel(), [name])[name] == pytest.approx(GOLDEN["multilabel"][key], **CLOSE)


@pytest.mark.parametrize(("attribute", "key"), [("aurocs", "auroc_per_label"), ("average_precisions", "ap_per_label")])
def test_multilabel_per_label(attribute, key):
    found = getattr(ones(multilabel()), attribute)[:, 0]
    expected = [np.nan if v is None else v for v in GOLDEN["multilabel"][key]]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_nadeau_bengio():
    golden = GOLDEN["paired"]
    found = nadeau_bengio(INPUTS["cv_a"] - INPUTS["cv_b"], golden["n_train"], golden["n_test"])
    assert found.mean == pytest.approx(golden["mean_diff"], **CLOSE)
    assert found.t == pytest.approx(golden["nadeau_bengio_t"], **CLOSE)
    assert found.df == golden["df"]
    assert found.p == pytest.approx(golden["nadeau_bengio_p"], **CLOSE)


def test_the_naive_t_test_is_the_limit_without_overlap():
    golden = GOLDEN["paired"]
    found = nadeau_bengio(INPUTS["cv_a"] - INPUTS["cv_b"], 1e15, 1)
    assert found.t == pytest.approx(golden["naive_paired_t"], rel=1e-6)
    assert found.p == pytest.approx(golden["naive_paired_p"], rel=1e-5)


def test_wilcoxon():
    golden = GOLDEN["paired"]
    differences = INPUTS["cv_a"] - INPUTS["cv_b"]
    statistic, p = wilcoxon(differences.mean(axis=1), exact=True)
    assert (statistic, p) == pytest.approx(
        (golden["wilcoxon_6run_means_stat"], golden["wilcoxon_6run_means_p_exact"]), **CLOSE
    )
    assert p == pytest.approx(golden["min_possible_two_sided_exact_p_n6"], **CLOSE)
    statistic, p = wilcoxon(differences, exact=False)
    assert statistic == pytest.approx(golden["wilcoxon_30folds_stat"], **CLOSE)
    assert p == pytest.approx(golden["wilcoxon_30folds_p_normal_nocorr"], **CLOSE)


def test_mcnemar():
    golden = GOLDEN["paired"]
    right = [(INPUTS[name] >= 0.5) == (INPUTS["y"] == 1) for name in ("score_a", "score_b")]
    first, second, p = mcnemar(*right)
    assert [first, second] == golden["mcnemar_n10_n01"]
    assert p == pytest.approx(golden["mcnemar_exact_p"], **CLOSE)


@pytest.mark.parametrize(
    ("correct", "key"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh"), (bonferroni, "bonferroni")]
)
def test_multiple(correct, key):
    assert correct(GOLDEN["multiple"]["p"]).tolist() == pytest.approx(GOLDEN["multiple"][key], **CLOSE)


@pytest.mark.parametrize("group", ["0", "1"])
def test_subgroup_figures(group):
    golden = GOLDEN["subgroup"]["groups"][group]
    own = binary(INPUTS["group"] == int(group))
    found = evaluate(own, ["auroc", "sensitivity", "specificity", "brier"])
    assert len(own) == golden["n"]
    assert found["auroc"] == pytest.approx(golden["auroc"], **CLOSE)
    assert found["sensitivity"] == pytest.approx(golden["tpr"], **CLOSE)
    assert 1 - found["specificity"] == pytest.approx(golden["fpr"], **CLOSE)
    assert found["brier"] == pytest.approx(golden["brier"], **CLOSE)
    assert selection_rate(ones(own))[0] == pytest.approx(golden["selection_rate"], **CLOSE)


def test_fairness_gaps():
    found = fairness_gaps(binary(), INPUTS["group"])
    assert found == pytest.approx({name: GOLDEN["subgroup"][name] for name in found}, **CLOSE)
