"""One site's training as separate functions: take and set what is trained, train an epoch, evaluate.

``medfm finetune`` calls them in turn; a federation calls the same between exchanges of
:func:`get_trainable_state` and :func:`set_trainable_state`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from medfm.core.errors import TrainingError
from medfm.core.progress import Progress
from medfm.objectives.early_learning import EarlyLearningMemory
from medfm.objectives.labels import LabelLoss
from medfm.training.classifier import Classifier
from medfm.training.finetune_batches import Labelled, epoch_batches, steps_per_epoch
from medfm.training.finetune_config import FinetuneRecipe, Stage
from medfm.training.finetune_groups import HEAD, Plan
from medfm.training.freezing import learning_counts, set_frozen


def get_trainable_state(model: nn.Module, *, statistics: bool = False) -> dict[str, Tensor]:
    """Copies on the CPU of the parameters that learn now, by name.

    Args:
        model: The classifier.
        statistics: Whether the buffers of BatchNorm layers in training mode come along.
    """
    state = {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}
    if statistics:
        moving = {n for n, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training}
        state |= {n: b.detach().cpu().clone() for n, b in model.named_buffers() if n.rpartition(".")[0] in moving}
    return state


def set_trainable_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Write what :func:`get_trainable_state` gave into a model of the same architecture, in place.

    Raises:
        TrainingError: A name is unknown, a shape differs, or a value is not finite; nothing is changed then.
    """
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    wrong = [name for name in state if name not in own or own[name].shape != state[name].shape]
    if wrong:
        raise TrainingError(
            f"{len(wrong)} of {len(state)} tensors do not fit the model, such as {wrong[0]}.",
            expected="the state of a model of the same encoder, labels and recipe",
        )
    bad = [n for n, value in state.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if bad:
        raise TrainingError(f"The state holds values that are not finite, such as in {bad[0]}.")
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)


@dataclass
class Session:
    """A model in one stage of a recipe, with its optimiser.

    Attributes:
        model: Trained in place.
        recipe: The whole recipe.
        stage: The stage, and its number.
        number: Of the stage.
        plan: Who learns when.
        loss: Of the labels.
        fabric: Where and in which precision.
        optimizer: AdamW over the groups of the plan, as fabric wraps it.
        wrapped: The model as fabric wraps it.
        seed: Of the run.
        steps: Augmentation.
        weights: For drawing records with replacement; ``None``: each once.
        memory: Of early-learning regularisation.
    """

    model: Classifier
    recipe: FinetuneRecipe
    stage: Stage
    number: int
    plan: Plan
    loss: LabelLoss
    fabric: Fabric
    optimizer: Any
    wrapped: Any
    seed: int
    steps: tuple[Any, ...] = ()
    weights: Tensor | None = None
    memory: EarlyLearningMemory | None = None

    def prepare(self, epoch: int) -> None:
        """Freeze and unfreeze for `epoch` of the stage; optimiser and schedule stay as they are."""
        set_frozen(self.model.network, self.plan.groups, self.plan.learning(epoch), self.stage.freezing, self.plan.only)
        self.model.head.train(True).requires_grad_(True)

    def rates(self, step: int, total: int) -> dict[str, float]:
        """Set rate and first moment of every group for `step`; the rates by group name."""
        factor, moment = self.stage.schedule.factor(step, total), self.stage.schedule.beta1(step, total)
        groups = self.optimizer.optimizer.param_groups
        for group in groups:
            group["lr"] = group["peak"] * factor
            if moment is not None:
                group["betas"] = (moment, group["betas"][1])
        return {group["name"]: group["lr"] for group in groups}

    def counts(self) -> dict[str, int]:
        """Parameters that learn now, by layer group, the head included."""
        head = sum(p.numel() for p in self.model.head.parameters() if p.requires_grad)
        return {**learning_counts(self.model.network, self.plan.groups), HEAD: head}


def open_session(
    model: Classifier,
    recipe: FinetuneRecipe,
    number: int,
    plan: Plan,
    loss: LabelLoss,
    fabric: Fabric,
    seed: int,
    **settings: Any,
) -> Session:
    """A session with a fresh AdamW over every group of the plan, the sleeping ones included."""
    stage = recipe.stages[number]
    groups = [{**group, "lr": 0.0} for group in plan.optimiser]
    # Fabric looks at what can learn; the freezing of the first epoch comes right after.
    model.requires_grad_(True)
    wrapped, optimizer = fabric.setup(model, torch.optim.AdamW(groups, betas=stage.betas))
    return Session(model, recipe, stage, number, plan, loss, fabric, optimizer, wrapped, seed, **settings)


def local_train(
    session: Session,
    data: Labelled,
    epoch: int,
    *,
    forward: Callable[[Tensor], Tensor] | None = None,
    stop: Callable[[], bool] | None = None,
    shown: Progress | None = None,
) -> dict[str, Any]:
    """Train one epoch of the session's stage.

    Everything random follows from seed, stage and epoch, so an epoch can be done again.

    Args:
        session: Its model is changed in place.
        data: The training records.
        epoch: Of the stage, from 0.
        forward: Inputs -> logits in place of the model (the head alone, on embeddings made before).
        stop: Asked after each step whether to break off.
        shown: Progress, advanced by steps.

    Returns:
        ``loss`` (mean over records), ``records``, ``steps``, ``rates`` (at the first step), ``rates_end``,
        ``beta1`` and ``trainable`` (both by group), ``gradient`` (mean norm before clipping).

    Raises:
        TrainingError: The loss or a gradient is not finite.
        KeyboardInterrupt: `stop` said so.
    """
    stage, recipe, fabric = session.stage, session.recipe, session.fabric
    session.prepare(epoch)
    per_epoch = steps_per_epoch(len(data), recipe.batch_size)
    total, done, seen = stage.epochs * per_epoch, 0.0, 0
    norms: list[float] = []
    rates: list[dict[str, float]] = []
    torch.manual_seed(int(np.random.SeedSequence([session.seed, session.number, epoch]).generate_state(1)[0]))
    learning = [p for p in session.model.parameters() if p.requires_grad]
    for place, batch in enumerate(
        epoch_batches(
            data,
            batch=recipe.batch_size,
            seed=session.seed,
            stage=session.number,
            epoch=epoch,
            steps=session.steps,
            mixing=stage.mixing,
            weights=session.weights,
            workers=recipe.machine.workers if forward is None else 0,
        )
    ):
        rates.append(session.rates(epoch * per_epoch + place, total))
        inputs, targets = batch.mixed.inputs.to(fabric.device), batch.targets.to(fabric.device)
        with fabric.autocast():
            logits = (session.model if forward is None else forward)(inputs).float()
        value = batch.mixed.loss(lambda given, logits=logits: session.loss(logits, given), targets)  # type: ignore[misc]
        shown_loss = float(value.detach())
        if session.memory is not None and recipe.objective.early_learning is not None:
            said = session.loss.probabilities(logits)
            value = value + recipe.objective.early_learning.weight * session.memory.term(said, batch.rows)
        _finite(shown_loss, float(value.detach()), epoch, stage.name)
        session.optimizer.zero_grad()
        if value.requires_grad:
            fabric.backward(value)
        limit = recipe.clip if recipe.clip > 0 else math.inf
        norm = fabric.clip_gradients(session.wrapped, session.optimizer, max_norm=limit, error_if_nonfinite=False)
        norms.append(float(norm) if norm is not None else 0.0)
        if recipe.precision != "16-mixed":  # whose scaler skips such steps itself
            _finite(norms[-1], 0.0, epoch, stage.name)
        session.optimizer.step()
        done += shown_loss * len(inputs)
        seen += len(inputs)
        if shown is not None:
            shown.advance(1, f"loss {done / seen:.3f}")
        if stop is not None and stop():
            raise KeyboardInterrupt
    finite = [norm for norm in norms if math.isfinite(norm)]
    return {
        "loss": done / seen,
        "records": seen,
        "steps": len(norms),
        "rates": rates[0],
        "rates_end": rates[-1],
        "beta1": float(session.optimizer.optimizer.param_groups[0]["betas"][0]),
        "trainable": session.counts(),
        "gradient": sum(finite) / len(finite) if finite and learning else 0.0,
    }


def _finite(loss: float, other: float, epoch: int, stage: str) -> None:
    if not (math.isfinite(loss) and math.isfinite(other)):
        raise TrainingError(
            f"The loss or its gradient is not finite in epoch {epoch + 1} of the stage '{stage}'.",
            where="the checkpoint in the output folder is from before this epoch",
            fix="start again with smaller rates (--set, see --dry-run) or precision 32-true",
        )


@dataclass(frozen=True)
class Evaluated:
    """What :func:`local_evaluate` found: the mean loss, the logits (n, outputs), the number of records."""

    loss: float
    logits: Tensor
    records: int


@torch.no_grad()
def local_evaluate(
    model: Classifier,
    data: Labelled,
    loss: LabelLoss,
    *,
    batch: int = 64,
    forward: Callable[[Tensor], Tensor] | None = None,
    device: torch.device | None = None,
) -> Evaluated:
    """Loss and logits on records, without change to the model but for its mode (evaluation).

    Args:
        model: The classifier.
        data: Records with labels.
        loss: Weights of classes in it count here too.
        batch: Records at once.
        forward: Inputs -> logits in place of the model.
        device: Of the model; where its parameters are when ``None``.

    Raises:
        TrainingError: A logit is not finite.
    """
    model.eval()
    where = device if device is not None else next(model.parameters()).device
    parts = []
    for start in range(0, len(data), batch):
        inputs = torch.stack([data.inputs[i] for i in range(start, min(start + batch, len(data)))])
        parts.append((model if forward is None else forward)(inputs.to(where)).float().cpu())
    logits = torch.cat(parts)
    if not bool(torch.isfinite(logits).all()):
        raise TrainingError("The network gives values that are not finite.", fix="start again with smaller rates")
    return Evaluated(float(loss(logits, data.targets)), logits, len(logits))


def trainable_total(counts: Mapping[str, int], without: Collection[str] = ()) -> int:
    """The number of parameters that learn."""
    return sum(n for name, n in counts.items() if name not in without)
