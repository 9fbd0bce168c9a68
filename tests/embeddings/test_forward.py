from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from embedding_fakes import DIM, SIDE, TinyEncoder

from medfm.core.errors import ConfigError, MedfmError, StoreError
from medfm.embeddings.forward import Streams, one_thread


def inputs(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((n, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))


class Sink:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.values: dict[bytes, np.ndarray] = {}
        self.failed: dict[bytes, str] = {}

    def done(self, keys, values):
        assert values.dtype == np.float32 and len(keys) == len(values)
        with self.lock:
            self.values.update(zip(keys, values, strict=True))

    def fail(self, key, reason):
        with self.lock:
            self.failed[key] = reason


def run(encoder, batches, *, batch_size=4, streams=2, precision="fp32", exact=False):
    sink = Sink()
    with Streams(
        encoder,
        batch_size=batch_size,
        exact=exact,
        precision=precision,
        streams=streams,
        done=sink.done,
        failed=sink.fail,
    ) as stage:
        for number, batch in enumerate(batches):
            stage.submit([bytes([number, row]) for row in range(len(batch))], batch)
    return sink


def test_every_row_arrives_once_with_its_value():
    encoder = TinyEncoder()
    batches = [inputs(4, 1), inputs(4, 2), inputs(1, 3)]
    sink = run(encoder, batches)
    assert len(sink.values) == 9 and not sink.failed
    for number, batch in enumerate(batches):
        for row in range(len(batch)):
            np.testing.assert_allclose(
                sink.values[bytes([number, row])], (batch[row].flatten() @ encoder.weight).numpy(), rtol=1e-5, atol=1e-5
            )


def test_every_forward_pass_has_the_same_shape_and_one_thread():
    encoder = TinyEncoder()
    run(encoder, [inputs(4), inputs(1), inputs(3)])
    assert encoder.shapes == {(4, 3, SIDE, SIDE)}
    assert encoder.threads == {1}


def test_exact_forwards_one_record_at_a_time_and_gives_the_same_bits_in_any_company():
    encoder, batch = TinyEncoder(), inputs(7)
    one = run(encoder, [batch], batch_size=7, exact=True)
    assert encoder.shapes == {(1, 3, SIDE, SIDE)}
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    other = run(encoder, list(batch[order].split(3)), batch_size=3, exact=True)
    for place, row in enumerate(order.tolist()):
        np.testing.assert_array_equal(other.values[bytes([place // 3, place % 3])], one.values[bytes([0, row])])


class PlaceMatters(TinyEncoder):
    def __call__(self, batch):
        return super().__call__(batch) + torch.arange(len(batch))[:, None] * 1e-3


@pytest.mark.parametrize(("kind", "exact"), [(TinyEncoder, None), (PlaceMatters, False)])
def test_batches_are_tried_in_reverse_order(kind, exact, caplog):
    stage = Streams(
        kind(),
        batch_size=4,
        exact=False,
        precision="fp32",
        streams=1,
        done=lambda k, v: None,
        failed=lambda k, r: None,
    )
    with stage:
        stage.submit([b"k"] * 2, inputs(2))  # too short to tell
        stage.submit([b"k"] * 4, inputs(4))
    assert stage.exact is not None
    if exact is False:
        assert stage.exact is False and "place in a batch" in caplog.text


def test_the_number_of_threads_is_restored():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), one_thread():
        assert torch.get_num_threads() == 1
        raise RuntimeError
    assert torch.get_num_threads() == before


def test_mixed_precision_computes_in_bfloat16():
    seen = []

    class Spy(TinyEncoder):
        def __call__(self, batch):
            out = super().__call__(batch)
            seen.append(out.dtype)
            return out

    exact, mixed = run(TinyEncoder(), [inputs(4)]), run(Spy(), [inputs(4)], precision="bf16")
    assert set(seen) == {torch.bfloat16}
    a, b = (np.array(list(s.values.values())) for s in (exact, mixed))
    assert b.dtype == np.float32
    assert 0 < np.abs(a - b).max() < 0.1


class Nan(TinyEncoder):
    def __call__(self, batch):
        out = super().__call__(batch)
        out[batch[:, 0, 0, 0] > 1] = float("nan")
        return out


class Refusing(Nan):
    """As the real encoders: the whole batch is refused for one row."""

    def __call__(self, batch):
        out = super().__call__(batch)
        if not torch.isfinite(out).all():
            raise MedfmError("The encoder gave values that are not finite.")
        return out


@pytest.mark.parametrize("kind", [Nan, Refusing])
def test_one_row_that_is_not_finite_fails_alone(kind):
    batch = inputs(4)
    batch[2, 0, 0, 0] = 2.0
    sink = run(kind(), [batch])
    assert list(sink.failed) == [bytes([0, 2])] and "not finite" in sink.failed[bytes([0, 2])]
    assert set(sink.values) == {bytes([0, row]) for row in (0, 1, 3)}
    batch[2, 0, 0, 0] = 0.0
    again = run(kind(), [batch]).values[bytes([0, 0])]
    np.testing.assert_allclose(sink.values[bytes([0, 0])], again, rtol=1e-5, atol=1e-5)


def test_an_input_that_does_not_fit_ends_the_run():
    class Picky(TinyEncoder):
        def __call__(self, batch):
            raise ConfigError("The batch has another shape.")

    with pytest.raises(ConfigError, match="another shape"):
        run(Picky(), [inputs(4) for _ in range(50)])


def test_an_encoder_that_gives_the_wrong_shape_is_named():
    class Wrong(TinyEncoder):
        def __call__(self, batch):
            return super().__call__(batch)[:, :3]

    with pytest.raises(ConfigError, match=r"shape \(4, 3\)") as caught:
        run(Wrong(), [inputs(4)])
    assert caught.value.where == "tiny" and str(DIM) in caught.value.expected


def test_an_error_of_the_next_stage_reaches_the_caller_and_no_thread_stays():
    def full(keys, values):
        raise StoreError("The disk is full.")

    stage = Streams(
        TinyEncoder(),
        batch_size=4,
        exact=False,
        precision="fp32",
        streams=2,
        done=full,
        failed=lambda key, reason: None,
    )
    with pytest.raises(StoreError, match="full"), stage:
        for _ in range(100):
            stage.submit([b"k"] * 4, inputs(4))
    assert not any(thread.is_alive() for thread in stage._threads)


def test_leaving_by_an_exception_drops_the_waiting_batches():
    encoder = TinyEncoder(delay=0.05)
    stage = Streams(
        encoder,
        batch_size=4,
        exact=False,
        precision="fp32",
        streams=1,
        done=lambda k, v: None,
        failed=lambda key, reason: None,
    )
    with pytest.raises(KeyboardInterrupt), stage:
        stage.submit([b"k"] * 4, inputs(4))
        stage.submit([b"k"] * 4, inputs(4))
        raise KeyboardInterrupt
    assert encoder.calls <= 2
    assert not any(thread.is_alive() for thread in stage._threads)
