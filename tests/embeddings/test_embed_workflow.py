"""medfm.embed: settings, provenance, sharing between processes, and being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from embedding_fakes import TinyEncoder, cohort_of, expected_values, make_cohort, picture

import medfm
from medfm.core.errors import ConfigError, StoreError
from medfm.core.progress import Progress, Silent
from medfm.embeddings.store import EncoderStore, Maker
from medfm.workflows.embed import EmbedConfig, embed, resolve

HERE = Path(__file__).resolve().parent
N = 24


@pytest.fixture
def images(tmp_path):
    return make_cohort(tmp_path / "images", N)


@pytest.fixture(scope="module")
def vit():
    return medfm.load_encoder("dinobloom-s", weights="random", device="cpu")


def stored(cache, maker=None) -> int:
    return len(EncoderStore.open(maker or Maker("ab" * 32, "fp32", 6), cache))


def test_it_is_the_public_function():
    assert medfm.embed is embed


def test_values_provenance_and_cache(encoder, images, cache):
    emb = embed(encoder, images, cache=cache, workers=0)
    assert emb.values.dtype == np.float32 and emb.record_ids == tuple(images.record_ids)
    np.testing.assert_allclose(emb.values, expected_values(encoder, images), atol=1e-4)
    about = emb.provenance
    assert (about["encoder"], about["fingerprint"], about["weights_kind"]) == ("tiny", "ab" * 32, "random")
    assert (about["precision"], about["cohort_digest"], about["records"]) == ("fp32", images.digest(), N)
    assert about["software"]["torch"] == torch.__version__.split("+")[0] or about["software"]["torch"]
    assert about["run"]["computed"] == N
    json.dumps(about, allow_nan=False)
    assert str(images.root) not in json.dumps(about)
    again = embed(encoder, images, cache=cache, workers=0)
    assert again.provenance["run"]["from_cache"] == N
    assert {k: v for k, v in again.provenance.items() if k != "run"} == {k: v for k, v in about.items() if k != "run"}
    assert again.digest() == emb.digest()


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"batch_size": 32}, {"workers": 1}, {"workers": 2},
                                      {"streams": 4}, {"flush_every": 1}])  # fmt: skip
def test_nothing_but_precision_changes_a_value(encoder, images, cache, tmp_path, settings):
    one = embed(encoder, images, cache=cache, workers=0, batch_size=8, streams=1)
    other = embed(encoder, images, cache=tmp_path / "other", **{"workers": 0, **settings})
    assert other.digest() == one.digest()
    assert one.provenance["run"]["exact"] is True


def test_batches_differ_from_single_records_by_rounding_only(encoder, images, cache, tmp_path):
    one = embed(encoder, images, cache=cache, workers=0)
    batched = embed(encoder, images, cache=tmp_path / "other", workers=0, exact=False, batch_size=5)
    assert (5, 3, 8, 8) in encoder.shapes
    np.testing.assert_allclose(batched.values, one.values, rtol=1e-5, atol=1e-5)


def test_precisions_do_not_share_vectors(encoder, images, cache):
    full = embed(encoder, images, cache=cache, workers=0)
    half = embed(encoder, images, cache=cache, workers=0, precision="bf16")
    assert half.provenance["run"]["computed"] == N and half.provenance["precision"] == "bf16"
    assert 0 < np.abs(half.values - full.values).max() < 0.5


def test_a_handle_reads_on_demand(encoder, images, cache):
    handle = embed(encoder, images, cache=cache, workers=0, collect=False)
    emb = embed(encoder, images, cache=cache, workers=0)
    assert len(handle) == N and handle.digest() == emb.digest()
    np.testing.assert_array_equal(handle.collect().values, emb.values)


def test_failures_are_part_of_the_result(encoder, images, cache):
    (images.root / "cell_005.png").write_bytes(b"")
    emb = embed(encoder, images, cache=cache, workers=0)
    assert len(emb) == N - 1 and [f.record_id for f in emb.failures] == ["r005"]
    assert emb.provenance["failed"] == 1
    assert emb.rows(["r005", "r006"]).tolist() == [-1, 5]


def test_an_empty_cohort_and_one_of_bad_records_only(encoder, tmp_path, cache):
    assert embed(encoder, cohort_of(tmp_path, []), cache=cache).values.shape == (0, 6)
    emb = embed(encoder, cohort_of(tmp_path, ["none.png"]), cache=cache)
    assert emb.values.shape == (0, 6) and len(emb.failures) == 1


def test_another_modality_is_refused_before_any_work(encoder, images, cache):
    encoder.modality = "ecg"
    with pytest.raises(ConfigError, match="for ecg, the cohort 'tiny cells' holds blood_cell"):
        embed(encoder, images, cache=cache)
    assert not cache.exists()


def test_settings_by_name_by_config_and_wrong_ones(encoder, images, cache, tmp_path):
    config = EmbedConfig(batch_size=3, workers=0, cache=str(cache))
    emb = embed(encoder, images, config=config, batch_size=5)
    assert emb.provenance["run"]["batch_size"] == 5
    assert resolve(config, {"workers": None, "shard": (1, 4), "cache": tmp_path}).shard == "1/4"
    assert resolve(None, {}, ("flush_every=7",)).flush_every == 7
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        embed(encoder, images, batchsize=3)
    with pytest.raises(ConfigError, match="precision"):
        embed(encoder, images, precision="fp8")
    with pytest.raises(ConfigError, match="part 4 of 4"):
        embed(encoder, images, shard=(4, 4))


def test_progress_may_be_given_or_made(encoder, images, cache):
    given = Silent("mine", N)
    embed(encoder, images, cache=cache, workers=0, progress=given)
    assert given.done == N
    made = []

    def maker(title, total, unit):
        made.append(Progress(title, total, unit))
        return made[-1]

    embed(encoder, images, cache=cache, workers=0, progress=maker)
    assert (made[0].title, made[0].total, made[0].unit, made[0].done) == ("embedding", N, "records", N)


def test_global_state_is_left_as_it_was(encoder, images, cache):
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    embed(encoder, images, cache=cache, workers=1)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_a_file_in_the_way_of_the_cache_is_a_clear_error(encoder, images, cache):
    cache.write_text("in the way")
    with pytest.raises(StoreError, match="A file stands"):
        embed(encoder, images, cache=cache, workers=0)


# -- several processes ------------------------------------------------------------------------


def test_parts_together_make_the_whole(encoder, images, cache, tmp_path):
    whole = embed(encoder, images, cache=tmp_path / "one", workers=0)
    parts = [embed(TinyEncoder(), images, cache=cache, workers=0, shard=f"{rank}/3") for rank in range(3)]
    assert sorted(i for p in parts for i in p.record_ids) == sorted(images.record_ids)
    assert all(0 < len(p) < N for p in parts)
    assert parts[1].provenance["run"]["shard"] == "1/3 (given)"
    merged = embed(TinyEncoder(), images, cache=cache, workers=0)
    assert merged.provenance["run"]["computed"] == 0
    assert merged.digest() == whole.digest()


def test_torchrun_and_slurm_give_parts_only_on_demand(encoder, images, cache, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    part = embed(encoder, images, cache=cache, workers=0, shard="auto")
    assert 0 < len(part) < N and part.provenance["run"]["shard"] == "0/2 (torchrun)"
    assert len(embed(encoder, images, cache=cache, workers=0)) == N
    monkeypatch.delenv("RANK")
    for name, value in {"TASK_ID": "2", "TASK_MIN": "1", "TASK_MAX": "2", "TASK_COUNT": "2"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_{name}", value)
    other = embed(encoder, images, cache=cache, workers=0, shard="auto")
    assert set(other.record_ids) == set(images.record_ids) - set(part.record_ids)


SCRIPT = """
import json, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from embedding_fakes import TinyEncoder, cohort_of
from medfm.workflows.embed import embed
root, cache, n, delay, workers, shard = sys.argv[1:]
cohort = cohort_of(Path(root), [f"cell_{{i:03d}}.png" for i in range(int(n))])
encoder = TinyEncoder(delay=float(delay))
emb = embed(encoder, cohort, cache=cache, batch_size=2, streams=1, workers=int(workers), flush_every=4, shard=shard)
print(json.dumps({{"digest": emb.digest(), "run": emb.provenance["run"], "calls": encoder.calls}}))
"""


def start(root, cache, *, delay=0.0, workers=0, shard="none") -> subprocess.Popen[str]:
    # No guard for the main module: a plain script of a few lines must work with workers.
    arguments = [str(root), str(cache), str(N), str(delay), str(workers), shard]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(here=str(HERE)), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def outcome(process) -> dict:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out)


def wait_for_vectors(cache, count: int) -> int:
    deadline = time.monotonic() + 100
    while (there := stored(cache)) < count:
        assert time.monotonic() < deadline, "no shard appeared"
        time.sleep(0.05)
    return there


@pytest.mark.slow
def test_killed_with_9_and_resumed_gives_the_digest_of_an_uninterrupted_run(encoder, images, cache, tmp_path):
    process = start(images.root, cache, delay=0.1, workers=1)
    wait_for_vectors(cache, 4)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = stored(cache)
    assert 4 <= kept < N
    resumed = TinyEncoder()
    emb = embed(resumed, images, cache=cache, workers=0, batch_size=5, streams=2)
    assert emb.provenance["run"]["from_cache"] == kept
    assert emb.provenance["run"]["computed"] == N - kept
    assert resumed.calls <= N - kept + 1  # at most one trial of several records together
    assert emb.digest() == embed(encoder, images, cache=tmp_path / "calm", workers=0).digest()


def test_interrupted_from_the_keyboard_keeps_whole_shards(images, cache):
    process = start(images.root, cache, delay=0.1, workers=1)
    wait_for_vectors(cache, 4)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    kept = stored(cache)
    assert 4 <= kept < N
    folder = EncoderStore.open(Maker("ab" * 32, "fp32", 6), cache).folder
    assert not [p for p in folder.iterdir() if p.name.endswith(".tmp")]
    assert embed(TinyEncoder(), images, cache=cache, workers=0).provenance["run"]["computed"] == N - kept


@pytest.mark.slow
def test_two_processes_at_once_share_a_store_without_harm(encoder, images, cache, tmp_path):
    both = [start(images.root, cache, delay=0.02) for _ in range(2)]
    digests = {outcome(process)["digest"] for process in both}
    assert digests == {embed(encoder, images, cache=tmp_path / "alone", workers=0).digest()}
    assert embed(encoder, images, cache=cache, workers=0).provenance["run"]["computed"] == 0


# -- the real network -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_vector_of_the_real_network_does_not_depend_on_its_companions(vit, tmp_path, cache):
    for i in range(5):
        picture(tmp_path / f"cell_{i:03d}.png", i, side=40)
    names = [f"cell_{i:03d}.png" for i in range(5)]
    ids = [f"r{i}" for i in range(5)]
    whole = embed(vit, cohort_of(tmp_path, names, ids), cache=cache, workers=0, batch_size=3, streams=2)
    # Begun with two records in another order, then resumed: other companions, other rows.
    first = cohort_of(tmp_path, [names[4], names[1]], [ids[4], ids[1]])
    embed(vit, first, cache=tmp_path / "cut", workers=1, batch_size=3, streams=1)
    resumed = embed(vit, cohort_of(tmp_path, names, ids), cache=tmp_path / "cut", workers=0, batch_size=3, streams=1)
    assert resumed.provenance["run"] | {"computed": 3, "from_cache": 2} == resumed.provenance["run"]
    assert resumed.digest() == whole.digest()
    batched = embed(vit, cohort_of(tmp_path, names, ids), cache=tmp_path / "b", workers=0, batch_size=5, exact=False)
    np.testing.assert_allclose(batched.values, whole.values, rtol=0, atol=1e-5)


def test_the_encoder_may_be_named_by_its_id(tmp_path, cache, vit, monkeypatch):
    asked = []
    monkeypatch.setattr("medfm.encoders.load.load_encoder", lambda name: asked.append(name) or vit)
    emb = embed("dinobloom-s", make_cohort(tmp_path / "i", 1), cache=cache, batch_size=1)
    assert asked == ["dinobloom-s"] and emb.dim == 384
