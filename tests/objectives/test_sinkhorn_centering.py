"""Balancing the teacher's outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medfm.objectives.centering import Center
from medfm.objectives.sinkhorn import sinkhorn_knopp


def logits(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, columns))).float() * 0.3


def test_rows_sum_to_one_and_columns_become_equal() -> None:
    shares = sinkhorn_knopp(logits(24, 6), 0.1, iterations=50)
    assert torch.allclose(shares.sum(dim=1), torch.ones(24), atol=1e-5)
    assert torch.allclose(shares.sum(dim=0), torch.full((6,), 4.0), atol=1e-3)


def test_a_prototype_that_takes_all_is_pulled_back() -> None:
    biased = logits(16, 4)
    biased[:, 0] += 1.0
    softmax = torch.softmax(biased / 0.1, dim=1)
    assert softmax[:, 0].mean() > 0.9
    assert sinkhorn_knopp(biased, 0.1)[:, 0].mean() < 0.4


def test_no_gradient_and_an_empty_input() -> None:
    assert not sinkhorn_knopp(logits(4, 3).requires_grad_(), 0.1).requires_grad
    assert sinkhorn_knopp(torch.zeros(0, 5), 0.1).shape == (0, 5)


def test_parts_on_two_processes_give_the_shares_of_the_whole() -> None:
    """Two threads stand for two processes; the reduction adds their tensors."""
    import threading

    whole = logits(10, 5)
    halves = [whole[:3], whole[3:]]
    barrier = threading.Barrier(2)
    slots: list[torch.Tensor] = [torch.empty(0), torch.empty(0)]
    results: list[torch.Tensor] = [torch.empty(0), torch.empty(0)]

    def run(rank: int) -> None:
        def reduce(value: torch.Tensor) -> torch.Tensor:
            slots[rank] = value
            barrier.wait()
            total = slots[0] + slots[1]
            barrier.wait()
            return total

        results[rank] = sinkhorn_knopp(halves[rank], 0.07, reduce=reduce)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.allclose(torch.cat(results), sinkhorn_knopp(whole, 0.07), atol=1e-6)


def test_the_centre_is_a_moving_average_and_a_buffer() -> None:
    center = Center(3, momentum=0.8)
    center.update(torch.tensor([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]))
    assert torch.allclose(center.center, torch.tensor([[0.4, 0.6, 0.8]]))
    center.update(torch.zeros(0, 3))
    assert torch.allclose(center.center, torch.tensor([[0.4, 0.6, 0.8]]))
    assert set(center.state_dict()) == {"center"} and not list(center.parameters())


def test_the_centre_counts_samples_of_all_processes() -> None:
    center = Center(2, momentum=0.0)
    center.update(torch.tensor([[2.0, 4.0]]), reduce=lambda value: value * 2)
    assert torch.allclose(center.center, torch.tensor([[2.0, 4.0]]))


def test_centring_subtracts_and_sharpens() -> None:
    center = Center(2)
    center.center.copy_(torch.tensor([[1.0, 0.0]]))
    probabilities = center.probabilities(torch.tensor([[1.0, 0.0]]), 0.1)
    assert probabilities.tolist()[0] == pytest.approx([0.5, 0.5])
    sharp = center.probabilities(torch.tensor([[2.0, 0.0]]), 0.1)
    assert sharp[0, 0] > 0.99
