"""The methods that lean on text vectors: fitted together, settings chosen, test records scored."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medfm.core.errors import EvaluationError
from medfm.evaluation.adapters.clip_adapter import clip_adapter_orders, first_weights, fit_clip_adapter
from medfm.evaluation.adapters.inputs import AdapterInputs
from medfm.evaluation.adapters.tip_adapter import fit_keys, tip_logits
from medfm.evaluation.adapters.training import orders
from medfm.evaluation.adapters.zero_shot_linear import fit_zero_shot_linear
from medfm.evaluation.linear_probe import Outcome
from medfm.evaluation.protocol_adapters import ClipAdapter, Rule, SelectionMetric, TipAdapter, ZeroShotLinear
from medfm.evaluation.selection import best, quality
from medfm.evaluation.shots import ShotFold
from medfm.evaluation.target import Target
from medfm.evaluation.zero_shot import unit_rows

# Keys, alpha, beta, record positions -> logits.
_Logits = Callable[[Tensor, float, float, np.ndarray], np.ndarray]


def softmax(logits: np.ndarray) -> np.ndarray:
    """float64 (m, K) probabilities."""
    values = np.asarray(logits, dtype=np.float64)
    values = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(values / values.sum(axis=-1, keepdims=True))


def zero_shot_outcome(inputs: AdapterInputs, target: Target, one: ShotFold) -> Outcome:
    """The texts alone on the same test records: softmax(scale x cosine)."""
    text = inputs.text_vectors(len(target.classes))
    X = unit_rows(inputs.values[one.fold.test], "embeddings")
    return Outcome(softmax(inputs.multiplier(None) * X @ text.T))


def choose(
    candidates: int,
    logits: Callable[[int, np.ndarray], np.ndarray],
    one: ShotFold,
    target: Target,
    rule: Rule | str,
    metric: SelectionMetric,
) -> tuple[int, float | None]:
    """The candidate that is best by `rule`, and its quality; the first where nothing is to be chosen.

    Args:
        candidates: How many there are.
        logits: Candidate and record positions -> (m, K).
        one: The training set with its validation and test records.
        target: Classes of all records.
        rule: ``none``, ``validation`` or ``test``.
        metric: As of :func:`medfm.evaluation.selection.quality`.

    Raises:
        EvaluationError: There are no validation records.
    """
    if rule == "none" or candidates == 1:
        return 0, None
    rows = one.fold.validation if rule == "validation" else one.fold.test
    if not len(rows):
        raise EvaluationError(
            "Settings are to be chosen on validation records, but there are none.", fix="--set method.search=none"
        )
    truth = target.take(rows)
    found = np.array([[quality(metric, truth, softmax(logits(c, rows)))] for c in range(candidates)])
    pick = best(found)
    return pick, float(found[pick, 0])


def run_clip_adapter(
    inputs: AdapterInputs,
    target: Target,
    part: Sequence[ShotFold],
    method: ClipAdapter,
    sources: Sequence[np.random.Generator],
    device: torch.device,
) -> list[Outcome]:
    """All training sets and all ratios in one training."""
    text = torch.from_numpy(inputs.text_vectors(len(target.classes)).astype(np.float32)).to(device)
    scale = inputs.multiplier(method.scale)
    X, y = _stacked(inputs, target, part, device)
    ratios = method.ratio if method.search != "none" else method.ratio[:1]
    # Every ratio of a draw begins with the same weights and sees the same order.
    weights = first_weights(X.shape[-1], method.reduction, sources)
    visits = clip_adapter_orders(X.shape[1], method, sources)
    many = len(ratios)
    adapters = fit_clip_adapter(
        X.repeat_interleave(many, dim=0),
        y.repeat_interleave(many, dim=0),
        text,
        scale,
        [r for _ in part for r in ratios],
        method,
        (weights[0].repeat(many, axis=0), weights[1].repeat(many, axis=0)),
        visits.repeat(many, axis=1),
    )
    outcomes = []
    for p, one in enumerate(part):

        def logits(c: int, rows: np.ndarray, p: int = p) -> np.ndarray:
            mine = slice(p * many + c, p * many + c + 1)
            single = type(adapters)(adapters.down[mine], adapters.up[mine], adapters.ratio[mine], text, scale)
            return single.logits(_unit(inputs, rows, device))[0].cpu().numpy()

        pick, reached = choose(many, logits, one, target, method.search, method.selection_metric)
        chosen = _chosen({"ratio": ratios[pick], "scale": scale}, method.selection_metric, reached)
        outcomes.append(Outcome(softmax(logits(pick, one.fold.test)), chosen))
    return outcomes


def run_tip_adapter(
    inputs: AdapterInputs,
    target: Target,
    part: Sequence[ShotFold],
    method: TipAdapter,
    sources: Sequence[np.random.Generator],
    device: torch.device,
) -> list[Outcome]:
    """The cache as it is, or with trained keys (all training sets in one training)."""
    text = torch.from_numpy(inputs.text_vectors(len(target.classes)).astype(np.float32)).to(device)
    predicting = inputs.multiplier(method.scale)
    # FLAIR predicts with a constant 100 and trains with the network's own multiplier.
    training = predicting if method.training_logits == "as_predicted" else inputs.multiplier(None)
    X, y = _stacked(inputs, target, part, device)
    values = torch.nn.functional.one_hot(y, len(target.classes)).to(X.dtype)
    grid = list(itertools.product(method.alpha, method.beta))
    grid = grid if method.search != "none" else grid[:1]
    kept: list[tuple[int, Tensor]] = [(0, X)]
    if method.train_keys:
        every = method.epoch != "last"
        history: list[tuple[int, Tensor]] = []
        visits = orders(X.shape[1], method.training.epochs, sources, method.training.reshuffle)
        hook = (lambda epoch, keys: history.append((epoch, keys.clone()))) if every else None
        last = fit_keys(X, values, text, training, method, visits, after_epoch=hook)
        kept = history if every else [(method.training.epochs, last)]
    outcomes = []
    for p, one in enumerate(part):

        def at(keys: Tensor, alpha: float, beta: float, rows: np.ndarray, p: int = p) -> np.ndarray:
            E = _unit(inputs, rows, device)
            return tip_logits(E, keys[p], values[p], text, scale=predicting, alpha=alpha, beta=beta).cpu().numpy()

        rule = {"best_test": "test", "best_validation": "validation"}.get(method.epoch, "none")
        which, _ = choose(
            len(kept),
            partial(_by_epoch, at, kept, grid[0]),
            one,
            target,
            rule,
            method.selection_metric,
        )
        epoch, keys = kept[which]
        pick, reached = choose(
            len(grid),
            partial(_by_weights, at, keys, grid),
            one,
            target,
            method.search,
            method.selection_metric,
        )
        alpha, beta = grid[pick]
        settings: dict[str, Any] = {"alpha": alpha, "beta": beta, "scale": predicting}
        if method.train_keys:
            settings["epoch"] = epoch
        scores = softmax(at(keys, alpha, beta, one.fold.test))
        outcomes.append(Outcome(scores, _chosen(settings, method.selection_metric, reached)))
    return outcomes


def run_zero_shot_linear(
    inputs: AdapterInputs, target: Target, part: Sequence[ShotFold], method: ZeroShotLinear
) -> list[Outcome]:
    """Each training set at its optimum for every C."""
    scale = inputs.multiplier(method.scale)
    start = scale * inputs.text_vectors(len(target.classes))
    grid = np.array(method.grid if method.search != "none" else method.grid[:1], dtype=np.float64)
    outcomes = []
    for one in part:
        X = unit_rows(inputs.values[one.fold.train], "embeddings")
        y = target.values[one.fold.train]
        weights = None
        if method.class_weight == "balanced":
            counts = np.bincount(y, minlength=len(target.classes))
            weights = len(y) / (np.count_nonzero(counts) * counts[y])
        found = fit_zero_shot_linear(X, y, start, grid, weights)

        def logits(c: int, rows: np.ndarray, found: np.ndarray = found) -> np.ndarray:
            return unit_rows(inputs.values[rows], "embeddings") @ found[c].T

        pick, reached = choose(len(grid), logits, one, target, method.search, method.selection_metric)
        chosen = _chosen({"C": float(grid[pick]), "scale": scale}, method.selection_metric, reached)
        outcomes.append(Outcome(softmax(logits(pick, one.fold.test)), chosen))
    return outcomes


def _by_epoch(
    at: _Logits, kept: list[tuple[int, Tensor]], weights: tuple[float, float], c: int, rows: np.ndarray
) -> np.ndarray:
    return at(kept[c][1], *weights, rows)


def _by_weights(at: _Logits, keys: Tensor, grid: list[tuple[float, float]], c: int, rows: np.ndarray) -> np.ndarray:
    return at(keys, *grid[c], rows)


def _chosen(settings: dict[str, Any], metric: str, reached: float | None) -> dict[str, Any]:
    return settings if reached is None else {**settings, f"selection_{metric}": reached}


def _unit(inputs: AdapterInputs, rows: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(unit_rows(inputs.values[rows], "embeddings").astype(np.float32)).to(device)


def _stacked(
    inputs: AdapterInputs, target: Target, part: Sequence[ShotFold], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Unit embeddings float32 (P, n, d) and classes int64 (P, n) of the training sets."""
    X = torch.stack([_unit(inputs, d.fold.train, device) for d in part])
    return X, torch.from_numpy(np.stack([target.values[d.fold.train] for d in part])).to(device)
