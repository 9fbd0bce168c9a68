"""The loop of LDAE's recipes on Lightning Fabric: steps, validation, selection, checkpoints, resume."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from medfm.core.errors import TrainingError
from medfm.core.files import remove_leftovers
from medfm.core.progress import ProgressMaker, Silent
from medfm.training.checkpoint import check_same_run, load_checkpoint, newest_checkpoint, save_checkpoint
from medfm.training.interrupt import StopRequest
from medfm.training.ldae_config import LdaeRecipe
from medfm.training.ldae_stage import Draw, Stage, positions_of, set_rate, steps_per_epoch
from medfm.training.log import TrainingLog
from medfm.training.loop import NoLog, any_process
from medfm.training.processes import launch, strategy_of

LAST, BEST = "last.ckpt", "best.ckpt"


def launched(config: LdaeRecipe) -> Fabric:
    """A Fabric for a recipe, its processes started; several use DDP or FSDP.

    Raises:
        TrainingError: The accelerator asked for is not there or cannot compute in float16, too few devices, or
            FSDP cannot be had.
    """
    machine = config.machine
    if machine.accelerator == "cuda" and not torch.cuda.is_available():
        raise TrainingError("No CUDA device is available here.", fix="--set machine.accelerator=cpu")
    on_cpu = machine.accelerator == "cpu" or not torch.cuda.is_available()
    if config.precision == "16-mixed" and on_cpu:
        raise TrainingError(
            "Mixed precision in float16 needs a CUDA device.", fix="--set precision=bf16-mixed or 32-true"
        )
    fabric = Fabric(
        accelerator=machine.accelerator,
        devices=machine.devices,
        strategy=strategy_of(machine, config.precision),
        precision=config.precision,
    )
    launch(fabric)
    return fabric


class _Best:
    """The best epoch so far, from 1 (0: none), and its value (small is good)."""

    def __init__(self, epoch: int = 0, value: float = math.inf) -> None:
        self.epoch, self.value = epoch, value


def train_stage(
    stage: Stage,
    folder: str | Path,
    *,
    config: LdaeRecipe,
    identity: dict[str, Any],
    fabric: Fabric,
    resume: bool = False,
    progress: ProgressMaker = Silent,
) -> tuple[int, int]:
    """Run one stage; log and checkpoints go to `folder`; its networks end as the epoch that was kept.

    Everything random is a function of seed, step and process, so a run that was killed and resumed
    follows the same trajectory as an uninterrupted one.

    Args:
        stage: Networks at their start, and data.
        folder: Gets ``log.jsonl``, ``checkpoint/last.ckpt``, ``previous.ckpt`` and ``best.ckpt``.
        config: The recipe.
        identity: What must be equal to resume (JSON-like): settings and data.
        fabric: A launched Fabric.
        resume: Whether to go on from the checkpoint in `folder`.
        progress: Shows steps, rate, time left and loss.

    Returns:
        The step the run started at (0 unless resumed), and the epoch that was kept, from 1.

    Raises:
        TrainingError: Too few records, none to validate by, a checkpoint of another run, a loss that is not finite.
        KeyboardInterrupt: After Ctrl-C or SIGTERM, once the checkpoint is written.
    """
    world, rank = fabric.world_size, fabric.global_rank
    per_epoch = steps_per_epoch(stage.records, config, world)
    selection = str(getattr(config, "selection", "last"))
    if per_epoch == 0:
        needed = config.batch_size * config.accumulate * world
        raise TrainingError(
            f"There are {stage.records} records to train on; a step needs {needed}.",
            fix="--set batch_size=1 --set accumulate=1, or use a larger cohort",
        )
    if selection.startswith("validation") and not stage.may_judge:
        raise TrainingError(
            "There are no records of the split 'val' to choose the epoch by.",
            expected="a column 'split' with train, val and test",
            fix="add the split, or keep the last epoch with --set selection=last",
        )
    steps = config.epochs * per_epoch
    target = Path(folder) / "checkpoint" / LAST
    if fabric.is_global_zero:
        remove_leftovers(target)
        remove_leftovers(target.with_name(BEST))
    first, best, scaler = 0, _Best(), None
    if resume:
        saved = newest_checkpoint(target)
        check_same_run(saved["identity"], identity, str(target))
        stage.load_state(saved["stage"])
        first, best = int(saved["step"]), _Best(int(saved["best_epoch"]), float(saved["best_value"]))
        scaler = saved["precision"]
    stage.setup(fabric)
    if scaler:
        fabric.strategy.precision.load_state_dict(scaler)

    def save(done: int) -> None:
        # In shares, all processes take part in putting the state together.
        values = {"step": done, "stage": stage.state(), "precision": fabric.strategy.precision.state_dict()}
        kept = {"best_epoch": best.epoch, "best_value": best.value}
        if fabric.is_global_zero:
            save_checkpoint(target, {**values, **kept, "identity": identity})

    summed = _running_loss(Path(folder), first, per_epoch)
    over = _is_over(config, first, per_epoch, best)
    with (
        progress("training", steps, "steps") as shown,
        TrainingLog(folder, first, config.machine.tensorboard) if fabric.is_global_zero else NoLog() as log,
        StopRequest() as stop,
    ):
        shown.skip(first)
        for step in () if over else range(first, steps):
            began = time.monotonic()
            row: dict[str, Any] = {"step": step, "epoch": step // per_epoch + 1}
            set_rate(stage.optimizers, config.optimisation.factor(step, steps))
            row |= _step(fabric, stage, config, step, rank, world)
            done = step + 1
            summed.append(row["total"])
            if done % per_epoch == 0:
                judged = done % (per_epoch * config.judge_every) == 0 or done == steps
                if stage.may_judge and judged:
                    row |= stage.judge()
                value = sum(summed) / len(summed) if selection == "training_loss" else row.get("val_total", math.inf)
                summed.clear()
                if any_process(fabric, selection != "last" and fabric.is_global_zero and value < best.value):
                    best, kept = _Best(done // per_epoch, value), stage.kept()
                    if fabric.is_global_zero:
                        save_checkpoint(target.with_name(BEST), {"step": done, "kept": kept}, former=False)
                over = any_process(fabric, _is_over(config, done, per_epoch, best) and fabric.is_global_zero)
            log.write({**row, "seconds": time.monotonic() - began})
            shown.advance(1, f"loss {row['total']:.4f}")
            ask = any_process(fabric, stop.wanted)
            last = over or done == steps
            if ask or last or done % config.machine.checkpoint_every == 0:
                save(done)
            if last:
                break
            if ask:
                # A process that ends with an error has the others killed: not before the checkpoint is written.
                fabric.barrier()
                raise KeyboardInterrupt
    done_epochs = steps // per_epoch
    stage.load_kept(load_checkpoint(target.with_name(BEST))["kept"] if best.epoch else stage.kept())
    return first, best.epoch or done_epochs


def _is_over(config: LdaeRecipe, done: int, per_epoch: int, best: _Best) -> bool:
    """Whether so many epochs went by without a better one that the run ends."""
    return bool(config.patience and best.epoch and done % per_epoch == 0) and (
        done // per_epoch - best.epoch >= config.patience
    )


def _running_loss(folder: Path, first: int, per_epoch: int) -> list[float]:
    """The losses of the epoch that a resumed run is in, from its log."""
    from medfm.training.log import read_log

    begin = first - first % per_epoch
    return [row["total"] for row in read_log(folder / "log.jsonl") if begin <= row["step"] < first]


def _step(fabric: Fabric, stage: Stage, config: LdaeRecipe, step: int, rank: int, world: int) -> dict[str, float]:
    """One optimiser step of all processes; the mean terms before it."""
    device = fabric.device
    draw = Draw(config.seed, step, rank)
    positions = positions_of(step, stage.records, config, rank, world)
    # Dropout draws from the global state: give it this step's own seed, and give the state back.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(draw.generator("dropout").initial_seed())
        terms = stage.step(fabric, positions, draw)
    values = torch.stack([value.float().to(device) for value in terms.values()])
    # The mean over processes is the same number everywhere, so all of them stop at a bad value.
    means = dict(zip(terms, cast(Tensor, fabric.all_reduce(values, reduce_op="mean")).tolist(), strict=True))
    losses = {name: value for name, value in means.items() if not name.startswith("grad_")}
    if not all(math.isfinite(value) for value in losses.values()):
        raise TrainingError(
            f"The loss is not finite at step {step + 1}: " + ", ".join(f"{k} {v}" for k, v in losses.items()) + ".",
            where="the checkpoint in the output folder is from before this step",
            fix="start again with a smaller optimisation.lr or precision 32-true",
        )
    # A gradient that overflowed in float16: the scaler left the step out.
    return {name: value if math.isfinite(value) else -1.0 for name, value in means.items()}
