"""Losses of labels against scikit-learn and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from medfm.objectives.labels import LabelLoss, balancing_weights, drawing_weights, probabilities

NAN = float("nan")


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_binary_is_the_log_loss() -> None:
    logits, y = drawn(20, 1), (torch.arange(20) % 3 == 0).float()
    expected = log_loss(y.numpy(), torch.sigmoid(logits[:, 0]).double().numpy(), labels=[0, 1])
    assert float(LabelLoss("binary")(logits, y)) == pytest.approx(expected, rel=1e-5)
    p = probabilities("binary", logits)
    assert torch.allclose(p.sum(1), torch.ones(20)) and torch.allclose(p[:, 1], torch.sigmoid(logits[:, 0]))


def test_several_classes_are_the_log_loss_and_weights_multiply() -> None:
    logits, y = drawn(20, 4), torch.arange(20) % 4
    expected = log_loss(y.numpy(), logits.double().softmax(1).numpy(), labels=range(4))
    assert float(LabelLoss("multiclass")(logits, y)) == pytest.approx(expected, rel=1e-5)
    weights = torch.tensor([1.0, 2.0, 0.5, 0.0])
    weighted = log_loss(
        y.numpy(), logits.double().softmax(1).numpy(), labels=range(4), sample_weight=weights[y].numpy()
    )
    found = float(LabelLoss("multiclass", weights)(logits, y))
    assert found == pytest.approx(weighted * float(weights[y].mean()), rel=1e-5)


def test_a_batch_of_one_class_keeps_its_weight() -> None:
    """PyTorch's weighted mean divides by the weights of the batch, which would undo them."""
    logits, y = drawn(4, 2), torch.ones(4, dtype=torch.long)
    plain = float(LabelLoss("multiclass")(logits, y))
    assert float(LabelLoss("multiclass", torch.tensor([1.0, 3.0]))(logits, y)) == pytest.approx(3 * plain)


def test_unknown_labels_count_for_nothing() -> None:
    logits = drawn(3, 2)
    y = torch.tensor([[1.0, NAN], [NAN, 0.0], [0.0, 1.0]])
    known = [(0, 0, 1.0), (1, 1, 0.0), (2, 0, 0.0), (2, 1, 1.0)]
    terms = [-math.log(1 / (1 + math.exp(-(2 * t - 1) * float(logits[i, j])))) for i, j, t in known]
    logits.requires_grad_(True)
    loss = LabelLoss("multilabel")(logits, y)
    assert float(loss.detach()) == pytest.approx(sum(terms) / 4, rel=1e-5)
    loss.backward()
    assert logits.grad is not None and logits.grad[0, 1] == 0 and logits.grad[1, 0] == 0
    assert bool(torch.isfinite(logits.grad).all()) and bool((logits.grad != 0).sum() == 4)


def test_a_batch_without_any_known_label_gives_nought() -> None:
    logits = drawn(2, 2).requires_grad_(True)
    loss = LabelLoss("multilabel")(logits, torch.full((2, 2), NAN))
    loss.backward()
    assert float(loss.detach()) == 0 and bool((logits.grad == 0).all())  # type: ignore[union-attr]


def test_regression_is_the_mean_square() -> None:
    logits, y = drawn(5, 1), drawn(5, seed=1)
    assert float(LabelLoss("regression")(logits, y)) == pytest.approx(float(((logits[:, 0] - y) ** 2).mean()))
    assert torch.equal(probabilities("regression", logits), logits)


@settings(max_examples=30, deadline=None)
@given(classes=st.integers(3, 6), seed=st.integers(0, 50))
def test_grades_from_falling_logits_are_probabilities(classes: int, seed: int) -> None:
    logits = drawn(4, classes - 1, seed=seed).sort(dim=1, descending=True).values
    p = probabilities("ordinal", logits)
    assert p.shape == (4, classes) and bool((p >= 0).all())
    assert torch.allclose(p.sum(1), torch.ones(4), atol=1e-6)
    above = torch.stack([p[:, k + 1 :].sum(1) for k in range(classes - 1)], dim=1)
    assert torch.allclose(above, torch.sigmoid(logits), atol=1e-5)


def test_ordinal_loss_by_a_loop() -> None:
    logits, y = drawn(6, 3), torch.tensor([0, 1, 2, 3, 3, 0])
    total = 0.0
    for i in range(6):
        for k in range(3):
            s = 1 / (1 + math.exp(-float(logits[i, k])))
            total -= math.log(s if int(y[i]) > k else 1 - s)
    assert float(LabelLoss("ordinal")(logits, y)) == pytest.approx(total / 6, rel=1e-5)


def test_smoothing_spreads_labels() -> None:
    logits, y = drawn(6, 1), (torch.arange(6) % 2).float()
    soft = y * 0.8 + 0.1
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], soft)
    assert float(LabelLoss("binary", smoothing=0.2)(logits, y)) == pytest.approx(float(expected), rel=1e-5)


def test_balancing_weights_are_those_of_scikit_learn() -> None:
    y = torch.tensor([0] * 7 + [1] * 2 + [2] * 3)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y.numpy())
    weights = balancing_weights("multiclass", y, 3)
    assert weights.tolist() == pytest.approx(expected.tolist())
    assert float(weights[y].mean()) == pytest.approx(1.0)
    assert balancing_weights("binary", y.clamp(max=1).float(), 2).tolist() == pytest.approx([12 / 14, 12 / 10])


def test_a_class_without_records_gets_no_weight_and_the_mean_stays_one() -> None:
    y = torch.tensor([0, 0, 2])
    weights = balancing_weights("multiclass", y, 3)
    assert weights[1] == 0 and float(weights[y].mean()) == pytest.approx(1.0)


def test_label_weights_look_at_known_labels_alone() -> None:
    y = torch.tensor([[1.0, 1.0], [0.0, NAN], [0.0, 1.0], [0.0, NAN]])
    weights = balancing_weights("multilabel", y, 2)
    assert weights[:, 0].tolist() == pytest.approx([4 / 6, 4 / 2])
    assert weights[:, 1].tolist() == [1.0, 1.0]  # known as present only
    loss = LabelLoss("multilabel", weights)(torch.zeros(4, 2), y)
    assert float(loss) == pytest.approx(math.log(2) * (4 * 1.0 + 2) / 6, rel=1e-5)


def test_records_are_drawn_so_that_classes_are_equally_frequent() -> None:
    y = torch.tensor([0.0, 0.0, 0.0, 1.0])
    weights = drawing_weights(y)
    assert float(weights[y == 0].sum()) == pytest.approx(float(weights[y == 1].sum()))
