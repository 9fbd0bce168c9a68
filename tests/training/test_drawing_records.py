"""Which records an epoch holds: expected frequencies, and independence of everything but the numbers given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from medfm.objectives.labels import drawing_weights
from medfm.training.finetune_batches import Labelled, epoch_batches, epoch_order, steps_per_epoch


def drawn(weights: torch.Tensor, epochs: int) -> np.ndarray:
    return np.concatenate([epoch_order(len(weights), 0, 1, epoch, weights) for epoch in range(epochs)])


def test_records_come_as_often_as_their_weights_say() -> None:
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0, 10.0])
    counts = np.bincount(drawn(weights, 500), minlength=6)
    expected = weights.double().numpy() / 20 * counts.sum()
    assert counts[4] == 0
    assert chisquare(np.delete(counts, 4), np.delete(expected, 4)).pvalue > 0.001


@pytest.mark.parametrize("sizes", [(90, 10), (50, 30, 20), (3, 97)])
def test_classes_drawn_to_be_equal_are(sizes: tuple[int, ...]) -> None:
    y = np.repeat(np.arange(len(sizes)), sizes)
    counts = np.bincount(y[drawn(drawing_weights(torch.tensor(y)), 60)])
    assert counts.sum() == 6000 and chisquare(counts).pvalue > 0.001


def test_drawing_with_replacement_leaves_out_what_chance_leaves_out() -> None:
    """A share of (1 - 1/n) ** n of the records is absent from an epoch of n draws."""
    absent = [1 - len(set(epoch_order(50, 0, 0, e, torch.ones(50)).tolist())) / 50 for e in range(200)]
    assert float(np.mean(absent)) == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)


def test_every_place_of_an_order_is_equally_likely() -> None:
    orders = np.stack([epoch_order(5, seed, 0, 0) for seed in range(1000)])
    for place in range(5):
        assert chisquare(np.bincount(orders[:, place], minlength=5)).pvalue > 0.001


def test_global_chance_is_neither_used_nor_touched() -> None:
    before_numpy, before_torch = np.random.get_state()[1].copy(), torch.get_rng_state()
    first = epoch_order(20, 1, 2, 3, torch.ones(20))
    np.random.seed(99)
    again = epoch_order(20, 1, 2, 3, torch.ones(20))
    np.random.set_state(("MT19937", before_numpy, 624, 0, 0.0))
    assert np.array_equal(first, again) and torch.equal(before_torch, torch.get_rng_state())


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 200), batch=st.integers(2, 40))
def test_steps_of_an_epoch_by_counting(count: int, batch: int) -> None:
    lots = [min(batch, count - start) for start in range(0, count, batch)]
    kept = [size for size in lots if size > 1] or [count]
    assert steps_per_epoch(count, batch) == len(kept)


def test_seed_stage_and_epoch_do_not_run_into_each_other() -> None:
    """(1, 2, 3) and its permutations are six different orders."""
    keys = [(1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1)]
    assert len({tuple(epoch_order(30, *key).tolist()) for key in keys}) == 6


def test_a_batch_carries_the_labels_of_records_that_were_drawn_twice() -> None:
    inputs = torch.arange(6.0).reshape(6, 1, 1).expand(6, 1, 4)
    held = Labelled(inputs, torch.arange(6.0) * 10)  # type: ignore[arg-type]
    weights = torch.tensor([1.0, 0, 0, 0, 0, 1])
    for batch in epoch_batches(held, batch=3, seed=0, stage=0, epoch=0, weights=weights):
        assert set(batch.rows.tolist()) <= {0, 5}
        assert torch.equal(batch.mixed.inputs[:, 0, 0] * 10, batch.targets)
