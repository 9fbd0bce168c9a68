from __future__ import annotations

import json

import numpy as np
import pytest

from medfm.cli.main import main
from medfm.embeddings.store import EncoderStore, Maker


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def shard(folder):
    maker = Maker("ab" * 32, "fp32", 2, encoder="tiny", weights_kind="random")
    return EncoderStore.open(maker, folder).write([bytes([i]) * 32 for i in range(4)], np.eye(4, 2, dtype=np.float32))


@pytest.fixture
def call(capsys, folder, monkeypatch):
    monkeypatch.setenv("MEDFM_CACHE", str(folder))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["cache", *arguments])
        out = capsys.readouterr()
        return ended.value.code, out.out, out.err

    return run


def test_ls_of_nothing(call, folder):
    code, out, _ = call("ls")
    assert code == 0 and str(folder) in out.replace("\n", "")
    assert json.loads(call("ls", "--json")[1])["encoders"] == []


def test_ls_shows_items_bytes_and_last_use(call, shard):
    code, out, _ = call("ls")
    assert code == 0 and "tiny" in out and "random" in out and "abababababab" in out
    (line,) = json.loads(call("ls", "--json")[1])["encoders"]
    assert (line["items"], line["shards"], line["precision"]) == (4, 1, "fp32")
    assert line["bytes"] >= shard.stat().st_size and line["last_used"].endswith("Z")


def test_verify_ends_with_1_when_a_shard_is_truncated(call, shard):
    code, out, _ = call("verify")
    assert code == 0 and "1 shards, 4 vectors: all whole" in out
    shard.write_bytes(shard.read_bytes()[:-5])
    code, out, _ = call("verify")
    assert code == 1 and shard.name in out and "1 damaged" in out
    code, out, _ = call("verify", "--json")
    assert code == 1 and json.loads(out)["problems"][0]["shard"].endswith(shard.name)


def test_gc_dry_run_then_real_then_nothing_left_to_do(call, shard):
    shard.write_bytes(b"")
    code, out, _ = call("gc", "--dry-run")
    assert code == 0 and "would remove" in out and "1 damaged shards" in out and shard.exists()
    code, out, _ = call("gc")
    assert code == 0 and "removed 0 temporary files, 1 damaged shards" in out and not shard.exists()
    assert call("verify")[0] == 0
    assert json.loads(call("gc", "--json")[1])["damaged_shards"] == 0


def test_gc_of_an_encoder(call, shard, folder):
    code, _, err = call("gc", "--encoder", "tinny")
    assert code == 2 and "did you mean 'tiny'" in err
    code, out, _ = call("gc", "--encoder", "tiny")
    assert code == 0 and "removed all of tiny fp32" in out and not shard.parent.exists()


def test_another_folder_and_wrong_options(call, shard, tmp_path):
    assert json.loads(call("ls", "--cache", str(tmp_path / "other"), "--json")[1])["encoders"] == []
    assert call("gc", "--older-than", "-3")[0] == 2
    assert call("prune")[0] == 2


@pytest.mark.parametrize("verb", [[], ["ls"], ["verify"], ["gc"]])
def test_help_has_three_examples(call, verb):
    code, out, _ = call(*verb, "--help")
    assert code == 0 and out.count("      medfm cache ") + out.count("    medfm cache ") >= 3
