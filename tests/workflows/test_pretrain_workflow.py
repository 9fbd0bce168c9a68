"""Pretraining from a table to a folder that load_encoder reads; kill, resume, refusals."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

import medfm
from medfm.cohorts.cohort import Cohort
from medfm.core.errors import ConfigError, StoreError, TrainingError, UnknownNameError
from medfm.training.log import read_log
from medfm.workflows.pretrain import load_recipe, pretrain, recipes, trained_id

ROOT = Path(__file__).resolve().parents[2]
QUICK = [
    "steps=4",
    "batch_size=4",
    "picture_size=64",
    "views.global_size=28",
    "views.local_size=14",
    "heads.hidden=16",
    "machine.checkpoint_every=2",
]


def write_cells(folder: Path, count: int = 10) -> Path:
    """A table of small pictures, the last two of the split test."""
    folder.mkdir(parents=True, exist_ok=True)
    source = np.random.default_rng(3)
    for i in range(count):
        picture = np.full((40, 44, 3), source.integers(60, 200, 3), dtype=np.uint8)
        picture[10:30, 12:30] = source.integers(0, 256, (20, 18, 3))
        Image.fromarray(picture).save(folder / f"c{i}.png")
    splits = ["train"] * (count - 2) + ["test"] * 2
    table = pd.DataFrame({"path": [f"c{i}.png" for i in range(count)], "split": splits, "patient_id": range(count)})
    table.to_csv(folder / "cells.csv", index=False)
    return folder / "cells.csv"


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return medfm.load_cohort(write_cells(tmp_path / "data"), modality="blood_cell")


def test_the_folder_is_an_encoder(cohort: Cohort, tmp_path: Path) -> None:
    result = pretrain(cohort, "dinov2-smoke", tmp_path / "run", overrides=QUICK)
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names == {
        "encoder.safetensors",
        "card.md",
        "config.yaml",
        "log.jsonl",
        "crops.png",
        "loss.png",
        "checkpoint",
    }
    assert result.pictures == 8 and result.resumed_from == 0 and not result.failures

    encoder = medfm.load_encoder(str(tmp_path / "run"))
    assert encoder.weights_kind == "trained here"
    assert encoder.id == result.encoder_id == "dinov2-smoke-cells"
    assert [entry.status for entry in encoder.card.spec.training_data] == ["used"]
    untrained = medfm.load_encoder("dinov2-tiny", weights="random", seed=0)
    assert encoder.fingerprint != untrained.fingerprint
    assert encoder.preprocess.digest == untrained.preprocess.digest
    batch = torch.stack([encoder.preprocess(cohort.read(i)) for i in range(3)])
    assert torch.isfinite(encoder(batch)).all()
    # The file holds the teacher of the last checkpoint.
    state = torch.load(tmp_path / "run/checkpoint/last.ckpt", weights_only=True)["model"]
    assert torch.equal(state["teacher.backbone.vit.norm.weight"], encoder.module.state_dict()["vit.norm.weight"])
    assert "4 steps" in encoder.card.spec.summary and "8 pictures" in encoder.card.prose
    assert "runs" not in str(result) and str(tmp_path / "run") in str(result)


def test_it_starts_from_the_untrained_encoder(cohort: Cohort, tmp_path: Path) -> None:
    """Without learning, teacher and untrained encoder are the same network."""
    stay = [*QUICK, "optimisation.lr=1e-30", "optimisation.final_lr=0", "seed=4"]
    pretrain(cohort, "dinov2-smoke", tmp_path / "run", overrides=stay)
    trained = medfm.load_encoder(str(tmp_path / "run"))
    untrained = medfm.load_encoder("dinov2-tiny", weights="random", seed=4)
    for name, value in untrained.module.state_dict().items():
        assert torch.allclose(trained.module.state_dict()[name], value, atol=1e-7), name


def test_only_the_training_split_is_read(cohort: Cohort, tmp_path: Path) -> None:
    for i in (8, 9):
        (cohort.root / f"c{i}.png").unlink()
    assert pretrain(cohort, "dinov2-smoke", tmp_path / "run", overrides=QUICK).failures == ()
    both = pretrain(cohort, "dinov2-smoke", tmp_path / "all", overrides=[*QUICK, "split=all"])
    assert both.pictures == 8 and len(both.failures) == 2
    assert "left out 2 unreadable" in str(both)


@pytest.mark.slow
def test_killed_for_real_and_resumed_equals_uninterrupted(cohort: Cohort, tmp_path: Path) -> None:
    table = tmp_path / "data/cells.csv"
    overrides = [*QUICK, "steps=20"]
    arguments = [sys.executable, "-m", "medfm", "pretrain", str(table), "--recipe", "dinov2-smoke"]
    arguments += ["--out", str(tmp_path / "killed")] + [part for o in overrides for part in ("--set", o)]
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = tmp_path / "killed/log.jsonl"
    while process.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < 5):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (tmp_path / "killed/card.md").exists()
    with pytest.raises(TrainingError, match="--resume"):
        pretrain(cohort, "dinov2-smoke", tmp_path / "killed", overrides=overrides)
    resumed = pretrain(cohort, "dinov2-smoke", tmp_path / "killed", overrides=overrides, resume=True)
    assert 0 < resumed.resumed_from < 20
    pretrain(cohort, "dinov2-smoke", tmp_path / "straight", overrides=overrides)

    def log_of(name: str) -> list[dict[str, float]]:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in read_log(tmp_path / name / "log.jsonl")]

    assert log_of("killed") == log_of("straight")
    killed, straight = (medfm.load_encoder(str(tmp_path / name)) for name in ("killed", "straight"))
    assert killed.fingerprint == straight.fingerprint


def test_resuming_a_finished_run_changes_nothing(cohort: Cohort, tmp_path: Path) -> None:
    pretrain(cohort, "dinov2-smoke", tmp_path / "run", overrides=QUICK)
    before = medfm.load_encoder(str(tmp_path / "run")).fingerprint
    (tmp_path / "run/card.md").unlink()
    again = pretrain(cohort, "dinov2-smoke", tmp_path / "run", overrides=QUICK, resume=True)
    assert again.resumed_from == 4
    assert medfm.load_encoder(str(tmp_path / "run")).fingerprint == before


def test_resume_refuses_other_settings_and_other_data(cohort: Cohort, tmp_path: Path) -> None:
    pretrain(cohort, "dinov2-smoke", tmp_path / "run", overrides=QUICK)
    with pytest.raises(TrainingError, match=r"recipe\.optimisation\.lr: .* there, 0\.5 now"):
        pretrain(cohort, "dinov2-smoke", tmp_path / "run", overrides=[*QUICK, "optimisation.lr=0.5"], resume=True)
    with pytest.raises(TrainingError, match="cohort: "):
        pretrain(cohort.subset(slice(1, 9)), "dinov2-smoke", tmp_path / "run", overrides=QUICK, resume=True)
    with pytest.raises(TrainingError, match="no checkpoint"):
        pretrain(cohort, "dinov2-smoke", tmp_path / "new", overrides=QUICK, resume=True)


def test_resume_refuses_pictures_whose_pixels_changed(cohort: Cohort, tmp_path: Path) -> None:
    """The table is the same, a file behind it is not."""
    pretrain(cohort, "dinov2-smoke", tmp_path / "run", overrides=QUICK)
    changed = np.asarray(Image.open(cohort.root / "c2.png")).copy()
    changed[:9, :9] ^= 255
    Image.fromarray(changed).save(cohort.root / "c2.png")
    with pytest.raises(TrainingError, match=r"another run:\n  - content: [0-9a-f]{64} there, [0-9a-f]{64} now"):
        pretrain(cohort, "dinov2-smoke", tmp_path / "run", overrides=QUICK, resume=True)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_everything_that_was_made_can_be_read_by_the_same_people(cohort: Cohort, tmp_path: Path) -> None:
    pretrain(cohort, "dinov2-smoke", tmp_path / "run", overrides=QUICK)
    (tmp_path / "plain").write_text("x")
    made = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {path.stat().st_mode for path in made} == {(tmp_path / "plain").stat().st_mode}


def test_a_full_disk_at_the_weights_is_clear_and_resuming_writes_them(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if ".encoder.safetensors" in self.name:
            write(self, data[:100])
            raise OSError(errno.ENOSPC, "no space")
        return write(self, data)

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="disk is full") as caught:
        patch.setattr(Path, "write_bytes", full)
        pretrain(cohort, "dinov2-smoke", tmp_path / "run", overrides=QUICK)
    assert "encoder.safetensors" in str(caught.value)
    assert not list((tmp_path / "run").glob("*encoder*")) and not list((tmp_path / "run").glob(".*"))
    assert pretrain(cohort, "dinov2-smoke", tmp_path / "run", overrides=QUICK, resume=True).resumed_from == 4
    assert medfm.load_encoder(str(tmp_path / "run")).weights_kind == "trained here"


def test_a_cohort_without_training_records_is_refused(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no records of the split 'train'") as caught:
        pretrain(cohort.of_split("test"), "dinov2-smoke", tmp_path / "run", overrides=QUICK)
    assert "split=all" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_size_that_is_no_multiple_of_the_patch_is_refused(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="30 pixels are not a multiple of the patch of 14"):
        pretrain(cohort, "dinov2-smoke", tmp_path / "run", overrides=["views.local_size=30"])


def test_recipes_by_name_file_and_object(tmp_path: Path) -> None:
    assert {"dinov2-smoke", "dinov2-tiny"} <= set(recipes())
    with pytest.raises(UnknownNameError, match="dinov2-tny") as caught:
        load_recipe("dinov2-tny")
    assert "did you mean 'dinov2-tiny'" in str(caught.value)
    tiny = load_recipe("dinov2-tiny", ["steps=50"])
    assert tiny.steps == 50
    assert load_recipe("dinov2-tiny", {"steps": 50}) == tiny
    path = tmp_path / "own.yaml"
    path.write_text(tiny.to_yaml())
    assert load_recipe(path) == tiny


def test_a_recipe_object_and_overrides(cohort: Cohort, tmp_path: Path) -> None:
    config = load_recipe("dinov2-smoke", QUICK)
    pretrain(cohort, config, tmp_path / "run", overrides=["steps=2"])
    written = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert written["steps"] == 2 and written["batch_size"] == 4
    assert load_recipe(tmp_path / "run/config.yaml").steps == 2


def test_ids_are_lower_case_words(cohort: Cohort) -> None:
    from dataclasses import replace

    config = load_recipe("dinov2-tiny")
    assert trained_id(config, replace(cohort, name="Zellen (Ulm) 2024!")) == "dinov2-tiny-zellen-ulm-2024"


@pytest.mark.slow
def test_two_processes_share_the_work_and_write_once(cohort: Cohort, tmp_path: Path) -> None:
    table = tmp_path / "data/cells.csv"
    arguments = [sys.executable, "-m", "medfm", "pretrain", str(table), "--recipe", "dinov2-smoke", "--json"]
    overrides = [*QUICK, "steps=3", "machine.devices=2"]
    arguments += ["--out", str(tmp_path / "two")] + [part for o in overrides for part in ("--set", o)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["pictures"] == 8
    assert [row["step"] for row in read_log(tmp_path / "two/log.jsonl")] == [0, 1, 2]
    assert medfm.load_encoder(str(tmp_path / "two")).weights_kind == "trained here"
