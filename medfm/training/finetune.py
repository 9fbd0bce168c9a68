"""``fit``: an encoder, a recipe, records to train and to validate on -> a tuned classifier."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medfm.core.errors import TrainingError
from medfm.core.files import remove_leftovers
from medfm.core.progress import ProgressMaker, Silent
from medfm.encoders.encoder import Encoder
from medfm.encoders.published import family_of
from medfm.objectives.early_learning import EarlyLearningMemory
from medfm.objectives.labels import LabelLoss, balancing_weights, drawing_weights
from medfm.training.checkpoint import check_same_run, newest_checkpoint, save_checkpoint
from medfm.training.classifier import Classifier, LinearHead, OrdinalHead
from medfm.training.config import Machine
from medfm.training.finetune_batches import Labelled, steps_per_epoch
from medfm.training.finetune_config import FinetuneRecipe, HeadOnly, Stage
from medfm.training.finetune_groups import plan_stage
from medfm.training.finetune_labels import Labels
from medfm.training.finetune_views import steps_for
from medfm.training.freezing import Freezing
from medfm.training.interrupt import StopRequest
from medfm.training.known_inputs import KnownInputs
from medfm.training.layer_groups import layer_groups, unused_by
from medfm.training.local import Evaluated, Session, local_evaluate, local_train, open_session, trainable_total
from medfm.training.log import TrainingLog
from medfm.training.loop import NoLog, make_fabric
from medfm.training.lora import has_lora, merge_lora
from medfm.training.peft_layout import Adapter, take_adapter


@dataclass(frozen=True)
class FineTuned:
    """What :func:`fit` made.

    Attributes:
        model: The classifier of the kept epoch, on the CPU, in evaluation mode, updates of low rank merged.
        labels: What it predicts.
        kept: ``stage``, ``epoch`` (of the run, from 1) and ``loss`` (of validation, where there is one) that was kept.
        rows: One entry per epoch, as logged.
        validation: Logits of the validation records by the kept model; ``None`` without such records.
        resumed_from: Epochs that an earlier run had done.
        adapter: The updates of low rank apart from the weights they were merged into, or why there are none to give
            away; ``None`` where the recipe has no such updates.
    """

    model: Classifier
    labels: Labels
    kept: dict[str, Any]
    rows: tuple[dict[str, Any], ...]
    validation: Tensor | None
    resumed_from: int = 0
    adapter: Adapter | str | None = None


@dataclass
class _Progress:
    """Where a run stands: epochs done, the best epoch and its weights, whether a stage is over early."""

    epochs: int = 0
    best: dict[str, Any] | None = None
    weights: dict[str, Tensor] | None = None
    adapted: bool = False
    ended: int = -1


def fit(
    encoder: Encoder,
    recipe: FinetuneRecipe,
    train: Labelled,
    validation: Labelled | None,
    labels: Labels,
    *,
    modality: str | None = None,
    seed: int | None = None,
    folder: str | Path | None = None,
    identity: dict[str, Any] | None = None,
    resume: bool = False,
    progress: ProgressMaker = Silent,
) -> FineTuned:
    """Train a copy of `encoder` and a head on it by `recipe`; the encoder given stays as it is.

    Everything random is a function of seed, stage, epoch and record, so a run that was killed and
    resumed ends with the same weights as an uninterrupted one (same machine and number of threads).

    Args:
        encoder: Where to start from.
        recipe: Stages, rates, losses.
        train: Records to learn from.
        validation: Records that choose the epoch; ``None`` only where the recipe keeps the last one.
        labels: What is predicted.
        modality: Of the records, for the augmentation; the encoder's when ``None``.
        seed: Of the run; the recipe's when ``None``.
        folder: Gets ``log.jsonl`` and ``checkpoint/``; nothing is written when ``None``.
        identity: What must be equal to resume (JSON-like).
        resume: Whether to go on from the checkpoint in `folder`.
        progress: Shows steps, time left and loss.

    Raises:
        TrainingError: Too few records, a checkpoint of another run, a loss that is not finite.
        ConfigError: The recipe does not fit the network or the records.
        KeyboardInterrupt: After Ctrl-C or SIGTERM; the epochs done are saved.
    """
    chosen = recipe.seed if seed is None else seed
    if len(train) < 2:
        raise TrainingError(f"{len(train)} training records are too few.", expected="at least 2, in practice many more")
    if validation is None and recipe.selection.keep == "best":
        raise TrainingError(
            "The recipe chooses the epoch by validation records, and there are none.",
            fix="--set validation.source=patients, or --set selection.keep=last",
        )
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        run = _Run(encoder, recipe, train, validation, labels, modality or encoder.modality, chosen)
        return run.all(folder, identity or {}, resume, progress)


class _Run:
    """One call of :func:`fit`."""

    def __init__(
        self,
        encoder: Encoder,
        recipe: FinetuneRecipe,
        train: Labelled,
        validation: Labelled | None,
        labels: Labels,
        modality: str,
        seed: int,
    ) -> None:
        self.recipe, self.train, self.validation, self.labels, self.seed = recipe, train, validation, labels, seed
        done = encoder.preprocess
        self.steps = steps_for(recipe.augmentation, modality, tuple(done.shape), done.steps)
        self.start = encoder.module
        network = copy.deepcopy(encoder.module).cpu()
        self.coarse = layer_groups(network, unused_by(network, encoder.card))
        self.fine = layer_groups(network, unused_by(network, encoder.card), blocks=True)
        source = torch.Generator().manual_seed(seed)
        dim, drop = encoder.embedding_dim, recipe.head.dropout
        head: LinearHead
        if labels.kind == "ordinal":
            head = OrdinalHead(dim, len(labels.classes), dropout=drop, generator=source)
        else:
            head = LinearHead(dim, labels.outputs, dropout=drop, generator=source, bias=recipe.head.bias)
        self.source = source
        self.model = Classifier(network, family_of(encoder.card)[0].embed, head)
        self.untouched = True
        self.fabric_machine = Machine(accelerator=recipe.machine.accelerator)
        balance = recipe.objective.balance
        if balance == "sampler" and labels.kind in ("multilabel", "regression"):
            raise TrainingError(
                f"Records cannot be drawn by class for a {labels.kind} task.",
                where="objective.balance",
                fix="--set objective.balance=loss" if labels.kind == "multilabel" else "--set objective.balance=none",
            )
        if recipe.objective.early_learning is not None and labels.kind not in ("binary", "multiclass"):
            raise TrainingError("Early-learning regularisation is for classes.", where="objective.early_learning")
        by_loss = balance == "loss" or balance == "auto"
        weights = balancing_weights(labels.kind, train.targets, len(labels.classes)) if by_loss else None
        self.loss = LabelLoss(labels.kind, None if labels.kind == "regression" else weights, recipe.objective.smoothing)
        self.drawn = drawing_weights(train.targets) if balance == "sampler" else None

    def all(
        self, folder: str | Path | None, identity: dict[str, Any], resume: bool, progress: ProgressMaker
    ) -> FineTuned:
        recipe = self.recipe
        target = None if folder is None else Path(folder) / "checkpoint" / "last.ckpt"
        at, saved = _Progress(), None
        if target is not None:
            remove_leftovers(target)
        if resume and target is not None:
            saved = newest_checkpoint(target)
            check_same_run(saved["identity"], identity, str(target))
            at = _Progress(saved["step"], saved["best"], saved["best_weights"], saved["best_adapted"], saved["ended"])
        # A network that has not moved is fed to the head as embeddings that are known: a resumed run sees the same bits.
        self.untouched = saved is None or bool(saved.get("untouched", False))
        first, rows = at.epochs, []
        memory = self._memory(saved)
        if recipe.head.standardise and saved is None:
            self.model.to(make_fabric(self.fabric_machine).device)
            embedded = self._embedded(self.train, progress, "embedding records")
            self.model.head.standardise(embedded, recipe.head.least_deviation)
        total = sum(stage.epochs for stage in recipe.stages) * steps_per_epoch(len(self.train), recipe.batch_size)
        log = NoLog() if folder is None else TrainingLog(folder, first)
        with progress("fine-tuning", total, "steps") as shown, log as written, StopRequest() as stop:
            shown.skip(first * steps_per_epoch(len(self.train), recipe.batch_size))
            before = 0
            for number, stage in enumerate(recipe.stages):
                over = before + stage.epochs <= first or number <= at.ended
                if over and number < len(recipe.stages) - 1:
                    before += stage.epochs
                    continue
                if saved is not None and saved["stage"] != number:
                    # The checkpoint closes the stage before: its model, not its optimiser.
                    best = saved["best_weights"]
                    self.model.load_state_dict(saved["model"] if best is None else best)
                    saved = None
                session = self._open(number, stage, memory)
                if saved is not None:
                    self.model.load_state_dict(saved["model"])
                    session.optimizer.optimizer.load_state_dict(saved["optimizer"])
                    saved = None
                todo = range(stage.epochs if over else max(0, at.epochs - before), stage.epochs)
                forward, data = self._shortcut(session, stage, progress) if todo else (None, self.train)
                self.untouched = self.untouched and forward is not None
                inner = (
                    None if self.validation is None or forward is None else self._features(self.validation, progress)
                )
                for epoch in todo:
                    began = time.monotonic()
                    row = local_train(session, data, epoch, forward=forward, stop=lambda: stop.wanted, shown=shown)
                    row = {"step": before + epoch, "stage": stage.name, **row}
                    row["trainable_total"] = trainable_total(row["trainable"])
                    found = self._validate(session, forward, inner)
                    if found is not None:
                        row["validation_loss"] = found.loss
                    self._remember(at, row)
                    at.epochs = before + epoch + 1
                    row["seconds"] = time.monotonic() - began
                    written.write(row)
                    rows.append(row)
                    worse = 0 if at.best is None else row["step"] - max(int(at.best["step"]), before - 1)
                    if recipe.selection.patience and found is not None and worse >= recipe.selection.patience:
                        at.ended = number
                    if target is not None:
                        save_checkpoint(target, self._state(session, at, identity))
                    if at.ended == number:
                        break
                self._settle(at)
                before += stage.epochs
                at.epochs = max(at.epochs, before)
        return self._finish(at, first, rows, folder)

    def _open(self, number: int, stage: Stage, memory: EarlyLearningMemory | None) -> Session:
        # First values of updates of low rank come from a stream of their own: a resumed run draws the same.
        source = torch.Generator().manual_seed(self.seed + 1000 * (number + 1))
        fabric = make_fabric(self.fabric_machine, self.recipe.precision)  # type: ignore[arg-type]
        self.model.to(fabric.device)
        plan = plan_stage(self.model, stage, self.coarse, self.fine, source)
        return open_session(
            self.model,
            self.recipe,
            number,
            plan,
            self.loss,
            fabric,
            self.seed,
            steps=self.steps if stage.augment else (),
            weights=self.drawn,
            memory=memory,
        )

    def _memory(self, saved: dict[str, Any] | None) -> EarlyLearningMemory | None:
        rule = self.recipe.objective.early_learning
        if rule is None:
            return None
        memory = EarlyLearningMemory(len(self.train), max(2, len(self.labels.classes)), rule.momentum)
        if saved is not None:
            memory.targets.copy_(saved["memory"])
        return memory

    def _shortcut(self, session: Session, stage: Stage, progress: ProgressMaker) -> tuple[Any, Labelled]:
        """The head alone on embeddings made once, where the encoder stays exactly as it is; else the whole model."""
        fixed = isinstance(stage.layers, HeadOnly) and stage.freezing == Freezing()
        if not fixed or stage.mixing is not None or session.steps:
            return None, self.train
        return session.model.head, self._features(self.train, progress)

    def _features(self, data: Labelled, progress: ProgressMaker) -> Labelled:
        return Labelled(_Rows(self._embedded(data, progress, "embedding records")), data.targets)

    @torch.no_grad()
    def _embedded(self, data: Labelled, progress: ProgressMaker, title: str) -> Tensor:
        if self.untouched and isinstance(data.inputs, KnownInputs):
            return data.inputs.embeddings
        self.model.eval()
        device, parts = next(self.model.parameters()).device, []
        with progress(title, len(data), "records") as shown:
            for start in range(0, len(data), 64):
                inputs = torch.stack([data.inputs[i] for i in range(start, min(start + 64, len(data)))])
                parts.append(self.model.embeddings(inputs.to(device)).cpu())
                shown.advance(len(inputs))
        return torch.cat(parts)

    def _validate(self, session: Session, forward: Any, inner: Labelled | None) -> Evaluated | None:
        if self.validation is None:
            return None
        if forward is not None and inner is not None:
            return local_evaluate(self.model, inner, self.loss, forward=forward, device=session.fabric.device)
        return local_evaluate(self.model, self.validation, self.loss, device=session.fabric.device)

    def _remember(self, at: _Progress, row: dict[str, Any]) -> None:
        """Keep the weights of the best epoch (or of the last one, where the recipe says so)."""
        if self.recipe.selection.keep == "last":
            return
        if at.best is None or row["validation_loss"] < at.best["loss"]:
            at.best = {"stage": row["stage"], "step": row["step"], "loss": row["validation_loss"]}
            at.weights = {key: value.detach().cpu().clone() for key, value in self.model.state_dict().items()}
            at.adapted = has_lora(self.model.network)

    def _settle(self, at: _Progress) -> None:
        """After a stage: go on from the best epoch so far."""
        if at.weights is None or at.best is None:
            return
        if has_lora(self.model.network) and not at.adapted:
            merge_lora(self.model.network, keep=False)
        self.model.load_state_dict(at.weights)

    def _state(self, session: Session, at: _Progress, identity: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": at.epochs,
            "identity": identity,
            "model": self.model.state_dict(),
            "optimizer": session.optimizer.optimizer.state_dict(),
            "stage": session.number,
            "best": at.best,
            "best_weights": at.weights,
            "best_adapted": at.adapted,
            "ended": at.ended,
            "untouched": self.untouched,
            "memory": None if session.memory is None else session.memory.targets,
        }

    def _finish(self, at: _Progress, first: int, rows: list[dict[str, Any]], folder: str | Path | None) -> FineTuned:
        from medfm.training.log import read_log

        adapter = None
        if has_lora(self.model.network):
            adapter = take_adapter(self.model.network, self.start)
            merge_lora(self.model.network)
        self.model.cpu().eval().requires_grad_(False)
        every = rows if folder is None else read_log(Path(folder) / "log.jsonl")
        last = every[-1] if every else {"stage": self.recipe.stages[-1].name, "step": at.epochs - 1}
        kept = at.best or {"stage": last["stage"], "step": last["step"], "loss": last.get("validation_loss")}
        logits = None
        if self.validation is not None:
            logits = local_evaluate(self.model, self.validation, self.loss).logits
        shown = {"stage": kept["stage"], "epoch": int(kept["step"]) + 1, "loss": kept["loss"]}
        return FineTuned(self.model, self.labels, shown, tuple(every), logits, first, adapter)


@dataclass(frozen=True)
class _Rows:
    """Rows of a matrix as inputs."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Tensor:
        return self.values[index]
