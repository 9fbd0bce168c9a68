"""Concept-bottleneck probe: a sparse linear model on the similarities to named findings.

An L1 penalty, chosen on inner folds of the training patients, leaves weights on few findings. As in
Koh et al., Concept Bottleneck Models (ICML 2020) and, with a text tower, Yuksekgonul et al., Post-hoc
Concept Bottleneck Models (ICLR 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.core.progress import Progress, Silent
from medfm.evaluation.linear_probe import Outcome
from medfm.evaluation.protocol import Selection
from medfm.evaluation.protocol_concepts import ConceptProbe
from medfm.evaluation.schemes import Fold
from medfm.evaluation.selection import best, inner_folds, quality
from medfm.evaluation.sparse_logistic import fit_sparse, largest_penalty
from medfm.evaluation.target import Target

# Similarities come from float32 embeddings: what varies less than their rounding is constant.
_ROUNDING = 1e-6


def run_concept_probe(
    X: np.ndarray,
    target: Target,
    folds: Sequence[Fold],
    method: ConceptProbe,
    *,
    patients: np.ndarray,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Fit on the training units of each fold and score its test units.

    Scaling, penalty and weights see training units only; the penalty is chosen on inner folds of them.

    Args:
        X: float (n, k) similarities to the findings.
        target: Classes or labels of the n units.
        folds: Train and test positions.
        method: The probe's settings.
        patients: Patient of each unit, for the inner folds.
        seed: Seed of the inner folds.
        progress: Advanced by one per fold.

    Returns:
        Per fold an outcome whose ``coef * scale`` is float64 (rows, k): for two classes one row, the change of
        the log odds of the positive class per standard deviation of the similarity; one row per class,
        the change of its score, for several classes; one per label for a multilabel task. 0 is not used.

    Raises:
        EvaluationError: The target is a measurement, or a training set has one class only.
    """
    if target.task == "regression":
        raise EvaluationError(
            "A measurement has no classes for findings to speak for.",
            where=f"target '{target.name}'",
            expected="a column of classes, or label columns",
        )
    progress = progress or Silent("probing", len(folds), "folds")
    outcomes = []
    for fold in folds:
        train, test, scale = _standardised(X[fold.train], X[fold.test])
        if target.task == "multilabel":
            outcome = _labels(train, test, target, fold, method, patients, seed)
        else:
            outcome = _classes(train, test, target, fold, method, patients, seed)
        assert outcome.coef is not None
        outcomes.append(replace(outcome, coef=outcome.coef / scale, scale=scale))
        progress.advance()
    return outcomes


def _standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both by the mean and deviation of the training units, and that deviation; constant columns become zeros."""
    train, test = train.astype(np.float64), test.astype(np.float64)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    varies = deviation > _ROUNDING
    scale = np.where(varies, deviation, 1.0)
    return (train - mean) / scale * varies, (test - mean) / scale * varies, scale


def _classes(
    train: np.ndarray,
    test: np.ndarray,
    target: Target,
    fold: Fold,
    method: ConceptProbe,
    patients: np.ndarray,
    seed: int,
) -> Outcome:
    kinds = target.values[fold.train]
    present = np.unique(kinds)
    if len(present) < 2:
        raise EvaluationError(
            "The training records of a fold have a single class.",
            expected="at least two classes in every training set",
            fix="use fewer or stratified folds, or a larger training fraction",
        )
    notes: list[str] = []
    absent = [c for i, c in enumerate(target.classes) if i not in set(present.tolist())]
    if absent:
        notes.append(f"Classes absent from a training set are never predicted there: {', '.join(absent)}.")
    penalty = method.penalty
    if penalty is None:
        penalty = _choose(train, target, fold.train, method, patients, seed, notes)
    (fit,) = fit_sparse(train, np.searchsorted(present, kinds), [penalty], classes=len(present))
    if not fit.converged:
        notes.append(f"The sparse model stopped {fit.violation:.1g} from its optimum.")
    scores = np.zeros((len(test), len(target.classes)))
    scores[:, present] = fit.probabilities(test)
    coef = np.zeros((len(target.classes), train.shape[1]))
    coef[present] = fit.coef
    used = int((fit.coef != 0).any(axis=0).sum())
    chosen: dict[str, Any] = {"penalty": float(penalty), "findings used": used}
    return Outcome(scores, chosen, tuple(notes), coef[1:] - coef[:1] if len(target.classes) == 2 else coef)


def _labels(
    train: np.ndarray,
    test: np.ndarray,
    target: Target,
    fold: Fold,
    method: ConceptProbe,
    patients: np.ndarray,
    seed: int,
) -> Outcome:
    """One binary problem per label with a penalty of its own; unknown labels are left out."""
    scores = np.zeros((len(test), len(target.classes)))
    coef = np.zeros((len(target.classes), train.shape[1]))
    penalties: dict[str, float] = {}
    notes: list[str] = []
    for i, label in enumerate(target.classes):
        truth = target.values[fold.train, i]
        known = np.flatnonzero(~np.isnan(truth))
        values = truth[known].astype(np.int64)
        if len(np.unique(values)) < 2:
            everywhere = target.values[~np.isnan(target.values[:, i]), i]
            scores[:, i] = values.mean() if len(values) else float(round(everywhere.mean()))
            notes.append(f"'{label}' has a single value among the training records.")
            continue
        alone = Target(label, "binary", (f"no {label}", label), np.zeros(len(target), dtype=np.int64))
        alone.values[fold.train[known]] = values
        part = Fold(fold.train[known], fold.test, fold.validation, fold.repeat, fold.fold, fold.fraction)
        found = _classes(train[known], test, alone, part, method, patients, seed)
        assert found.coef is not None
        scores[:, i], coef[i] = found.scores[:, 1], found.coef[0]
        penalties[label] = found.chosen["penalty"]
        notes += [f"{label}: {note}" for note in found.notes]
    used = int((coef != 0).any(axis=0).sum())
    return Outcome(scores, {"penalty": penalties, "findings used": used}, tuple(dict.fromkeys(notes)), coef)


def _choose(
    X: np.ndarray,
    target: Target,
    rows: np.ndarray,
    method: ConceptProbe,
    patients: np.ndarray,
    seed: int,
    notes: list[str],
) -> float:
    """The penalty with the best mean quality over inner folds grouped by patient; ties to the larger.

    Args:
        X: Of the training units alone, standardised.
        target: Of all units; only `rows` are looked at.
        rows: Positions of the training units.
        method: Grid, inner folds and metric.
        patients: Of all units.
        seed: Of the inner folds.
        notes: Grows by what a reader must know.
    """
    truth = target.take(rows)
    kinds = truth.values
    present = np.unique(kinds)
    top = largest_penalty(X, np.searchsorted(present, kinds), len(present))
    if top <= 0:
        notes.append("No finding varies with the classes among the training records.")
        return 1.0
    # A touch above the bound, so that rounding leaves no weight at the first value.
    grid = [float(p) for p in 1.001 * top * np.geomspace(1.0, method.smallest, method.penalties)]
    selection = Selection(folds=method.folds, metric=method.metric)
    parts, said = inner_folds(selection, target, patients, rows, seed)
    notes += said
    columns = []
    for inside, outside in parts:
        here = np.unique(kinds[inside])
        if len(here) < 2:
            continue
        # A rare class may be absent from an inner training set; there its probability is 0.
        fits = fit_sparse(X[inside], np.searchsorted(here, kinds[inside]), grid, classes=len(here), tol=1e-4)
        column = []
        for fit in fits:
            scores = np.zeros((len(outside), len(truth.classes)))
            scores[:, here] = fit.probabilities(X[outside])
            column.append(quality(method.metric, truth.take(outside), scores))
        columns.append(column)
    if not columns:
        notes.append("Too few training patients to choose the penalty; the middle of the grid was used.")
        return grid[len(grid) // 2]
    pick = best(np.array(columns).T)
    if pick == 0:
        notes.append("On the inner folds no finding helped: the concept model gives the shares of the classes.")
    if pick == len(grid) - 1:
        notes.append(f"The penalty {grid[pick]:.3g} is the smallest of the grid.")
    return grid[pick]
