"""``fit``: it learns, it repeats itself, a stopped run goes on to the same weights, the best epoch is kept."""

from __future__ import annotations

import json
import signal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from medfm.core.errors import ConfigError, TrainingError
from medfm.training import finetune as module
from medfm.training.checkpoint import load_checkpoint
from medfm.training.finetune import FineTuned, fit
from medfm.training.finetune_batches import Labelled
from medfm.training.finetune_config import FinetuneRecipe
from medfm.training.finetune_labels import Labels
from medfm.training.log import read_log
from tests.training.tuning_parts import BINARY, accuracy, data, equal_states, recipe, signal_encoder, signals

PROBE = {"name": "probe", "epochs": 2, "augment": False}
KEPT = {"trained_batchnorm": "eval"}
WHOLE = {"kind": "whole", "lr": 3e-4}
TUNE = {"name": "tune", "epochs": 2, "layers": WHOLE, "schedule": {"kind": "one_cycle"}, "freezing": KEPT}
LORA = {"name": "tune", "epochs": 2, "layers": {"kind": "lora", "rank": 2, "lr": 1e-3}}


def run(plan: Any, folder: Path | None = None, **settings: Any) -> FineTuned:
    validation = settings.pop("validation", data(6, 1))
    return fit(signal_encoder(), plan, data(), validation, BINARY, folder=folder, **settings)


@cache
def uninterrupted(plan: FinetuneRecipe) -> FineTuned:
    return run(plan, identity={"a": 1})


def test_it_learns_and_leaves_the_encoder_and_the_random_state_alone() -> None:
    encoder = signal_encoder()
    before = {k: v.clone() for k, v in encoder.module.state_dict().items()}
    state = torch.get_rng_state()
    probe = {**PROBE, "epochs": 40, "head": {"lr": 0.05, "weight_decay": 0.0}}
    tune = {**TUNE, "epochs": 1, "layers": {"kind": "whole", "lr": 1e-5}}
    found = run(recipe(probe, tune, augmentation="none", head={"dropout": 0.0}))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in encoder.module.state_dict().items())
    assert not any(p.requires_grad for p in encoder.module.parameters())
    assert found.validation is not None and accuracy(found.validation, data(6, 1).targets) == 1.0
    losses = [row["validation_loss"] for row in found.rows]
    assert found.kept["loss"] == min(losses) < 0.3 and found.rows[39]["loss"] < 0.5 * found.rows[0]["loss"]
    assert not found.model.training and not any(p.requires_grad for p in found.model.parameters())


def test_the_log_says_who_learned_at_which_rate(tmp_path: Path) -> None:
    parts = [{"part": "stage4", "lr": 5e-4, "wakes": 0.5}, {"part": "stage3", "lr": 2e-4, "wakes": 0.75}]
    tune = {"name": "tune", "epochs": 4, "layers": {"kind": "parts", "parts": parts}, "schedule": {"kind": "one_cycle"}}
    found = run(recipe(PROBE, tune), tmp_path)
    rows = read_log(tmp_path / "log.jsonl")
    assert rows == json.loads(json.dumps(found.rows))
    assert [r["stage"] for r in rows] == ["probe"] * 2 + ["tune"] * 4 and [r["step"] for r in rows] == list(range(6))
    awake = [{k for k, n in r["trainable"].items() if n} for r in rows]
    assert awake == [{"head"}] * 4 + [{"head", "layer4"}, {"head", "layer4", "layer3"}]
    assert [r["trainable_total"] for r in rows] == [sum(r["trainable"].values()) for r in rows]
    # The rate of a sleeping layer runs on with the schedule: waking up rebuilds nothing.
    assert set(rows[2]["rates"]) == {"head", "stage4", "stage3"}
    assert [r["rates"]["stage4"] / r["rates"]["head"] for r in rows[2:]] == pytest.approx([0.5] * 4)
    assert rows[2]["rates"]["head"] == pytest.approx(1e-3 / 25) and rows[0]["beta1"] == 0.9
    assert all(0.84 < r["beta1"] < 0.96 for r in rows[2:]) and all(r["steps"] == 3 for r in rows)


@pytest.mark.parametrize(
    ("last", "stop_after"),
    [(TUNE, 1), (TUNE, 2), (LORA, 3), (LORA, 4)],
    ids=["inside the first stage", "between stages", "low rank, inside", "low rank, at the end"],
)
def test_a_stopped_run_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: dict[str, Any], stop_after: int
) -> None:
    plan = recipe(PROBE, last)
    whole = uninterrupted(plan)
    real, done = module.local_train, []

    def stopping(*args: Any, **kwargs: Any) -> Any:
        if len(done) == stop_after:
            raise KeyboardInterrupt
        done.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "local_train", stopping)
    if stop_after < 4:
        with pytest.raises(KeyboardInterrupt):
            run(plan, tmp_path, identity={"a": 1})
    else:
        run(plan, tmp_path, identity={"a": 1})
    monkeypatch.setattr(module, "local_train", real)
    assert load_checkpoint(tmp_path / "checkpoint" / "last.ckpt")["step"] == stop_after
    again = run(plan, tmp_path, identity={"a": 1}, resume=True)
    assert again.resumed_from == stop_after and again.kept == whole.kept
    assert equal_states(again.model, whole.model)
    shared = ("step", "stage", "loss", "validation_loss", "rates", "trainable")
    assert [{k: r[k] for k in shared} for r in again.rows] == [{k: r[k] for k in shared} for r in whole.rows]


def test_ctrl_c_stops_after_the_step_and_keeps_the_epochs_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.save_checkpoint

    def saving(path: Any, state: Any) -> None:
        real(path, state)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(module, "save_checkpoint", saving)
    with pytest.raises(KeyboardInterrupt):
        run(recipe(), tmp_path)
    assert load_checkpoint(tmp_path / "checkpoint" / "last.ckpt")["step"] == 1
    assert len(read_log(tmp_path / "log.jsonl")) == 1


def test_another_run_is_not_resumed(tmp_path: Path) -> None:
    run(recipe(PROBE), tmp_path, identity={"target": "a"})
    with pytest.raises(TrainingError, match="target: a there, b now"):
        run(recipe(PROBE), tmp_path, identity={"target": "b"}, resume=True)


def test_the_epoch_of_lowest_validation_loss_is_kept_and_patience_ends_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.5, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 0.2])
    real = module.local_evaluate
    seen: list[dict[str, torch.Tensor]] = []

    def told(model: Any, *args: Any, **kwargs: Any) -> Any:
        found = real(model, *args, **kwargs)
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        value = next(losses, None)
        return found if value is None else module.Evaluated(value, found.logits, found.records)

    monkeypatch.setattr(module, "local_evaluate", told)
    found = run(recipe({**TUNE, "epochs": 8}, selection={"keep": "best", "patience": 2}))
    assert len(found.rows) == 4 and found.kept == {"stage": "tune", "epoch": 2, "loss": 0.3}
    assert all(torch.equal(v, seen[1][k]) for k, v in found.model.state_dict().items())


def test_the_next_stage_starts_from_the_best_epoch_and_has_patience_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.1, 0.5, 0.6, 0.5, 0.4, 0.3])
    real = module.local_evaluate

    def told(*args: Any, **kwargs: Any) -> Any:
        found, value = real(*args, **kwargs), next(losses, None)
        return found if value is None else module.Evaluated(value, found.logits, found.records)

    monkeypatch.setattr(module, "local_evaluate", told)
    found = run(recipe({**PROBE, "epochs": 3}, {**TUNE, "epochs": 3}, selection={"keep": "best", "patience": 3}))
    assert [r["stage"] for r in found.rows] == ["probe"] * 3 + ["tune"] * 3
    assert found.kept == {"stage": "probe", "epoch": 1, "loss": 0.1}


def test_without_validation_the_last_epoch_is_kept() -> None:
    plan = recipe(PROBE, validation={"source": "none"}, selection={"keep": "last", "threshold": "half"})
    found = run(plan, validation=None)
    assert found.kept == {"stage": "probe", "epoch": 2, "loss": None} and found.validation is None
    with pytest.raises(TrainingError, match="there are none"):
        run(recipe(PROBE), validation=None)


def test_a_probe_on_embeddings_made_once_is_the_probe_on_records() -> None:
    """A stage that changes nothing but the head skips the encoder; a step that does nothing forces the long way."""
    nothing = [{"step": "scale", "factors": [1.0, 1.0]}]
    short = run(recipe(PROBE, head={"dropout": 0.0}))
    long = run(recipe({**PROBE, "augment": True}, head={"dropout": 0.0}, augmentation=nothing))
    for a, b in zip(short.rows, long.rows, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["validation_loss"] == pytest.approx(b["validation_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("labels", "targets"),
    [
        (Labels("multiclass", "multiclass", ("a", "b", "c"), "x"), torch.arange(12) % 3),
        (Labels("multiclass", "ordinal", ("0", "1", "2"), "x"), torch.arange(12) % 3),
        (Labels("multilabel", "multilabel", ("a", "b"), "x"), torch.tensor([[1.0, float("nan")], [0.0, 1.0], [1.0, 0.0]] * 4)),
        (Labels("regression", "regression", (), "x", 50.0, 10.0), torch.linspace(-1, 1, 12)),
    ],
    ids=["classes", "grades", "labels", "measurement"],
)  # fmt: skip
def test_every_kind_of_label(labels: Labels, targets: torch.Tensor) -> None:
    held = Labelled(signals(), targets)
    found = fit(signal_encoder(), recipe({**TUNE, "epochs": 1}, augmentation="none"), held, held, labels)
    assert found.validation is not None
    scores = labels.scores(found.validation)
    assert scores.shape == (12, max(1, len(labels.classes)))
    if labels.task == "multiclass":
        assert scores.sum(axis=1) == pytest.approx([1.0] * 12)
    if labels.task == "regression":
        assert scores == pytest.approx(found.validation.double().numpy() * 10 + 50)


@pytest.mark.parametrize(
    ("changes", "labels", "message"),
    [
        ({"objective": {"balance": "sampler"}}, Labels("multilabel", "multilabel", ("a",), "x"), "balance=loss"),
        ({"objective": {"early_learning": {}}}, Labels("regression", "regression", (), "x"), "for classes"),
        ({"augmentation": [{"step": "rotate"}]}, BINARY, "does not fit ecg"),
    ],
    ids=["drawing labels", "early learning", "turning signals"],
)
def test_what_does_not_fit_the_records_is_refused(changes: dict[str, Any], labels: Labels, message: str) -> None:
    with pytest.raises((TrainingError, ConfigError), match=message):
        fit(signal_encoder(), recipe(PROBE, **changes), data(), data(), labels)


def test_one_record_is_too_few() -> None:
    with pytest.raises(TrainingError, match="too few"):
        fit(signal_encoder(), recipe(PROBE), data(1), data(), BINARY)


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    with pytest.raises(TrainingError, match="not finite in epoch 1"):
        run(recipe({**TUNE, "layers": {"kind": "whole", "lr": 1e30}, "schedule": {"kind": "constant"}}, clip=0))


def test_early_learning_and_drawn_records_run_and_repeat() -> None:
    plan = recipe({**TUNE, "epochs": 1}, objective={"balance": "sampler", "early_learning": {"weight": 1.0}})
    first = run(plan)
    assert equal_states(first.model, run(plan).model)
    assert not equal_states(first.model, run(plan, seed=5).model)
