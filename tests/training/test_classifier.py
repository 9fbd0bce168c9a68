"""The linear head and the classifier on a network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from medfm.objectives.labels import probabilities
from medfm.training.classifier import Classifier, LinearHead, OrdinalHead


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_first_weights_are_xavier_uniform_and_the_bias_as_said() -> None:
    head = LinearHead(300, 5, generator=seeded(), bias=0.01)
    bound = math.sqrt(6 / 305)
    weight = head.linear.weight
    assert 0.98 * bound < weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert head.linear.bias.tolist() == pytest.approx([0.01] * 5)
    again = LinearHead(300, 5, generator=seeded())
    assert torch.equal(weight, again.linear.weight)


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    LinearHead(4, 2, generator=seeded())
    assert torch.equal(before, torch.get_rng_state())


def test_standardising_and_taking_it_back_into_the_weights() -> None:
    x = torch.randn(50, 6, generator=seeded(1)) * 7 + 3
    x[:, 2] = 5.0  # a constant feature
    head = LinearHead(6, 3, generator=seeded())
    head.standardise(x)
    z = (x - head.mean) / head.deviation
    assert torch.allclose(z.mean(0), torch.zeros(6), atol=1e-5)
    varying = [0, 1, 3, 4, 5]
    assert torch.allclose(z.std(0, unbiased=False)[varying], torch.ones(5), atol=1e-5)
    # A feature that does not vary is not blown up.
    assert float(head.deviation[2]) == pytest.approx(0.1 * float(x.square().mean().sqrt()), rel=1e-5)
    weight, bias = head.affine()
    assert torch.allclose(head.eval()(x), x @ weight.T + bias, atol=1e-4)


def test_embeddings_of_nought_do_no_harm() -> None:
    head = LinearHead(3, 1, generator=seeded())
    head.standardise(torch.zeros(4, 3))
    assert head.deviation.tolist() == [1.0] * 3 and bool(torch.isfinite(head(torch.zeros(1, 3))).all())


def test_dropout_acts_in_training_alone() -> None:
    head = LinearHead(100, 1, dropout=0.5, generator=seeded())
    x = torch.ones(2, 100)
    assert torch.equal(head.eval()(x), head.eval()(x))
    assert not torch.equal(head.train()(x), head.train()(x))


def test_grades_cannot_cross_whatever_the_weights() -> None:
    head = OrdinalHead(4, 5, generator=seeded()).eval()
    with torch.no_grad():
        head.gaps.copy_(torch.tensor([-9.0, 3.0, 0.0]))
    x = torch.randn(20, 4, generator=seeded(2))
    logits = head(x)
    assert logits.shape == (20, 4) and bool((logits.diff(dim=1) < 0).all())
    assert bool((probabilities("ordinal", logits) >= 0).all())
    weight, bias = head.affine()
    assert torch.allclose(logits, x @ weight.T + bias, atol=1e-5)
    assert torch.equal(weight[0], weight[3])  # one direction


def test_thresholds_of_grades_start_one_apart() -> None:
    head = OrdinalHead(4, 4, generator=seeded())
    _, bias = head.affine()
    assert bias.tolist() == pytest.approx([1.0, 0.0, -1.0], abs=1e-5)


def test_a_classifier_is_head_on_embedding() -> None:
    network = nn.Linear(3, 4)
    model = Classifier(network, lambda module, x: module(x).relu(), LinearHead(4, 2, generator=seeded()))
    x = torch.randn(5, 3, generator=seeded(3))
    assert torch.equal(model.eval()(x), model.head(network(x).relu()))
    assert {name.split(".")[0] for name in model.state_dict()} == {"network", "head"}
