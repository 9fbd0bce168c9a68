"""The pretraining loop on Lightning Fabric: steps, schedules, log, checkpoints, resume."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn

from medfm.core.errors import TrainingError
from medfm.core.files import remove_leftovers
from medfm.core.progress import ProgressMaker, Silent
from medfm.training.batches import Batch, batches
from medfm.training.checkpoint import check_same_run, newest_checkpoint, save_checkpoint
from medfm.training.config import Machine, PretrainConfig
from medfm.training.dinov2 import Dinov2
from medfm.training.interrupt import StopRequest
from medfm.training.log import TrainingLog
from medfm.training.pictures import Pictures
from medfm.training.schedules import CosineSchedule, warmup_only


class Plan:
    """The schedules of a recipe: ``lr``, ``last_layer_lr``, ``weight_decay``, ``momentum``, ``temperature``."""

    def __init__(self, config: PretrainConfig) -> None:
        rule, teacher, steps = config.optimisation, config.teacher, config.steps
        self.lr = CosineSchedule(rule.lr, rule.final_lr, steps, warmup=rule.warmup)
        self.last_layer_lr = self.lr.zero_until(min(rule.freeze_last_layer, steps))
        self.weight_decay = CosineSchedule(*rule.weight_decay, steps)
        self.momentum = CosineSchedule(*teacher.momentum, steps)
        self.temperature = warmup_only(*teacher.temperature, teacher.temperature_warmup)

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set learning rate and weight decay of every group for `step`."""
        for group in optimizer.param_groups:
            lr = self.last_layer_lr if group["is_last_layer"] else self.lr
            group["lr"] = lr(step) * group["lr_multiplier"]
            group["weight_decay"] = self.weight_decay(step) * group["wd_multiplier"]


def make_fabric(machine: Machine, precision: Literal["32-true", "bf16-mixed"] = "32-true") -> Fabric:
    """A Fabric for the machine settings; several processes use DDP.

    Raises:
        TrainingError: The accelerator asked for is not there, or FSDP is asked for.
    """
    if machine.accelerator == "cuda" and not torch.cuda.is_available():
        raise TrainingError("No CUDA device is available here.", fix="--set machine.accelerator=cpu")
    if machine.strategy == "fsdp":
        raise TrainingError(
            "FSDP is for recipes of the family ldae; this one keeps whole networks in every process.",
            fix="--set machine.strategy=ddp",
        )
    # The mask token gets no gradient in a step without masks, nor the heads of switched-off terms.
    strategy: Any = DDPStrategy(find_unused_parameters=True) if machine.devices > 1 else "auto"
    return Fabric(accelerator=machine.accelerator, devices=machine.devices, strategy=strategy, precision=precision)


def train(
    model: Dinov2,
    pictures: Pictures,
    patch: int,
    folder: str | Path,
    *,
    identity: dict[str, Any],
    fabric: Fabric | None = None,
    resume: bool = False,
    progress: ProgressMaker = Silent,
) -> int:
    """Run the recipe of `model` on `pictures`; log and checkpoints go to `folder`.

    Everything random is a function of seed, step and sample, so a run that was killed and
    resumed follows the same trajectory as an uninterrupted one.

    Args:
        model: Student, teacher and centres at their start.
        pictures: What to train on.
        patch: Side of a patch in pixels.
        folder: Gets ``log.jsonl``, ``checkpoint/last.ckpt`` and the one before it, ``previous.ckpt``.
        identity: What must be equal to resume (JSON-like): settings and data.
        fabric: A launched Fabric; one for ``config.machine`` when not given.
        resume: Whether to go on from the checkpoint in `folder`.
        progress: Shows steps, rate, time left and loss.

    Returns:
        The step the run started at (0 unless resumed).

    Raises:
        TrainingError: Too few pictures, a checkpoint of another run, a loss that is not finite.
        KeyboardInterrupt: After Ctrl-C or SIGTERM, once the checkpoint is written.
    """
    config = model.config
    if fabric is None:
        fabric = make_fabric(config.machine, config.precision)
        fabric.launch()
    needed = config.batch_size * fabric.world_size
    if len(pictures) < needed:
        raise TrainingError(
            f"The cohort has {len(pictures)} pictures to train on; a step needs {needed}.",
            fix=f"--set batch_size={max(2, len(pictures) // fabric.world_size)}, or use a larger cohort",
        )
    target = Path(folder) / "checkpoint" / "last.ckpt"
    if fabric.is_global_zero:
        remove_leftovers(target)
    model.to(fabric.device)
    optimizer = torch.optim.AdamW(model.param_groups(), lr=0.0, betas=config.optimisation.betas)
    first = _restore(target, model, optimizer, identity) if resume else 0
    wrapped, fast = fabric.setup(model.student, optimizer)
    plan = Plan(config)
    stream = batches(config, pictures, patch, first=first, rank=fabric.global_rank, world=fabric.world_size)
    with (
        progress("training", config.steps, "steps") as shown,
        TrainingLog(folder, first, config.machine.tensorboard) if fabric.is_global_zero else NoLog() as log,
        StopRequest() as stop,
    ):
        shown.skip(first)
        for step, batch in enumerate(stream, start=first):
            began = time.monotonic()
            terms = _step(fabric, model, wrapped, fast, plan, Batch(*(t.to(fabric.device) for t in batch)), step)
            row = {"step": step, **terms, "lr": plan.lr(step), "momentum": plan.momentum(step)}
            log.write({**row, "teacher_temperature": plan.temperature(step), "seconds": time.monotonic() - began})
            shown.advance(1, f"loss {terms['total']:.3f}")
            done = step + 1
            ask = any_process(fabric, stop.wanted)
            if fabric.is_global_zero and (ask or done == config.steps or done % config.machine.checkpoint_every == 0):
                save_checkpoint(target, _state(model, optimizer, identity, done))
            if ask and done < config.steps:
                raise KeyboardInterrupt
    return first


def _step(
    fabric: Fabric, model: Dinov2, wrapped: nn.Module, optimizer: Any, plan: Plan, batch: Batch, step: int
) -> dict[str, float]:
    """One optimiser step and one move of the teacher; the loss terms before it."""

    def reduce(value: Tensor) -> Tensor:
        return cast(Tensor, fabric.all_reduce(value, reduce_op="sum"))

    with fabric.autocast():
        parts = model.loss(batch, plan.temperature(step), student=wrapped, reduce=reduce)
    # The mean over processes is the same number everywhere, so all of them stop at a bad value.
    terms = {name: float(reduce(value.detach())) / fabric.world_size for name, value in parts.items()}
    if not all(math.isfinite(value) for value in terms.values()):
        shown = ", ".join(f"{name} {value}" for name, value in terms.items())
        raise TrainingError(
            f"The loss is not finite at step {step + 1}: {shown}.",
            where="the checkpoint in the output folder is from before this step",
            fix="start again with a smaller optimisation.lr, a longer optimisation.warmup or precision 32-true",
        )
    optimizer.zero_grad()
    fabric.backward(parts["total"])
    clip = model.config.optimisation.clip
    for name, part in model.student.parts().items():
        norm = nn.utils.clip_grad_norm_(part.parameters(), clip if clip > 0 else math.inf)
        terms[f"grad_{name}"] = float(norm)
    if not all(math.isfinite(value) for value in terms.values()):
        raise TrainingError(
            f"The gradient is not finite at step {step + 1}.",
            where="the checkpoint in the output folder is from before this step",
            fix="start again with a smaller optimisation.lr or a longer optimisation.warmup",
        )
    plan.apply(optimizer, step)
    optimizer.step()
    model.update_teacher(plan.momentum(step))
    return terms


def any_process(fabric: Fabric, wanted: bool) -> bool:
    """Whether any process wants to stop; all get the same answer."""
    if fabric.world_size == 1:
        return wanted
    flag = torch.tensor(float(wanted), device=fabric.device)
    return bool(cast(Tensor, fabric.all_reduce(flag, reduce_op="sum")) > 0)


def _state(model: Dinov2, optimizer: torch.optim.Optimizer, identity: dict[str, Any], done: int) -> dict[str, Any]:
    """Everything a run needs to go on: position `done` fixes schedules, data order, crops and masks."""
    return {
        "step": done,
        "identity": identity,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random_state": torch.get_rng_state(),
    }


def _restore(path: Path, model: Dinov2, optimizer: torch.optim.Optimizer, identity: dict[str, Any]) -> int:
    """Load a checkpoint into `model` and `optimizer`; the step to go on with."""
    state = newest_checkpoint(path)
    check_same_run(state["identity"], identity, str(path))
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random_state"])
    return int(state["step"])


class NoLog:
    """The log of the processes that do not write one."""

    def __enter__(self) -> NoLog:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def write(self, row: dict[str, Any]) -> None:
        """Nothing."""
