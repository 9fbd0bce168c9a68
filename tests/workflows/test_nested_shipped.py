"""Sets and readings that ship with the final model of a nested cross-validation, and their measurement out of fold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medfm.core.errors import ConfigError
from medfm.core.progress import Silent
from medfm.evaluation.agreement import Reading, agreement
from medfm.evaluation.conformal import FEWEST, fit_conformal
from medfm.evaluation.intervals import wilson_interval
from medfm.evaluation.nested import (
    Fitted,
    FoldOutcome,
    Job,
    OuterFold,
    final_parts,
    first_of_patients,
    plan_folds,
    run_fold,
)
from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.target import Target
from medfm.evaluation.zero_shot import ClassVectors
from medfm.training import agreement_file, sets_file
from medfm.workflows import finetune_agreement, nested_shipped
from medfm.workflows.nested_shipped import keep_scores, sets_held, shipped

CLASSES = ("a", "b")
PEOPLE = 60
OWNER = np.repeat(np.arange(PEOPLE), 2)
TRUTH = Target("label", "binary", CLASSES, OWNER % 2)
COUNT = len(TRUTH)
RNG = np.random.default_rng(3)
P = np.clip(0.5 + 0.3 * (2 * TRUTH.values - 1) + 0.25 * RNG.normal(size=COUNT), 0.01, 0.99)
SCORES = np.column_stack([1 - P, P])
PATIENTS = np.array([f"p{i}" for i in OWNER], dtype=object)
PLAN = load_protocol("nested-cv@1", overrides=("scheme.folds=3", "method.inner_folds=3", "method.candidates=[x]"))
READING = Reading(ClassVectors(CLASSES, np.eye(2), np.arange(2), ("max", "max")), "synonyms@1")


def cohort() -> Any:
    ids = [f"r{i}" for i in range(COUNT)]
    table = pd.DataFrame({"record_id": ids, "patient_id": PATIENTS, "site": "s"})
    return SimpleNamespace(record_ids=ids, table=table, patients_known=True)


def fitted(job: Job) -> Fitted:
    return Fitted(SCORES[job.validation], SCORES[job.test], {"epoch": 1, "stage": "s", "loss": None})


def folds(**method: Any) -> list[FoldOutcome]:
    own = PLAN.method.model_copy(update={"recalibration": "none", **method})  # type: ignore[union-attr]
    made, _ = plan_folds(TRUTH, PATIENTS, PLAN.scheme, own)  # type: ignore[arg-type]
    return [run_fold(one, TRUTH, PATIENTS, own, fitted) for one in made]  # type: ignore[arg-type]


def test_sets_of_a_fold_are_made_by_one_record_of_each_validation_patient() -> None:
    for one in folds():
        rows, test = one.outer.inner[0][1], one.outer.test
        seen: dict[str, int] = {}
        for row in rows:
            seen.setdefault(PATIENTS[row], row)  # the naive way
        first = list(seen.values())
        sets = fit_conformal(SCORES[first], TRUTH.values[first], 0.9)(SCORES[test])
        assert one.sets == {
            "held": int(sets[np.arange(len(test)), TRUTH.values[test]].sum()),
            "tested": len(test),
            "kept": int(sets.sum()),
            "patients": 20,
        }
        assert [rows[i] for i in first_of_patients(rows, PATIENTS)] == first


def test_no_rate_is_promised_for_averages_of_inner_models_or_by_few_patients() -> None:
    assert all(one.sets is None for one in folds(inner_trained=2))
    assert all(one.sets is None for one in folds(inner_folds=10))  # 4 patients
    assert sets_held(folds(inner_folds=10), 2) is None and sets_held([], 2) is None


def test_what_sets_held_is_pooled_over_folds_and_patients_count_once() -> None:
    own = folds()
    found = sets_held(own, 2)
    assert found is not None and found["tested"] == COUNT and found["classes"] == 2 and found["level"] == 0.9
    held = sum(one.sets["held"] for one in own)  # type: ignore[index]
    assert found["held"] == held and found["kept"] <= 2 * COUNT and held / COUNT > 0.8
    low, high = (float(end) for end in wilson_interval(held / COUNT * PEOPLE, PEOPLE))
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    again = [replace(one, outer=replace(one.outer, repeat=1)) for one in own]
    twice = sets_held([*own, *again], 2)
    assert twice is not None and twice["tested"] == 2 * COUNT
    assert (twice["low"], twice["high"]) == pytest.approx((found["low"], found["high"]))


def test_kept_scores_are_those_of_the_true_class_and_of_no_other_task(tmp_path: Path) -> None:
    rows = np.arange(20, 60)
    assert keep_scores(tmp_path, SCORES[rows], TRUTH, rows, cohort())
    kept = json.loads((tmp_path / sets_file.ABOUT).read_text())
    first = rows[::2]
    assert kept["scores"] == pytest.approx(np.sort(SCORES[first, TRUTH.values[first]]))
    again = sets_file.load_sets(tmp_path, CLASSES, 0.8)(SCORES)
    assert (again == fit_conformal(SCORES[first], TRUTH.values[first], 0.8)(SCORES)).all()
    (tmp_path / "none").mkdir()
    few = np.arange(2 * (FEWEST - 1))
    assert not keep_scores(tmp_path / "none", SCORES[few], TRUTH, few, cohort())
    many = Target("x", "multilabel", CLASSES, np.zeros((COUNT, 2)))
    assert not keep_scores(tmp_path / "none", SCORES[rows], many, rows, cohort())
    with pytest.raises(ConfigError, match="no scores"):
        sets_file.load_sets(tmp_path / "none", CLASSES, 0.9)


class Classifier:
    about: dict[str, Any] = {}

    @staticmethod
    def scores(values: np.ndarray) -> np.ndarray:
        return np.asarray(values)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Networks and prompts that need no weights: the trained encoder's embeddings are the probabilities."""
    seen: dict[str, Any] = {"loaded": 0, "rows": [], "untouched": [], "shift": 0.0}

    def load(*_: Any, **__: Any) -> Any:
        seen["loaded"] += 1
        return SimpleNamespace(fingerprint="new")

    def embedded(_: Any, __: Any, rows: np.ndarray) -> np.ndarray:
        seen["rows"].append(rows)
        return SCORES[rows] + seen["shift"]

    monkeypatch.setattr("medfm.encoders.load.load_encoder", load)
    monkeypatch.setattr("medfm.training.tuned.load_classifier", lambda _: Classifier())
    monkeypatch.setattr(nested_shipped, "embedded", embedded)
    monkeypatch.setattr(finetune_agreement, "_reading", lambda *_: READING)
    monkeypatch.setattr(finetune_agreement, "_save_untouched", lambda folder, _: seen["untouched"].append(folder))
    return seen


def material(text: bool = True, truth: Target = TRUTH) -> Any:
    encoder = SimpleNamespace(id="tower", has_text=text, fingerprint="old")
    return SimpleNamespace(encoder=encoder, truth=truth, embeddings=SCORES)


def result(kind: str | None = "refit", repeats: int = 1) -> Any:
    """As a result, with predictions that are wrong on every tenth record."""
    from medfm.reporting.result import Result

    order = np.random.default_rng(0).permutation(COUNT)
    frames = []
    for repeat in range(repeats):
        decided = np.where((np.arange(COUNT) % 10 == 0) ^ bool(repeat), 1 - TRUTH.values, TRUTH.values)[order]
        frames.append(pd.DataFrame({"record_id": [f"r{i}" for i in order], "repeat": repeat}))
        frames[-1]["predicted"] = TRUTH.names(decided)
    final = None if kind is None else {"kind": kind, "gate": False}
    own = SimpleNamespace(table=pd.concat(frames))
    return Result("nested_finetune", PLAN, None, own, extras={"nested": {"final": final}})  # type: ignore[arg-type]


def ship(folder: Path, given: Any = None, found: Any = None) -> dict[str, Any]:
    (folder / "model").mkdir(exist_ok=True)
    plan = SimpleNamespace(protocol=PLAN, method=PLAN.method)
    done = shipped(found or result(), folds(), given or material(), cohort(), plan, folder, "cpu", {}, Silent)  # type: ignore[arg-type]
    return done.extras["nested"]


@pytest.mark.parametrize("kind", ["refit", "soup"])
def test_one_network_ships_sets_of_validation_patients_and_a_reading(
    tmp_path: Path, planted: dict[str, Any], kind: str
) -> None:
    nested = ship(tmp_path, found=result(kind, repeats=2))
    rows = final_parts(TRUTH, PATIENTS, PLAN.scheme, PLAN.method)[1]  # type: ignore[arg-type]
    assert [r.tolist() for r in planted["rows"]] == [rows.tolist()]
    first = rows[first_of_patients(rows, PATIENTS)]
    kept = json.loads((tmp_path / "model" / sets_file.ABOUT).read_text())["scores"]
    assert kept == pytest.approx(np.sort(SCORES[first, TRUTH.values[first]])) and nested["final"]["sets"]
    decided = np.where(np.arange(COUNT) % 10 == 0, 1 - TRUTH.values, TRUTH.values)  # of the first repeat
    expected = agreement(decided, SCORES.argmax(axis=1), TRUTH.values, PATIENTS)
    read = agreement_file.load_reading(tmp_path / "model", CLASSES)
    assert read is not None and read[1]["held_out"] == expected.about() and not read[0].untouched
    assert read[1]["encoder_fingerprint"] == "new" and not planted["untouched"]
    assert nested["final"]["reading"].endswith(expected.sentence("synonyms@1"))
    assert "models of the outer folds" in nested["final"]["reading"] and nested["sets"]["tested"] == COUNT


def test_what_is_there_is_not_made_again_and_said_the_same(tmp_path: Path, planted: dict[str, Any]) -> None:
    once, loaded = ship(tmp_path), planted["loaded"]
    assert ship(tmp_path) == once and planted["loaded"] == loaded == 1
    (tmp_path / "model" / sets_file.ABOUT).unlink()  # stopped in between
    assert ship(tmp_path) == once and planted["loaded"] == 2


def test_an_encoder_that_moved_is_kept_as_it_was(tmp_path: Path, planted: dict[str, Any]) -> None:
    planted["shift"] = 1e-2
    assert SCORES.max() + planted["shift"] <= 1 + 1e-9  # still probabilities
    ship(tmp_path)
    read = agreement_file.load_reading(tmp_path / "model", CLASSES)
    assert read is not None and read[0].untouched and read[1]["encoder_fingerprint"] == "old"
    assert planted["untouched"] == [tmp_path / "model" / agreement_file.UNTOUCHED]


def test_why_there_is_no_reading_is_said(
    tmp_path: Path, planted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ship(tmp_path, material(text=False))["final"]["reading"] == "none: the encoder tower has no text tower"

    def none(*_: Any) -> Reading:
        raise ConfigError("The class 'b' has no prompt.")

    monkeypatch.setattr(finetune_agreement, "_reading", none)
    assert ship(tmp_path)["final"]["reading"] == "none: the class 'b' has no prompt"
    assert not (tmp_path / "model" / agreement_file.ABOUT).exists()


def test_an_ensemble_and_no_model_have_nothing_of_one_network(tmp_path: Path, planted: dict[str, Any]) -> None:
    nested = ship(tmp_path, found=result("ensemble"))
    assert nested["final"]["reading"] == "none: an ensemble has no encoder of its own" and not nested["final"]["sets"]
    nested = ship(tmp_path, found=result(None))
    assert nested["final"] is None and nested["sets"]["tested"] == COUNT and not planted["loaded"]
    ages = Target("age", "regression", (), np.zeros(COUNT))
    assert set(ship(tmp_path, material(truth=ages))) == {"final"}


def test_folds_without_sets_are_left_out_of_the_count() -> None:
    empty = np.zeros(0, dtype=np.int64)
    outer = OuterFold(0, 0, empty, empty, ())
    own = {"held": 9, "tested": 10, "kept": 12, "patients": 10}
    found = sets_held([FoldOutcome(outer, SCORES, 0.5, {}), FoldOutcome(outer, SCORES, 0.5, {}, own)], 2)
    assert found is not None and (found["held"], found["tested"], found["kept"]) == (9, 10, 12)
