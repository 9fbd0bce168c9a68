"""The loop on pairs: schedules, selection, resume to the last bit, refusals."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pair_parts import network, pairs, recipe

from medfm.core.errors import TrainingError
from medfm.core.progress import Progress
from medfm.training.log import read_log
from medfm.training.loop import make_fabric
from medfm.training.merl import MerlPairs
from medfm.training.paired_loop import Judge, learning_rates, step_seed, train_pairs
from medfm.training.pairs import Pairs
from medfm.training.pairs_config import MerlRecipe, PairsOptimisation


def run(
    folder: Path, config: MerlRecipe, *, data: Pairs | None = None, judge: Judge | None = None, **options: Any
) -> tuple[MerlPairs, tuple[int, int]]:
    model = MerlPairs(network(), config.text)
    fabric = make_fabric(config.machine)
    fabric.launch()
    found = train_pairs(
        model,
        data or pairs(),
        folder,
        config=config,
        identity=config.procedure(),
        fabric=fabric,
        judge=judge,
        **options,
    )
    return model, found


class StopAt(Progress):
    """Ctrl-C after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__("training", 9)
        self.left = steps

    def advance(self, count: int = 1, note: str = "") -> None:
        import os
        import signal

        self.left -= count
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def stop_at(steps: int) -> Callable[[str, int, str], Progress]:
    return lambda *_: StopAt(steps)


def equal_states(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def rows_of(folder: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_log(folder / "log.jsonl")]


def by_norm(model: MerlPairs) -> tuple[dict[str, float], float]:
    """A judge whose favourite is the second epoch, whatever the model."""
    by_norm.calls += 1
    return {"val_total": float(by_norm.calls)}, -abs(by_norm.calls - 2.0)


@pytest.mark.parametrize("trained", ["all", 0, 1])
@pytest.mark.parametrize("stop", [1, 4, 5])
def test_stopped_and_resumed_equals_uninterrupted_to_the_last_bit(tmp_path: Path, trained: Any, stop: int) -> None:
    start = "random" if trained == "all" else "pretrained"
    config = recipe(text={"start": start, "trained_layers": trained})
    straight, found = run(tmp_path / "straight", config)
    assert found == (0, 3)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", config, progress=stop_at(stop))
    resumed, found = run(tmp_path / "stopped", config, resume=True)
    assert found == (stop, 3)
    assert equal_states(straight.state_dict(), resumed.state_dict())
    assert rows_of(tmp_path / "straight") == rows_of(tmp_path / "stopped")
    assert len(rows_of(tmp_path / "straight")) == 9
    frozen = network().lm_model.encoder.layer[0].attention.self.query.weight
    moved = not torch.equal(straight.network.lm_model.encoder.layer[0].attention.self.query.weight, frozen)
    assert moved == (trained == "all")


def test_training_needs_no_global_seed_and_changes_none(tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, _ = run(tmp_path / "a", recipe())
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    two, _ = run(tmp_path / "b", recipe())
    assert equal_states(one.state_dict(), two.state_dict())
    other, _ = run(tmp_path / "c", recipe(seed=1))
    assert not equal_states(one.state_dict(), other.state_dict())


def test_the_log_and_falling_loss(tmp_path: Path) -> None:
    run(tmp_path / "run", recipe(epochs=25))
    rows = read_log(tmp_path / "run/log.jsonl")
    assert [row["step"] for row in rows] == list(range(75))
    assert rows[-1]["epoch"] == 25
    assert {"total", "cma", "uma", "top1", "top5", "lr", "grad_norm", "seconds"} <= rows[0].keys()
    assert np.mean([r["total"] for r in rows[-9:]]) < np.mean([r["total"] for r in rows[:9]]) - 0.5
    assert rows[0]["lr"] == 0.0
    assert rows[1]["lr"] == pytest.approx(0.01)


def test_the_best_epoch_is_kept_also_over_a_stop(tmp_path: Path) -> None:
    by_norm.calls = 0
    chosen, found = run(tmp_path / "chosen", recipe(), judge=by_norm)
    assert found == (0, 2)
    states = []
    run(tmp_path / "two", recipe(), judge=lambda m: (states.append(copy_of(m)), ({}, 0.0))[1])
    assert equal_states(chosen.state_dict(), states[1])
    by_norm.calls = 0
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", recipe(), judge=by_norm, progress=stop_at(7))
    assert by_norm.calls == 2
    resumed, found = run(tmp_path / "stopped", recipe(), judge=by_norm, resume=True)
    assert found == (7, 2)
    assert equal_states(chosen.state_dict(), resumed.state_dict())
    values = [row["val_total"] for row in read_log(tmp_path / "stopped/log.jsonl") if "val_total" in row]
    assert values == [1.0, 2.0, 3.0]


def copy_of(model: MerlPairs) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def test_selection_last_keeps_the_last_epoch_although_judged(tmp_path: Path) -> None:
    by_norm.calls = 0
    judged, found = run(tmp_path / "a", recipe(selection="last"), judge=by_norm)
    plain, _ = run(tmp_path / "b", recipe(selection="last"))
    assert found == (0, 3)
    assert equal_states(judged.state_dict(), plain.state_dict())
    assert not (tmp_path / "a/checkpoint/best.ckpt").exists()


def test_clipping_bounds_the_step(tmp_path: Path) -> None:
    # AdamW's step does not depend on the gradient's size, but on the first step's direction alone.
    loose = [r["grad_norm"] for r in (run(tmp_path / "a", recipe()), read_log(tmp_path / "a/log.jsonl"))[1]]
    tight, _ = run(tmp_path / "b", recipe(optimisation={"clip": 1e-9}))
    assert max(loose) > 0.1
    wide, _ = run(tmp_path / "c", recipe(optimisation={"clip": 1e9}))
    plain, _ = run(tmp_path / "d", recipe(optimisation={"clip": 0}))
    assert equal_states(wide.state_dict(), plain.state_dict())
    assert not equal_states(tight.state_dict(), plain.state_dict())


def test_warm_restarts_are_pytorchs() -> None:
    rule = PairsOptimisation(lr=1e-3, final_lr=1e-8, schedule="warm_restarts", restart_every=7)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=7, T_mult=1, eta_min=1e-8)
    ours = learning_rates(rule, 40)
    for step in range(40):
        assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        theirs.step()


def test_warm_up_and_cosine() -> None:
    ours = learning_rates(PairsOptimisation(lr=1.0, final_lr=0.0, warmup=5), 25)
    values = [ours(step) for step in range(25)]
    assert values[:5] == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])
    assert values[5] == 1.0
    assert all(a >= b for a, b in pairwise(values[5:]))
    assert values[15] == pytest.approx(0.5)
    assert learning_rates(PairsOptimisation(warmup=50), 10)(9) == pytest.approx(2e-4)


def test_seeds_of_steps_differ() -> None:
    seeds = {step_seed(s, step, rank) for s in range(3) for step in range(20) for rank in range(3)}
    assert len(seeds) == 180
    assert all(0 <= s < 2**63 for s in seeds)


def test_too_few_pairs(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="There are 3 pairs to train on; a step needs 4") as caught:
        run(tmp_path / "run", recipe(), data=pairs(3))
    assert "batch_size=3" in str(caught.value)


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    data = pairs()
    data.records.held[3] = 1e38
    with pytest.raises(TrainingError, match="not finite"):
        run(tmp_path / "run", recipe(), data=data)


def test_resume_refuses_another_procedure(tmp_path: Path) -> None:
    run(tmp_path / "run", recipe())
    with pytest.raises(TrainingError, match=r"temperature: 0\.07 there, 0\.2 now"):
        run(tmp_path / "run", recipe(temperature=0.2), resume=True)


def test_synchronised_batch_norm_needs_cuda(tmp_path: Path) -> None:
    # With one process there is nothing to synchronise.
    run(tmp_path / "run", recipe(batch_norm="synchronised", epochs=1))
    from types import SimpleNamespace

    from medfm.training.paired_loop import _with_batch_norm

    two = SimpleNamespace(world_size=2, device=torch.device("cpu"))
    model = MerlPairs(network(), recipe().text)
    with pytest.raises(TrainingError, match="CUDA"):
        _with_batch_norm(model, recipe(batch_norm="synchronised"), two)
    cuda = SimpleNamespace(world_size=2, device=torch.device("cuda"))
    converted = _with_batch_norm(model, recipe(batch_norm="synchronised"), cuda)
    assert converted is model
    assert isinstance(model.network.ecg_encoder.bn1, torch.nn.SyncBatchNorm)
