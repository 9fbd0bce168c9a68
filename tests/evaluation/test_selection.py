"""Selection rules and scores."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, r2_score, roc_auc_score

from medfm.core.errors import EvaluationError, UnknownNameError
from medfm.evaluation.protocol import Selection
from medfm.evaluation.selection import best, given_strength, inner_folds, quality
from medfm.evaluation.target import Target

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 50)
SCORES = RNG.dirichlet(np.ones(3), 50)
TARGET = Target("y", "multiclass", ("a", "b", "c"), Y)


def test_scores_are_scikit_learns() -> None:
    assert quality("log_loss", TARGET, SCORES) == pytest.approx(-log_loss(Y, SCORES))
    assert quality("accuracy", TARGET, SCORES) == pytest.approx((SCORES.argmax(axis=1) == Y).mean())
    expected = balanced_accuracy_score(Y, SCORES.argmax(axis=1))
    assert quality("balanced_accuracy", TARGET, SCORES) == pytest.approx(expected)
    assert quality("auroc", TARGET, SCORES) == pytest.approx(roc_auc_score(Y, SCORES, multi_class="ovr"))


def test_r2() -> None:
    truth = RNG.standard_normal(30)
    guess = truth + RNG.standard_normal(30)
    target = Target("y", "regression", (), truth)
    assert quality("r2", target, guess[:, None]) == pytest.approx(r2_score(truth, guess))
    assert np.isnan(quality("r2", Target("y", "regression", (), np.ones(4)), np.ones((4, 1))))


def test_multilabel_is_the_mean_over_known_labels() -> None:
    matrix = np.array([[1, 0], [0, 1], [1, np.nan], [0, 1]])
    scores = np.array([[0.9, 0.2], [0.3, 0.6], [0.4, 0.5], [0.1, 0.9]])
    target = Target("y", "multilabel", ("a", "b"), matrix)
    expected = (roc_auc_score(matrix[:, 0], scores[:, 0]) + roc_auc_score([0, 1, 1], scores[[0, 1, 3], 1])) / 2
    assert quality("auroc", target, scores) == pytest.approx(expected)


def test_undefined_is_nan() -> None:
    one = Target("y", "multiclass", ("a", "b", "c"), np.ones(5, int))
    assert np.isnan(quality("auroc", one, SCORES[:5]))
    nobody = Target("y", "multiclass", ("a", "b", "c"), np.empty(0, int))
    assert np.isnan(quality("log_loss", nobody, SCORES[:0]))
    unknown = Target("y", "multilabel", ("a",), np.full((3, 1), np.nan))
    assert np.isnan(quality("accuracy", unknown, SCORES[:3, :1]))


def test_a_certain_error_is_not_infinite() -> None:
    target = Target("y", "binary", ("a", "b"), np.array([1]))
    assert np.isfinite(quality("log_loss", target, np.array([[1.0, 0.0]])))


def test_wrong_metrics() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'log_loss'"):
        quality("logloss", TARGET, SCORES)
    with pytest.raises(EvaluationError, match="r2 does not fit"):
        quality("r2", TARGET, SCORES)


def test_best_breaks_ties_towards_strong_regularisation() -> None:
    assert best(np.array([[0.5, 0.7], [0.7, 0.5], [0.1, 0.1]])) == 0
    assert best(np.array([[0.1], [0.9], [0.9]])) == 1


def test_best_leaves_undefined_folds_out() -> None:
    assert best(np.array([[np.nan, 0.2], [np.nan, 0.6]])) == 1
    assert best(np.array([[np.nan], [np.nan]])) == 0


def test_rules_that_need_no_search() -> None:
    assert given_strength(Selection(rule="fixed", value=2.5), 10, 3) == 2.5
    assert given_strength(Selection(rule="dim_times_classes_over_100"), 384, 10) == pytest.approx(38.4)
    assert given_strength(Selection(rule="inner_cv"), 10, 3) is None
    with pytest.raises(EvaluationError, match="needs a value"):
        given_strength(Selection(rule="fixed"), 10, 3)


def test_inner_folds_shrink_with_the_patients() -> None:
    patients = np.array(["a", "a", "b", "b", "c", "c"], dtype=object)
    target = Target("y", "binary", ("x", "y"), np.array([0, 0, 1, 1, 0, 0]))
    parts, notes = inner_folds(Selection(folds=5), target, patients, np.arange(6), 0)
    assert len(parts) == 3 and "Only 3 training patients" in notes[0]
    parts, _ = inner_folds(Selection(folds=5), target, patients, np.array([0, 1]), 0)
    assert parts == []
