"""On a CPU records go through the network together once a trial has shown that they get the bits they get alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from embedding_fakes import DIM, SIDE, TinyEncoder
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import MedfmError
from medfm.embeddings import forward as module
from medfm.embeddings.forward import Streams

TOGETHER = module._TOGETHER


class RowByRow(TinyEncoder):
    """The same bits in any company."""

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        super().__call__(batch)
        return torch.cat([row.flatten()[None] @ self.weight for row in batch])


class CompanyMatters(RowByRow):
    """The last bits differ as soon as a row is not alone."""

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        return super().__call__(batch) * (1 + 1e-6 * (len(batch) > 1))


class PlaceMatters(RowByRow):
    """Only the last place of a batch gets other bits."""

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        rows = super().__call__(batch)
        if len(rows) > 1:
            rows[-1] *= 1 + 1e-6
        return rows


def inputs(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((n, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))


def run(encoder, rows: torch.Tensor, sizes, *, batch_size=TOGETHER, streams=1, exact=True):
    values: dict[bytes, np.ndarray] = {}
    failed: dict[bytes, str] = {}
    lock = threading.Lock()

    def done(keys, vectors):
        with lock:
            assert not set(keys) & set(values)
            values.update(zip(keys, vectors, strict=True))

    keys = [number.to_bytes(4, "big") for number in range(len(rows))]
    stage = Streams(
        encoder,
        batch_size=batch_size,
        exact=exact,
        precision="fp32",
        streams=streams,
        done=done,
        failed=failed.__setitem__,
    )
    with stage:
        start = 0
        for size in sizes:
            stage.submit(keys[start : start + size], rows[start : start + size])
            start += size
    assert start == len(rows)
    return values, failed, stage


def alone(encoder, rows: torch.Tensor) -> np.ndarray:
    return torch.cat([encoder(row[None]) for row in rows]).numpy()


def in_order(values: dict[bytes, np.ndarray]) -> np.ndarray:
    return np.stack([values[key] for key in sorted(values)])


@pytest.mark.parametrize("kind", [RowByRow, CompanyMatters, PlaceMatters])
def test_every_record_gets_the_bits_it_gets_alone(kind) -> None:
    rows = inputs(6 * TOGETHER + 3)
    values, failed, stage = run(kind(), rows, [TOGETHER] * 6 + [3], streams=2)
    assert not failed and stage.exact is True
    np.testing.assert_array_equal(in_order(values), alone(kind(), rows))


def test_records_go_together_after_a_trial_and_not_where_it_fails() -> None:
    rows = inputs(6 * TOGETHER)
    same, other = RowByRow(), CompanyMatters()
    run(same, rows, [TOGETHER] * 6)
    # One batch alone, one alone with its trial, four together.
    assert same.calls == 2 * TOGETHER + 1 + 4
    run(other, rows, [TOGETHER] * 6)
    assert other.calls == 6 * TOGETHER + 1
    assert other.shapes == {(1, 3, SIDE, SIDE), (TOGETHER, 3, SIDE, SIDE)}


def test_a_handful_of_records_needs_no_trial() -> None:
    encoder = RowByRow()
    run(encoder, inputs(TOGETHER), [TOGETHER])
    assert encoder.calls == TOGETHER and encoder.shapes == {(1, 3, SIDE, SIDE)}


def test_blank_records_decide_nothing() -> None:
    # Of blank pictures every network gives equal rows, whatever its kernels do with others.
    rows = torch.cat([torch.zeros((3 * TOGETHER, 3, SIDE, SIDE)), inputs(3 * TOGETHER)])
    values, _, _ = run(CompanyMatters(), rows, [TOGETHER] * 6)
    np.testing.assert_array_equal(in_order(values), alone(CompanyMatters(), rows))


def test_what_does_not_fill_a_pass_is_filled_up_or_goes_alone() -> None:
    encoder = RowByRow()
    rows = inputs(3 * TOGETHER + 7 + 2)
    values, _, _ = run(encoder, rows, [TOGETHER] * 3 + [7, 2])
    assert encoder.calls == 2 * TOGETHER + 1 + 1 + 1 + 2
    assert encoder.shapes == {(1, 3, SIDE, SIDE), (TOGETHER, 3, SIDE, SIDE)}
    np.testing.assert_array_equal(in_order(values), alone(RowByRow(), rows))


def test_batches_of_one_and_larger_ones() -> None:
    encoder = RowByRow()
    run(encoder, inputs(20), [1] * 20, batch_size=1)
    assert encoder.shapes == {(1, 3, SIDE, SIDE)}
    large = RowByRow()
    rows = inputs(8 * TOGETHER)
    values, _, _ = run(large, rows, [4 * TOGETHER] * 2, batch_size=4 * TOGETHER)
    assert large.shapes == {(1, 3, SIDE, SIDE), (TOGETHER, 3, SIDE, SIDE)}
    np.testing.assert_array_equal(in_order(values), alone(RowByRow(), rows))


def test_one_refused_record_fails_alone_in_the_trial_and_after_it() -> None:
    class Refuses(RowByRow):
        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            if (batch[:, 0, 0, 0] == 2).any():
                raise MedfmError("This one is refused.")
            return super().__call__(batch)

    rows = inputs(6 * TOGETHER)
    bad = [TOGETHER + 1, 5 * TOGETHER + 3]
    rows[bad, 0, 0, 0] = 2
    values, failed, _ = run(Refuses(), rows, [TOGETHER] * 6)
    assert sorted(failed) == [number.to_bytes(4, "big") for number in bad]
    good = [number for number in range(len(rows)) if number not in bad]
    np.testing.assert_array_equal(in_order(values), alone(RowByRow(), rows[good]))


def test_too_little_memory_for_many_rows_ends_the_trial_not_the_run() -> None:
    class Small(RowByRow):
        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            if len(batch) > 1:
                raise RuntimeError("not enough memory: you tried to allocate 1 bytes")
            return super().__call__(batch)

    rows = inputs(4 * TOGETHER)
    values, failed, _ = run(Small(), rows, [TOGETHER] * 4)
    assert not failed
    np.testing.assert_array_equal(in_order(values), alone(RowByRow(), rows))


def test_without_exact_nothing_changes() -> None:
    encoder = RowByRow()
    run(encoder, inputs(4 * TOGETHER), [TOGETHER] * 4, exact=False)
    assert encoder.shapes == {(TOGETHER, 3, SIDE, SIDE)} and encoder.calls == 4 + 2


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.integers(1, TOGETHER), min_size=1, max_size=8),
    kind=st.sampled_from([RowByRow, CompanyMatters, PlaceMatters]),
    streams=st.integers(1, 3),
)
def test_any_cut_into_batches_gives_the_same_bits(sizes, kind, streams) -> None:
    rows = inputs(sum(sizes), seed=3)
    values, failed, _ = run(kind(), rows, sizes, streams=streams)
    assert not failed and next(iter(values.values())).shape == (DIM,)
    np.testing.assert_array_equal(in_order(values), alone(kind(), rows))
