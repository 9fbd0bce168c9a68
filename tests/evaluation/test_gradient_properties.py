"""The probe by gradient descent: what may not change its weights, and its parts against plain ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import log_loss, roc_auc_score

from medfm.core.errors import EvaluationError
from medfm.evaluation.gradient import Path, Problem, learning_rates, train_linear
from medfm.evaluation.gradient_probe import aurocs, epoch_qualities
from medfm.evaluation.protocol_gradient import GradientProbe
from medfm.evaluation.target import Target

SEEDS = st.integers(0, 1000)


def method(**changes: Any) -> GradientProbe:
    return GradientProbe(**{"epochs": 4, "batch_size": 8, "milestones": (2,), **changes})


def data(seed: int, n: int = 30, d: int = 5, outputs: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, (X[:, :outputs] + rng.normal(size=(n, outputs)) > 0).astype(np.float64)


def train(X: np.ndarray, Y: np.ndarray, how: GradientProbe, seed: int = 1, **more: Any) -> Path:
    rows = more.pop("rows", np.arange(len(X)))
    scaling = {k: more.pop(k) for k in ("mean", "scale") if k in more}
    problem = Problem(rows, np.random.default_rng(seed), **scaling)
    return train_linear(X, Y, [problem], how, dtype=torch.float64, **more)[0]


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, shift=st.floats(-100, 100), factor=st.floats(0.01, 100))
def test_standardised_features_may_be_shifted_and_stretched(seed: int, shift: float, factor: float) -> None:
    X, Y = data(seed)
    first = train(X, Y, method(), mean=X.mean(0), scale=X.std(0))
    moved = X * factor + shift
    second = train(moved, Y, method(), mean=moved.mean(0), scale=moved.std(0))
    np.testing.assert_allclose(second.coef, first.coef, atol=1e-6)
    np.testing.assert_allclose(second.intercept, first.intercept, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_a_row_that_no_problem_names_has_no_influence(seed: int) -> None:
    X, Y = data(seed)
    first = train(X, Y, method(), rows=np.arange(20))
    X2, Y2 = X.copy(), Y.copy()
    X2[20:], Y2[20:] = 1e3, 1 - Y2[20:]
    second = train(X2, Y2, method(), rows=np.arange(20))
    np.testing.assert_array_equal(first.coef, second.coef)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_an_output_whose_truth_is_unknown_only_decays(seed: int) -> None:
    X, Y = data(seed)
    Y[:, 1] = np.nan
    found = train(X, Y, method(weight_decay=0.0))
    for epoch in range(1, 4):
        np.testing.assert_array_equal(found.coef[epoch, 1], found.coef[0, 1])
        assert (found.coef[epoch, 0] != found.coef[0, 0]).any()


def test_one_batch_of_everything_does_not_depend_on_the_order() -> None:
    X, Y = data(3)
    order = np.random.default_rng(0).permutation(len(X))
    how = method(batch_size=1000)
    first, second = train(X, Y, how), train(X, Y, how, rows=order)
    np.testing.assert_allclose(first.coef, second.coef, atol=1e-12)


def test_a_batch_larger_than_the_set_is_the_set() -> None:
    X, Y = data(4)
    first, second = (train(X, Y, method(batch_size=size)) for size in (30, 3000))
    np.testing.assert_allclose(first.coef, second.coef, atol=1e-12)


def test_only_the_last_epoch_equals_the_last_of_all() -> None:
    X, Y = data(5)
    whole, last = train(X, Y, method()), train(X, Y, method(), every_epoch=False)
    assert whole.coef.shape[0] == 4 and last.coef.shape[0] == 1
    np.testing.assert_array_equal(whole.coef[-1], last.coef[0])


def test_more_epochs_begin_like_fewer() -> None:
    X, Y = data(6)
    short, long = train(X, Y, method(epochs=3)), train(X, Y, method(epochs=6))
    np.testing.assert_array_equal(short.coef, long.coef[:3])


def test_mirrored_labels_of_one_output_mirror_the_gradient() -> None:
    """Two outputs with opposite truth and equal first weights of opposite sign stay opposite."""
    X, Y = data(7, outputs=1)
    found = train(X, np.hstack([Y, 1 - Y]), method(epochs=60, lr=0.05, weight_decay=0.0, milestones=(50,)))
    z = found.logits(X)[-1]
    # The problem is convex: both come to the same boundary from their own side.
    assert np.corrcoef(z[:, 0], -z[:, 1])[0, 1] > 0.99


def test_softmax_of_two_separates_like_one_decision() -> None:
    X, Y = data(8, n=60, outputs=1)
    how = method(epochs=150, lr=0.05, weight_decay=0.0, milestones=(120,), batch_size=64)
    soft = train(X, np.hstack([1 - Y, Y]), how, softmax=True).logits(X)[-1]
    single = train(X, Y, how).logits(X)[-1]
    np.testing.assert_allclose(soft[:, 1] - soft[:, 0], single[:, 0], atol=0.15 * np.abs(single).max())


@settings(max_examples=25, deadline=None)
@given(
    batches=st.integers(1, 7),
    epochs=st.integers(1, 9),
    milestones=st.sets(st.integers(1, 40), max_size=4),
    step=st.sampled_from(["per_epoch", "per_batch_and_epoch"]),
)
def test_rates_fall_once_at_every_milestone_reached(batches: int, epochs: int, milestones: set[int], step: Any) -> None:
    how = method(epochs=epochs, milestones=tuple(sorted(milestones)), scheduler_step=step, lr=1.0, gamma=0.5)
    rates = learning_rates(how, batches)
    assert len(rates) == epochs * batches and rates[0] == 1.0
    assert (np.diff(rates) <= 0).all()
    # What the schedule has counted before the last step is taken.
    counted = epochs - 1 if step == "per_epoch" else (epochs - 1) * (batches + 1) + batches - 1
    assert rates[-1] == 0.5 ** sum(m <= counted for m in milestones)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, levels=st.integers(2, 6), unknown=st.integers(0, 5))
def test_aurocs_of_rows_are_those_of_sklearn(seed: int, levels: int, unknown: int) -> None:
    rng = np.random.default_rng(seed)
    truth = (rng.random(25) < 0.4).astype(float)
    truth[:2] = 0, 1
    scores = np.vstack([rng.random(25), rng.integers(0, levels, 25), np.zeros(25)])
    truth[2 : 2 + unknown] = np.nan
    known = ~np.isnan(truth)
    expected = [roc_auc_score(truth[known], row[known]) for row in scores]
    np.testing.assert_allclose(aurocs(scores, truth), expected)
    assert aurocs(scores, truth)[2] == 0.5
    np.testing.assert_allclose(aurocs(-scores, truth), 1 - np.array(expected))


def test_aurocs_without_both_truths_are_unknown() -> None:
    assert np.isnan(aurocs(np.ones((2, 3)), np.array([1.0, 1.0, np.nan]))).all()
    assert np.isnan(aurocs(np.ones((2, 3)), np.full(3, np.nan))).all()


def classes(n: int, seed: int) -> Target:
    codes = np.random.default_rng(seed).integers(0, 3, n)
    codes[:3] = 0, 1, 2
    return Target(values=codes, classes=("a", "b", "c"), task="multiclass", name="label")


def test_qualities_are_those_of_sklearn_epoch_by_epoch() -> None:
    rng = np.random.default_rng(9)
    path = Path(rng.normal(size=(3, 3, 4)), rng.normal(size=(3, 3)))
    X, target = rng.normal(size=(40, 4)), classes(40, 1)
    logits = path.logits(X)
    raised = np.exp(logits - logits.max(axis=2, keepdims=True))
    chances = raised / raised.sum(axis=2, keepdims=True)
    for epoch in range(3):
        loss = log_loss(target.values, chances[epoch])
        assert epoch_qualities(path, X, target, "log_loss")[epoch] == pytest.approx(-loss)
        macro = roc_auc_score(target.values, chances[epoch], multi_class="ovr", average="macro")
        assert epoch_qualities(path, X, target, "auroc")[epoch] == pytest.approx(macro)


def test_logits_are_the_weights_times_the_features() -> None:
    rng = np.random.default_rng(10)
    path = Path(rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3)))
    X = rng.normal(size=(7, 4))
    for epoch in range(2):
        expected = X @ path.coef[epoch].T + path.intercept[epoch]
        np.testing.assert_allclose(path.logits(X)[epoch], expected)


def test_an_empty_training_set_and_an_exploding_rate_are_said() -> None:
    X, Y = data(11)
    with pytest.raises(EvaluationError, match="training set is empty") as caught:
        train(X, Y, method(), rows=np.zeros(0, np.int64))
    assert "training fraction" in str(caught.value.fix)
    X[0] = np.inf
    with pytest.raises(EvaluationError, match="not finite") as caught:
        train(X, Y, method())
    assert "method.lr" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"milestones": (3, 3)}, "rise"),
        ({"milestones": (5, 2)}, "rise"),
        ({"milestones": (0, 2)}, "from 1"),
        ({"lr": 0}, "greater than 0"),
        ({"gamma": 1.5}, "less than or equal to 1"),
        ({"weight_decay": -1}, "greater than or equal to 0"),
        ({"report_epoch": "best"}, "best_validation"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"momentum": 0.9}, "momentum"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GradientProbe(**change)


def test_reported_epochs_stand_once_and_the_headline_first() -> None:
    how = method(report_epoch="last", also_report=("best_validation", "last", "best_test", "best_validation"))
    assert how.reported == ("last", "best_validation", "best_test")
