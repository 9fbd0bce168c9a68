"""The zero-shot reading beside a fine-tuned classifier: where it is made, what is said, what predictions then carry."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medfm.core.errors import ConfigError, WeightsError
from medfm.core.progress import Silent
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.agreement import Reading
from medfm.evaluation.target import Target
from medfm.evaluation.zero_shot import ClassVectors
from medfm.training.agreement_file import UNTOUCHED, load_reading, save_reading
from medfm.workflows import finetune_agreement, predict
from medfm.workflows.finetune_agreement import add_reading

CLASSES = ("a", "b")
TRUTH = Target("label", "binary", CLASSES, np.array([0, 0, 1, 1]))
IDS = ("r0", "r1", "r2", "r3")
BEFORE = Embeddings(np.array([[1.0, 0.1], [0.2, 1], [0.1, 1], [0, 2]]), IDS)
READING = Reading(ClassVectors(CLASSES, np.eye(2), np.arange(2), ("max", "max")), "synonyms@1")


class Classifier:
    labels = SimpleNamespace(classes=CLASSES)

    @staticmethod
    def scores(values: np.ndarray) -> np.ndarray:
        return np.asarray(values)

    @staticmethod
    def decide(scores: np.ndarray) -> np.ndarray:
        return np.array([0, 0, 1, 0])


def cohort(known: bool = True) -> Any:
    table = pd.DataFrame({"patient_id": ["p", "p", "q", "s"]})
    return SimpleNamespace(record_ids=IDS, table=table, patients_known=known, modality="ecg", info={})


def encoder(fingerprint: str = "old", text: bool = True) -> Any:
    return SimpleNamespace(id="tower", has_text=text, fingerprint=fingerprint)


def made(folder: Path, *, text: bool = True, after: Embeddings = BEFORE, truth: Target = TRUTH) -> str:
    return add_reading(
        folder, encoder(text=text), encoder("new"), Classifier(), cohort(), truth, (BEFORE, after), {}, Silent  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    saved: list[Path] = []
    monkeypatch.setattr(finetune_agreement, "_reading", lambda *_: READING)
    monkeypatch.setattr(finetune_agreement, "_save_untouched", lambda folder, _: saved.append(folder))
    return saved


def test_an_encoder_that_training_left_alone_reads_itself(tmp_path, planted):
    said = made(tmp_path)
    assert "agrees with the classifier on 2 of 4 tested records, 50.0 %" in said  # reads a, b, b, b
    assert "wrong on 0 of 2 where both agree, 1 of 2 where they differ" in said
    reading, about = load_reading(tmp_path, CLASSES)
    assert not reading.untouched and about["encoder_fingerprint"] == "new" and not planted
    assert about["held_out"]["share"] == 0.5 and about["held_out"]["records"] == 4


def test_an_encoder_that_moved_is_kept_as_it_was_beside_the_model(tmp_path, planted):
    moved = Embeddings(BEFORE.values + 0.3, IDS)
    made(tmp_path, after=moved)
    reading, about = load_reading(tmp_path, CLASSES)
    assert reading.untouched and about["encoder_fingerprint"] == "old" and planted == [tmp_path / UNTOUCHED]


def test_records_that_one_of_the_two_could_not_read_are_left_out(tmp_path, planted):
    some = Embeddings(BEFORE.values[1:], IDS[1:])
    monkeyed = Classifier()
    monkeyed.decide = lambda scores: np.array([0, 1, 0])  # type: ignore[method-assign]
    said = add_reading(
        tmp_path, encoder(), encoder("new"), monkeyed, cohort(), TRUTH, (BEFORE, some), {}, Silent  # type: ignore[arg-type]
    )  # fmt: skip
    assert "of 3 tested records" in said


def test_without_a_text_tower_or_prompts_it_says_so(tmp_path, monkeypatch):
    assert (
        made(tmp_path, text=False) == "No zero-shot reading beside the classifier: the encoder tower has no text tower."
    )

    def none(*_: Any) -> Reading:
        raise ConfigError("The class 'old' has no prompt.")

    monkeypatch.setattr(finetune_agreement, "_reading", none)
    assert made(tmp_path).endswith("the class 'old' has no prompt.")
    assert made(tmp_path, truth=Target("x", "regression", (), np.zeros(4))) == ""
    assert not list(tmp_path.iterdir())


def read(folder: Path, fingerprint: str = "new") -> tuple[list[str], pd.DataFrame]:
    classifier = Classifier()
    classifier.folder = folder  # type: ignore[attr-defined]
    table = pd.DataFrame({"record_id": IDS, "predicted": ["a", "a", "b", "a"]})
    own = SimpleNamespace(fingerprint=fingerprint, variant=None)
    return predict._read(classifier, None, table, BEFORE, own, "cpu", {}, None)  # type: ignore[arg-type]


def test_predictions_carry_the_class_that_was_read(tmp_path, planted):
    assert read(tmp_path)[0] == [] and "zero_shot" not in read(tmp_path)[1]
    made(tmp_path)
    notes, table = read(tmp_path)
    assert table["zero_shot"].tolist() == ["a", "b", "b", "b"] and table["zero_shot_agrees"].tolist() == [1, 0, 1, 0]
    assert "2 of 4 records are read otherwise" in notes[0] and "agreed on 50.0 %" in notes[0]
    with pytest.raises(WeightsError, match="another encoder"):
        read(tmp_path, "other")


def test_the_untouched_encoder_reads_where_the_model_moved(tmp_path, monkeypatch):
    save_reading(tmp_path, Reading(READING.vectors, "p@1", True), "old", {"share": 0.75})
    loaded = []
    monkeypatch.setattr("medfm.encoders.load.load_encoder", lambda place, **_: loaded.append(place) or encoder("old"))
    turned = Embeddings(BEFORE.values[:, ::-1], IDS[::-1])
    monkeypatch.setattr("medfm.workflows.embed.embed", lambda *_, **__: turned)
    _, table = read(tmp_path)
    assert loaded == [tmp_path / UNTOUCHED]
    assert table["zero_shot"].tolist() == ["a", "a", "a", "b"]  # rows by record id, not by place
    monkeypatch.setattr("medfm.workflows.embed.embed", lambda *_, **__: Embeddings(turned.values[:2], IDS[:2]))
    notes, table = read(tmp_path)
    assert "could not embed every record" in notes[0] and "zero_shot" not in table
