from __future__ import annotations

import numpy as np

from medfm.embeddings.index import KEY_BYTES, KeyIndex, key_array


def keys(n: int, seed: int = 0) -> np.ndarray:
    return key_array(np.random.default_rng(seed).bytes(n * KEY_BYTES))


def test_every_key_is_found_where_it_was_put():
    index = KeyIndex()
    runs = [keys(n, seed) for seed, n in enumerate([5, 300, 1, 40, 40, 7])]
    for number, run in enumerate(runs):
        index.add(run, number)
    assert len(index) == sum(map(len, runs))
    for number, run in enumerate(runs):
        shards, rows = index.locate(run)
        assert (shards == number).all()
        np.testing.assert_array_equal(rows, np.arange(len(run)))


def test_unknown_keys_are_minus_one_also_in_an_empty_index():
    index = KeyIndex()
    assert (index.locate(keys(3))[0] == -1).all()
    index.add(keys(10, 1), 0)
    shards, rows = index.locate(keys(3, 2))
    assert (shards == -1).all() and (rows == -1).all()


def test_keys_with_zero_bytes_at_any_place_are_told_apart():
    raw = [b"\0" * 32, b"\0" * 31 + b"\1", b"\1" + b"\0" * 31, b"\1" + b"\0" * 30 + b"\1", b"a\0b" + b"\0" * 29]
    index = KeyIndex()
    index.add(key_array(raw[:-1]), 0)
    shards, rows = index.locate(key_array(raw))
    assert shards.tolist() == [0, 0, 0, 0, -1]
    assert rows.tolist() == [0, 1, 2, 3, -1]


def test_runs_are_merged_so_that_their_number_stays_small():
    index = KeyIndex()
    for number in range(200):
        index.add(keys(3, number), number)
    assert len(index._runs) <= 10


def test_a_dropped_shard_is_forgotten_and_the_copy_of_a_key_in_another_is_found():
    index = KeyIndex()
    shared = keys(4)
    index.add(shared, 0)
    index.add(np.concatenate([keys(2, 9), shared]), 1)
    first = int(index.locate(shared[:1])[0][0])
    index.drop(first)
    shards, rows = index.locate(shared)
    assert (shards == 1 - first).all()
    np.testing.assert_array_equal(rows, np.arange(4) + (2 if first == 0 else 0))


def test_key_array_takes_lists_and_bytes():
    raw = [bytes([i]) * 32 for i in range(3)]
    np.testing.assert_array_equal(key_array(raw), key_array(bytearray(b"".join(raw))))
    assert key_array(b"").shape == (0,)
