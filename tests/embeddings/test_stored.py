from __future__ import annotations

import numpy as np
import pytest

from medfm.core.errors import StoreError
from medfm.embeddings import stored as module
from medfm.embeddings.embeddings import Failure
from medfm.embeddings.index import key_array
from medfm.embeddings.store import EncoderStore, Maker
from medfm.embeddings.stored import StoredEmbeddings


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(11, 4)).astype(np.float32)


@pytest.fixture
def handle(cache, values):
    keys = [bytes([i]) * 32 for i in range(11)]
    store = EncoderStore.open(Maker("ab" * 32, "fp32", 4), cache)
    for start in range(0, 11, 3):
        store.write(keys[start : start + 3], values[start : start + 3])
    ids = tuple(f"r{i}" for i in range(11))
    return StoredEmbeddings(store, key_array(keys), ids, {"encoder": "tiny"}, (Failure("x", "why"),))


def test_batches_collect_and_map_agree(handle, values, tmp_path):
    assert (len(handle), handle.dim) == (11, 4)
    batches = list(handle.batches(4))
    assert [len(ids) for ids, _ in batches] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate([v for _, v in batches]), values)
    collected, mapped = handle.collect(), handle.map(tmp_path / "values.npy")
    for emb in (collected, mapped):
        np.testing.assert_array_equal(emb.values, values)
        assert emb.record_ids == handle.record_ids and emb.failures == handle.failures
        assert emb.provenance == {"encoder": "tiny"}
        assert emb.digest() == handle.digest()
    assert isinstance(mapped.values, np.memmap)
    np.testing.assert_array_equal(np.load(tmp_path / "values.npy"), values)


def test_an_empty_handle_can_be_collected_and_mapped(handle, tmp_path):
    empty = StoredEmbeddings(handle.store, handle.keys[:0], ())
    assert empty.collect().values.shape == (0, 4)
    assert empty.map(tmp_path / "v.npy").values.shape == (0, 4)
    assert empty.digest() == empty.collect().digest()
    assert list(empty.batches()) == []


def test_a_full_disk_while_mapping_leaves_nothing(handle, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="disk is full"):
        handle.map(tmp_path / "out" / "v.npy")
    assert list((tmp_path / "out").iterdir()) == []
