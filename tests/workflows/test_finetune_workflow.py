"""``medfm finetune`` and ``medfm predict`` from a shell's point of view, on one small run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result

import medfm
from medfm.cli.main import cli
from medfm.cohorts.load import load_cohort
from medfm.core.errors import ConfigError, MedfmError, StoreError, TrainingError, WeightsError
from medfm.evaluation.unusual import fit_gate
from medfm.training.gate_file import save_gate
from medfm.training.log import read_log
from medfm.training.tuned import load_classifier
from medfm.workflows.finetune_output import claim_folder


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words), catch_exceptions=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of synthetic ECGs with a column of two classes, and one run of fine-tuning on it."""
    home = tmp_path_factory.mktemp("finetune")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDFM_CACHE", str(home / "cache"))
        assert call("data", "synthesize", "ecg", "--out", str(home / "ecg"), "--records", "30").exit_code == 0
        table = pd.read_csv(home / "ecg" / "labels.csv")
        table["old"] = np.where(table["age"] > table["age"].median(), "old", "young")
        table.to_csv(home / "ecg" / "labels.csv", index=False)
        done = call(
            "finetune", str(home / "ecg" / "labels.csv"), "--modality", "ecg", "--encoder", "merl-tiny", "--weights", "random",
            "--recipe", "lp-ft", "--target", "old", "--positive", "old", "--out", str(home / "ft"), "--device", "cpu",
            "--set", "stages.probe.epochs=2", "--set", "stages.tune.epochs=1", "--set", "batch_size=8",
        )  # fmt: skip
    assert done.exit_code == 0, done.output + repr(done.exception)
    (home / "said.txt").write_text(done.output)
    return home


@pytest.fixture
def cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFM_CACHE", str(place / "cache"))
    return place


def test_the_folder_holds_result_model_and_training(place: Path) -> None:
    found = {str(p.relative_to(place / "ft")) for p in (place / "ft").rglob("*") if p.is_file()}
    assert found == {
        "result.json", "predictions.parquet", "config.yaml", "report.html", "card.md", "run.yaml",
        "model/card.md", "model/encoder.safetensors", "model/classifier.json", "model/classifier.safetensors",
        "training/log.jsonl", "training/recipe.yaml", "training/checkpoint/last.ckpt", "training/checkpoint/previous.ckpt",
    }  # fmt: skip
    rows = read_log(place / "ft" / "training" / "log.jsonl")
    assert [row["stage"] for row in rows] == ["probe", "probe", "tune"]


def test_the_untouched_encoder_reads_every_record_once(place: Path) -> None:
    """The probe's embeddings serve the head-only stage and the scales of the head, too."""
    said = (place / "said.txt").read_text()
    assert "reading records:" in said and "embedding records:" not in said


def test_the_result_is_of_the_test_split_alone(place: Path) -> None:
    result = medfm.load_result(place / "ft")
    table = pd.read_csv(place / "ecg" / "labels.csv").set_index("record_id")
    assert set(result.predictions.table["record_id"]) == set(table.index[table["split"] == "test"])
    assert result.kind == "finetune" and result.summary.classes == ("young", "old")
    chosen = result.extras["chosen"][0]
    assert chosen["train"] + chosen["validation"] + chosen["test"] == 30
    assert result.config["recipe"]["stages"][1]["epochs"] == 1
    assert result.provenance["seeds"] == {"training": 0, "resampling": 0}


def test_the_untouched_encoder_stands_beside_it(place: Path) -> None:
    """Its figures are those of ``medfm probe`` on the same records."""
    from medfm.workflows.probe import probe

    result = medfm.load_result(place / "ft")
    before = result.extras["finetune"]["before"]
    cohort = load_cohort(place / "ecg" / "labels.csv", modality="ecg")
    encoder = medfm.load_encoder("merl-tiny", weights="random", device="cpu")
    vectors = medfm.embed(encoder, cohort, cache=str(place / "cache"))
    own = probe(
        vectors, cohort, "old", positive="old", overrides=("scheme.kind=split", "statistics.resamples=0"), baseline="x"
    )
    rows = {row["metric"]: row for row in before["rows"]}
    for estimate in own.summary.headline:
        assert rows[estimate.metric]["before"]["value"] == pytest.approx(estimate.value)
        after = result.summary.estimate(estimate.metric)
        assert rows[estimate.metric]["after"]["value"] == after.value
        assert rows[estimate.metric]["difference"]["value"] == pytest.approx(after.value - estimate.value)
    assert "DeLong" in rows["auroc"]["method"] and before["encoder"] == "merl-tiny"


def test_the_model_loads_and_predicts_what_was_evaluated(cache: Path) -> None:
    home = cache
    result = medfm.load_result(home / "ft").predictions.table.set_index("record_id")
    out = home / "p.csv"
    done = call("predict", str(home / "ft"), str(home / "ecg" / "labels.csv"), "--modality", "ecg", "--out", str(out))
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out).set_index("record_id")
    assert len(table) == 30 and list(table.columns) == ["predicted", "probability:young", "probability:old"]
    same = table.loc[result.index]
    assert same["probability:old"].to_numpy() == pytest.approx(result["score:old"].to_numpy(), abs=1e-9)
    assert (same["predicted"] == result["predicted"]).all()
    about = json.loads(out.with_suffix(".json").read_text())
    classifier = load_classifier(home / "ft")
    assert about["threshold"]["value"] == classifier.threshold and "sensitivity" in about["threshold"]["chosen"]
    cut = np.where(table["probability:old"] >= classifier.threshold, "old", "young")
    assert (table["predicted"] == cut).all()
    encoder = medfm.load_encoder(home / "ft" / "model", device="cpu")
    assert encoder.weights_kind == "trained here" and encoder.fingerprint == classifier.about["encoder_fingerprint"]
    assert any(part.split == "train" for part in encoder.card.spec.training_data)


def test_predicting_needs_no_labels_and_writes_parquet(cache: Path, tmp_path: Path) -> None:
    table = pd.read_csv(cache / "ecg" / "labels.csv")[["record_id", "path"]].head(3)
    table.to_csv(tmp_path / "new.csv", index=False)
    done = call(
        "predict", str(cache / "ft" / "model"), str(tmp_path / "new.csv"), "--root", str(cache / "ecg"),
        "--out", str(tmp_path / "p.parquet"), "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["records"] == 3 and said["classes"] == ["young", "old"]
    assert len(pd.read_parquet(tmp_path / "p.parquet")) == 3


def test_a_model_with_a_gate_tells_unusual_records(cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache / "ft" / "model", tmp_path / "model")
    encoder = medfm.load_encoder(tmp_path / "model", device="cpu")
    rng, width = np.random.default_rng(0), load_classifier(tmp_path / "model").weight.shape[1]
    gate = fit_gate(rng.normal(size=(60, width)) + 1e3, rng.normal(size=(30, width)) + 1e3)
    save_gate(tmp_path / "model", gate, encoder.fingerprint)
    words = ["predict", str(tmp_path / "model"), str(cache / "ecg" / "labels.csv"), "--modality", "ecg", "--out"]
    done = call(*words, str(tmp_path / "p.csv"))
    assert done.exit_code == 0 and "30 of 30 records are unusual" in done.output
    table = pd.read_csv(tmp_path / "p.csv")
    assert (table["unusual"] == 1).all() and (table["unusual_percentile"] == 100).all()


def test_the_run_says_who_took_part_and_why_there_is_no_gate(place: Path) -> None:
    result = medfm.load_result(place / "ft")
    entry = result.extras["participants"]
    assert entry["asked"]["records"] == 30 == sum(part["records"] for part in entry["parts"])
    assert [part["name"] for part in entry["parts"]] == ["train", "validation", "test"] and entry["excluded"] == []
    assert any(note.startswith("No gate for unusual records") for note in result.summary.notes)


def test_an_unreadable_record_is_named_and_the_rest_predicted(cache: Path, tmp_path: Path) -> None:
    table = pd.read_csv(cache / "ecg" / "labels.csv")[["record_id", "path"]].head(3)
    table.loc[1, "path"] = "records/none"
    table.to_csv(tmp_path / "new.csv", index=False)
    words = ["predict", str(cache / "ft"), str(tmp_path / "new.csv"), "--root", str(cache / "ecg")]
    done = call(*words, "--out", str(tmp_path / "p.csv"))
    assert done.exit_code == 0 or "failed: " in done.output  # a MedfmError or a named failure, never silence
    if not done.exception:
        assert list(pd.read_csv(tmp_path / "p.csv")["record_id"]) == [table.record_id[0], table.record_id[2]]


def test_the_report_says_whether_it_helped_and_shows_the_epochs(place: Path) -> None:
    page = (place / "ft" / "report.html").read_text()
    assert "Did fine-tuning help?" in page and "Training, epoch by epoch" in page and "lp-ft" in page
    said = (place / "said.txt").read_text()
    assert "untouched encoder" in said and "medfm predict" in said
    card = (place / "ft" / "model" / "card.md").read_text()
    assert "synthetic" in card and "Threshold: " in card


def test_resuming_a_finished_run_changes_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    # The pictures of a page are most of the time here, and those of the first run were drawn.
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: file.write(b"<svg></svg>"))
    home, before = cache, medfm.load_result(cache / "ft")
    words = [
        "finetune", str(home / "ecg" / "labels.csv"), "--modality", "ecg", "--encoder", "merl-tiny", "--weights", "random",
        "--recipe", str(home / "ft" / "training" / "recipe.yaml"), "--target", "old", "--positive", "old",
        "--out", str(home / "ft"), "--device", "cpu",
    ]  # fmt: skip
    refused = call(*words)
    assert isinstance(refused.exception, TrainingError) and "--resume" in str(refused.exception)
    done = call(*words, "--resume")
    assert done.exit_code == 0, done.output + repr(done.exception)
    after = medfm.load_result(home / "ft")
    assert after.predictions.table.equals(before.predictions.table) and after.id == before.id
    assert not list((home / "ft").glob(".result*"))


def test_other_weights_beside_the_classifier_are_found_out(cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache / "ft" / "model", tmp_path / "model")
    about = json.loads((tmp_path / "model" / "classifier.json").read_text())
    (tmp_path / "model" / "classifier.json").write_text(json.dumps({**about, "encoder_fingerprint": "0" * 64}))
    cohort = load_cohort(cache / "ecg" / "labels.csv", modality="ecg")
    with pytest.raises(WeightsError, match="another encoder"):
        medfm.predict(tmp_path / "model", cohort, device="cpu")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--encoder", "dinov2-tiny", "--weights", "random"], "is for blood_cell"),
        (["--encoder", "merl-tiny", "--weights", "random", "--recipe", "bpd-progressive@1"], "does not fit ecg"),
        (["--encoder", "merl-tiny", "--weights", "random", "--recipe", "loro"], "did you mean|lora"),
        (["--encoder", "merl-tiny", "--weights", "random", "--protocol", "knn@1"], "not 'finetune'"),
        (
            ["--encoder", "merl-tiny", "--weights", "random", "--recipe", "lp-ft", "--set", "stages.tune.epochs=0"],
            "greater than or equal",
        ),
        ([], "Name the encoder"),
    ],
    ids=["modality", "augmentation", "recipe", "protocol", "setting", "no encoder"],
)
def test_what_is_wrong_comes_out_and_nothing_is_left(
    cache: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    import re

    table = str(cache / "ecg" / "labels.csv")
    done = call("finetune", table, "--modality", "ecg", "--target", "old", "--out", str(tmp_path / "out"), *words)
    text = f"{done.output} {done.exception}"
    assert done.exit_code != 0 and re.search(message, text), text
    assert isinstance(done.exception, (MedfmError, SystemExit))
    assert not (tmp_path / "out" / "result.json").exists() and not (tmp_path / "out" / "model").exists()


def test_a_dry_run_shows_the_recipe() -> None:
    done = call("finetune", "none.csv", "--recipe", "lora", "--set", "stages.tune.layers.rank=4", "--dry-run", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["config"]["stages"][0]["layers"]["rank"] == 4


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    for overwrite in (False, True):
        with pytest.raises(StoreError, match="not empty"):
            claim_folder(tmp_path / "mine", False, overwrite)
    (tmp_path / "run" / "training" / "checkpoint").mkdir(parents=True)
    (tmp_path / "run" / "training" / "checkpoint" / "last.ckpt").write_bytes(b"")
    with pytest.raises(TrainingError):
        claim_folder(tmp_path / "run", False, False)
    claim_folder(tmp_path / "run", True, False)
    assert (tmp_path / "run" / "training").exists()
    claim_folder(tmp_path / "run", False, True)
    assert not (tmp_path / "run" / "training").exists()


def test_a_file_of_another_kind_is_refused_before_the_work(place: Path, tmp_path: Path) -> None:
    done = call("predict", str(place / "ft"), "none.csv", "--out", str(tmp_path / "p.xlsx"))
    assert isinstance(done.exception, ConfigError) and ".csv or .parquet" in str(done.exception)


def test_saved_tensors_are_finite(place: Path) -> None:
    from safetensors.torch import load_file

    found: dict[str, Any] = load_file(place / "ft" / "model" / "classifier.safetensors")
    assert found["weight"].shape[0] == 1 and all(bool(torch.isfinite(t).all()) for t in found.values())
