"""Training on pairs from a synthetic table to a folder that loads with its text tower, offline."""

from __future__ import annotations

import json
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

import medfm
from medfm.cli.main import main
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.synthesize import synthesize
from medfm.core.errors import ConfigError, TrainingError, UnknownNameError, WeightsError
from medfm.encoders.published import load_published
from medfm.training.log import read_log
from medfm.workflows.pretrain import load_recipe, pretrain
from medfm.workflows.pretrain_pairs import choose_rows, with_reports

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"epochs": 2, "batch_size": 8}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize("ecg", tmp_path_factory.mktemp("ecgs") / "out", records=48).table


@pytest.fixture(scope="module")
def cohort(table: Path) -> Cohort:
    return medfm.load_cohort(table)


@pytest.fixture(scope="module")
def trained(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    result = pretrain(cohort, "merl-smoke", folder)
    assert result.what == "pairs of record and report"
    assert result.pictures == int((cohort.table["split"] == "train").sum())
    assert "pairs of record and report" in str(result)
    return folder


def rows_of(folder: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_log(folder / "log.jsonl")]


def test_the_folder_is_an_encoder_with_texts_and_says_what_it_is(trained: Path, cohort: Cohort) -> None:
    names = {p.name for p in trained.iterdir()}
    assert names == {
        "encoder.safetensors",
        "card.md",
        "config.yaml",
        "log.jsonl",
        "loss.png",
        "checkpoint",
        "tokenizer",
    }
    encoder = medfm.load_encoder(trained)
    assert encoder.weights_kind == "trained here"
    assert encoder.has_text and encoder.has_attention
    assert encoder.card.modality == "ecg"
    vectors = encoder.encode_text(["atrial fibrillation", "sinus bradycardia, rate below 60"])
    assert vectors.shape == (2, 64)
    assert not torch.allclose(vectors[0], vectors[1])
    assert [part.name for part in encoder.card.spec.training_data] == ["synthetic-ecgs--seed-0"]
    batch = torch.stack([encoder.preprocess(cohort.read(i)) for i in range(3)])
    assert encoder(batch).shape == (3, 64)
    for word in (
        "synthetic",
        "never seen a real heart",
        "merl-smoke",
        "random weights and learned",
        "no label was used",
    ):
        assert word in encoder.card.prose, word
    (data,) = encoder.card.spec.training_data
    assert data.status == "used" and "SYNTHETIC" not in data.name
    untrained = medfm.load_encoder(trained, weights="random")
    assert untrained.encode_text(["atrial fibrillation"]).shape == (1, 64)
    assert untrained.fingerprint != encoder.fingerprint
    assert untrained.fingerprint == medfm.load_encoder("merl-tiny", weights="random").fingerprint


def test_the_log_has_validation_once_per_epoch(trained: Path) -> None:
    rows = read_log(trained / "log.jsonl")
    ends = [row for row in rows if "val_total" in row]
    assert [row["epoch"] for row in ends] == [1, 2]
    assert {"val_cma", "val_uma", "val_top1", "val_top5"} <= ends[0].keys()


def test_the_training_checkpoint_loads_as_published_ones_do(trained: Path) -> None:
    encoder = medfm.load_encoder(trained)
    best = torch.load(trained / "checkpoint/best.ckpt", weights_only=True)["model"]
    state = {k.removeprefix("network."): v for k, v in best.items()}
    for layout in (state, {"model_state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 2}):
        module, report = load_published(encoder.card, layout)
        assert report.ok
        assert all(torch.equal(v, encoder.module.state_dict()[k]) for k, v in module.state_dict().items())


def test_the_written_recipe_repeats_the_run(trained: Path, cohort: Cohort, tmp_path: Path) -> None:
    again = pretrain(cohort, trained / "config.yaml", tmp_path / "again")
    assert medfm.load_encoder(again.folder).fingerprint == medfm.load_encoder(trained).fingerprint
    assert rows_of(again.folder) == rows_of(trained)
    values = yaml.safe_load((trained / "config.yaml").read_text())
    assert values["family"] == "merl"


def test_test_records_are_never_read(table: Path, trained: Path, tmp_path: Path) -> None:
    """Files of the test split may be absent, and nothing changes."""
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(table.parent, folder)
    rows = pd.read_csv(folder / "labels.csv")
    for path in rows.loc[rows["split"] == "test", "path"]:
        (folder / path).unlink()
    copied = medfm.load_cohort(folder / "labels.csv", check=False)
    result = pretrain(copied, "merl-smoke", tmp_path / "run")
    assert result.failures == ()
    assert medfm.load_encoder(result.folder).fingerprint == medfm.load_encoder(trained).fingerprint
    # An unreadable training record is left out and named.
    first = rows.loc[rows["split"] == "train", "path"].iloc[1]
    (folder / first).unlink()
    result = pretrain(medfm.load_cohort(folder / "labels.csv", check=False), "merl-smoke", tmp_path / "less")
    assert len(result.failures) == 1
    assert "left out 1 unreadable records" in str(result)


def test_records_on_demand_give_the_same_weights(cohort: Cohort, trained: Path, tmp_path: Path) -> None:
    result = pretrain(cohort, "merl-smoke", tmp_path / "run", overrides={"machine": {"memory_mb": 0}})
    assert medfm.load_encoder(result.folder).fingerprint == medfm.load_encoder(trained).fingerprint


@pytest.mark.slow
def test_killed_for_real_and_resumed_equals_uninterrupted(table: Path, cohort: Cohort, tmp_path: Path) -> None:
    overrides = ["epochs=6", "machine.checkpoint_every=2"]
    arguments = [sys.executable, "-m", "medfm", "pretrain", str(table), "--modality", "ecg", "--recipe", "merl-smoke"]
    arguments += ["--out", str(tmp_path / "killed")] + [part for o in overrides for part in ("--set", o)]
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = tmp_path / "killed/log.jsonl"
    while process.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < 7):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (tmp_path / "killed/card.md").exists()
    with pytest.raises(TrainingError, match="--resume"):
        pretrain(cohort, "merl-smoke", tmp_path / "killed", overrides=overrides)
    resumed = pretrain(cohort, "merl-smoke", tmp_path / "killed", overrides=overrides, resume=True)
    assert resumed.resumed_from >= 6
    pretrain(cohort, "merl-smoke", tmp_path / "straight", overrides=overrides)
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "straight")
    killed, straight = (medfm.load_encoder(tmp_path / name) for name in ("killed", "straight"))
    assert killed.fingerprint == straight.fingerprint
    assert killed.text_fingerprint == straight.text_fingerprint


@pytest.mark.slow
def test_two_processes_share_the_work_and_write_once(table: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "medfm", "pretrain", str(table), "--modality", "ecg", "--recipe", "merl-smoke"]
    arguments += ["--json", "--out", str(tmp_path / "two"), "--set", "machine.devices=2", "--set", "batch_size=4"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    facts = json.loads(done.stdout)
    rows = read_log(tmp_path / "two/log.jsonl")
    assert [row["step"] for row in rows] == list(range(len(rows)))
    assert len(rows) == 2 * (facts["pictures"] // 8)
    assert medfm.load_encoder(tmp_path / "two").encode_text(["sinus rhythm"]).shape == (1, 64)


class TestSelection:
    def test_zero_shot_uses_labels_and_says_so(self, cohort: Cohort, tmp_path: Path) -> None:
        changes = {"selection": "zero_shot_validation", "zero_shot": {"label_set": "ptbxl-rhythm"}}
        result = pretrain(cohort, "merl-smoke", tmp_path / "run", overrides=changes)
        values = [r["val_zero_shot_auroc"] for r in read_log(result.folder / "log.jsonl") if "val_total" in r]
        assert len(values) == 2 and all(0 <= v <= 1 for v in values)
        card = medfm.load_encoder(result.folder).card
        assert any("not free of labels" in text for text in card.spec.deviations)
        assert f"epoch {int(np.argmax(values)) + 1}:" in card.prose

    def test_labels_may_lie_in_another_table(self, cohort: Cohort, table: Path, tmp_path: Path) -> None:
        bare = cohort.table.drop(columns=["SR", "SBRAD", "STACH", "AFIB"])
        from dataclasses import replace

        changes = {"selection": "zero_shot_validation", "zero_shot": {"label_set": "ptbxl-rhythm"}}
        with pytest.raises(TrainingError, match="No label of 'ptbxl-rhythm'"):
            pretrain(replace(cohort, table=bare), "merl-smoke", tmp_path / "none", overrides=changes)
        changes["zero_shot"]["table"] = str(table)  # type: ignore[index]
        pretrain(replace(cohort, table=bare), "merl-smoke", tmp_path / "run", overrides=changes)
        assert medfm.load_encoder(tmp_path / "run").weights_kind == "trained here"

    def test_rows(self, cohort: Cohort) -> None:
        split = cohort.table["split"].to_numpy(dtype=object)
        parts = choose_rows(cohort, load_recipe("merl-smoke"))
        assert parts.train == np.flatnonzero(split == "train").tolist()
        assert parts.validation == np.flatnonzero(split == "val").tolist()
        for source in ("patients", "records"):
            config = load_recipe("merl-smoke", {"validation": {"source": source, "share": 0.2}})
            parts = choose_rows(cohort, config)
            assert not set(parts.train) & set(parts.validation)
            assert sorted(parts.train + parts.validation) == np.flatnonzero(split == "train").tolist()
            assert len(parts.validation) == round(0.2 * (split == "train").sum())
            assert choose_rows(cohort, config) == parts
        doubled = cohort.subset(np.repeat(np.arange(len(cohort)), 2))
        parts = choose_rows(doubled, load_recipe("merl-smoke", {"validation": {"source": "patients", "share": 0.3}}))
        people = doubled.table["patient_id"].to_numpy()
        assert not set(people[parts.train]) & set(people[parts.validation])

    def test_without_validation_records(self, cohort: Cohort, tmp_path: Path) -> None:
        training = cohort.of_split("train")
        with pytest.raises(TrainingError, match="needs validation records") as caught:
            pretrain(training, "merl-smoke", tmp_path / "run")
        assert "selection=last" in str(caught.value)
        result = pretrain(training, "merl-smoke", tmp_path / "run", overrides={"selection": "last"})
        assert not any("val_total" in row for row in read_log(result.folder / "log.jsonl"))
        assert "the last epoch is kept" in medfm.load_encoder(result.folder).card.prose


class TestRefusals:
    def test_reports_are_needed(self, cohort: Cohort, tmp_path: Path) -> None:
        from dataclasses import replace

        from medfm.core.errors import CohortError

        with pytest.raises(CohortError, match="no column 'txt'"):
            pretrain(cohort, "merl-smoke", tmp_path / "x", overrides={"text": {"column": "txt"}})
        empty = replace(cohort, table=cohort.table.assign(text="  "))
        with pytest.raises(TrainingError, match="No record has a report"):
            with_reports(empty, "text")
        some = cohort.table.assign(text=[None, " ", *cohort.table["text"][2:]])
        assert len(with_reports(replace(cohort, table=some), "text")) == len(cohort) - 2
        assert not (tmp_path / "x").exists()

    def test_the_encoder_must_fit(self, cohort: Cohort, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="takes blood_cell records"):
            pretrain(cohort, "merl-smoke", tmp_path / "x", overrides={"encoder": "dinov2-tiny"})
        with pytest.raises(ConfigError, match="with a text tower"):
            pretrain(cohort, "merl-smoke", tmp_path / "x", overrides={"encoder": "merl-resnet18-pooled"})
        with pytest.raises(UnknownNameError, match="pretraining"):
            pretrain(cohort, "merl-smoke", tmp_path / "x", overrides={"preprocessing_variant": "pretraining"})
        with pytest.raises(ConfigError, match="takes blood_cell records"):
            pretrain(cohort, "dinov2-smoke", tmp_path / "y")

    def test_the_published_tower_must_be_there(self, cohort: Cohort, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="not on this machine") as caught:
            pretrain(
                cohort, "merl-tiny", tmp_path / "x", overrides={"text": {"start": "pretrained", "trained_layers": 0}}
            )
        assert "no repository" in str(caught.value)

    def test_resume_refuses_other_reports(self, cohort: Cohort, trained: Path, tmp_path: Path) -> None:
        import shutil
        from dataclasses import replace

        shutil.copytree(trained, tmp_path / "run")
        changed = cohort.table.assign(text=cohort.table["text"] + ". Something else")
        with pytest.raises(TrainingError, match="another run") as caught:
            pretrain(replace(cohort, table=changed), "merl-smoke", tmp_path / "run", resume=True)
        for name in ("cohort", "content", "tokenizer"):
            assert f"- {name}: " in str(caught.value)


def test_a_frozen_published_tower_from_a_folder(cohort: Cohort, tmp_path: Path) -> None:
    """A BERT of the card's size stands for MedCPT: its vectors are cached, its weights end in the folder."""
    from safetensors.torch import save_file

    from medfm.encoders.published import build
    from medfm.training.vocabulary import build_vocabulary

    bert = tmp_path / "bert"
    bert.mkdir()
    tower = build("merl-tiny", seed=9).lm_model
    save_file({k: v.contiguous() for k, v in tower.state_dict().items()}, bert / "model.safetensors")
    (bert / "vocab.txt").write_text("\n".join(build_vocabulary(["sinus rhythm"] * 2, 1024)) + "\n")
    text = {"start": "pretrained", "trained_layers": 0, "weights": str(bert)}
    prints = []
    for cache in (True, False):
        changes = {"text": {**text, "cache": cache}}
        result = pretrain(cohort, "merl-smoke", tmp_path / f"run-{cache}", overrides=changes)
        encoder = medfm.load_encoder(result.folder)
        state = encoder.module.state_dict()
        assert all(torch.equal(state[f"lm_model.{k}"], v) for k, v in tower.state_dict().items())
        assert (result.folder / "tokenizer/vocab.txt").read_bytes() == (bert / "vocab.txt").read_bytes()
        assert "published weights and was frozen" in encoder.card.prose
        prints.append([row["total"] for row in read_log(result.folder / "log.jsonl")])
    assert prints[0] == pytest.approx(prints[1], rel=1e-3)


def shell(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", *arguments])
    return int(stop.value.code or 0)


def test_from_the_shell(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(table), "--modality", "ecg", "--recipe", "merl-smoke"]
    assert shell(*arguments, "--dry-run") == 0
    assert "family: merl" in capsys.readouterr().out
    assert shell(*arguments, "--out", str(tmp_path / "run"), "--set", "epochs=1") == 0
    out = capsys.readouterr().out
    assert f"medfm zeroshot {table} --encoder {tmp_path / 'run'}" in out
    assert shell(*arguments, "--out", str(tmp_path / "run")) == 2
    assert "--resume" in capsys.readouterr().err
