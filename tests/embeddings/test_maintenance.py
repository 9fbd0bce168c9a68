from __future__ import annotations

import os
import time

import numpy as np
import pytest

from medfm.core.errors import UnknownNameError
from medfm.embeddings import maintenance
from medfm.embeddings.index import key_array
from medfm.embeddings.maintenance import clean, holdings, verify
from medfm.embeddings.store import EncoderStore, Maker, embeddings_folder

A = Maker("aa" * 32, "fp32", 4, encoder="first", modality="blood_cell", weights_kind="random")
B = Maker("bb" * 32, "bf16", 4, encoder="second")


def some(n: int, seed: int = 0) -> tuple[list[bytes], np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.bytes(32) for _ in range(n)], rng.normal(size=(n, 4)).astype(np.float32)


@pytest.fixture
def filled(cache):
    keys, values = some(10)
    a = EncoderStore.open(A, cache)
    a.write(keys[:6], values[:6])
    a.write(keys[6:], values[6:])
    EncoderStore.open(B, cache).write(*some(3, 1))
    return a, keys, values


def temporary(folder, age: float):
    path = folder / ".abc.parquet.123.ffff.tmp"
    path.write_bytes(b"half a shard")
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def test_an_empty_store(cache):
    assert holdings(cache) == []
    assert verify(cache).whole and verify(cache).shards == 0
    assert clean(cache).to_dict()["temporary_files"] == 0
    assert not cache.exists()


def test_holdings_say_what_is_there(cache, filled):
    os.utime(filled[0].folder / "encoder.json", (2e9, 2e9))
    first, second = holdings(cache)
    assert (first.encoder, first.precision, first.weights_kind) == ("first", "fp32", "random")
    assert (first.items, first.shards, first.last_used) == (10, 2, 2e9)
    assert first.size == sum(p.stat().st_size for p in first.folder.iterdir())
    assert (second.encoder, second.items) == ("second", 3)
    assert first.to_dict()["last_used"] == "2033-05-18T03:33:20Z"


def test_a_folder_without_its_record_is_listed_too(cache, filled):
    (filled[0].folder / "encoder.json").write_text("{broken")
    line = next(h for h in holdings(cache) if h.items == 10)
    assert line.encoder == "?" and line.fingerprint == A.fingerprint and line.precision == "fp32"
    assert verify(cache).whole


def test_verify_names_truncated_and_changed_shards(cache, filled):
    store = filled[0]
    assert verify(cache).whole and verify(cache).items == 13
    one, two = sorted(store.folder.glob("*.parquet"))
    one.write_bytes(one.read_bytes()[:-20])
    data = bytearray(two.read_bytes())
    data[len(data) // 3] ^= 4
    two.write_bytes(data)
    temporary(store.folder, 0)
    found = verify(cache)
    assert not found.whole and found.temporary == 1
    assert {p.shard for p in found.problems} == {f"{store.folder.name}/{p.name}" for p in (one, two)}
    assert all("SHA-256" in p.reason for p in found.problems)
    assert found.items == 3


def test_verify_notices_values_that_are_not_finite(cache):
    EncoderStore.open(A, cache).write([b"k" * 32], np.full((1, 4), np.nan, np.float32))
    assert "not finite" in verify(cache).problems[0].reason


def test_gc_removes_old_temporary_files_and_leaves_young_ones(cache, filled):
    store = filled[0]
    young = temporary(store.folder, 60)
    assert clean(cache).temporary == 0 and young.exists()
    old = temporary(store.folder, 7200)
    assert clean(cache, dry_run=True).temporary == 1 and old.exists()
    assert clean(cache).temporary == 1 and not old.exists()


def test_gc_removes_damaged_shards_and_keeps_the_sound(cache, filled):
    store, keys, _ = filled
    bad = min(store.folder.glob("*.parquet"), key=lambda p: p.stat().st_size)
    bad.write_bytes(b"PAR1")
    assert clean(cache, dry_run=True).damaged == 1 and bad.exists()
    assert clean(cache).damaged == 1 and not bad.exists()
    assert verify(cache).whole
    again = EncoderStore.open(A, cache)
    assert [again.has(k) for k in keys] == [True] * 6 + [False] * 4


@pytest.mark.parametrize("rows", [4, 8192])
def test_gc_keeps_each_vector_once_and_merges_shards(cache, filled, rows, monkeypatch):
    monkeypatch.setattr(maintenance, "_MERGED_ROWS", rows)
    store, keys, values = filled
    EncoderStore.open(A, cache).write(keys[3:8], values[3:8])
    before = {p: p.read_bytes() for p in store.folder.iterdir()}
    planned = clean(cache, dry_run=True)
    assert planned.duplicates == 5 and {p: p.read_bytes() for p in store.folder.iterdir()} == before
    done = clean(cache)
    assert done.duplicates == 5 and done.merged_shards == 3
    merged = EncoderStore.open(A, cache)
    assert len(merged) == 10
    np.testing.assert_array_equal(merged.gather(key_array(keys)), values)
    assert verify(cache).whole
    # A process that opened the store before still finds everything.
    np.testing.assert_array_equal(filled[0].gather(key_array(keys)), values)
    assert clean(cache).duplicates == 0


def test_a_second_gc_changes_nothing(cache, filled):
    clean(cache)
    before = sorted(p.name for p in filled[0].folder.iterdir())
    done = clean(cache)
    assert (done.merged_shards, done.freed) == (0, 0)
    assert sorted(p.name for p in filled[0].folder.iterdir()) == before


def test_gc_by_encoder_and_by_age(cache, filled):
    with pytest.raises(UnknownNameError, match="did you mean 'first'"):
        clean(cache, encoder="frist")
    assert clean(cache, encoder="first", older_than_days=1).encoders == []
    assert clean(cache, encoder="first", dry_run=True).encoders == ["first fp32"] and filled[0].folder.exists()
    done = clean(cache, encoder=A.fingerprint[:8])
    assert done.encoders == ["first fp32"] and done.freed > 0 and not filled[0].folder.exists()
    (other,) = embeddings_folder(cache).iterdir()
    for path in other.iterdir():
        os.utime(path, (1, 1))
    assert clean(cache, older_than_days=30).encoders == ["second bf16"]
    assert holdings(cache) == []


def test_an_interrupted_merge_loses_nothing(cache, filled, monkeypatch):
    _, keys, values = filled

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(maintenance, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        clean(cache)
    np.testing.assert_array_equal(EncoderStore.open(A, cache).gather(key_array(keys)), values)
