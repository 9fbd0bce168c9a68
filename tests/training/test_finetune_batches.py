"""Batches of fine-tuning: a function of seed, stage, epoch and place; workers change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.training.finetune_batches import Labelled, epoch_batches, epoch_order, steps_per_epoch
from medfm.training.finetune_config import Mixing
from medfm.training.finetune_views import Noise, Scale


def data(count: int = 10) -> Labelled:
    inputs = torch.arange(count * 8, dtype=torch.float32).reshape(count, 1, 8)
    return Labelled(inputs, torch.arange(count).float())


def batches(**settings_: object) -> list:
    given_ = {"batch": 4, "seed": 1, "stage": 0, "epoch": 0, **settings_}
    return list(epoch_batches(data(), **given_))  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(count=st.integers(2, 50), batch=st.integers(2, 16))
def test_an_epoch_leaves_out_at_most_one_record(count: int, batch: int) -> None:
    found = list(epoch_batches(data(count), batch=batch, seed=0, stage=0, epoch=0))
    sizes = [len(b.rows) for b in found]
    assert len(found) == steps_per_epoch(count, batch) and min(sizes) >= 2
    rows = torch.cat([b.rows for b in found]).tolist()
    assert len(rows) == len(set(rows)) and count - len(rows) == (1 if count > batch and count % batch == 1 else 0)


def test_targets_go_with_their_records() -> None:
    for batch in batches():
        assert torch.equal(batch.mixed.inputs, data().inputs[batch.rows])  # type: ignore[index]
        assert torch.equal(batch.targets, batch.rows.float()) and batch.mixed.weight == 1.0


@pytest.mark.parametrize("change", [{"seed": 2}, {"stage": 1}, {"epoch": 1}], ids=lambda c: next(iter(c)))
def test_order_follows_seed_stage_and_epoch(change: dict[str, int]) -> None:
    same, other = epoch_order(50, 1, 0, 0), epoch_order(50, **{"seed": 1, "stage": 0, "epoch": 0, **change})
    assert np.array_equal(same, epoch_order(50, 1, 0, 0)) and not np.array_equal(same, other)
    assert sorted(other.tolist()) == list(range(50))


def test_drawing_balances_classes_and_keeps_the_length() -> None:
    weights = torch.tensor([1 / 90] * 90 + [1 / 10] * 10)
    drawn = np.concatenate([epoch_order(100, 0, 0, epoch, weights) for epoch in range(20)])
    assert len(drawn) == 2000 and 0.45 < float((drawn >= 90).mean()) < 0.55


def test_a_record_drawn_twice_is_seen_in_two_views() -> None:
    weights = torch.tensor([1.0] + [0.0] * 9)
    inputs = batches(weights=weights, steps=(Scale(factors=(0.5, 2.0)),))[0].mixed.inputs
    assert len({float(x.sum()) for x in inputs}) == 4


def test_workers_change_nothing() -> None:
    settings_ = {"steps": (Noise(deviation=0.5),), "mixing": Mixing(probability=0.5)}
    for here, there in zip(batches(**settings_), batches(**settings_, workers=1), strict=True):
        assert torch.equal(here.mixed.inputs, there.mixed.inputs) and torch.equal(here.rows, there.rows)


def test_mixing_is_drawn_per_batch_with_its_probability() -> None:
    def share(mixing: Mixing) -> float:
        found = [b.mixed.weight < 1 for e in range(40) for b in batches(epoch=e, mixing=mixing)]
        return float(np.mean(found))

    assert share(Mixing(probability=0.0)) == 0.0
    assert 0.3 < share(Mixing(probability=0.5, kind="mixup")) < 0.7
    assert share(Mixing(probability=1.0, kind="mixup")) == 1.0
