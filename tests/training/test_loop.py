"""The loop: trajectory, resume, interruption, bad losses."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medfm.core.errors import TrainingError
from medfm.core.progress import Progress
from medfm.training.checkpoint import load_checkpoint
from medfm.training.config import PretrainConfig
from medfm.training.dinov2 import Dinov2
from medfm.training.log import read_log
from medfm.training.loop import Plan, make_fabric, train
from medfm.training.pictures import Pictures

Recipe = Callable[..., PretrainConfig]
Model = Callable[[PretrainConfig], Dinov2]
PATCH = 4


def rows_without_time(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_log(folder / "log.jsonl")]


def same_weights(one: Dinov2, other: Dinov2) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


class StopAt(Progress):
    """Does something after a number of training steps."""

    def __init__(self, title: str, total: int | None, unit: str, at: int, action: Callable[[], None]) -> None:
        super().__init__(title, total, unit)
        self.at, self.action = at, action

    def advance(self, count: int = 1, note: str = "") -> None:
        super().advance(count, note)
        if count and self.title == "training" and self.done == self.at:
            self.action()


class Killed(BaseException):
    """Stands for kill -9: nothing in the loop may catch it."""


def kill() -> None:
    raise Killed


@pytest.mark.parametrize("centering", ["sinkhorn", "softmax"])
@pytest.mark.parametrize("workers", [0, 1])
def test_killed_and_resumed_follows_the_same_trajectory(
    recipe: Recipe, model: Model, pictures: Pictures, tmp_path: Path, centering: str, workers: int
) -> None:
    config = recipe(objective={"centering": centering})
    straight = model(config)
    assert train(straight, pictures, PATCH, tmp_path / "a", identity={"x": 1}) == 0

    changed = recipe(objective={"centering": centering}, machine={"workers": workers})
    with pytest.raises(Killed):
        train(
            model(changed),
            pictures,
            PATCH,
            tmp_path / "b",
            identity={"x": 1},
            progress=lambda *a: StopAt(*a, at=5, action=kill),
        )
    # The log is ahead of the checkpoint; the resumed run writes those steps again.
    assert len(read_log(tmp_path / "b/log.jsonl")) == 5
    resumed = model(changed)
    assert train(resumed, pictures, PATCH, tmp_path / "b", identity={"x": 1}, resume=True) == 4
    assert rows_without_time(tmp_path / "b") == rows_without_time(tmp_path / "a")
    assert same_weights(straight, resumed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_a_checkpoint_after_the_step(
    recipe: Recipe, model: Model, pictures: Pictures, tmp_path: Path, number: signal.Signals
) -> None:
    config = recipe(machine={"checkpoint_every": 100})
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(
            model(config),
            pictures,
            PATCH,
            tmp_path,
            identity={},
            progress=lambda *a: StopAt(*a, at=3, action=lambda: os.kill(os.getpid(), number)),
        )
    assert signal.getsignal(number) == before
    assert load_checkpoint(tmp_path / "checkpoint/last.ckpt")["step"] == 3
    resumed = model(config)
    assert train(resumed, pictures, PATCH, tmp_path, identity={}, resume=True) == 3
    straight = model(config)
    train(straight, pictures, PATCH, tmp_path / "straight", identity={})
    assert same_weights(straight, resumed)


def test_the_student_learns_and_the_teacher_follows(
    recipe: Recipe, model: Model, pictures: Pictures, tmp_path: Path
) -> None:
    config = recipe(steps=40, optimisation={"lr": 5e-3})
    trained, start = model(config), model(config)
    train(trained, pictures, PATCH, tmp_path, identity={})
    rows = read_log(tmp_path / "log.jsonl")
    assert [row["step"] for row in rows] == list(range(40))
    totals = [row["total"] for row in rows]
    assert sum(totals[-8:]) < sum(totals[:8])
    moved = [
        float((a - b).abs().max())
        for a, b in zip(trained.teacher.parameters(), start.teacher.parameters(), strict=True)
    ]
    assert max(moved) > 1e-4
    assert all(not p.requires_grad for p in trained.teacher.parameters())
    for row in rows:
        assert row["total"] == pytest.approx(row["global"] + row["local"] + row["ibot"] + row["koleo"], abs=1e-4)


def test_a_loss_that_is_not_finite_stops_the_run(
    recipe: Recipe, model: Model, pictures: Pictures, tmp_path: Path
) -> None:
    config = recipe()
    broken = model(config)
    with torch.no_grad():
        broken.student.backbone.get_parameter("mix.weight").fill_(float("nan"))
    with pytest.raises(TrainingError, match="not finite at step 1"):
        train(broken, pictures, PATCH, tmp_path, identity={})
    assert not (tmp_path / "checkpoint/last.ckpt").exists()


def test_a_gradient_that_is_not_finite_stops_the_run(
    recipe: Recipe, model: Model, pictures: Pictures, tmp_path: Path
) -> None:
    broken = model(recipe())
    broken.student.backbone.get_parameter("mix.weight").register_hook(lambda g: g * float("inf"))
    with pytest.raises(TrainingError, match="gradient is not finite at step 1"):
        train(broken, pictures, PATCH, tmp_path, identity={})


def test_resume_refuses_another_run_and_a_missing_checkpoint(
    recipe: Recipe, model: Model, pictures: Pictures, tmp_path: Path
) -> None:
    config = recipe(steps=2)
    with pytest.raises(TrainingError, match="no checkpoint"):
        train(model(config), pictures, PATCH, tmp_path, identity={"lr": 1}, resume=True)
    train(model(config), pictures, PATCH, tmp_path, identity={"lr": 1})
    with pytest.raises(TrainingError, match="lr: 1 there, 2 now"):
        train(model(config), pictures, PATCH, tmp_path, identity={"lr": 2}, resume=True)


def test_a_finished_run_resumes_to_nothing(recipe: Recipe, model: Model, pictures: Pictures, tmp_path: Path) -> None:
    config = recipe(steps=2)
    first, again = model(config), model(config)
    train(first, pictures, PATCH, tmp_path, identity={})
    assert train(again, pictures, PATCH, tmp_path, identity={}, resume=True) == 2
    assert same_weights(first, again)
    assert len(read_log(tmp_path / "log.jsonl")) == 2


def test_too_few_pictures_is_a_clear_error(recipe: Recipe, model: Model, pictures: Pictures, tmp_path: Path) -> None:
    config = recipe(batch_size=64)
    with pytest.raises(TrainingError, match=r"12 pictures.*needs 64") as caught:
        train(model(config), pictures, PATCH, tmp_path, identity={})
    assert "batch_size=12" in str(caught.value)


def test_the_last_layer_is_frozen_at_first(recipe: Recipe, model: Model, pictures: Pictures, tmp_path: Path) -> None:
    config = recipe(steps=2, optimisation={"freeze_last_layer": 2, "weight_decay": [0.0, 0.0]})
    trained, start = model(config), model(config)
    train(trained, pictures, PATCH, tmp_path, identity={})
    for name, value in trained.student.named_parameters():
        equal = torch.equal(value, start.student.get_parameter(name))
        assert equal == ("last_layer" in name), name


def test_the_plan_sets_every_group(recipe: Recipe, model: Model) -> None:
    config = recipe(steps=10, optimisation={"lr": 1.0, "warmup": 0, "freeze_last_layer": 3, "patch_embed_lr": 0.2})
    made = model(config)
    optimizer = torch.optim.AdamW(made.param_groups(), lr=0.0)
    Plan(config).apply(optimizer, 0)
    seen = {(g["lr_multiplier"], g["is_last_layer"]): g["lr"] for g in optimizer.param_groups}
    assert seen == {(0.2, False): 0.2, (1.0, False): 1.0, (1.0, True): 0.0}
    assert sorted({round(g["weight_decay"], 9) for g in optimizer.param_groups}) == [0.0, 0.04]
    Plan(config).apply(optimizer, 3)
    assert all(g["lr"] > 0 for g in optimizer.param_groups)


def test_mixed_precision_and_a_shared_head_train(
    recipe: Recipe, model: Model, pictures: Pictures, tmp_path: Path
) -> None:
    config = recipe(steps=2, precision="bf16-mixed", heads={"shared": True}, views={"local_crops": 0})
    made = model(config)
    train(made, pictures, PATCH, tmp_path, identity={})
    assert not [name for name in made.state_dict() if "ibot_head" in name]
    assert [row["local"] for row in read_log(tmp_path / "log.jsonl")] == [0.0, 0.0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device whose absence is tested")
def test_a_missing_accelerator_is_named(recipe: Recipe) -> None:
    with pytest.raises(TrainingError, match="No CUDA device"):
        make_fabric(recipe(machine={"accelerator": "cuda"}).machine)
