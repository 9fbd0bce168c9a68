from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import medfm
from medfm.cli.main import main
from medfm.embeddings.export import load_embeddings


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"cell{i}.png")
    rows = [f"cell{i}.png,person{i},{'ab'[i % 2]},cells" for i in range(3)]
    path = tmp_path / "labels.csv"
    path.write_text("path,who,label,task\n" + "\n".join(rows) + "\nother.png,person9,a,smears\n")
    return path


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDFM_CACHE", str(tmp_path / "cache"))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["embed", *map(str, arguments)])
        out = capsys.readouterr()
        return ended.value.code, out.out, out.err

    return run


@pytest.fixture(autouse=True)
def one_network(monkeypatch):
    """Building the untrained network takes a second: do it once for the whole file."""
    import medfm.encoders.load as module

    original = module.load_encoder

    def cached(name, weights=None, device="auto", seed=0, variant=None):
        if weights != "random" or variant is not None:
            return original(name, weights=weights, device=device, seed=seed, variant=variant)
        if name not in _LOADED:
            _LOADED[name] = original(name, weights=weights, device="cpu", seed=seed)
        return _LOADED[name]

    monkeypatch.setattr(module, "load_encoder", cached)


_LOADED: dict[str, medfm.Encoder] = {}
OPTIONS = ["--encoder", "dinobloom-s", "--weights", "random", "--map", "patient_id=who", "--where", "task=cells",
           "--batch-size", "1"]  # fmt: skip


def test_a_table_becomes_a_file_and_a_second_call_comes_from_the_cache(call, table, tmp_path):
    code, out, err = call(table, *OPTIONS, "--out", tmp_path / "cells.npz")
    assert code == 0, err
    assert "3 records of labels embedded by dinobloom-s (random weights)" in out and "3 computed" in out
    emb = load_embeddings(tmp_path / "cells.npz")
    assert emb.values.shape == (3, 384) and emb.digest() in out
    assert "embedding: 3/3 records" in err
    code, out, _ = call(table, *OPTIONS, "--out", tmp_path / "again.parquet")
    assert code == 0 and "0 computed, 3 from the cache" in out
    assert load_embeddings(tmp_path / "again.parquet").digest() == emb.digest()


def test_json_is_one_object_and_nothing_else(call, table, tmp_path):
    code, out, err = call(table, *OPTIONS, "--json")
    told = json.loads(out)
    assert code == 0 and err == ""
    assert (told["records"], told["dim"], told["failures"], told["out"]) == (3, 384, [], None)
    assert told["provenance"]["weights_kind"] == "random" and len(told["digest"]) == 64


def test_a_bad_record_ends_with_1_a_list_and_the_file_of_the_others(call, table, tmp_path):
    (tmp_path / "cell1.png").write_bytes(b"no picture at all")
    code, out, _ = call(table, *OPTIONS, "--out", tmp_path / "cells.h5", "--allow", "F002", "--allow", "F003")
    assert code == 1
    assert "failed: cell1.png: " in out and "1 failed" in out
    assert len(load_embeddings(tmp_path / "cells.h5")) == 2
    assert call(table, *OPTIONS, "--on-error", "skip")[0] == 0
    code, out, err = call(table, *OPTIONS, "--on-error", "stop")
    assert code == 2 and "cell1.png" in err and "Traceback" not in err


def test_skipping_every_record_is_not_success(call, table, tmp_path):
    for i in range(3):
        (tmp_path / f"cell{i}.png").write_bytes(b"no picture at all, number %d" % i)
    assert call(table, *OPTIONS, "--on-error", "skip")[0] == 1


def test_dry_run_prints_the_settings_and_does_nothing(call, table, tmp_path):
    code, out, _ = call(table, *OPTIONS, "--dry-run", "--set", "flush_every=99", "--precision", "bf16")
    assert code == 0
    assert "batch_size: 1" in out and "flush_every: 99" in out and "precision: bf16" in out and "# sha256" in out
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "cells.csv"], "cannot be of the kind '.csv'"),
        (["--set", "batchsize=3"], "did you mean 'batch_size'"),
        (["--shard", "3/3"], "There is no part 3 of 3"),
        (["--batch-size", "0"], "batch_size"),
        (["--modality", "blood_cells"], "did you mean 'blood_cell'"),
        (["--where", "task=nothing"], "nothing"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_wrong_requests_end_with_2_and_one_message(call, table, arguments, message):
    # The cached network of this file ignores the device: without --weights random the real loader runs.
    options = [*OPTIONS[:2], *OPTIONS[4:]] if "--device" in arguments else OPTIONS
    code, _, err = call(table, *options, *arguments)
    assert code == 2 and message in err and "Traceback" not in err


def test_a_missing_table_and_a_wrong_encoder(call, table, tmp_path):
    code, _, err = call(tmp_path / "none.csv", *OPTIONS)
    assert code == 2 and "none.csv" in err
    code, _, err = call(table, "--encoder", "dinoblom-s")
    assert code == 2 and "dinobloom-s" in err


def test_parts_fill_the_cache_and_write_no_file(call, table, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        code, out, _ = call(table, *OPTIONS, "--out", tmp_path / "cells.npz")
        assert code == 0 and f"This was part {rank}/2 (torchrun)" in out
        assert not (tmp_path / "cells.npz").exists()
    code, out, _ = call(table, *OPTIONS, "--shard", "none", "--out", tmp_path / "cells.npz")
    assert code == 0 and "0 computed, 3 from the cache" in out
    assert len(load_embeddings(tmp_path / "cells.npz")) == 3


def test_large_results_go_through_a_mapped_file(call, table, tmp_path, monkeypatch):
    monkeypatch.setattr("medfm.workflows.embed._IN_MEMORY", 0)
    assert call(table, *OPTIONS, "--out", tmp_path / "out" / "cells.parquet")[0] == 0
    assert len(load_embeddings(tmp_path / "out" / "cells.parquet")) == 3
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["cells.parquet"]


def test_help_fits_a_screen(call):
    code, out, _ = call("--help")
    assert code == 0
    assert out.count("  medfm embed ") + out.count("-m medfm embed ") == 3
    assert "Checked:" in out and "Common errors:" in out
