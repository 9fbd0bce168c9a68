"""Losses of labels against loops in plain Python: gaps, weights, smoothing, mixing, and the early-learning average."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.objectives.early_learning import EarlyLearningMemory
from medfm.objectives.labels import LabelLoss, balancing_weights, drawing_weights, probabilities
from medfm.objectives.mixing import Mixed

NAN = float("nan")


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()


def bce(logit: float, target: float, smoothing: float = 0.0) -> float:
    p, soft = 1 / (1 + math.exp(-logit)), target * (1 - smoothing) + smoothing / 2
    return -(soft * math.log(p) + (1 - soft) * math.log(1 - p))


gaps = st.lists(st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=3, max_size=3), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(rows=gaps, smoothing=st.sampled_from([0.0, 0.2]), seed=st.integers(0, 20))
def test_many_labels_by_a_loop_over_what_is_known(rows: list[list[float]], smoothing: float, seed: int) -> None:
    y, logits = torch.tensor(rows), drawn(len(rows), 3, seed=seed).requires_grad_(True)
    weights = torch.tensor([[1.0, 0.5, 2.0], [3.0, 1.5, 0.25]])
    total, known = 0.0, 0
    for i, row in enumerate(rows):
        for j, target in enumerate(row):
            if not math.isnan(target):
                total += float(weights[int(target), j]) * bce(float(logits.detach()[i, j]), target, smoothing)
                known += 1
    loss = LabelLoss("multilabel", weights, smoothing)(logits, y)
    assert float(loss.detach()) == pytest.approx(total / max(known, 1), rel=1e-5, abs=1e-7)
    loss.backward()
    assert logits.grad is not None and bool(torch.isfinite(logits.grad).all())
    assert bool((logits.grad[torch.isnan(y)] == 0).all())
    # A known label always pulls: no logit of these is exactly at its target.
    assert int((logits.grad != 0).sum()) == known


@settings(max_examples=40, deadline=None)
@given(rows=gaps)
def test_weights_of_labels_by_a_loop(rows: list[list[float]]) -> None:
    found = balancing_weights("multilabel", torch.tensor(rows), 3)
    for label in range(3):
        column = [row[label] for row in rows if not math.isnan(row[label])]
        ones = sum(column)
        if 0 < ones < len(column):
            expected = [len(column) / (2 * (len(column) - ones)), len(column) / (2 * ones)]
        else:
            expected = [1.0, 1.0]
        assert found[:, label].tolist() == pytest.approx(expected)
        told = [expected[int(v)] for v in column]
        assert not told or sum(told) / len(told) == pytest.approx(1.0)


def test_an_unknown_label_cannot_be_seen_in_the_loss() -> None:
    logits = drawn(4, 3)
    y = torch.tensor([[1.0, NAN, 0.0]] * 4)
    other = logits.clone()
    other[:, 1] = 50.0
    loss = LabelLoss("multilabel", torch.ones(2, 3))
    assert float(loss(logits, y)) == float(loss(other, y))


@settings(max_examples=30, deadline=None)
@given(classes=st.integers(3, 5), seed=st.integers(0, 30), smoothing=st.sampled_from([0.0, 0.1]))
def test_weighted_grades_by_a_loop(classes: int, seed: int, smoothing: float) -> None:
    logits = drawn(5, classes - 1, seed=seed)
    y = torch.arange(5) % classes
    weights = torch.arange(1, classes + 1).float()
    total = 0.0
    for i in range(5):
        steps = [bce(float(logits[i, k]), float(int(y[i]) > k), smoothing) for k in range(classes - 1)]
        total += float(weights[y[i]]) * sum(steps)
    assert float(LabelLoss("ordinal", weights, smoothing)(logits, y)) == pytest.approx(total / 5, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_weighted_smoothed_classes_by_a_loop(smoothing: float) -> None:
    logits, y, weights = drawn(6, 4), torch.tensor([0, 1, 2, 3, 3, 0]), torch.tensor([1.0, 2.0, 0.0, 0.5])
    total = 0.0
    for i in range(6):
        row = [float(v) for v in logits[i]]
        top = math.log(sum(math.exp(v) for v in row))
        soft = [smoothing / 4 + (1 - smoothing) * (k == int(y[i])) for k in range(4)]
        total += float(weights[y[i]]) * sum(s * (top - v) for s, v in zip(soft, row, strict=True))
    assert float(LabelLoss("multiclass", weights, smoothing)(logits, y)) == pytest.approx(total / 6, rel=1e-5)


def test_two_classes_weighted_by_a_loop() -> None:
    logits, y, weights = drawn(7, 1), torch.tensor([0.0, 1, 1, 0, 1, 0, 0]), torch.tensor([0.5, 4.0])
    total = sum(float(weights[int(t)]) * bce(float(v), float(t)) for v, t in zip(logits[:, 0], y, strict=True))
    assert float(LabelLoss("binary", weights)(logits, y)) == pytest.approx(total / 7, rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.35, 1.0])
def test_mixed_records_with_gaps_are_masked_on_either_side(share: float) -> None:
    """The partner's unknown labels count as little as the record's own."""
    logits, partner = drawn(3, 2), torch.tensor([2, 0, 1])
    y = torch.tensor([[1.0, NAN], [NAN, 0.0], [0.0, 1.0]])
    loss = LabelLoss("multilabel", torch.ones(2, 2))
    mixed = Mixed(torch.zeros(3, 1, 4), partner, share)
    found = mixed.loss(lambda given: loss(logits, given), y)

    def mean(targets: torch.Tensor) -> float:
        held = [(i, j) for i in range(3) for j in range(2) if not math.isnan(float(targets[i, j]))]
        return sum(bce(float(logits[i, j]), float(targets[i, j])) for i, j in held) / len(held)

    assert float(found) == pytest.approx(share * mean(y) + (1 - share) * mean(y[partner]), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_drawing_gives_every_class_present_the_same_chance(classes: list[int]) -> None:
    weights = drawing_weights(torch.tensor(classes)).double().numpy()
    shares = weights / weights.sum()
    present = sorted(set(classes))
    for one in present:
        assert shares[np.array(classes) == one].sum() == pytest.approx(1 / len(present))


def test_crossing_logits_of_grades_give_no_negative_probability() -> None:
    found = probabilities("ordinal", torch.tensor([[-2.0, 3.0], [3.0, -2.0]]))
    assert bool((found >= 0).all()) and found[1].sum() == pytest.approx(1.0)


def test_the_average_over_three_epochs_by_hand() -> None:
    source, memory = np.random.default_rng(0), EarlyLearningMemory(4, 3, momentum=0.6)
    kept = np.zeros((4, 3))
    for _ in range(3):
        order = source.permutation(4)
        for rows in (order[:2], order[2:]):
            logits = source.normal(size=(2, 3))
            p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            term = memory.term(torch.tensor(p, dtype=torch.float32), torch.tensor(rows))
            for place, row in enumerate(rows):
                kept[row] = 0.6 * kept[row] + 0.4 * p[place]
            expected = np.mean([math.log(1 - p[k] @ kept[row]) for k, row in enumerate(rows)])
            assert float(term) == pytest.approx(expected, abs=1e-5)
    assert memory.targets.numpy() == pytest.approx(kept, abs=1e-5)


def test_the_term_pulls_by_its_derivative_and_the_average_has_none() -> None:
    memory = EarlyLearningMemory(2, 2, momentum=0.5)
    memory.term(torch.tensor([[0.9, 0.1], [0.3, 0.7]]), torch.tensor([0, 1]))
    p = torch.tensor([[0.6, 0.4], [0.5, 0.5]], requires_grad=True)
    memory.term(p, torch.tensor([0, 1])).backward()
    t = memory.targets
    assert not t.requires_grad
    inner = (p.detach() * t).sum(1, keepdim=True)
    assert p.grad is not None and torch.allclose(p.grad, -t / (1 - inner) / 2, atol=1e-6)  # mean over two records
