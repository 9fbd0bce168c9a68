"""From a YAML file to a fine-tuned model with a zero-shot reading beside it, and what its predictions then carry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result
from tiny_text_encoder import put_cohort, put_tiny_encoder

import medfm
from medfm.cli.main import cli
from medfm.training.agreement_file import load_reading
from medfm.training.tuned import load_classifier
from medfm.workflows import finetune_output, nested_fit

WHOLE = "name: whole\nstages:\n  - {name: tune, epochs: 1, layers: {kind: whole, lr: 1.0e-2}}\nbatch_size: 4\n"
RUN = {
    "table": "ecgs/labels.csv", "modality": "ecg", "encoder": "tiny-text", "weights": "random", "target": "rhythm",
    "device": "cpu", "out": "runs/a", "label_set": "cinc2021", "map_class": {"a": "SNR", "b": "AF+AFL"},
    "settings": {
        "method": {"candidates": ["whole.yaml"], "inner_folds": 2}, "scheme": {"folds": 2}, "statistics": {"resamples": 0},
    },
}  # fmt: skip


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without names for its classes, and the same run gone on with when it had them."""
    place = tmp_path_factory.mktemp("reading")
    with pytest.MonkeyPatch.context() as patch:
        settings(patch, place)
        put_tiny_encoder(place / "cards")
        patch.setattr(finetune_output, "save_into", lambda result, folder: None)
        put_cohort(place / "ecgs", ["sinus rhythm", "atrial flutter"] * 6)
        (place / "whole.yaml").write_text(WHOLE)
        plain = {key: value for key, value in RUN.items() if key not in ("label_set", "map_class")}
        for name, text in (("plain", plain), ("named", RUN)):
            (place / f"{name}.yaml").write_text(yaml.safe_dump(text))
        done = call("finetune", str(place / "plain.yaml"))
        assert done.exit_code == 0, f"{done.output} {done.exception!r}"
        (place / "plain.txt").write_text(done.output)
        assert not (place / "runs" / "a" / "model" / "reading.json").exists()
        patch.setattr(nested_fit, "fit", lambda *_, **__: pytest.fail("something was trained"))
        done = call("finetune", str(place / "named.yaml"), "--resume")
        assert done.exit_code == 0, f"{done.output} {done.exception!r}"
        (place / "named.txt").write_text(done.output)
    return place


def settings(patch: pytest.MonkeyPatch, place: Path) -> None:
    patch.setenv("MEDFM_CACHE", str(place / "cache"))
    patch.setenv("MEDFM_WEIGHTS", str(place / "weights"))
    (place / "cards").mkdir(exist_ok=True)
    patch.setenv("MEDFM_CARDS", str(place / "cards"))


@pytest.fixture
def there(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings(monkeypatch, home)
    return home


def test_without_names_it_is_said_why_there_is_no_reading(home: Path) -> None:
    said = (home / "plain.txt").read_text()
    assert "No zero-shot reading beside the model: no prompt can be made for 'a', 'b'" in said
    assert said.startswith("3 trainings: 2 outer folds x 1 candidates") and "Verdict by nested" in said


def test_names_given_later_complete_the_run_without_training(home: Path) -> None:
    said = (home / "named.txt").read_text()
    assert "Zero-shot reading of the untouched encoder (prompts synonyms@1) agrees with the classifier on" in said
    reading, about = load_reading(home / "runs" / "a" / "model", ("a", "b"))  # type: ignore[misc]
    assert set(reading.vectors.owner) == {0, 1} and (reading.vectors.owner == 1).sum() == 2  # fibrillation, flutter
    assert about["held_out"]["records"] == 12 and reading.untouched
    kept = yaml.safe_load((home / "runs" / "a" / "run.yaml").read_text())
    assert kept["map_class"] == RUN["map_class"] and kept["label_set"] == "cinc2021"
    assert kept["table"] == "../../ecgs/labels.csv" and kept["settings"]["method"]["candidates"] == ["../../whole.yaml"]


def test_predictions_carry_what_the_untouched_encoder_reads(there: Path) -> None:
    """The class read is that of the nearest text, by the encoder as it was."""
    out = there / "p.csv"
    done = call("predict", str(there / "runs" / "a"), str(there / "ecgs" / "labels.csv"), "--modality", "ecg", "--device",
                "cpu", "--out", str(out))  # fmt: skip
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    table = pd.read_csv(out)
    reading, about = load_reading(there / "runs" / "a" / "model", ("a", "b"))  # type: ignore[misc]
    untouched = medfm.load_encoder("tiny-text", weights="random", device="cpu")
    assert about["encoder_fingerprint"] == untouched.fingerprint
    cohort = medfm.load_cohort(there / "ecgs" / "labels.csv", modality="ecg")
    vectors = medfm.embed(untouched, cohort)
    records = vectors.values[vectors.rows(list(table["record_id"]))].astype(np.float64)
    cosines = (records / np.linalg.norm(records, axis=1, keepdims=True)) @ reading.vectors.values.T
    best = [
        max((cosine, owner) for cosine, owner in zip(row, reading.vectors.owner, strict=True))[1] for row in cosines
    ]
    assert table["zero_shot"].tolist() == ["ab"[owner] for owner in best]
    assert (table["zero_shot_agrees"] == (table["zero_shot"] == table["predicted"])).all()
    assert load_classifier(there / "runs" / "a").about["encoder_fingerprint"] != untouched.fingerprint


def test_names_that_lack_a_class_are_refused_before_the_folder_is_touched(there: Path) -> None:
    before = (there / "runs" / "a" / "run.yaml").read_text()
    for words, said in ((("--map-class", "b=no such"), "'b'"), (("--map-class", "c=AF"), "'c'")):
        done = call("finetune", str(there / "named.yaml"), "--resume", *words)
        assert done.exit_code != 0 and said in str(done.exception) and "map-class" in str(done.exception)
    assert (there / "runs" / "a" / "run.yaml").read_text() == before


def test_the_plan_of_an_earlier_version_is_gone_on_with(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had the digest of the protocol with the files as they were called; other settings are still refused."""
    from medfm.evaluation.protocol import load_protocol

    plan = there / "runs" / "a" / "training" / "plan.json"
    text = plan.read_text()
    monkeypatch.setattr(finetune_output, "save_into", lambda result, folder: None)
    monkeypatch.setattr(nested_fit, "fit", lambda *_, **__: pytest.fail("something was trained"))
    called = (
        f"method.candidates=[{there / 'whole.yaml'}]",
        "method.inner_folds=2",
        "scheme.folds=2",
        "statistics.resamples=0",
    )
    older = load_protocol("nested-cv@1", overrides=called).digest()
    assert json.loads(text)["protocol"] != older
    try:
        plan.write_text(json.dumps({**json.loads(text), "protocol": older}))
        done = call("finetune", str(there / "plain.yaml"), "--resume")
        assert done.exit_code == 0, f"{done.output} {done.exception!r}"
        plan.write_text(json.dumps({**json.loads(text), "protocol": "0" * 64}))
        assert "another run" in str(call("finetune", str(there / "plain.yaml"), "--resume").exception)
    finally:
        plan.write_text(text)
