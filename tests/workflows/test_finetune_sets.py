"""Prediction sets beside a fine-tuned model: from which rows, what is kept, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medfm.core.errors import ConfigError, WeightsError
from medfm.core.progress import Silent
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.conformal import fit_conformal
from medfm.evaluation.target import Target
from medfm.training.sets_file import ABOUT, load_sets, save_scores
from medfm.workflows import embed as embedding
from medfm.workflows.finetune_sets import FEWEST, add_sets

N, CLASSES = 120, ("a", "b")


class Rows:
    """Stands for a cohort of 120 records of 60 patients; remembers which rows were asked for."""

    patients_known = True

    def __init__(self, chosen: np.ndarray | None = None) -> None:
        self.chosen = np.arange(N) if chosen is None else chosen
        self.record_ids = tuple(f"r{i}" for i in self.chosen)
        self.table = pd.DataFrame({"patient_id": [f"p{i // 2}" for i in self.chosen]})
        self.asked: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self.chosen)

    def subset(self, rows: np.ndarray) -> Rows:
        self.asked.append(np.asarray(rows))
        return Rows(self.chosen[rows])


RNG = np.random.default_rng(0)
TRUTH = Target("label", "binary", CLASSES, RNG.integers(0, 2, N))
P = np.clip(0.5 + 0.35 * (2 * TRUTH.values - 1) + 0.2 * RNG.normal(size=N), 0.01, 0.99)
VALUES = np.column_stack([1 - P, P])


class Classifier:
    labels = SimpleNamespace(classes=CLASSES)

    @staticmethod
    def scores(values: np.ndarray) -> np.ndarray:
        return values


def made(folder: Path, rows: Rows, validation: np.ndarray, monkeypatch: pytest.MonkeyPatch, **more: Any) -> str:
    monkeypatch.setattr(embedding, "embed", lambda e, part, **_: Embeddings(VALUES[part.chosen], part.record_ids))
    test = np.arange(80, N)
    tested = Embeddings(VALUES[test], tuple(f"r{i}" for i in test))
    truth = more.pop("truth", TRUTH)
    return add_sets(folder, None, Classifier(), rows, truth, validation, test, tested, {}, Silent)  # type: ignore[arg-type]


def test_one_record_of_each_validation_patient_is_kept_and_tested_ones_measure(tmp_path, monkeypatch):
    rows, validation = Rows(), np.arange(20, 80)
    said = made(tmp_path, rows, validation, monkeypatch)
    assert [a.tolist() for a in rows.asked] == [list(range(20, 80, 2))]  # the first record of each of 30 patients
    kept = json.loads((tmp_path / ABOUT).read_text())
    own = VALUES[np.arange(20, 80, 2), TRUTH.values[20:80:2]]
    assert kept["scores"] == pytest.approx(np.sort(own)) and set(kept) == {"format", "classes", "scores"}
    sets = fit_conformal(VALUES[20:80:2], TRUTH.values[20:80:2], 0.9)
    share, size = sets.coverage(VALUES[80:], TRUTH.values[80:])
    assert f"{100 * share:.1f} %" in said and f"{size:.2f} of 2 classes" in said and "40 tested records" in said
    again = load_sets(tmp_path, CLASSES, 0.9)
    np.testing.assert_array_equal(again(VALUES), sets(VALUES))
    for level in (0.5, 0.8):
        np.testing.assert_array_equal(
            load_sets(tmp_path, CLASSES, level)(VALUES),
            fit_conformal(VALUES[20:80:2], TRUTH.values[20:80:2], level)(VALUES),
        )


def test_too_few_patients_and_other_tasks_make_none(tmp_path, monkeypatch):
    assert FEWEST == 9
    said = made(tmp_path, Rows(), np.arange(20, 36), monkeypatch)
    assert said.startswith("No prediction sets: 8 validation patients") and not list(tmp_path.iterdir())
    many = Target("x", "multilabel", CLASSES, np.zeros((N, 2)))
    assert made(tmp_path, Rows(), np.arange(20, 80), monkeypatch, truth=many) == ""
    nobody = Rows()
    nobody.patients_known = False  # every record counts
    assert "planned" in made(tmp_path, nobody, np.arange(20, 36), monkeypatch)


def test_what_cannot_be_is_refused_in_words(tmp_path):
    for level in (0.0, 1.0, 90.0):
        with pytest.raises(ConfigError, match="cannot have the rate"):
            load_sets(tmp_path, CLASSES, level)
    with pytest.raises(ConfigError, match="no scores") as caught:
        load_sets(tmp_path, CLASSES, 0.9)
    assert "without --sets" in str(caught.value) and f"{FEWEST} or more validation patients" in str(caught.value)
    save_scores(tmp_path, np.array([0.9, 0.2]), CLASSES)
    assert json.loads((tmp_path / ABOUT).read_text())["scores"] == [0.2, 0.9]
    with pytest.raises(WeightsError, match="other classes"):
        load_sets(tmp_path, ("a", "c"), 0.9)


@pytest.mark.parametrize(
    "harm", [{"scores": []}, {"scores": [1.5]}, {"scores": "x"}, {"format": "1"}, {"scores": [[0.1]]}, None],
    ids=["none", "range", "text", "format", "shape", "json"],
)  # fmt: skip
def test_damage_is_found(tmp_path, harm):
    save_scores(tmp_path, np.array([0.5]), CLASSES)
    about = json.loads((tmp_path / ABOUT).read_text())
    (tmp_path / ABOUT).write_text("{" if harm is None else json.dumps(about | harm))
    with pytest.raises(WeightsError, match="damaged"):
        load_sets(tmp_path, CLASSES, 0.9)


def test_few_scores_keep_every_class(tmp_path):
    save_scores(tmp_path, np.array([0.9, 0.8, 0.7]), CLASSES)
    assert load_sets(tmp_path, CLASSES, 0.9)(np.array([[0.001, 0.999]])).all()
