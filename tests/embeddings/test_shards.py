from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medfm.core import files
from medfm.core.errors import StoreError
from medfm.embeddings.index import key_array
from medfm.embeddings.shards import read_keys, read_shard, write_shard


@pytest.fixture
def content():
    rng = np.random.default_rng(3)
    return key_array(rng.bytes(32 * 7)), rng.normal(size=(7, 5)).astype(np.float32)


def test_round_trip_is_exact(tmp_path, content):
    path = write_shard(tmp_path / "e", *content, {"encoder": "tiny"})
    keys, values = read_shard(path, 5)
    np.testing.assert_array_equal(keys, content[0])
    np.testing.assert_array_equal(values, content[1])
    np.testing.assert_array_equal(read_keys(path, 5), content[0])
    assert values.dtype == np.float32


def test_the_file_is_plain_parquet_named_after_its_bytes(tmp_path, content):
    path = write_shard(tmp_path, *content, {"encoder": "tiny"})
    assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()
    schema = pq.read_schema(path)
    assert schema.field("vector").type == pa.list_(pa.float32(), 5)
    assert schema.field("key").type == pa.binary(32)
    assert schema.metadata[b"encoder"] == b"tiny"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_truncated_shards_are_refused(tmp_path, content, cut):
    path = write_shard(tmp_path, *content, {})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(StoreError, match="damaged"):
        read_shard(path, 5)


def test_one_changed_bit_in_a_vector_is_noticed(tmp_path, content):
    path = write_shard(tmp_path, *content, {})
    data = bytearray(path.read_bytes())
    at = bytes(data).index(content[1].tobytes())
    data[at + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="SHA-256"):
        read_shard(path, 5)


def test_keys_of_a_cut_file_are_refused(tmp_path, content):
    path = write_shard(tmp_path, *content, {})
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StoreError, match="opened as Parquet"):
        read_keys(path)


def test_another_width_and_foreign_parquet_are_refused(tmp_path, content):
    path = write_shard(tmp_path, *content, {})
    with pytest.raises(StoreError, match="5 numbers instead of 6"):
        read_keys(path, 6)
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"key": [1]}), foreign)
    with pytest.raises(StoreError, match="not of the format"):
        read_keys(foreign)


def test_a_missing_shard_is_a_store_error(tmp_path):
    with pytest.raises(StoreError):
        read_shard(tmp_path / "gone.parquet")


def test_a_failing_disk_leaves_nothing_behind(tmp_path, content, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StoreError, match="disk is full"):
        write_shard(tmp_path, *content, {})
    assert list(tmp_path.iterdir()) == []
