"""Early-learning regularisation by its equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medfm.objectives.early_learning import EarlyLearningMemory


def test_the_average_and_the_term_by_hand() -> None:
    memory = EarlyLearningMemory(3, 2, momentum=0.7)
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    term = memory.term(p, torch.tensor([2, 0]))
    expected = 0.3 * p.numpy()
    assert memory.targets[[2, 0]].numpy() == pytest.approx(expected, abs=1e-6)
    assert memory.targets[1].tolist() == [0, 0]
    assert float(term) == pytest.approx(np.log(1 - (p.numpy() * expected).sum(1)).mean(), abs=1e-6)
    second = torch.tensor([[0.5, 0.5]])
    memory.term(second, torch.tensor([2]))
    assert memory.targets[2].numpy() == pytest.approx(0.7 * expected[0] + 0.3 * np.array([0.5, 0.5]), abs=1e-6)


def test_the_term_draws_towards_what_was_said_early() -> None:
    memory = EarlyLearningMemory(1, 2, momentum=0.7)
    for _ in range(10):
        memory.term(torch.tensor([[0.95, 0.05]]), torch.tensor([0]))
    logits = torch.zeros(1, 2, requires_grad=True)
    memory.term(logits.softmax(1), torch.tensor([0])).backward()
    assert logits.grad is not None and logits.grad[0, 0] < 0 < logits.grad[0, 1]


def test_certainty_does_not_make_it_infinite() -> None:
    memory = EarlyLearningMemory(1, 2, momentum=0.0)
    p = torch.tensor([[1.0, 0.0]], requires_grad=True)
    term = memory.term(p, torch.tensor([0]))
    term.backward()
    assert bool(torch.isfinite(term)) and bool(torch.isfinite(p.grad).all())  # type: ignore[union-attr]
