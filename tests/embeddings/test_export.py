from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from embedding_fakes import cohort_of

from medfm.core.errors import ConfigError, MissingExtraError, ReadError, StoreError
from medfm.embeddings import export
from medfm.embeddings.embeddings import Embeddings, Failure
from medfm.embeddings.export import load_embeddings, save_embeddings

SUFFIXES = [".npz", ".parquet", ".h5", ".h5ad"]


@pytest.fixture
def embeddings():
    values = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    provenance = {"encoder": "tiny", "run": {"computed": 5}, "note": "Zellkörper μ"}
    return Embeddings(values, ("a", "b", "ü/c.png", "d", "e"), provenance, (Failure("x", "The file does not exist."),))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rows", [2, 8192])
def test_round_trip_keeps_everything(tmp_path, embeddings, suffix, rows, monkeypatch):
    monkeypatch.setattr(export, "_ROWS", rows)
    path = save_embeddings(embeddings, tmp_path / "new folder" / f"cells{suffix}")
    back = load_embeddings(path)
    np.testing.assert_array_equal(back.values, embeddings.values)
    assert back.values.dtype == np.float32
    assert back.record_ids == embeddings.record_ids
    assert back.provenance == embeddings.provenance
    assert back.failures == embeddings.failures
    assert back.digest() == embeddings.digest()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows(tmp_path, suffix):
    empty = Embeddings(np.empty((0, 3), np.float32), ())
    back = load_embeddings(save_embeddings(empty, tmp_path / f"e{suffix}"))
    assert back.values.shape == (0, 3) and back.record_ids == ()


def test_a_memory_mapped_array_is_exported(tmp_path, embeddings):
    np.save(tmp_path / "v.npy", embeddings.values)
    mapped = Embeddings(np.load(tmp_path / "v.npy", mmap_mode="r"), embeddings.record_ids)
    for suffix in SUFFIXES:
        back = load_embeddings(save_embeddings(mapped, tmp_path / f"m{suffix}"))
        np.testing.assert_array_equal(back.values, embeddings.values)


def test_other_programs_can_read_the_files(tmp_path, embeddings):
    frame = pd.read_parquet(save_embeddings(embeddings, tmp_path / "e.parquet"))
    np.testing.assert_array_equal(np.stack(frame["embedding"].to_list()), embeddings.values)
    assert pq.read_schema(tmp_path / "e.parquet").field("embedding").type.list_size == 3
    with h5py.File(save_embeddings(embeddings, tmp_path / "e.h5")) as file:
        assert file["values"].shape == (5, 3) and file["record_ids"][2].decode() == "ü/c.png"
    with np.load(save_embeddings(embeddings, tmp_path / "e.npz")) as file:
        assert file["record_ids"].tolist() == list(embeddings.record_ids)


def test_h5ad_carries_the_columns_of_the_cohort_also_where_values_are_missing(tmp_path, embeddings):
    import anndata

    cohort = cohort_of(tmp_path, ["p"] * 6, ids=["f", "e", "d", "ü/c.png", "b", "a"])
    cohort.table.loc[1, "label"] = None
    cohort.table.loc[2, "age"] = np.nan
    cohort.table["mixed"] = [1, "two", None, 3.5, True, "x"]
    cohort.table["flag"] = [True, False] * 3
    file = anndata.read_h5ad(save_embeddings(embeddings, tmp_path / "e.h5ad", cohort=cohort))
    assert list(file.obs_names) == list(embeddings.record_ids)
    by_id = cohort.table.set_index("record_id").loc[list(embeddings.record_ids)]
    assert file.obs["label"].astype(object).where(file.obs["label"].notna(), None).tolist() == by_id["label"].tolist()
    np.testing.assert_array_equal(file.obs["age"].to_numpy(), by_id["age"].to_numpy())
    assert file.obs["mixed"].tolist()[:2] == ["x", "True"]
    assert file.obs["site"].isna().all()


def test_h5ad_without_the_library_names_the_extra(tmp_path, embeddings, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "anndata", None)
    with pytest.raises(MissingExtraError, match="anndata") as caught:
        save_embeddings(embeddings, tmp_path / "e.h5ad")
    assert "medfm[anndata]" in caught.value.fix
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["cells.csv", "cells", "cells.npy"])
def test_other_suffixes_are_refused(tmp_path, embeddings, name):
    with pytest.raises(ConfigError, match="cannot be of the kind"):
        save_embeddings(embeddings, tmp_path / name)
    with pytest.raises(ConfigError):
        load_embeddings(tmp_path / name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_cut_and_foreign_files_are_read_errors(tmp_path, embeddings, suffix):
    with pytest.raises(ReadError, match="does not exist"):
        load_embeddings(tmp_path / f"gone{suffix}")
    path = save_embeddings(embeddings, tmp_path / f"e{suffix}")
    whole = path.read_bytes()
    for content in (b"", b"something else", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ReadError, match="not a whole file"):
            load_embeddings(path)


def test_an_npz_of_another_program_is_refused(tmp_path):
    np.savez(tmp_path / "o.npz", values=np.zeros((2, 2)))
    with pytest.raises(ReadError, match="not a whole file"):
        load_embeddings(tmp_path / "o.npz")


def test_pickled_content_is_never_loaded(tmp_path):
    np.savez(tmp_path / "p.npz", values=np.zeros((1, 1)), record_ids=np.array([{}], dtype=object), about=np.array("{}"))
    with pytest.raises(ReadError):
        load_embeddings(tmp_path / "p.npz")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, embeddings, suffix, monkeypatch):
    path = save_embeddings(embeddings, tmp_path / f"e{suffix}")
    old = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medfm.core.files.os.fsync", full)
    with pytest.raises(StoreError, match="disk is full"):
        save_embeddings(embeddings, path)
    assert path.read_bytes() == old and [p.name for p in tmp_path.iterdir()] == [path.name]
