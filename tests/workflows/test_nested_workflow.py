"""Nested cross-validation from table to result folder, on one small run with a very small encoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import medfm
from medfm.cli.main import cli
from medfm.cohorts.load import load_cohort
from medfm.core.errors import ConfigError, EvaluationError, MedfmError, TrainingError
from medfm.evaluation.protocol import load_protocol
from medfm.training.tuned import load_classifier
from medfm.workflows import finetune_output, nested_fit
from medfm.workflows.nested import nested_finetune, nested_plan

HEAD = "name: tiny-head\nstages:\n  - {name: probe, epochs: 2, layers: {kind: head}, augment: false}\nbatch_size: 8\n"
WHOLE = "name: tiny-whole\nstages:\n  - {name: tune, epochs: 1, layers: {kind: whole, lr: 1.0e-3}}\nbatch_size: 8\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of synthetic ECGs without splits, and one finished run on it."""
    home = tmp_path_factory.mktemp("nested")
    (home / "head.yaml").write_text(HEAD)
    (home / "whole.yaml").write_text(WHOLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDFM_CACHE", str(home / "cache"))
        assert call("data", "synthesize", "ecg", "--out", str(home / "ecg"), "--records", "30").exit_code == 0
        table = pd.read_csv(home / "ecg" / "labels.csv").head(24)
        order = table["age"].rank(method="first")
        table = table.assign(old=np.where(order > len(table) / 2, "old", "young"))
        table.drop(columns="split").to_csv(home / "ecg" / "labels.csv", index=False)
        done = call(*words(home, "run"))
    assert done.exit_code == 0, done.output + repr(done.exception)
    (home / "said.txt").write_text(done.output)
    return home


def call(*given: str) -> Result:
    return CliRunner().invoke(cli, list(given), catch_exceptions=True)


def words(home: Path, out: str, *more: str) -> list[str]:
    return [
        "finetune", str(home / "ecg" / "labels.csv"), "--modality", "ecg", "--encoder", "merl-tiny", "--weights", "random",
        "--target", "old", "--positive", "old", "--out", str(home / out), "--device", "cpu", "--protocol", "nested-cv@1",
        *[w for change in settings(home) for w in ("--set", change)], *more,
    ]  # fmt: skip


def settings(home: Path) -> tuple[str, ...]:
    candidates = f"method.candidates=[{home / 'head.yaml'}, {home / 'whole.yaml'}]"
    return (
        candidates,
        "scheme.folds=2",
        "method.inner_folds=2",
        "statistics.resamples=20",
        "statistics.subgroups=[sex]",
    )


@pytest.fixture
def home(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFM_CACHE", str(place / "cache"))
    return place


def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr(nested_fit, "fit", refuse)


def again(home: Path, out: str, **changes: Any) -> Any:
    cohort = load_cohort(home / "ecg" / "labels.csv", modality="ecg")
    encoder = medfm.load_encoder("merl-tiny", weights="random", device="cpu")
    given = {"positive": "old", "overrides": settings(home), "device": "cpu", "embed_settings": {}, **changes}
    with pytest.MonkeyPatch.context() as patch:
        # Drawing the page costs more than all else; the run of the fixture has one.
        patch.setattr(finetune_output, "save_into", lambda result, folder: None)
        return nested_finetune(encoder, cohort, "old", out=home / out, **given)


def test_every_patient_has_one_out_of_fold_prediction(place: Path) -> None:
    result = medfm.load_result(place / "run")
    table = pd.read_csv(place / "ecg" / "labels.csv")
    found = result.predictions.table
    assert sorted(found["record_id"]) == sorted(table["record_id"]) and len(found) == 24
    assert result.kind == "nested_finetune" and result.summary.n_patients == 24
    truth = found.set_index("record_id")["truth"].loc[table["record_id"]].to_numpy()
    assert (truth == table["old"].to_numpy()).all() and set(found["fold"]) == {0, 1}


def test_predicted_classes_follow_the_threshold_of_their_fold(place: Path) -> None:
    result = medfm.load_result(place / "run")
    cuts = {f["fold"]: f["threshold"] for f in result.extras["nested"]["folds"]}
    table = result.predictions.table
    cut = table["fold"].map(cuts)
    assert (table["predicted"] == np.where(table["score:old"] >= cut, "old", "young")).all()


def test_the_folder_holds_a_folder_per_training_without_checkpoints(place: Path) -> None:
    own = {p.name for p in (place / "run" / "training").iterdir()}
    assert own == {"plan.json", "final", *(f"r0-f{f}-c{c}-p0" for f in (0, 1) for c in (0, 1))}
    assert not list((place / "run").rglob("*.ckpt"))
    assert {p.name for p in (place / "run" / "training" / "r0-f0-c1-p0").iterdir()} == {"scores.npz", "log.jsonl"}


def test_the_untouched_encoder_is_probed_on_the_same_folds(home: Path) -> None:
    from medfm.workflows.probe import probe

    result = medfm.load_result(home / "run")
    (entry,) = result.extras["nested"]["beside"]
    cohort = load_cohort(home / "ecg" / "labels.csv", modality="ecg")
    vectors = medfm.embed(medfm.load_encoder("merl-tiny", weights="random", device="cpu"), cohort)
    changes = ("scheme.kind=kfold", "scheme.folds=2", "scheme.balance_sites=true", "statistics.resamples=0")
    own = probe(vectors, cohort, "old", positive="old", overrides=changes, baseline="none")
    folds = own.predictions.table.set_index("record_id")["fold"]
    ours = result.predictions.table.set_index("record_id")["fold"]
    assert (folds.loc[ours.index] == ours).all()
    rows = {row["metric"]: row for row in entry["rows"]}
    for estimate in own.summary.headline:
        row, after = rows[estimate.metric], result.summary.estimate(estimate.metric)
        assert row["before"]["value"] == pytest.approx(estimate.value) and row["after"]["value"] == after.value
        assert row["difference"]["value"] == pytest.approx(after.value - estimate.value)
    assert "DeLong" in rows["auroc"]["method"] and rows["auroc"]["p_holm"] == rows["auroc"]["p"]
    assert rows["auroc"]["corrected_t"] is not None and entry["common"] == 24


def test_the_final_model_loads_as_encoder_and_classifier(home: Path) -> None:
    classifier = load_classifier(home / "run")
    final = medfm.load_result(home / "run").extras["nested"]["final"]
    assert final["train"] + final["validation"] == 24 and final["threshold"] == classifier.threshold
    encoder = medfm.load_encoder(home / "run" / "model", device="cpu")
    assert encoder.fingerprint == classifier.about["encoder_fingerprint"]
    assert any(part.split == "all" for part in encoder.card.spec.training_data)
    done = call(
        "predict",
        str(home / "run"),
        str(home / "ecg" / "labels.csv"),
        "--modality",
        "ecg",
        "--out",
        str(home / "p.csv"),
        "--sets",
        "0.9",
    )
    assert done.exit_code == 0, done.output
    table = pd.read_csv(home / "p.csv")
    assert (table["predicted"] == np.where(table["probability:old"] >= classifier.threshold, "old", "young")).all()
    assert final["sets"] and len(json.loads((home / "run" / "model" / "sets.json").read_text())["scores"]) == 12
    assert table["set_size"].between(0, 2).all() and "no prompt can be made" in final["reading"]


def test_its_card_says_which_figure_stands_for_it(place: Path) -> None:
    card = (place / "run" / "model" / "card.md").read_text()
    value = medfm.load_result(place / "run").summary.estimate("auroc").value
    assert "tested on nobody" in card and "out-of-fold" in card and f"AUROC: {value:.3f}" in card
    assert "split `all`" in card and "synthetic" in card


def test_what_is_said_and_shown(place: Path) -> None:
    said = (place / "said.txt").read_text()
    assert said.startswith("5 trainings: 2 outer folds x 2 candidates x 1 of 2 inner parts, and 1 for the final model")
    assert (
        "training 1 of 4, outer fold 1, tiny-head: " in said
        and "training 4 of 4, outer fold 2, tiny-whole (about" in said
    )
    assert "Verdict by nested cross-validation (nested-cv@1): 2 outer folds" in said
    assert "training 4 of 4, outer fold 2, tiny-whole" in said and "the final model" in said
    assert "pooled out of fold" in said and "medfm predict" in said
    page = (place / "run" / "report.html").read_text()
    assert "What each outer fold chose" in page and "mean of folds ± SD" in page


def test_a_finished_run_is_not_trained_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = medfm.load_result(home / "run")
    no_training(monkeypatch)
    second = again(home, "run", resume=True).result
    assert second.predictions.table.equals(first.predictions.table)
    assert second.extras["nested"] == first.extras["nested"]


def test_a_stopped_run_goes_on_and_ends_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the training that is missing is done; Ctrl-C before leaves the others alone."""
    shutil.copytree(home / "run", home / "stopped")
    shutil.rmtree(home / "stopped" / "training" / "r0-f1-c1-p0")
    (home / "stopped" / "result.json").unlink()
    real, done = nested_fit.fit, []

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(nested_fit, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        again(home, "stopped", resume=True)
    assert not (home / "stopped" / "result.json").exists()

    def counted(*given: Any, **more: Any) -> Any:
        done.append(more["identity"]["job"])
        return real(*given, **more)

    monkeypatch.setattr(nested_fit, "fit", counted)
    found = again(home, "stopped", resume=True).result.predictions.table
    assert done == ["r0-f1-c1-p0"]
    assert found.equals(medfm.load_result(home / "run").predictions.table)


def test_the_file_of_the_run_is_the_same_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on in its own folder, which only equal encoder, records, protocol and recipes may."""
    from medfm.reporting import nested as section

    no_training(monkeypatch)
    seen: list[Any] = []
    monkeypatch.setattr(finetune_output, "save_into", lambda result, folder: seen.append((result, folder)))
    monkeypatch.chdir(home / "ecg")
    before = (home / "run" / "run.yaml").read_text()
    assert "table: ../ecg/labels.csv" in before and "protocol: nested-cv@1" in before and str(home) not in before
    done = call("finetune", "../run/run.yaml", "--resume")
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    ((result, folder),) = seen
    assert folder.resolve() == (home / "run").resolve() and section.nested_line(result) in done.output
    assert result.predictions.table.equals(medfm.load_result(home / "run").predictions.table)
    assert (home / "run" / "run.yaml").read_text() == before
    refused = call("finetune", "../run/run.yaml", "--set", "scheme.seed=3", "--resume")
    assert isinstance(refused.exception, TrainingError) and (home / "run" / "run.yaml").read_text() == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "holds a fine-tuning run already"),
        ({"resume": True, "overrides": ("scheme.seed=1",)}, "belongs to another run"),
    ],
    ids=["in use", "other settings"],
)
def test_another_run_in_the_folder_is_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    no_training(monkeypatch)
    before = (home / "run" / "result.json").read_bytes()
    given = {**changes, "overrides": (*settings(home), *changes.get("overrides", ()))}
    with pytest.raises(TrainingError, match=said):
        again(home, "run", **given)
    assert (home / "run" / "result.json").read_bytes() == before


def test_a_run_of_another_kind_is_not_gone_on_with(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_training(monkeypatch)
    (home / "other" / "training" / "checkpoint").mkdir(parents=True)
    (home / "other" / "training" / "checkpoint" / "last.ckpt").write_bytes(b"x")
    with pytest.raises(TrainingError, match="another kind of run"):
        again(home, "other", resume=True)


def test_a_damaged_plan_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_training(monkeypatch)
    (home / "damaged" / "training").mkdir(parents=True)
    (home / "damaged" / "training" / "plan.json").write_text("{")
    with pytest.raises(TrainingError, match="damaged"):
        again(home, "damaged", resume=True)


def test_impossible_folds_are_said_before_anything_is_embedded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_training(monkeypatch)
    table = pd.read_csv(home / "ecg" / "labels.csv")
    table.loc[0, "patient_id"] = table.loc[table["old"] != table.loc[0, "old"], "patient_id"].iloc[0]
    table.to_csv(home / "ecg" / "double.csv", index=False)
    given = [w.replace("labels.csv", "double.csv") for w in words(home, "none")]
    done = call(*given)
    assert isinstance(done.exception, EvaluationError) and "two or more classes" in str(done.exception)
    done = call(*words(home, "none", "--set", "scheme.folds=13"))
    assert isinstance(done.exception, EvaluationError) and "at least 13 patients" in str(done.exception)
    assert not (home / "none").exists()


def test_a_second_encoder_shares_folds_and_correction(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings are reused; the comparison is made anew."""
    no_training(monkeypatch)
    shutil.copytree(home / "run", home / "beside")
    second = medfm.load_encoder("merl-tiny", weights="random", device="cpu", architecture={"stem": 8})
    found = again(home, "beside", resume=True, beside=second).result.extras["nested"]["beside"]
    assert len(found) == 2 and found[0]["rows"][0]["before"] != found[1]["rows"][0]["before"]
    p = [entry["rows"][0]["p"] for entry in found]
    corrected = sorted(entry["rows"][0]["p_holm"] for entry in found)
    assert corrected[0] == pytest.approx(min(1, 2 * min(p))) and corrected[1] >= max(p)


def test_an_earlier_run_is_replaced_when_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is taken over: the first training begins anew."""
    shutil.copytree(home / "run", home / "old")

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(nested_fit, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        again(home, "old", overwrite=True)
    assert not (home / "old" / "result.json").exists() and not (home / "old" / "model").exists()
    assert not list((home / "old" / "training").rglob("scores.npz"))


def test_plans(home: Path) -> None:
    plan = nested_plan(overrides=(*settings(home), "method.final=none", "method.inner_trained=2"))
    assert plan.inside == 8 and str(plan).startswith("8 trainings")
    assert [recipe.name for recipe in plan.recipes] == ["tiny-head", "tiny-whole"]
    with pytest.raises(ConfigError, match="not 'nested_finetune'"):
        nested_plan("finetune@1")
    (home / "grades.yaml").write_text(HEAD + "objective: {ordinal: true}\n")
    with pytest.raises(ConfigError, match="ordered thresholds"):
        nested_plan(overrides=(f"method.candidates=[{home / 'grades.yaml'}]",))
    with pytest.raises(MedfmError, match="nowhere"):
        nested_plan(overrides=("method.candidates=[nowhere.yaml]",))
    assert load_protocol("nested-cv@1") == nested_plan().protocol
    assert nested_plan(device="cpu").recipes[0].machine.accelerator == "cpu"


def test_what_decides_the_run_is_written_down(place: Path) -> None:
    plan = json.loads((place / "run" / "training" / "plan.json").read_text())
    assert plan["classes"] == ["young", "old"] and plan["records"] == 24 and len(plan["recipes"]) == 2
    result = medfm.load_result(place / "run")
    assert result.config["recipes"][1]["name"] == "tiny-whole" and result.config["cohort"]["digest"] == plan["cohort"]
