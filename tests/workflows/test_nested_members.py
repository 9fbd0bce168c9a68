"""Ensembles and soups of fold models, from one small run of nested cross-validation each; a soup of given runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import medfm
from medfm.cli.main import cli
from medfm.cohorts.load import load_cohort
from medfm.core.errors import EvaluationError, StoreError, TrainingError, WeightsError
from medfm.encoders.load import load_encoder
from medfm.training.ensemble import load_ensemble
from medfm.training.tuned import load_classifier
from medfm.workflows import finetune_output, nested_fit
from medfm.workflows.nested import nested_finetune
from medfm.workflows.predict import predict
from medfm.workflows.soup_runs import shown_quality, soup_runs

WHOLE = "name: tiny-whole\nstages:\n  - {name: tune, epochs: 1, layers: {kind: whole, lr: 1.0e-3}}\nbatch_size: 8\n"
HEAD = "name: tiny-head\nstages:\n  - {name: probe, epochs: 1, layers: {kind: head}, augment: false}\nbatch_size: 8\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of 24 synthetic ECGs of two ages, an ensemble and a greedy soup of its fold models."""
    home = tmp_path_factory.mktemp("members")
    (home / "whole.yaml").write_text(WHOLE)
    (home / "head.yaml").write_text(HEAD)
    done = CliRunner().invoke(cli, ["data", "synthesize", "ecg", "--out", str(home / "ecg"), "--records", "30"])
    assert done.exit_code == 0
    table = pd.read_csv(home / "ecg" / "labels.csv").head(24)
    order = table["age"].rank(method="first")
    table = table.assign(old=np.where(order > len(table) / 2, "old", "young"), split=["train", "val", "test"] * 8)
    table.to_csv(home / "ecg" / "labels.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDFM_CACHE", str(home / "cache"))
        saved: dict[str, Any] = {}
        patch.setattr(finetune_output, "save_into", lambda result, folder: saved.update({folder.name: result}))
        for out, change in (("ensemble", "method.final=ensemble"), ("soup", "method.soup=greedy")):
            run(home, out, change)
    extras = {name: result.extras for name, result in saved.items()}
    (home / "extras.json").write_text(json.dumps(extras, default=str))
    return home


def run(home: Path, out: str, change: str, **more: Any) -> Any:
    settings = (
        f"method.candidates=[{home / 'whole.yaml'}, {home / 'head.yaml'}]", "scheme.folds=2", "method.inner_folds=3",
        "statistics.resamples=0", change,
    )  # fmt: skip
    encoder = load_encoder("merl-tiny", "random", "cpu", architecture={"stem": 8})
    given = {"positive": "old", "overrides": settings, "device": "cpu", **more}
    return nested_finetune(encoder, cohort(home), "old", out=home / out, **given)


def cohort(home: Path) -> Any:
    return load_cohort(home / "ecg" / "labels.csv", modality="ecg")


def extras(home: Path, name: str) -> Any:
    return json.loads((home / "extras.json").read_text())[name]


@pytest.fixture
def home(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFM_CACHE", str(place / "cache"))
    return place


def test_the_ensemble_predicts_the_mean_of_its_members(home: Path) -> None:
    found = predict(home / "ensemble", cohort(home), device="cpu")
    members = [predict(home / "ensemble" / "model" / "members" / str(i), cohort(home), device="cpu") for i in (1, 2)]
    mean = np.mean([m.table["probability:old"] for m in members], axis=0)
    assert found.table["probability:old"].to_numpy() == pytest.approx(mean)
    whole = load_ensemble(home / "ensemble")
    assert (found.table["predicted"] == np.where(mean >= whole.threshold, "old", "young")).all()
    assert found.about()["models"] == 2 and found.encoder_id.startswith("merl-tiny-ensemble-")
    assert members[0].about()["models"] == 1 and list(found.table["record_id"]) == cohort(home).record_ids


def test_an_ensemble_with_scores_gives_sets_of_its_averaged_probabilities(home: Path) -> None:
    from medfm.core.errors import ConfigError
    from medfm.evaluation.conformal import fit_conformal
    from medfm.training.sets_file import ABOUT, save_scores

    model = home / "ensemble" / "model"
    assert not (model / ABOUT).exists() and not extras(home, "ensemble")["nested"]["final"]["sets"]  # 8 patients
    with pytest.raises(ConfigError, match="no scores"):
        predict(home / "ensemble", cohort(home), device="cpu", sets=0.8)
    own = np.linspace(0.3, 0.7, 12)
    save_scores(model, own, ("young", "old"))
    try:
        table = predict(home / "ensemble", cohort(home), device="cpu", sets=0.8).table
    finally:
        (model / ABOUT).unlink()
    given = table[["probability:young", "probability:old"]].to_numpy()
    cut = fit_conformal(np.column_stack([own, 1 - own]), np.zeros(12, dtype=int), 0.8)
    kept = cut(given)
    assert (table["set_size"] == kept.sum(axis=1)).all()
    assert [set(v.split("|")) - {""} for v in table["set"]] == [
        {n for n, k in zip(("young", "old"), row, strict=True) if k} for row in kept
    ]


def test_an_ensemble_of_an_earlier_version_gets_its_scores_when_resumed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here by asking for fewer patients than the 9 that sets take: the file is what was missing."""
    from medfm.training.sets_file import ABOUT
    from medfm.workflows import nested_shipped

    monkeypatch.setattr(finetune_output, "save_into", lambda result, folder: None)
    monkeypatch.setattr(nested_fit, "fit", lambda *_, **__: pytest.fail("something was trained"))
    monkeypatch.setattr(nested_shipped, "FEWEST", 3)
    model, before = home / "ensemble" / "model", sorted(p.name for p in (home / "ensemble" / "model").iterdir())
    try:
        final = run(home, "ensemble", "method.final=ensemble", resume=True).result.extras["nested"]["final"]
        kept = json.loads((model / ABOUT).read_text())["scores"]
    finally:
        (model / ABOUT).unlink(missing_ok=True)
    assert final["sets"] and len(kept) == 8 == final["validation"]
    table = predict(home / "ensemble", cohort(home), device="cpu").table.set_index("record_id")
    truth = cohort(home).table.set_index("record_id")["old"]
    own = np.where(truth.loc[table.index] == "old", table["probability:old"], table["probability:young"])
    assert all(np.abs(own - value).min() < 1e-6 for value in kept) and kept == sorted(kept)
    assert sorted(p.name for p in model.iterdir()) == before


def test_members_give_the_out_of_fold_scores_of_their_fold(home: Path) -> None:
    """The exported member is the very model that tested its fold, recalibration included."""
    for entry, number in zip(extras(home, "ensemble")["nested"]["folds"], (1, 2), strict=True):
        member = load_classifier(home / "ensemble" / "model" / "members" / str(number))
        assert member.about["kept"]["epoch"] == 1 and member.threshold == pytest.approx(entry["threshold"], abs=1e-6)


def test_what_the_report_is_told(home: Path) -> None:
    nested = extras(home, "ensemble")["nested"]
    assert nested["trainings"] == 4 and nested["common_validation"]
    final = nested["final"]
    assert final["kind"] == "ensemble" and [m["fold"] for m in final["members"]] == [0, 1] and not final["gate"]
    assert final["train"] + final["validation"] == 24 and final["validation"] == 8
    people = extras(home, "ensemble")["participants"]
    assert people["kept"]["records"] == 24 and [p["name"] for p in people["parts"]] == ["cross-validation"]
    soup = extras(home, "soup")["nested"]["final"]
    assert soup["kind"] == "soup" and soup["rule"] == "greedy" and len(soup["alone"]) == 2
    assert soup["quality"] >= max(soup["alone"]) - 1e-12


def test_both_have_the_same_out_of_fold_choices(home: Path) -> None:
    """The final model is made afterwards: the verdict does not depend on it."""
    folds = [extras(home, name)["nested"]["folds"] for name in ("ensemble", "soup")]
    assert folds[0] == folds[1]


def test_nothing_but_scores_and_logs_stays_in_training(home: Path) -> None:
    for name in ("ensemble", "soup"):
        left = {p.name for p in (home / name / "training").rglob("*") if p.is_file()}
        assert left == {"plan.json", "scores.npz", "log.jsonl"}


def test_the_ensemble_is_no_encoder_but_its_members_and_the_soup_are(home: Path) -> None:
    with pytest.raises(WeightsError, match="no embedding in common"):
        medfm.load_encoder(home / "ensemble" / "model", device="cpu")
    x = torch.zeros(1, 12, 1000)
    for folder in (home / "ensemble" / "model" / "members" / "2", home / "soup" / "model"):
        encoder = medfm.load_encoder(folder, device="cpu")
        assert encoder(x).shape == (1, encoder.embedding_dim)
        assert any(
            part.split == "all" and "records with labels" in part.note for part in encoder.card.spec.training_data
        )


def test_the_soup_predicts_with_its_threshold(home: Path) -> None:
    found = predict(home / "soup", cohort(home), device="cpu")
    final = extras(home, "soup")["nested"]["final"]
    cut = np.where(found.table["probability:old"] >= final["threshold"], "old", "young")
    assert (found.table["predicted"] == cut).all() and found.classifier.about["soup"]["kept"] == final["kept"]


@pytest.mark.parametrize("name", ["ensemble", "soup"])
def test_cards_say_what_was_tested_and_that_the_records_are_synthetic(home: Path, name: str) -> None:
    card = (home / name / "model" / "card.md").read_text()
    assert "tested on nobody" in card and "- AUROC:" in card and "not measured here" in card
    assert "8 records" in card and "not a medical device" in card and "Threshold" in card


def test_a_finished_run_is_read_and_not_trained_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nested_fit, "fit", lambda *_, **__: pytest.fail("something was trained"))
    monkeypatch.setattr(finetune_output, "save_into", lambda result, folder: None)
    for name, change in (("ensemble", "method.final=ensemble"), ("soup", "method.soup=greedy")):
        again = run(home, name, change, resume=True).result.extras["nested"]
        assert again["final"] == extras(home, name)["nested"]["final"]


def test_a_member_that_is_missing_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(finetune_output, "save_into", lambda result, folder: None)
    shutil.copytree(home / "soup", home / "lost")
    shutil.rmtree(home / "lost" / "model")
    with pytest.raises(TrainingError, match="model of a finished training is missing") as found:
        run(home, "lost", "method.soup=greedy", resume=True)
    assert "delete the folder" in str(found.value.fix)


def members(home: Path) -> list[Path]:
    return [home / "ensemble" / "model" / "members" / str(i) for i in (1, 2)]


def test_given_runs_become_a_soup_from_the_shell(home: Path) -> None:
    words = ["soup", *map(str, members(home)), "--table", str(home / "ecg" / "labels.csv"), "--modality", "ecg"]
    done = CliRunner().invoke(cli, [*words, "--rule", "greedy", "--device", "cpu", "--out", str(home / "given")])
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert "greedy soup of" in done.output and "log loss" in done.output and "no test" in done.output
    found = load_classifier(home / "given")
    assert "8 validation records" in found.rule and (home / "given" / "card.md").is_file()
    assert len(predict(home / "given", cohort(home), device="cpu").table) == 24
    assert not list(home.glob(".given*"))
    with pytest.raises(StoreError, match="not empty") as busy:
        soup_runs(members(home), home / "given", device="cpu")
    assert "--overwrite" in str(busy.value.fix)


def test_what_a_soup_of_runs_needs_is_said(home: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="chosen on validation records") as found:
        soup_runs(members(home), tmp_path / "x", "greedy", device="cpu")
    assert "--table" in str(found.value.fix)
    table = pd.read_csv(home / "ecg" / "labels.csv")
    other = home / "ecg" / "other.csv"
    table.assign(old=table["old"].replace({"young": "middle"})).to_csv(other, index=False)
    with pytest.raises(EvaluationError, match="not those of the runs"):
        soup_runs(members(home), tmp_path / "x", cohort=load_cohort(other, modality="ecg"), device="cpu")
    table.assign(split="test").to_csv(other, index=False)
    with pytest.raises(TrainingError, match="chosen on validation records"):
        soup_runs(members(home), tmp_path / "x", "greedy", cohort=load_cohort(other, modality="ecg"), device="cpu")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty") as busy:
        soup_runs(members(home), tmp_path / "mine", overwrite=True, device="cpu")
    assert "holds no model" in str(busy.value.fix) and (tmp_path / "mine" / "notes.txt").is_file()


def test_the_log_loss_is_shown_the_usual_way_round() -> None:
    assert shown_quality("log_loss", -0.25) == "log loss 0.2500" and shown_quality("auroc", 0.9) == "auroc 0.9000"
