"""Classes balanced by drawing against classes balanced in the loss: expected frequencies, weights, and the recipe's switch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import TrainingError
from medfm.objectives.labels import Kind, LabelLoss, balancing_weights, drawing_weights
from medfm.training.finetune import _Run
from medfm.training.finetune_batches import Labelled, epoch_order
from medfm.training.finetune_labels import Labels
from tests.training.tuning_parts import BINARY, recipe, signal_encoder, signals

classes = st.lists(st.integers(0, 3), min_size=2, max_size=40)


@settings(max_examples=40, deadline=None)
@given(classes)
def test_both_ways_ask_for_the_same_expected_loss(values: list[int]) -> None:
    """E over draws of the plain loss = mean over records of the weighted loss, up to no factor at all."""
    y = torch.tensor(values)
    logits = torch.randn(len(y), 4, generator=torch.Generator().manual_seed(len(values)))
    plain, _ = LabelLoss("multiclass").parts(logits, y)
    shares = drawing_weights(y).double() / drawing_weights(y).double().sum()
    weighted = LabelLoss("multiclass", balancing_weights("multiclass", y, 4))(logits, y)
    assert float((shares * plain.double()).sum()) == pytest.approx(float(weighted), rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(classes)
def test_weights_are_count_over_classes_times_class_size(values: list[int]) -> None:
    found = balancing_weights("multiclass", torch.tensor(values), 4).tolist()
    held = len(set(values))
    for one in range(4):
        size = values.count(one)
        assert found[one] == pytest.approx(len(values) / (held * size) if size else 0.0)
    assert sum(found[v] for v in values) / len(values) == pytest.approx(1.0)
    totals = {one: found[one] * values.count(one) for one in set(values)}
    assert all(total == pytest.approx(len(values) / held) for total in totals.values())


def test_drawn_classes_are_as_frequent_as_chance_allows() -> None:
    """4000 draws of 90 + 8 + 2: shares of a third, within five standard errors; without weights each record once."""
    values = np.array([0] * 3600 + [1] * 320 + [2] * 80)
    order = epoch_order(4000, 3, 0, 0, drawing_weights(torch.from_numpy(values)))
    shares = np.bincount(values[order], minlength=3) / 4000
    assert np.abs(shares - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 4000)
    assert sorted(epoch_order(4000, 3, 0, 0).tolist()) == list(range(4000))


def test_every_record_of_a_class_has_the_same_chance() -> None:
    values = torch.tensor([0] * 6 + [1] * 2)
    drawn = np.concatenate([epoch_order(8, 0, 0, epoch, drawing_weights(values)) for epoch in range(600)])
    shares = np.bincount(drawn, minlength=8) / len(drawn)
    expected = np.array([1 / 12] * 6 + [1 / 4] * 2)
    assert np.abs(shares - expected).max() < 5 * np.sqrt(0.25 * 0.75 / len(drawn))


def test_draws_follow_from_seed_stage_and_epoch() -> None:
    weights = drawing_weights(torch.tensor([0] * 20 + [1] * 5))
    first = epoch_order(25, 1, 2, 3, weights)
    assert np.array_equal(first, epoch_order(25, 1, 2, 3, weights))
    others = [epoch_order(25, *key, weights) for key in ((0, 2, 3), (1, 0, 3), (1, 2, 0))]
    assert not any(np.array_equal(first, other) for other in others)


def run(balance: str, labels: Labels, targets: torch.Tensor) -> _Run:
    made = recipe(objective={"balance": balance})
    data = Labelled(signals(len(targets)), targets)
    return _Run(signal_encoder(), made, data, None, labels, "ecg", 0)


GRADES = Labels("multiclass", "ordinal", ("0", "1", "2"), "grade")
MANY = Labels("multilabel", "multilabel", ("a", "b"), "a+b")
AGE = Labels("regression", "regression", (), "age", 50.0, 10.0)
SKEWED = torch.tensor([0.0] * 9 + [1.0] * 3)


@pytest.mark.parametrize(
    ("balance", "weights", "drawn"),
    [
        ("none", None, None),
        ("loss", [12 / 18, 12 / 6], None),
        ("auto", [12 / 18, 12 / 6], None),
        ("sampler", None, [1 / 9] * 9 + [1 / 3] * 3),
    ],
)
def test_the_recipe_switches_one_of_them_on(
    balance: str, weights: list[float] | None, drawn: list[float] | None
) -> None:
    made = run(balance, BINARY, SKEWED)
    assert (made.loss.weights is None) == (weights is None) and (made.drawn is None) == (drawn is None)
    if weights is not None:
        assert made.loss.weights is not None and made.loss.weights.tolist() == pytest.approx(weights)
    if drawn is not None:
        assert made.drawn is not None and made.drawn.tolist() == pytest.approx(drawn)


def test_grades_are_weighted_by_grade_and_measurements_not_at_all() -> None:
    grades = torch.tensor([0] * 6 + [1] * 4 + [2] * 2)
    weights = run("loss", GRADES, grades).loss.weights
    assert weights is not None and weights.tolist() == pytest.approx([12 / 18, 12 / 12, 12 / 6])
    assert run("loss", AGE, torch.arange(12.0)).loss.weights is None


def test_many_labels_are_weighted_one_by_one_over_what_is_known() -> None:
    nan = float("nan")
    targets = torch.tensor([[1.0, nan]] * 3 + [[0.0, 1.0]] * 6 + [[nan, 0.0]] * 3)
    weights = run("loss", MANY, targets).loss.weights
    assert weights is not None
    assert weights.flatten().tolist() == pytest.approx([9 / 12, 9 / 6, 9 / 6, 9 / 12])


@pytest.mark.parametrize(
    ("labels", "kind", "fix"), [(MANY, "multilabel", "balance=loss"), (AGE, "regression", "balance=none")],
    ids=["labels", "measurement"],
)  # fmt: skip
def test_what_has_no_class_cannot_be_drawn_by_class(labels: Labels, kind: Kind, fix: str) -> None:
    targets = torch.zeros(4, 2) if kind == "multilabel" else torch.zeros(4)
    with pytest.raises(TrainingError, match=f"by class for a {kind} task") as found:
        run("sampler", labels, targets)
    assert found.value.where == "objective.balance" and fix in str(found.value.fix)
