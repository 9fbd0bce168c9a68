"""Multiple-instance learning: one prediction per patient from the bag of its cells."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medfm.core.errors import EvaluationError
from medfm.core.progress import Progress, Silent
from medfm.core.randomness import torch_generator
from medfm.evaluation.linear_probe import Outcome, run_linear_probe
from medfm.evaluation.mil_models import ClasswiseAttention, GatedAttention, build_pooling
from medfm.evaluation.protocol import MIL, LinearProbe
from medfm.evaluation.schemes import Fold, split_rows
from medfm.evaluation.target import Target

_HELD_OUT = 5  # one fifth of the training patients validates where the scheme names nobody


@dataclass(frozen=True)
class Bags:
    """The cells of each patient.

    Attributes:
        values: float32 (n, d), embeddings of all cells.
        rows: For each patient the positions of its cells in `values`.
    """

    values: np.ndarray
    rows: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def means(self) -> np.ndarray:
        """float64 (patients, d): the mean embedding of each bag."""
        return np.stack([self.values[rows].mean(axis=0, dtype=np.float64) for rows in self.rows])


@dataclass(frozen=True)
class MILOutcome:
    """Scores of the test patients of one fold, and the attention to their cells.

    Attributes:
        outcome: As of the linear probe.
        attention: Per test patient float32 (cells, 1 or classes); empty for mean pooling.
    """

    outcome: Outcome
    attention: tuple[np.ndarray, ...] = ()


def run_mil(
    bags: Bags,
    target: Target,
    folds: Sequence[Fold],
    method: MIL,
    *,
    seed: int = 0,
    device: str | None = None,
    progress: Progress | None = None,
) -> list[MILOutcome]:
    """Train on the training patients of each fold and score its test patients.

    Mean pooling is a linear probe (C by inner cross-validation) on the mean embeddings. The
    attention networks see one bag per step; the weights of the epoch with the lowest validation
    loss are kept. Fold f of repeat r draws from the seed (seed, r, f, fraction).

    Args:
        bags: Cells by patient.
        target: Truth per patient, binary or multiclass (any task for mean pooling).
        folds: Positions of patients.
        method: Pooling, optimiser and schedule.
        seed: Seed of initial weights, order of the bags and held-out patients.
        device: Torch device.
        progress: Advanced by one per fold.

    Raises:
        EvaluationError: The task does not fit, or a fold has too few patients.
    """
    progress = progress or Silent("training", len(folds), "folds")
    if method.pooling == "mean":
        probe = LinearProbe(standardise=method.standardise)
        order = np.arange(len(bags))
        found = run_linear_probe(
            bags.means(), target, folds, probe, patients=order, seed=seed, device=device, progress=progress
        )
        return [MILOutcome(outcome) for outcome in found]
    if target.task not in ("binary", "multiclass"):
        raise EvaluationError(
            f"Attention pooling is for classes, not for a {target.task} task.",
            fix="use --set method.pooling=mean",
        )
    outcomes = []
    for fold in folds:
        source = np.random.default_rng([seed, fold.repeat, fold.fold, round(fold.fraction * 1e9)])
        outcomes.append(_one(bags, target, fold, method, source, device))
        progress.advance()
    return outcomes


def _one(
    bags: Bags, target: Target, fold: Fold, method: MIL, source: np.random.Generator, device: str | None
) -> MILOutcome:
    notes: list[str] = []
    train, validation = fold.train, fold.validation
    if not len(validation):
        train, validation = _hold_out(train, target, int(source.integers(2**31)))
        notes.append("One fifth of the training patients, drawn by class, served as validation set.")
    if len(np.unique(target.values[train])) < 2:
        raise EvaluationError(
            "The training patients of a fold have a single class.",
            expected="patients of at least two classes in every training set",
            fix="use fewer folds or a larger training fraction",
        )
    place = torch.device(device or "cpu")
    values = bags.values.astype(np.float32, copy=False)
    mean, scale = _scaling(values, bags, train, method.standardise)

    def tensors(positions: np.ndarray) -> list[torch.Tensor]:
        return [torch.from_numpy((values[bags.rows[i]] - mean) / scale).to(place) for i in positions]

    draws = torch_generator(source)
    model = build_pooling(
        method.pooling,
        values.shape[1],
        len(target.classes),
        hidden=method.hidden,
        classifier_hidden=method.classifier_hidden,
        generator=draws,
    ).to(place)
    labels = torch.from_numpy(target.values)
    epochs, loss = train_pooling(
        model,
        tensors(train),
        labels[train].to(place),
        tensors(validation),
        labels[validation].to(place),
        method,
        draws,
    )
    scores, attention = [], []
    model.eval()
    with torch.inference_mode():
        for bag in tensors(fold.test):
            logits, weights = model(bag)
            scores.append(torch.softmax(logits.double(), dim=0).cpu().numpy())
            attention.append(weights.float().cpu().numpy())
    chosen = {"epochs": epochs, "validation_loss": loss}
    return MILOutcome(Outcome(np.array(scores), chosen, tuple(notes)), tuple(attention))


def train_pooling(
    model: GatedAttention | ClasswiseAttention,
    bags: Sequence[torch.Tensor],
    labels: torch.Tensor,
    held_bags: Sequence[torch.Tensor],
    held_labels: torch.Tensor,
    method: MIL,
    draws: torch.Generator,
) -> tuple[int, float]:
    """Train `model` in place, one bag per step, with early stopping on the validation loss.

    Args:
        model: The network.
        bags: Training bags (cells, d).
        labels: int64 (bags,).
        held_bags: Validation bags.
        held_labels: int64 of the validation bags.
        method: Optimiser, schedule, epochs, patience.
        draws: Order of the bags in each epoch.

    Returns:
        The epoch (from 1) whose weights were kept, and its mean validation loss.

    Raises:
        EvaluationError: The loss is no longer finite.
    """
    optimiser: torch.optim.Optimizer
    if method.optimiser == "sgd":
        optimiser = torch.optim.SGD(
            model.parameters(),
            lr=method.lr,
            momentum=method.momentum,
            nesterov=method.nesterov and method.momentum > 0,
            weight_decay=method.weight_decay,
        )
    else:
        optimiser = torch.optim.AdamW(model.parameters(), lr=method.lr, weight_decay=method.weight_decay)
    # Stepped per bag (as published) the rate swings between lr and 0 every 2 x epochs bags.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=method.epochs)
    entropy = torch.nn.functional.cross_entropy
    best_loss, best_epoch, best_state = float("inf"), 0, copy.deepcopy(model.state_dict())
    for epoch in range(1, method.epochs + 1):
        model.train()
        for i in torch.randperm(len(bags), generator=draws).tolist():
            optimiser.zero_grad(set_to_none=True)
            logits, _ = model(bags[i])
            entropy(logits[None], labels[i : i + 1]).backward()
            optimiser.step()
            if method.schedule == "cosine_per_bag":
                schedule.step()
        if method.schedule == "cosine_per_epoch":
            schedule.step()
        model.eval()
        with torch.inference_mode():
            total = sum(float(entropy(model(bag)[0][None], held_labels[i : i + 1])) for i, bag in enumerate(held_bags))
        loss = total / max(1, len(held_bags))
        if not np.isfinite(loss):
            raise EvaluationError(
                "The validation loss of the attention network is not finite.",
                fix="lower the learning rate (--set method.lr=1e-4) or standardise (--set method.standardise=true)",
            )
        if loss < best_loss:
            # A copy: keeping a reference would make the "best" weights those of the last epoch.
            best_loss, best_epoch, best_state = loss, epoch, copy.deepcopy(model.state_dict())
        elif epoch - best_epoch >= method.patience:
            break
    model.load_state_dict(best_state)
    return best_epoch, best_loss


def _hold_out(train: np.ndarray, target: Target, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training patients without a stratified fifth, and that fifth."""
    parts = min(_HELD_OUT, len(train) // 2)
    if parts < 2:
        raise EvaluationError(
            f"{len(train)} training patients are too few to train and validate.", expected="at least 4 patients"
        )
    pairs, _ = split_rows(parts, None, target.values[train], seed=seed, count=len(train))
    return train[pairs[0][0]], train[pairs[0][1]]


def _scaling(values: np.ndarray, bags: Bags, train: np.ndarray, standardise: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale (d,) of the training cells; 0 and 1 when features stay raw."""
    width = values.shape[1]
    if not standardise:
        return np.zeros(width, np.float32), np.ones(width, np.float32)
    cells = values[np.concatenate([bags.rows[i] for i in train])]
    mean, scale = cells.mean(axis=0, dtype=np.float64), cells.std(axis=0, dtype=np.float64)
    scale[scale <= 1e-12 * np.abs(mean)] = 1.0
    scale[scale == 0] = 1.0
    return mean.astype(np.float32), scale.astype(np.float32)
