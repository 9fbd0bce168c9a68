"""One training of a nested cross-validation: its folder, what is skipped, what it is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medfm.core.errors import TrainingError
from medfm.core.progress import Silent
from medfm.evaluation.nested import Job
from medfm.evaluation.target import Target
from medfm.training.classifier import Classifier, LinearHead
from medfm.training.finetune import FineTuned
from medfm.training.known_inputs import KnownInputs
from medfm.workflows import nested_fit
from medfm.workflows.nested_fit import SCORES, JobFitter, Material, titled, vectors
from medfm.workflows.nested_output import mended
from tests.training.tuning_parts import BINARY, recipe

ROWS = torch.arange(24.0).reshape(12, 2) / 10


class Records:
    """Rows of a matrix in place of preprocessed records."""

    def __init__(self, values: torch.Tensor = ROWS) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.values[index]

    def take(self, rows: list[int]) -> Records:
        return Records(self.values[rows])


def classifier() -> Classifier:
    """An encoder that does nothing, and a head of known weights."""
    head = LinearHead(2, 1)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, -2.0]]))
        head.linear.bias.fill_(0.5)
    return Classifier(torch.nn.Identity(), lambda network, x: network(x), head)


def material() -> Material:
    truth = Target("sick", "binary", ("no", "yes"), np.arange(12) % 2)
    return Material(None, "ecg", truth, Records(), ROWS.numpy() + 7, {"cohort": "x"})  # type: ignore[arg-type]


def job(candidate: int = 0) -> Job:
    return Job(0, 1, candidate, 0, np.arange(0, 6), np.array([6, 7, 8]), np.array([9, 10, 11]))


def test_a_job_with_a_seed_trains_with_it(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    fit = JobFitter(material(), [recipe()], tmp_path, Silent, 2)
    fit(replace(job(), seed=1004))
    fit(replace(job(), fold=2))
    assert [call["seed"] for call in calls] == [1004, None]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What training was given; it leaves a checkpoint, as the real one does."""
    seen: list[dict[str, Any]] = []

    def trained(encoder: Any, chosen: Any, train: Any, validation: Any, labels: Any, **more: Any) -> FineTuned:
        seen.append({"recipe": chosen, "train": train, "validation": validation, "labels": labels, **more})
        (more["folder"] / "checkpoint").mkdir(exist_ok=True)
        (more["folder"] / "checkpoint" / "last.ckpt").write_bytes(b"x")
        model = classifier()
        said = model(validation.inputs.records.values).detach()
        return FineTuned(model, BINARY, {"stage": "tune", "epoch": 3, "loss": None}, (), said)

    monkeypatch.setattr(nested_fit, "fit", trained)
    return seen


def fitter(folder: Path) -> JobFitter:
    return JobFitter(material(), (recipe(name="one"), recipe(name="two")), folder, Silent, 2)


def test_scores_are_those_of_the_model_on_the_rows_of_the_job(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    found = fitter(tmp_path)(job())
    expected = torch.sigmoid(ROWS @ torch.tensor([1.0, -2.0]) + 0.5).numpy()
    assert found.tested[:, 1] == pytest.approx(expected[9:], abs=1e-6)
    assert found.validation[:, 1] == pytest.approx(expected[6:9], abs=1e-6)
    assert found.kept == {"stage": "tune", "epoch": 3, "loss": None}


def test_training_is_given_its_own_rows_and_their_known_embeddings(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    fitter(tmp_path)(job(1))
    (given,) = calls
    for name, rows in (("train", slice(0, 6)), ("validation", slice(6, 9))):
        inputs = given[name].inputs
        assert isinstance(inputs, KnownInputs) and torch.equal(inputs.records.values, ROWS[rows])  # type: ignore[attr-defined]
        assert torch.allclose(inputs.embeddings, ROWS[rows] + 7)
        assert given[name].targets.tolist() == [float(i % 2) for i in range(12)][rows]
    assert given["recipe"].name == "two" and not given["resume"]
    assert given["identity"]["job"] == "r0-f1-c1-p0" and given["identity"]["recipe"]["name"] == "two"


def test_a_finished_job_is_read_and_its_checkpoints_are_gone(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    first, second = fitter(tmp_path)(job()), fitter(tmp_path)(job())
    assert len(calls) == 1 and {p.name for p in (tmp_path / "r0-f1-c0-p0").iterdir()} == {SCORES}
    assert np.array_equal(first.tested, second.tested) and np.array_equal(first.validation, second.validation)
    assert first.kept == second.kept


def test_another_candidate_is_another_job(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    run = fitter(tmp_path)
    run(job(0)), run(job(1))
    assert [c["recipe"].name for c in calls] == ["one", "two"] and run.done == 2


def test_a_stopped_job_goes_on_from_its_checkpoint(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    (tmp_path / "r0-f1-c0-p0" / "checkpoint").mkdir(parents=True)
    (tmp_path / "r0-f1-c0-p0" / "checkpoint" / "previous.ckpt").write_bytes(b"x")
    fitter(tmp_path)(job())
    assert calls[0]["resume"]


def test_a_loss_is_kept_through_the_file(tmp_path: Path) -> None:
    from medfm.evaluation.nested import Fitted

    found = Fitted(np.eye(2), np.eye(2) / 3, {"stage": "s", "epoch": 1, "loss": 0.1234567890123})
    nested_fit._write(tmp_path / SCORES, found)
    again = nested_fit._read(tmp_path / SCORES)
    assert again.kept == found.kept and np.array_equal(again.tested, found.tested)


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive at all"], ids=["empty", "cut off", "other"])
def test_damaged_scores_are_named(tmp_path: Path, calls: list[dict[str, Any]], content: bytes) -> None:
    (tmp_path / "r0-f1-c0-p0").mkdir()
    (tmp_path / "r0-f1-c0-p0" / SCORES).write_bytes(content)
    with pytest.raises(TrainingError, match="damaged") as found:
        fitter(tmp_path)(job())
    assert "r0-f1-c0-p0" in str(found.value) and not calls


def test_embeddings_do_not_depend_on_the_batch_and_leave_the_model_in_evaluation_mode() -> None:
    model = classifier().train()
    whole, parts = vectors(model, Records(), "cpu"), vectors(model, Records(), "cpu", batch=5)
    assert torch.equal(whole, parts) and len(whole) == 12 and not model.training


def test_displays_say_which_training_it_is() -> None:
    made = titled(Silent, "training 2 of 6")("fine-tuning", 10, "steps")
    assert made.title == "training 2 of 6: fine-tuning" and made.total == 10 and made.unit == "steps"


@pytest.mark.parametrize("rule", ["platt", "temperature", "none"])
def test_recalibration_goes_into_the_head(rule: str) -> None:
    from medfm.evaluation.recalibration import Recalibration

    mend = Recalibration(0.5, 0.25 if rule == "platt" else 0.0, rule)
    model = classifier()
    before = model(ROWS).detach()
    tuned = mended(FineTuned(model, BINARY, {}, (), before), mend)
    after = tuned.model(ROWS).detach()
    assert tuned.validation is not None and torch.allclose(tuned.validation, after, atol=1e-6)
    expected = mend(BINARY.scores(before), "binary")
    assert BINARY.scores(after) == pytest.approx(expected, abs=1e-6)
    weight, bias = tuned.model.head.affine()
    assert torch.allclose(ROWS @ weight.T + bias, after, atol=1e-6)


def test_separable_records_are_told_apart_out_of_fold(tmp_path: Path) -> None:
    """The real training, end to end: a faster wave is found in patients that no model saw."""
    from medfm.evaluation.nested import plan_folds, run_fold
    from medfm.evaluation.protocol import Scheme
    from medfm.evaluation.protocol_nested import NestedFineTune
    from medfm.evaluation.selection import quality
    from tests.training.test_known_inputs import _vectors
    from tests.training.tuning_parts import signal_encoder, signals

    truth = Target("sick", "binary", ("no", "yes"), np.arange(24) % 2)
    owner = np.array([f"P{i}" for i in range(24)], dtype=object)
    given = Material(signal_encoder(), "ecg", truth, Records(signals(24)), _vectors(signals(24)).numpy(), {})  # type: ignore[arg-type]
    head = {"name": "probe", "epochs": 10, "layers": {"kind": "head"}, "head": {"lr": 0.05}, "augment": False}
    method = NestedFineTune(candidates=("probe",), inner_folds=2)
    fit = JobFitter(given, (recipe(head),), tmp_path, Silent, 2)
    scores = np.empty((24, 2))
    for outer in plan_folds(truth, owner, Scheme(kind="kfold", folds=2), method)[0]:
        scores[outer.test] = run_fold(outer, truth, owner, method, fit).scores
    assert quality("auroc", truth, scores) > 0.95


def test_how_long_it_takes_is_said_after_the_first_training(tmp_path: Path) -> None:
    """Two recipes in three folds: until both were trained, the known one gives the least that it can be."""
    own = JobFitter(material(), (recipe(name="one"), recipe(name="two")), tmp_path, Silent, 6)
    assert own.left() == ""
    own.seconds, own.counts = {0: [10.0]}, {0: 1}
    assert own.left() == " (more than 20 seconds left)"
    own.seconds, own.counts = {0: [10.0], 1: [200.0, 400.0]}, {0: 2, 1: 2}
    assert own.left() == " (about 5 minutes left)"  # 10 + 300 seconds
    own.seconds, own.counts = {1: [60.0]}, {0: 3, 1: 2}  # the first recipe was done before the stop
    assert own.left() == " (about 60 seconds left)"


def test_times_are_taken_of_trainings_and_not_of_what_is_read(
    tmp_path: Path, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 5.0, 100.0, 102.0, 200.0, 300.0])
    titles: list[str] = []
    monkeypatch.setattr(nested_fit.time, "monotonic", lambda: next(clock))
    real = nested_fit.titled
    monkeypatch.setattr(nested_fit, "titled", lambda progress, said: titles.append(said) or real(progress, said))
    own = fitter(tmp_path)
    own.total = 4
    own(job())
    own(job(1))
    own(job())  # its scores lie there: nothing is trained
    assert own.seconds == {0: [5.0], 1: [2.0]} and own.counts == {0: 2, 1: 1} and len(calls) == 2
    assert titles[0].endswith("outer fold 2, one") and titles[1].endswith(
        "outer fold 2, two (more than 5 seconds left)"
    )
