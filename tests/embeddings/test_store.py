from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from medfm.core.errors import StoreError
from medfm.embeddings.index import key_array
from medfm.embeddings.store import EncoderStore, Maker, cache_root, embeddings_folder

MAKER = Maker("ab" * 32, "fp32", 4, encoder="tiny", modality="blood_cell", weights_kind="random")


def some(n: int, seed: int = 0) -> tuple[list[bytes], np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.bytes(32) for _ in range(n)], rng.normal(size=(n, 4)).astype(np.float32)


def test_the_cache_folder_is_the_argument_then_the_variable_then_home(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDFM_CACHE", str(tmp_path / "variable"))
    assert cache_root(tmp_path / "given") == tmp_path / "given"
    assert cache_root() == tmp_path / "variable"
    monkeypatch.delenv("MEDFM_CACHE")
    assert cache_root() == Path("~/.cache/medfm").expanduser()
    assert embeddings_folder(tmp_path) == tmp_path / "embeddings"


def test_opening_and_asking_create_nothing(cache):
    store = EncoderStore.open(MAKER, cache)
    assert not store.has(b"x" * 32)
    store.touch()
    assert not cache.exists()


def test_what_is_written_is_read_back_in_any_order(cache):
    store = EncoderStore.open(MAKER, cache)
    keys, values = some(9)
    store.write(keys[:4], values[:4])
    store.write(keys[4:], values[4:])
    order = np.random.default_rng(1).permutation(9)
    for reader in (store, EncoderStore.open(MAKER, cache)):
        np.testing.assert_array_equal(reader.gather(key_array([keys[i] for i in order])), values[order])
        assert all(map(reader.has, keys))
    assert json.loads((store.folder / "encoder.json").read_text())["encoder"] == "tiny"


@pytest.mark.parametrize(
    "other",
    [
        Maker("cd" * 32, "fp32", 4),
        Maker("ab" * 32, "bf16", 4),
        Maker("AB" * 32, "fp32", 4),
        Maker("../../outside", "fp32", 4),
    ],
)
def test_two_encoders_or_precisions_share_nothing(cache, other):
    keys, values = some(3)
    EncoderStore.open(MAKER, cache).write(keys, values)
    store = EncoderStore.open(other, cache)
    assert len(store) == 0 and not store.has(keys[0])
    assert store.folder.parent == embeddings_folder(cache)
    assert store.folder != EncoderStore.open(MAKER, cache).folder


def test_shards_of_another_process_are_seen_after_refresh(cache):
    mine, other = EncoderStore.open(MAKER, cache), EncoderStore.open(MAKER, cache)
    keys, values = some(3)
    other.write(keys, values)
    assert not mine.has(keys[0])
    mine.refresh()
    np.testing.assert_array_equal(mine.gather(key_array(keys)), values)


def test_a_vector_stored_twice_does_no_harm(cache):
    keys, values = some(5)
    EncoderStore.open(MAKER, cache).write(keys, values)
    EncoderStore.open(MAKER, cache).write(keys[2:], values[2:])
    store = EncoderStore.open(MAKER, cache)
    assert len(store) == 8
    np.testing.assert_array_equal(store.gather(key_array(keys)), values)


def test_a_truncated_shard_is_ignored_with_a_warning(cache, caplog):
    keys, values = some(4)
    store = EncoderStore.open(MAKER, cache)
    bad = store.write(keys[:2], values[:2])
    store.write(keys[2:], values[2:])
    bad.write_bytes(bad.read_bytes()[:50])
    with caplog.at_level(logging.WARNING):
        fresh = EncoderStore.open(MAKER, cache)
    assert "damaged" in caplog.text
    assert [fresh.has(key) for key in keys] == [False, False, True, True]


def test_a_hit_counts_only_from_a_shard_whose_digest_holds(cache, caplog):
    keys, values = some(4)
    path = EncoderStore.open(MAKER, cache).write(keys, values)
    data = bytearray(path.read_bytes())
    data[bytes(data).index(values[0].tobytes())] ^= 1
    path.write_bytes(data)
    store = EncoderStore.open(MAKER, cache)
    assert len(store) == 4  # its key column is still sound
    assert not store.has(keys[0])
    assert len(store) == 0


def test_a_key_in_a_damaged_and_a_sound_shard_is_found_in_the_sound_one(cache):
    keys, values = some(4)
    path = EncoderStore.open(MAKER, cache).write(keys, values)
    EncoderStore.open(MAKER, cache).write(keys[:1], values[:1])
    data = bytearray(path.read_bytes())
    data[bytes(data).index(values[0].tobytes())] ^= 1
    path.write_bytes(data)
    store = EncoderStore.open(MAKER, cache)
    assert [store.has(key) for key in keys] == [True, False, False, False]
    np.testing.assert_array_equal(store.gather(key_array(keys[:1])), values[:1])


def test_shards_merged_meanwhile_by_gc_are_found_again(cache):
    keys, values = some(4)
    store = EncoderStore.open(MAKER, cache)
    old = store.write(keys[:2], values[:2])
    reader = EncoderStore.open(MAKER, cache)
    EncoderStore.open(MAKER, cache).write(keys, values)
    old.unlink()
    np.testing.assert_array_equal(reader.gather(key_array(keys)), values)


def test_a_missing_key_is_an_error_with_the_way_out(cache):
    store = EncoderStore.open(MAKER, cache)
    with pytest.raises(StoreError, match="no longer in the store") as caught:
        store.gather(key_array([b"k" * 32]))
    assert "again" in (caught.value.fix or "")
    assert store.missing(key_array([b"k" * 32])).tolist() == [True]


def test_a_file_in_the_way_of_the_folder_is_a_clear_error(cache):
    cache.write_text("not a folder")
    with pytest.raises(StoreError, match="A file stands where a folder is needed"):
        EncoderStore.open(MAKER, cache).write(*some(1))


def test_few_shards_are_held_in_memory(cache):
    store = EncoderStore.open(MAKER, cache)
    keys, values = some(40)
    for i in range(40):
        store.write(keys[i : i + 1], values[i : i + 1])
    np.testing.assert_array_equal(EncoderStore.open(MAKER, cache).gather(key_array(keys)), values)
    store.gather(key_array(keys))
    assert len(store._held) <= 8


def test_touch_notes_the_last_use(cache):
    import os

    store = EncoderStore.open(MAKER, cache)
    store.write(*some(1))
    identity = store.folder / "encoder.json"
    os.utime(identity, (1000, 1000))
    store.touch()
    assert identity.stat().st_mtime > 1000
