"""Which pair is in which step, and batches of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_parts import held, pairs, tokens

from medfm.core.errors import TrainingError
from medfm.training.pairs import Pairs, different, pair_batches, pair_positions, steps_per_epoch
from medfm.training.record_tensors import RecordTensors


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.integers(1, 8), st.integers(1, 4), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_uses_no_pair_twice_and_processes_share_it(
    count: int, batch: int, world: int, seed: int, epoch: int
) -> None:
    per_epoch = steps_per_epoch(count, batch, world)
    if per_epoch == 0:
        return
    used = [
        index
        for step in range(epoch * per_epoch, (epoch + 1) * per_epoch)
        for rank in range(world)
        for index in pair_positions(count, batch, step, seed, rank, world)
    ]
    assert len(used) == len(set(used)) == per_epoch * batch * world
    assert set(used) <= set(range(count))
    # Several processes together see what one process with the larger batch sees, in its order.
    alone = [
        i
        for s in range(epoch * per_epoch, (epoch + 1) * per_epoch)
        for i in pair_positions(count, batch * world, s, seed)
    ]
    assert used == alone


def test_epochs_differ_unless_the_published_flaw_is_asked_for() -> None:
    def epoch(number: int, shuffle: str) -> list[int]:
        return [i for s in range(3) for i in pair_positions(14, 4, 3 * number + s, 0, shuffle=shuffle)]

    assert epoch(0, "each_epoch") != epoch(1, "each_epoch")
    assert epoch(0, "same_order") == epoch(1, "same_order") == epoch(0, "each_epoch")
    # The same two pairs are left out in every epoch then; with new orders all are seen sooner or later.
    assert len({i for e in range(20) for i in epoch(e, "same_order")}) == 12
    assert len({i for e in range(20) for i in epoch(e, "each_epoch")}) == 14


def test_different_texts() -> None:
    texts, which = different(["b", "a", "b", "c", "a"])
    assert texts == ("b", "a", "c")
    assert which.tolist() == [0, 1, 0, 2, 1]
    assert [texts[i] for i in which] == ["b", "a", "b", "c", "a"]


def test_batches_hold_each_record_with_its_own_text() -> None:
    data = pairs(14)
    for step, batch in enumerate(pair_batches(data, range(6), 4, 0)):
        positions = pair_positions(14, 4, step, 0)
        assert torch.equal(batch.records, data.records.held[positions])
        ids, mask = batch.text
        for row, position in enumerate(positions):
            wanted, length = data.text[0][data.which[position]], int(data.text[1][data.which[position]].sum())
            assert ids[row, :length].tolist() == wanted[:length].tolist()
            assert int(mask[row].sum()) == length
        assert mask.sum(dim=1).max() == mask.shape[1]  # cut to the longest


def test_a_resumed_stream_goes_on_where_it_was() -> None:
    data = pairs(14)
    whole = list(pair_batches(data, range(9), 4, 3))
    rest = list(pair_batches(data, range(5, 9), 4, 3))
    for one, two in zip(whole[5:], rest, strict=True):
        assert torch.equal(one.records, two.records)
        assert all(torch.equal(a, b) for a, b in zip(one.text, two.text, strict=True))


def test_vectors_of_a_frozen_tower_are_looked_up() -> None:
    data = pairs(9)
    vectors = torch.arange(len(data.texts) * 3.0).view(-1, 3)
    with_vectors = Pairs(data.records, (vectors,), data.which, data.texts)
    (batch,) = list(pair_batches(with_vectors, range(1), 4, 0))
    assert torch.equal(batch.text[0], vectors[data.which[pair_positions(9, 4, 0, 0)]])


def test_digest_depends_on_values_texts_and_pairing() -> None:
    one = pairs(9)
    assert one.digest() == pairs(9).digest()
    assert one.digest() != pairs(9, seed=1).digest()
    shifted = Pairs(one.records, one.text, one.which.roll(1), one.texts)
    assert shifted.digest() != one.digest()
    on_demand = RecordTensors(one.records.refs, "ecg", one.records.preprocess, None, one.records.rows)
    assert Pairs(on_demand, one.text, one.which, one.texts).digest() is None


def test_take_keeps_records_together() -> None:
    records = held(6)
    some = records.take([4, 1])
    assert [ref.record_id for ref in some.refs] == ["r4", "r1"]
    assert some.rows == (4, 1)
    assert torch.equal(some[0], records[4])
    assert len(some) == 2


def test_a_record_that_vanishes_is_named() -> None:
    records = held(2)
    gone = RecordTensors(records.refs, "ecg", records.preprocess, None, records.rows)
    with pytest.raises(TrainingError, match="cannot be read") as caught:
        gone[1]
    assert "record r1" in str(caught.value)


def test_token_lengths_are_used() -> None:
    ids, mask = tokens(5)
    assert ids.shape == mask.shape == (5, 9)
    assert np.array_equal((ids != 0).numpy(), mask.numpy().astype(bool))
