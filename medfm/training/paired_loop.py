"""The loop of recipes on pairs, on Lightning Fabric: steps, validation, selection, checkpoints, resume."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from medfm.core.errors import TrainingError
from medfm.core.files import remove_leftovers
from medfm.core.progress import ProgressMaker, Silent
from medfm.training.checkpoint import check_same_run, load_checkpoint, newest_checkpoint, save_checkpoint
from medfm.training.gather import gathered, gradient_factor
from medfm.training.interrupt import StopRequest
from medfm.training.log import TrainingLog
from medfm.training.loop import NoLog, any_process
from medfm.training.pair_families import pair_loss
from medfm.training.pair_model import PairModel
from medfm.training.pairs import PairBatch, Pairs, pair_batches, steps_per_epoch
from medfm.training.pairs_config import PairsOptimisation, PairsRecipe
from medfm.training.schedules import CosineSchedule
from medfm.training.towers_config import TowersOptimisation

# After every epoch: model in evaluation mode -> values for the log, and the one to choose by (higher is better).
Judge = Callable[[PairModel], tuple[dict[str, float], float]]
LAST, BEST = "last.ckpt", "best.ckpt"


def learning_rates(rule: PairsOptimisation, steps: int, per_epoch: int = 1) -> Callable[[int], float]:
    """The learning rate of every step, from 0; `per_epoch` steps are an epoch.

    ``warm_restarts`` is a cosine of `restart_every` steps that starts again and again (Loshchilov and
    Hutter, SGDR, arXiv 1608.03983).
    """
    if isinstance(rule, TowersOptimisation):
        if rule.schedule == "convirt_port":
            return lambda step: _port_rate(rule, step // per_epoch, per_epoch)
        if rule.schedule == "warmup_cosine" and (rule.warmup_epochs is not None or rule.cosine_epochs is not None):
            whole = steps if rule.cosine_epochs is None else rule.cosine_epochs * per_epoch
            warmup = min(rule.warmup if rule.warmup_epochs is None else rule.warmup_epochs * per_epoch, whole)
            return CosineSchedule(rule.lr, rule.final_lr, whole, warmup, start=rule.lr / max(1, warmup))
    if rule.schedule == "warmup_cosine":
        return CosineSchedule(rule.lr, rule.final_lr, steps, warmup=min(rule.warmup, steps))

    def restarting(step: int) -> float:
        phase = (step % rule.restart_every) / rule.restart_every
        return rule.final_lr + 0.5 * (rule.lr - rule.final_lr) * (1 + math.cos(math.pi * phase))

    return restarting


def _port_rate(rule: PairsOptimisation, epoch: int, per_epoch: int) -> float:
    """edreisMD/ConVIRT-pytorch: after the tenth epoch a cosine per epoch whose half period is the steps of an epoch."""
    turned = math.cos(math.pi * max(0, epoch - 10) / per_epoch)
    return rule.final_lr + 0.5 * (rule.lr - rule.final_lr) * (1 + turned)


def make_optimizer(parameters: list[nn.Parameter], rule: PairsOptimisation) -> torch.optim.Optimizer:
    """AdamW (or Adam) as the recipe says; its rate is set before every step."""
    if not isinstance(rule, TowersOptimisation):
        return torch.optim.AdamW(parameters, lr=0.0, betas=rule.betas, weight_decay=rule.weight_decay)
    kind = torch.optim.Adam if rule.optimiser == "adam" else torch.optim.AdamW
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if rule.decay == "matrices":
        vectors = [p for p in parameters if p.ndim < 2]
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2]},
            *([{"params": vectors, "weight_decay": 0.0}] if vectors else []),
        ]
    return kind(groups, lr=0.0, betas=rule.betas, eps=rule.eps, weight_decay=rule.weight_decay)


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of a step's dropout in one process: the same whether the run was stopped before or not."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{rank}".encode()).digest()[:7], "big")


def train_pairs(
    model: PairModel,
    pairs: Pairs,
    folder: str | Path,
    *,
    config: PairsRecipe,
    identity: dict[str, Any],
    fabric: Fabric,
    judge: Judge | None = None,
    resume: bool = False,
    progress: ProgressMaker = Silent,
) -> tuple[int, int]:
    """Run the recipe on `pairs`; log and checkpoints go to `folder`; `model` ends as the chosen epoch.

    Everything random is a function of seed, step and process, so a run that was killed and resumed
    follows the same trajectory as an uninterrupted one.

    Args:
        model: At its start.
        pairs: What to train on.
        folder: Gets ``log.jsonl``, ``checkpoint/last.ckpt``, ``previous.ckpt`` and ``best.ckpt``.
        config: The recipe.
        identity: What must be equal to resume (JSON-like): settings and data.
        fabric: A launched Fabric.
        judge: Judges every epoch; without one, or with selection ``last``, the last epoch is kept.
        resume: Whether to go on from the checkpoint in `folder`.
        progress: Shows steps, rate, time left and loss.

    Returns:
        The step the run started at (0 unless resumed), and the epoch that was kept, from 1.

    Raises:
        TrainingError: Too few pairs, a checkpoint of another run, a loss that is not finite.
        KeyboardInterrupt: After Ctrl-C or SIGTERM, once the checkpoint is written.
    """
    world, rank = fabric.world_size, fabric.global_rank
    per_epoch = steps_per_epoch(len(pairs), config.batch_size, world)
    if per_epoch == 0:
        raise TrainingError(
            f"There are {len(pairs)} pairs to train on; a step needs {config.batch_size * world}.",
            fix=f"--set batch_size={max(2, len(pairs) // world)}, or use a larger cohort",
        )
    steps = config.epochs * per_epoch
    target = Path(folder) / "checkpoint" / LAST
    if fabric.is_global_zero:
        remove_leftovers(target)
        remove_leftovers(target.with_name(BEST))
    module = _with_batch_norm(model, config, fabric)
    trainable = [p for p in module.parameters() if p.requires_grad]
    rule = config.optimisation
    optimizer = make_optimizer(trainable, rule)
    module.to(fabric.device)
    first, best = 0, _Best()
    if resume:
        state = newest_checkpoint(target)
        check_same_run(state["identity"], identity, str(target))
        module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, best = int(state["step"]), _Best(int(state["best_epoch"]), float(state["best_value"]))
    wrapped, fast = fabric.setup(module, optimizer)
    rate = learning_rates(rule, steps, per_epoch)
    stream = pair_batches(
        pairs,
        range(first, steps),
        config.batch_size,
        config.seed,
        rank=rank,
        world=world,
        shuffle=config.shuffle,
        workers=config.machine.workers,
    )

    def save(done: int) -> None:
        values = {"step": done, "model": module.state_dict(), "optimizer": optimizer.state_dict()}
        kept = {"best_epoch": best.epoch, "best_value": best.value}
        save_checkpoint(target, {**values, **kept, "identity": identity})

    with (
        progress("training", steps, "steps") as shown,
        TrainingLog(folder, first, config.machine.tensorboard) if fabric.is_global_zero else NoLog() as log,
        StopRequest() as stop,
    ):
        shown.skip(first)
        for step, batch in enumerate(stream, start=first):
            began = time.monotonic()
            lr = rate(step)
            row: dict[str, Any] = {"step": step, "epoch": step // per_epoch + 1}
            row |= _step(fabric, wrapped, fast, trainable, config, batch, step, lr)
            row |= {"lr": lr, "seconds": time.monotonic() - began}
            done = step + 1
            row |= pairs.figures.row() if pairs.figures is not None and done % per_epoch == 0 else {}
            if done % per_epoch == 0 and judge is not None and fabric.is_global_zero:
                values, worth = judge(module)
                row |= values
                if config.selection != "last" and (best.epoch == 0 or worth > best.value):
                    best = _Best(done // per_epoch, worth)
                    save_checkpoint(target.with_name(BEST), {"step": done, "model": module.state_dict()}, former=False)
            log.write(row)
            shown.advance(1, f"loss {row['total']:.3f}")
            ask = any_process(fabric, stop.wanted)
            if fabric.is_global_zero and (ask or done == steps or done % config.machine.checkpoint_every == 0):
                save(done)
            if ask and done < steps:
                raise KeyboardInterrupt
    if best.epoch and fabric.is_global_zero:
        module.load_state_dict(load_checkpoint(target.with_name(BEST))["model"])
    return first, best.epoch or config.epochs


class _Best:
    """The best epoch so far, from 1 (0: none), and its value."""

    def __init__(self, epoch: int = 0, value: float = -math.inf) -> None:
        self.epoch, self.value = epoch, value


def _with_batch_norm(model: PairModel, config: PairsRecipe, fabric: Fabric) -> PairModel:
    if config.batch_norm == "per_process" or fabric.world_size == 1:
        return model
    if fabric.device.type != "cuda":
        raise TrainingError(
            "Batch normalisation can be synchronised on CUDA devices only.",
            fix="--set batch_norm=per_process, or one process",
        )
    # Converted in place: the model that was given is the one that is trained.
    return cast(PairModel, nn.SyncBatchNorm.convert_sync_batchnorm(model))


def _step(
    fabric: Fabric,
    wrapped: nn.Module,
    optimizer: Any,
    trainable: list[nn.Parameter],
    config: PairsRecipe,
    batch: PairBatch,
    step: int,
    lr: float,
) -> dict[str, float]:
    """One optimiser step; loss terms, accuracies and gradient norm before it."""
    device, world = fabric.device, fabric.world_size
    wrapped.train()
    # Dropout draws from the global state: give it this step's own seed, and give the state back.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(step_seed(config.seed, step, fabric.global_rank))
        outputs = wrapped(batch.records.to(device), *(part.to(device) for part in batch.text))

    def collect(own: Tensor) -> Tensor:
        return gathered(own, fabric.global_rank, lambda t: cast(Tensor, fabric.all_gather(t)).view(world, *t.shape))

    together = collect if world > 1 and config.gather != "none" else None
    parts, accuracy = pair_loss(outputs, config, together, batch.groups)
    values = torch.stack(
        [*(p.detach() for p in parts.values()), *(torch.tensor(a).to(device) for a in accuracy.values())]
    )
    # The mean over processes is the same number everywhere, so all of them stop at a bad value.
    means = cast(Tensor, fabric.all_reduce(values, reduce_op="mean")).tolist()
    terms = dict(zip((*parts, *accuracy), means, strict=True))
    if not all(math.isfinite(value) for value in terms.values()):
        raise TrainingError(
            f"The loss is not finite at step {step + 1}: " + ", ".join(f"{k} {v}" for k, v in terms.items()) + ".",
            where="the checkpoint in the output folder is from before this step",
            fix="start again with a smaller optimisation.lr, a longer optimisation.warmup or precision 32-true",
        )
    optimizer.zero_grad()
    fabric.backward(parts["total"] * gradient_factor(config.gather, world))
    clip = config.optimisation.clip
    norm = float(nn.utils.clip_grad_norm_(trainable, clip if clip > 0 else math.inf))
    if not math.isfinite(norm):
        raise TrainingError(
            f"The gradient is not finite at step {step + 1}.",
            where="the checkpoint in the output folder is from before this step",
            fix="start again with a smaller optimisation.lr or a longer optimisation.warmup",
        )
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    return {**terms, "grad_norm": norm}
