from __future__ import annotations

import os
import pickle
import sys

import pytest
import torch
from embedding_fakes import TinyPreprocess, picture

from medfm.core.errors import ConfigError, ReadError
from medfm.embeddings import decode
from medfm.embeddings.decode import Decoder, decoded_batches, usable_workers
from medfm.embeddings.lookup import Hasher
from medfm.modalities.blood_cell import BLOOD_CELL
from medfm.modalities.record import RecordRef


def items_of(paths):
    return list(Hasher(BLOOD_CELL).items([RecordRef(p.stem, p) for p in paths]))


@pytest.fixture
def items(tmp_path):
    return items_of([picture(tmp_path / f"{i}.png", i) for i in range(10)])


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_come_in_order_whatever_the_workers(items, workers):
    decoder = Decoder(BLOOD_CELL, TinyPreprocess())
    batches = [items[0:4], items[4:8], items[8:]]
    decoded = list(decoded_batches(decoder, iter(batches), workers=workers))
    assert [d.keys for d in decoded] == [[i.key for i in batch] for batch in batches]
    expected = torch.stack([TinyPreprocess()(BLOOD_CELL.read(item.ref)) for item in items])
    torch.testing.assert_close(torch.cat([d.batch for d in decoded]), expected, rtol=0, atol=0)


def test_lists_are_taken_no_further_ahead_than_allowed(items):
    taken = []

    def batches():
        for i in range(10):
            taken.append(i)
            yield [items[i]]

    stream = decoded_batches(Decoder(BLOOD_CELL, TinyPreprocess()), batches(), workers=1, ahead=2)
    next(stream)
    assert len(taken) <= 3
    stream.close()


def test_bad_records_are_listed_with_their_reason(tmp_path, items):
    broken = picture(tmp_path / "broken.png", 50)
    broken.write_bytes(broken.read_bytes()[:60])
    strange = picture(tmp_path / "strange.png", 51, side=13)
    done = Decoder(BLOOD_CELL, TinyPreprocess()).__getitems__([*items[:2], *items_of([broken, strange])])
    assert done.keys == [item.key for item in items[:2]] and len(done.batch) == 2
    reasons = [reason for _, reason in done.failures]
    assert len(reasons) == 2 and reasons[1] == "Unexpected ValueError while reading."
    assert str(tmp_path) not in "".join(reasons)


def test_a_batch_of_bad_records_has_no_tensor(tmp_path):
    broken = tmp_path / "empty.png"
    broken.write_bytes(b"")
    done = Decoder(BLOOD_CELL, TinyPreprocess())[items_of([broken])[0]]
    assert done.batch is None and len(done.failures) == 1


def test_a_file_that_changes_after_hashing_is_not_stored_under_the_old_key(tmp_path):
    path = picture(tmp_path / "a.png", 1)
    old = items_of([path])
    picture(path, 2, side=9)
    done = Decoder(BLOOD_CELL, TinyPreprocess()).__getitems__(old)
    assert done.failures == [(old[0].key, "The file changed while it was being read.")]


def test_values_that_are_not_finite_are_a_failure(items):
    done = Decoder(BLOOD_CELL, lambda record: torch.tensor([1.0, float("nan")])).__getitems__(items[:1])
    assert "not finite" in done.failures[0][1]


class Uneven:
    def __call__(self, record):
        return torch.zeros(int(record.array.sum()) % 7 + 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_shapes_that_differ_are_an_error_of_the_encoder_without_a_traceback(items, workers):
    with pytest.raises(ConfigError, match="several shapes") as caught:
        list(decoded_batches(Decoder(BLOOD_CELL, Uneven()), iter([items]), workers=workers))
    assert "Traceback" not in str(caught.value) and "one shape" in caught.value.expected


class Suicidal:
    def __call__(self, record):
        os.kill(os.getpid(), 9)


def test_a_killed_worker_is_a_clear_error(items):
    with pytest.raises(ReadError, match="worker process") as caught:
        list(decoded_batches(Decoder(BLOOD_CELL, Suicidal()), iter([items[:1]]), workers=1))
    assert "fewer workers" in (caught.value.fix or "")


class ThreadCounter:
    def __call__(self, record):
        return torch.tensor([float(torch.get_num_threads())])


def test_workers_use_one_thread_and_leave_the_global_generator_alone(items):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    (done,) = decoded_batches(Decoder(BLOOD_CELL, ThreadCounter()), iter([items[:1]]), workers=1)
    assert done.batch.tolist() == [[1.0]]
    assert torch.equal(torch.get_rng_state(), before)


def test_little_shared_memory_means_no_workers(monkeypatch, caplog):
    class Usage:
        free = 64 << 20

    monkeypatch.setattr(decode.shutil, "disk_usage", lambda path: Usage)
    monkeypatch.setattr(decode.sys, "platform", "linux")
    monkeypatch.setattr(decode, "_SHARED_MEMORY", decode.Path("/"))
    assert usable_workers(4) == 0
    assert "64 MiB of shared memory" in caplog.text
    Usage.free = 1 << 30
    assert usable_workers(4) == 4


def test_the_decoder_can_be_sent_to_a_process():
    copy = pickle.loads(pickle.dumps(Decoder(BLOOD_CELL, TinyPreprocess())))
    assert copy.modality.name == "blood_cell"


def test_a_worker_that_is_left_alone_prints_no_traceback(monkeypatch, capsys) -> None:
    """Ctrl-C while the main process fetches a batch breaks the connection on which the worker sends it."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    threads = torch.get_num_threads()
    decode._start_worker(0)
    torch.set_num_threads(threads)
    for error in (EOFError(), ConnectionResetError(), BrokenPipeError()):
        sys.excepthook(type(error), error, None)
    assert capsys.readouterr().err == ""
    sys.excepthook(ValueError, ValueError("a true fault"), None)
    assert "a true fault" in capsys.readouterr().err
