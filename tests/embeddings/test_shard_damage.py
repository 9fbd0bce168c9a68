"""Whatever a disk does to a shard, reading it ends in a StoreError or in the right bytes."""

from __future__ import annotations

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedding_fakes import expected_values

from medfm.core.errors import StoreError
from medfm.core.hashing import sha256_bytes
from medfm.embeddings.index import key_array
from medfm.embeddings.maintenance import clean, holdings, verify
from medfm.embeddings.shards import FORMAT, read_keys, read_shard, write_shard
from medfm.embeddings.store import EncoderStore, Maker
from medfm.workflows.embed import embed

DIM = 4


@pytest.fixture
def shard(tmp_path):
    rng = np.random.default_rng(0)
    keys = key_array(rng.integers(1, 256, (5, 32), dtype=np.uint8).tobytes())
    facts = {"fingerprint": "x", "precision": "fp32", "encoder": "e"}
    return write_shard(tmp_path / "s", keys, rng.normal(size=(5, DIM)).astype(np.float32), facts)


def test_a_flipped_bit_anywhere_is_noticed_and_is_never_a_traceback(shard):
    data = shard.read_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << (7 if place % 2 else 3)
        shard.write_bytes(changed)
        with pytest.raises(StoreError):
            read_shard(shard, DIM)
        try:
            # The quick look at the keys alone need not notice, but it must not fail in another way.
            assert read_keys(shard, DIM).dtype.itemsize == 32
        except StoreError as error:
            assert "damaged" in error.what


def test_every_length_but_the_whole_is_noticed(shard):
    data = shard.read_bytes()
    for length in (*range(0, len(data), 13), *range(len(data) - 12, len(data))):
        shard.write_bytes(data[:length])
        for read in (read_shard, read_keys):
            with pytest.raises(StoreError):
                read(shard, DIM)


@pytest.mark.parametrize("metadata", [{b"format": FORMAT.encode()}, {b"format": FORMAT.encode(), b"dim": b"four"}])
def test_a_width_that_is_missing_or_no_number_is_damage(tmp_path, metadata):
    keys = pa.array([b"k" * 32], pa.binary(32))
    vectors = pa.array([[0.0] * DIM], pa.list_(pa.float32(), DIM))
    schema = pa.schema([("key", keys.type), ("vector", vectors.type)], metadata=metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays([keys, vectors], schema=schema), sink)
    data = sink.getvalue().to_pybytes()
    path = tmp_path / f"{sha256_bytes(data)}.parquet"
    path.write_bytes(data)
    for read in (read_keys, read_shard):
        with pytest.raises(StoreError, match="how wide"):
            read(path)


def test_a_shard_with_a_broken_name_table_does_not_stop_a_run(encoder, cohort, cache, caplog):
    """A bit flipped in the text of the metadata used to end the run with a UnicodeDecodeError."""
    first = embed(encoder, cohort, cache=cache, flush_every=8, batch_size=4, workers=0)
    victim = sorted(cache.glob("embeddings/*/*.parquet"))[0]
    lost = len(read_keys(victim))
    data = bytearray(victim.read_bytes())
    data[data.rindex(b"fingerprint")] ^= 0x80
    victim.write_bytes(data)
    again = embed(encoder, cohort, cache=cache, workers=0)
    assert again.digest() == first.digest()
    # The lost records are made again with the same bytes, hence under the same name: nothing stays damaged.
    assert again.provenance["run"]["computed"] == lost
    assert "damaged" in caplog.text and verify(cache).whole


def sound_shards(folder):
    """Number of vectors of each shard that is whole."""
    rows = {}
    for path in folder.glob("*.parquet"):
        with contextlib.suppress(StoreError):
            rows[path] = len(read_shard(path)[0])
    return rows


HARM = ("cut", "flip", "remove", "stray", "gc", "folder", "identity")


@pytest.mark.parametrize("seed", range(6))
def test_after_any_harm_the_next_run_restores_the_same_digest(encoder, cohort, cache, seed):
    rng = np.random.default_rng(seed)
    wanted = expected_values(encoder, cohort)
    whole = embed(encoder, cohort, cache=cache, flush_every=4, batch_size=2, workers=0)
    np.testing.assert_allclose(whole.values, wanted, rtol=1e-5, atol=1e-6)
    for _ in range(6):
        folder = next((cache / "embeddings").iterdir())
        rows = sound_shards(folder)
        victim = sorted(rows)[rng.integers(len(rows))]
        harm = HARM[rng.integers(len(HARM))]
        may_lose = rows[victim]
        if harm == "cut":
            victim.write_bytes(victim.read_bytes()[: rng.integers(victim.stat().st_size)])
        elif harm == "flip":
            data = bytearray(victim.read_bytes())
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
            victim.write_bytes(data)
        elif harm == "remove":
            victim.unlink()
        elif harm == "folder":
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            may_lose = sum(rows.values())
        else:
            may_lose = 0
            if harm == "stray":
                (folder / ".x.parquet.1.ab.tmp").write_bytes(b"half")
            elif harm == "identity":
                (folder / "encoder.json").write_text("{half")
            else:
                clean(cache)
        after = embed(encoder, cohort, cache=cache, flush_every=4, batch_size=2, workers=0)
        assert after.digest() == whole.digest(), harm
        assert after.provenance["run"]["computed"] <= may_lose, harm
    clean(cache)
    assert verify(cache).whole


def test_a_folder_removed_while_a_run_goes_on_is_a_clear_error_and_the_next_run_is_whole(cohort, cache, encoder):
    class Removing(type(encoder)):
        def __call__(self, batch):
            if self.calls == 10:
                for path in sorted(cache.glob("embeddings/*/*")):
                    path.unlink(missing_ok=True)  # the run may be renaming it
            return super().__call__(batch)

    whole = embed(encoder, cohort, cache=cache / "other", workers=0).digest()
    # Either the shard being written is gone too, or the lost vectors are missed at the end.
    with pytest.raises(StoreError, match=r"no longer in the store|disappeared") as caught:
        embed(Removing(), cohort, cache=cache, flush_every=2, batch_size=1, streams=1, workers=0)
    assert "run the same command again" in str(caught.value)
    again = embed(encoder, cohort, cache=cache, workers=0)
    assert again.digest() == whole


def test_listing_survives_files_that_vanish_meanwhile(cache, monkeypatch):
    """Another process may clean the store between the listing and the look at a file."""
    store = EncoderStore.open(Maker("ab" * 32, "fp32", DIM, encoder="tiny"), cache)
    for name in (b"a", b"b"):
        store.write([name * 32], np.ones((1, DIM), np.float32))
    import medfm.embeddings.maintenance as maintenance

    listed = maintenance._shards

    def vanishing(folder):
        paths = listed(folder)
        if len(paths) == 2:
            paths[0].unlink()
        return paths

    monkeypatch.setattr(maintenance, "_shards", vanishing)
    (found,) = holdings(cache)
    assert found.items == 1 and found.encoder == "tiny" and found.size > 0


def test_cleaning_twice_at_once_loses_nothing(cache, monkeypatch):
    """While one process merges, another one has merged and removed the same shards."""
    maker = Maker("cd" * 32, "fp32", DIM, encoder="tiny")
    store = EncoderStore.open(maker, cache)
    keys = [bytes([65 + i]) * 32 for i in range(6)]
    for i, key in enumerate(keys):
        store.write([key], np.full((1, DIM), i, np.float32))
    import medfm.embeddings.maintenance as maintenance

    write = maintenance.write_shard
    others = []

    def meanwhile(*arguments):
        if not others:
            others.append("came")
            assert clean(cache).merged_shards == 6
        return write(*arguments)

    monkeypatch.setattr(maintenance, "write_shard", meanwhile)
    clean(cache)
    assert verify(cache).whole and len(list(cache.glob("embeddings/*/*.parquet"))) == 1
    values = EncoderStore.open(maker, cache).gather(key_array(keys))
    assert values[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_the_same_items_give_the_same_name_in_any_order(tmp_path):
    """Streams finish in any order; a shard made again must have the name of the one it replaces."""
    rng = np.random.default_rng(0)
    keys = [rng.bytes(32) for _ in range(20)]
    values = rng.standard_normal((20, DIM)).astype(np.float32)
    mixed = [int(i) for i in rng.permutation(20)]
    stores = [EncoderStore.open(Maker("ab" * 32, "fp32", DIM), tmp_path / name) for name in ("a", "b")]
    first = stores[0].write(keys, values)
    second = stores[1].write([keys[i] for i in mixed], values[mixed])
    assert first.name == second.name
    for one in stores:
        np.testing.assert_array_equal(one.gather(key_array(keys)), values)
