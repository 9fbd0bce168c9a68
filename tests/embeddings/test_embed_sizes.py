"""Defaults taken from the machine, the printed summary, and cells of a smear by their boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from embedding_fakes import DIM, TinyEncoder, make_cohort, picture

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import ConfigError
from medfm.embeddings.embeddings import Failure
from medfm.embeddings.index import key_array
from medfm.embeddings.store import EncoderStore, Maker
from medfm.embeddings.stored import StoredEmbeddings
from medfm.workflows import embed as module
from medfm.workflows.embed import EmbedConfig, EmbedRun, _own_device, _sizes, check_modality, embed


@pytest.fixture
def cores(monkeypatch):
    def give(count: int) -> None:
        monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: set(range(count)), raising=False)

    monkeypatch.setattr("medfm.embeddings.decode.usable_workers", lambda wanted: wanted)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    return give


def on(device: str) -> TinyEncoder:
    encoder = TinyEncoder()
    encoder.device = device
    return encoder


def test_sizes_on_a_cpu_leave_the_cores_to_the_forward_pass(cores):
    cores(2)
    batch, workers, streams, exact = _sizes(EmbedConfig(), on("cpu"), 1000)
    assert (batch, workers, exact) == (8, 1, True)
    assert streams == min(torch.get_num_threads(), 32)
    cores(64)
    assert _sizes(EmbedConfig(), on("cpu"), 1000)[1] == 16


def test_sizes_on_a_gpu_give_the_cores_to_decoding(cores):
    cores(12)
    assert _sizes(EmbedConfig(), on("cuda"), 1000) == (64, 11, 2, False)


def test_processes_on_one_node_divide_its_cores(cores, monkeypatch):
    cores(16)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert _sizes(EmbedConfig(), on("cuda:0"), 1000)[1] == 3


def test_a_few_records_start_no_workers_unless_asked(cores):
    cores(16)
    assert _sizes(EmbedConfig(), on("cpu"), 10)[1] == 0
    assert _sizes(EmbedConfig(workers=3), on("cpu"), 10)[1] == 3


def test_what_is_set_is_taken(cores):
    cores(4)
    config = EmbedConfig(batch_size=5, workers=0, streams=3, exact=False)
    assert _sizes(config, on("cpu"), 1000) == (5, 0, 3, False)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"workers": -1}, {"streams": 0}, {"flush_seconds": 0}])
def test_sizes_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        module.resolve(None, wrong)


def test_a_process_of_torchrun_takes_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert _own_device("auto") == "auto"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert _own_device("auto") == "cuda:3" and _own_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert _own_device("auto") == "auto"


def run_of(cache, *, failures=(), on_error="report", n=2, out=None, shard=None, synthetic=False) -> EmbedRun:
    store = EncoderStore.open(Maker("ab" * 32, "fp32", 3), cache)
    keys = [bytes([i]) * 32 for i in range(n)]
    if n:
        store.write(keys, np.eye(n, 3, dtype=np.float32))
    about = {
        "encoder": "tiny",
        "weights_kind": "random",
        "cohort": "cells",
        "synthetic": synthetic,
        "run": {"computed": n, "from_cache": 0, "shard": shard},
    }
    handle = StoredEmbeddings(store, key_array(keys), tuple(f"r{i}" for i in range(n)), about, tuple(failures))
    return EmbedRun(handle, out, store.folder, 1.25, on_error)


def test_the_summary_names_weights_failures_and_files(cache):
    bad = Failure("r9", "The file does not exist.")
    run = run_of(cache, failures=[bad], out=Path("cells.npz"), synthetic=True)
    text = "\n".join(run.lines())
    assert "failed: r9: The file does not exist." in text
    assert "tiny (random weights)" in text and "synthetic" in text and "cells.npz" in text
    assert run.embeddings.digest() in text
    assert run.to_dict()["failures"] == [{"record_id": "r9", "reason": "The file does not exist."}]
    assert "part 1/2" in "\n".join(run_of(cache, shard="1/2 (given)").lines())


def test_when_the_answer_is_no(cache):
    bad = [Failure("r9", "why")]
    assert run_of(cache, failures=bad).answer_is_no
    assert not run_of(cache, failures=bad, on_error="skip").answer_is_no
    assert run_of(cache, failures=bad, on_error="skip", n=0).answer_is_no
    assert not run_of(cache).answer_is_no


def test_a_modality_that_fits_passes(encoder, tmp_path):
    check_modality(encoder, make_cohort(tmp_path, 1))
    with pytest.raises(ConfigError, match="ecg"):
        encoder.modality = "ecg"
        check_modality(encoder, make_cohort(tmp_path, 1))


@pytest.mark.parametrize("workers", [0, 1])
def test_cells_of_one_smear_have_their_own_vectors_and_survive_a_renamed_smear(encoder, tmp_path, cache, workers):
    picture(tmp_path / "smear.png", 1, side=40)

    def cohort(name: str, boxes: list[tuple[int, int]]) -> Cohort:
        ids = [f"{x}-{y}" for x, y in boxes]
        table = pd.DataFrame({"record_id": ids, "path": name, "patient_id": ids, "site": None, "split": "train"})
        corners = pd.DataFrame([(x, y, x + 8, y + 8) for x, y in boxes], columns=["xmin", "ymin", "xmax", "ymax"])
        return Cohort(pd.concat([table, corners], axis=1), "blood_cell", tmp_path)

    boxes = [(0, 0), (8, 0), (20, 30), (36, 36)]
    emb = embed(encoder, cohort("smear.png", boxes), cache=cache, workers=workers)
    assert emb.record_ids == ("0-0", "8-0", "20-30")
    assert [f.record_id for f in emb.failures] == ["36-36"] and "leaves the image" in emb.failures[0].reason
    assert len(np.unique(emb.values, axis=0)) == 3 and emb.dim == DIM
    (tmp_path / "smear.png").rename(tmp_path / "slide.png")
    again = embed(encoder, cohort("slide.png", [boxes[2], (12, 12)]), cache=cache, workers=workers)
    assert (again.provenance["run"]["from_cache"], again.provenance["run"]["computed"]) == (1, 1)
    np.testing.assert_array_equal(again.values[0], emb.values[2])
