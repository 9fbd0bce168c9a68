from __future__ import annotations

import threading

import numpy as np
import pytest

from medfm.core.errors import StoreError
from medfm.embeddings.index import key_array
from medfm.embeddings.store import EncoderStore, Maker
from medfm.embeddings.writer import ShardWriter

MAKER = Maker("ab" * 32, "fp32", 2)


def batch(i: int, n: int = 3) -> tuple[list[bytes], np.ndarray]:
    return [bytes([i, j]) * 16 for j in range(n)], np.full((n, 2), i, np.float32)


def test_shards_of_the_size_asked_for_and_the_rest_at_the_end(cache):
    store = EncoderStore.open(MAKER, cache)
    written: list[bytes] = []
    writer = ShardWriter(store, every=6, seconds=3600, written=written.extend)
    for i in range(5):
        writer.put(*batch(i))
    writer.close()
    assert len(written) == 15
    sizes = sorted(len(EncoderStore.open(MAKER, cache).gather(key_array(batch(i)[0]))) for i in range(5))
    assert sizes == [3] * 5
    assert len(list(store.folder.glob("*.parquet"))) == 3  # 6 + 6 + 3


def test_a_vector_does_not_wait_longer_than_asked(cache):
    store = EncoderStore.open(MAKER, cache)
    arrived = threading.Event()
    writer = ShardWriter(store, every=10**9, seconds=0.05, written=lambda keys: arrived.set())
    writer.put(*batch(1))
    assert arrived.wait(30), "the vector was never written"
    assert len(EncoderStore.open(MAKER, cache)) == 3
    writer.close()


def test_an_error_of_the_disk_reaches_the_producer_and_close(cache, monkeypatch):
    store = EncoderStore.open(MAKER, cache)

    def full(keys, values):
        raise StoreError("The disk is full; nothing was written under the final name.")

    monkeypatch.setattr(store, "write", full)
    writer = ShardWriter(store, every=1, seconds=1, written=lambda keys: None)
    with pytest.raises(StoreError, match="full"):
        for i in range(200):
            writer.put(*batch(i))
    with pytest.raises(StoreError, match="full"):
        writer.close()
    assert not writer._thread.is_alive()


def test_closing_twice_and_without_vectors_writes_nothing(cache):
    writer = ShardWriter(EncoderStore.open(MAKER, cache), every=1, seconds=1, written=lambda keys: None)
    writer.close()
    writer.close()
    assert not cache.exists()
