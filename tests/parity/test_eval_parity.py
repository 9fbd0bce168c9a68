"""The golden figures of dinov2-eval: DINOv2's kNN votes, scikit-learn's kNN and logistic regression."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from medfm.evaluation.knn import knn_scores
from medfm.evaluation.linear_probe import run_linear_probe
from medfm.evaluation.logistic import fit_logistic, fit_sklearn, probabilities
from medfm.evaluation.protocol import KNN, LinearProbe, Scheme, Selection
from medfm.evaluation.schemes import Fold, make_folds
from medfm.evaluation.selection import given_strength
from medfm.evaluation.target import Target

GOLDEN = np.load(Path(__file__).parent / "dinov2-eval" / "golden.npz")
NAMES = ("0", "1", "2", "3", "4")
NOBODY = np.empty(0, dtype=np.int64)


def given(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The deterministic standard-normal input called `name`."""
    seed = zlib.crc32(("input:" + name).encode())
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def part(tag: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    centres = given("dinov2-eval/centres", (5, 24))
    u = given(f"dinov2-eval/{tag}_y", (n,))
    y = np.clip(np.floor((u + 2) / 4 * 5), 0, 4).astype(np.int64)
    return 1.6 * given(f"dinov2-eval/{tag}_x", (n, 24)) + centres[y], y


TRAIN, Y_TRAIN = part("train", 160)
TEST, Y_TEST = part("test", 60)
TRUTH = Target("y", "multiclass", NAMES, Y_TRAIN)


def three_metrics(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Accuracy, balanced accuracy and weighted F1, written out."""
    classes = np.unique(truth)
    recall = [(predicted[truth == c] == c).mean() for c in classes]
    f1 = []
    for c in classes:
        hit = np.sum((truth == c) & (predicted == c))
        f1.append(2 * hit / max(1, np.sum(truth == c) + np.sum(predicted == c)))
    shares = [np.mean(truth == c) for c in classes]
    return np.array([np.mean(truth == predicted), np.mean(recall), np.dot(f1, shares)])


def test_inputs_are_the_published_ones() -> None:
    assert np.array_equal(Y_TRAIN, GOLDEN["y_train"])
    assert np.array_equal(Y_TEST, GOLDEN["y_test"])


@pytest.mark.parametrize("k", [1, 5, 10, 20, 50])
def test_dinov2_votes(k: int) -> None:
    votes = knn_scores(TRAIN, TEST, TRUTH, KNN(k=(1, 5, 10, 20, 50), vote="dinov2"))[k]
    np.testing.assert_allclose(votes, GOLDEN[f"dinov2_knn_votes_k{k}"], atol=2e-6)
    assert np.array_equal(votes.argmax(axis=1), GOLDEN[f"dinov2_knn_pred_k{k}"])


@pytest.mark.parametrize("k", [1, 20])
def test_sklearn_knn(k: int) -> None:
    predicted = knn_scores(TRAIN, TEST, TRUTH, KNN(k=(1, 20)))[k].argmax(axis=1)
    assert np.array_equal(predicted, GOLDEN[f"sk_knn_pred_k{k}"])
    np.testing.assert_allclose(three_metrics(Y_TEST, predicted), GOLDEN[f"sk_knn_metrics_k{k}_acc_bacc_wf1"])


def test_strength_rule() -> None:
    rule = Selection(rule="dim_times_classes_over_100")
    assert given_strength(rule, 24, 5) == pytest.approx(float(GOLDEN["dinobloom_C"]))


def test_batched_solver_reaches_the_tight_optimum() -> None:
    fit = fit_logistic(TRAIN, Y_TRAIN, float(GOLDEN["dinobloom_C"]), tol=1e-13)
    np.testing.assert_allclose(fit.probabilities(TEST, 0, 0), GOLDEN["dinobloom_logreg_proba_tight"], atol=1e-6)


def test_published_settings_give_the_published_fit() -> None:
    C = float(GOLDEN["dinobloom_C"])
    coef, intercept, classes, converged = fit_sklearn(TRAIN, Y_TRAIN, C, max_iter=1000, tol=None)
    assert converged and classes.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(coef, GOLDEN["dinobloom_logreg_coef"], atol=1e-6)
    np.testing.assert_allclose(intercept, GOLDEN["dinobloom_logreg_intercept"], atol=1e-6)
    scores = probabilities(TEST, coef, intercept)
    np.testing.assert_allclose(scores, GOLDEN["dinobloom_logreg_proba"], atol=1e-6)
    assert np.array_equal(scores.argmax(axis=1), GOLDEN["dinobloom_logreg_pred"])
    got = three_metrics(Y_TEST, scores.argmax(axis=1))
    np.testing.assert_allclose(got, GOLDEN["dinobloom_logreg_acc_bacc_wf1"])


@pytest.mark.parametrize("solver", ["sklearn", "batched"])
def test_both_solvers_predict_the_published_classes(solver: str) -> None:
    X = np.concatenate([TRAIN, TEST])
    truth = Target("y", "multiclass", NAMES, np.concatenate([Y_TRAIN, Y_TEST]))
    fold = Fold(np.arange(160), np.arange(160, 220), NOBODY)
    selection = Selection(rule="dim_times_classes_over_100")
    method = LinearProbe(selection=selection, standardise=False, solver=solver)  # type: ignore[arg-type]
    outcome = run_linear_probe(X, truth, [fold], method, patients=np.arange(220))[0]
    assert outcome.chosen["C"] == pytest.approx(1.2)
    assert np.array_equal(outcome.scores.argmax(axis=1), GOLDEN["dinobloom_logreg_pred"])


def published_folds() -> list[Fold]:
    scheme = Scheme(kind="kfold", folds=5, shuffle=False, stratify=True, group_by_patient=False)
    patients = np.array(["one"] * 160, dtype=object)
    return make_folds(scheme, split=np.array([None] * 160), patients=patients, strata=Y_TRAIN)[0]


def test_unshuffled_folds() -> None:
    folds = published_folds()
    assert [len(f.test) for f in folds] == GOLDEN["fold_test_sizes"].tolist()
    assert np.array_equal(np.concatenate([f.test for f in folds]), GOLDEN["fold_test_indices"])


def test_five_fold_metrics_of_all_three_classifiers() -> None:
    selection = Selection(rule="dim_times_classes_over_100")
    method = LinearProbe(selection=selection, standardise=False, solver="sklearn")
    folds = published_folds()
    outcomes = run_linear_probe(TRAIN, TRUTH, folds, method, patients=np.arange(160))
    for fold, outcome, expected in zip(folds, outcomes, GOLDEN["fold_metrics_logreg_knn1_knn20"], strict=True):
        truth = Y_TRAIN[fold.test]
        votes = knn_scores(TRAIN[fold.train], TRAIN[fold.test], TRUTH.take(fold.train), KNN(k=(1, 20)))
        got = [three_metrics(truth, s.argmax(axis=1)) for s in (outcome.scores, votes[1], votes[20])]
        np.testing.assert_allclose(np.concatenate(got), expected)


def test_sweep_over_the_published_grid() -> None:
    permutation = GOLDEN["dinov2_sweep_perm"]
    held, rest = permutation[:16], permutation[16:]
    grid = GOLDEN["dinov2_C_grid"][::4].astype(np.float64)
    fit = fit_logistic(TRAIN[rest], Y_TRAIN[rest], grid)
    got = [np.mean(fit.probabilities(TRAIN[held], g, 0).argmax(axis=1) == Y_TRAIN[held]) for g in range(len(grid))]
    np.testing.assert_allclose(got, GOLDEN["dinov2_sweep_acc_every4th_C"], atol=1e-6)
