"""The linear probe: L2 logistic regression (ridge for continuous targets) on frozen embeddings.

Scaling, class weights and the choice of C see training rows only. Per training set all inner
folds and the final fit are solved together for every C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.core.progress import Progress, Silent
from medfm.evaluation.logistic import DEFAULT_TOL, fit_logistic, fit_sklearn, probabilities
from medfm.evaluation.protocol import LinearProbe
from medfm.evaluation.ridge import fit_ridge
from medfm.evaluation.schemes import Fold
from medfm.evaluation.selection import best, given_strength, inner_folds, quality
from medfm.evaluation.target import Target


@dataclass(frozen=True)
class Outcome:
    """Scores of the test units of one fold.

    Attributes:
        scores: float64 (m, classes) probabilities; (m, 1) predictions for regression.
        chosen: What was chosen, such as ``{"C": 1.0}``.
        notes: What a reader must know.
        coef: float64 (rows, features), what one unit of each feature *as given* adds to the logit of each class (one
            row, of the positive class, for two; of the prediction for regression); ``None`` where the method has none.
        scale: float64 (features,), the standard deviation that a feature was divided by; ``None`` where it was not.
        standard: float64 (rows, features), the weights on standardised features, of which a direction is made.
    """

    scores: np.ndarray
    chosen: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    coef: np.ndarray | None = None
    scale: np.ndarray | None = None
    standard: np.ndarray | None = None


@dataclass(frozen=True)
class _Model:
    """A fitted probe on (possibly scaled) features: one block of columns per binary problem.

    `present` are the positions of the classes modelled; for multilabel all of them, with
    `constant` probabilities where a label has a single value among the training rows.
    """

    coef: np.ndarray
    intercept: np.ndarray
    present: np.ndarray
    constant: np.ndarray | None = None


def run_linear_probe(
    X: np.ndarray,
    target: Target,
    folds: Sequence[Fold],
    method: LinearProbe,
    *,
    patients: np.ndarray,
    seed: int = 0,
    device: str | None = None,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Fit on the training units of each fold and score its test units.

    Args:
        X: float (n, d) embeddings.
        target: Truth of the n units.
        folds: Train, test and validation positions.
        method: The probe's settings.
        patients: Patient of each unit, for the inner folds.
        seed: Seed of the inner folds.
        device: Torch device of the batched solver.
        progress: Advanced by one per fold.

    Raises:
        EvaluationError: A training set has one class only, or a rule lacks what it needs.
    """
    progress = progress or Silent("probing", len(folds), "folds")
    if _can_share(method, target):
        return _shared(X, target, folds, method, device, progress)
    outcomes = []
    for fold in folds:
        outcomes.append(_one(X, target, fold, method, patients, seed, device))
        progress.advance()
    return outcomes


def _can_share(method: LinearProbe, target: Target) -> bool:
    """Whether all folds are problems on one matrix: same features, C known beforehand."""
    known = method.selection.rule in ("fixed", "dim_times_classes_over_100")
    multinomial = method.multi_class == "multinomial" and target.task == "multiclass"
    return known and not method.standardise and method.solver == "batched" and multinomial


def _shared(
    X: np.ndarray, target: Target, folds: Sequence[Fold], method: LinearProbe, device: str | None, progress: Progress
) -> list[Outcome]:
    """All folds of a multiclass target in one batch."""
    weights = np.zeros((len(folds), len(X)))
    counts = []
    for row, fold in zip(weights, folds, strict=True):
        row[fold.train] = _sample_weights(target.values[fold.train], method)
        counts.append(len(np.unique(target.values[fold.train])))
    if min(counts) < 3:  # scikit-learn's binary objective differs; such folds are solved one by one
        plain = [_one(X, target, fold, method, np.arange(len(X)), 0, device) for fold in folds]
        progress.advance(len(folds))
        return plain
    strengths = np.array([[given_strength(method.selection, X.shape[1], k) for k in counts]])
    tol = method.tol or DEFAULT_TOL
    fit = fit_logistic(X, target.values, strengths, weights, classes=len(target.classes), tol=tol, device=device)
    outcomes = []
    for p, fold in enumerate(folds):
        notes = _absent(target, np.unique(target.values[fold.train]))
        scores = fit.probabilities(X[fold.test], 0, p)
        outcomes.append(Outcome(scores, {"C": float(strengths[0, p])}, notes, fit.coef[0, p]))
        progress.advance()
    return outcomes


def _one(
    X: np.ndarray, target: Target, fold: Fold, method: LinearProbe, patients: np.ndarray, seed: int, device: str | None
) -> Outcome:
    """Scale, select and fit one fold."""
    selection = method.selection
    train, test, validation = X[fold.train], X[fold.test], X[fold.validation]
    scale = np.ones(X.shape[1])
    if method.standardise:
        mean, scale = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
        scale[scale <= 1e-12 * np.abs(mean)] = 1.0  # constant up to rounding
        scale[scale == 0] = 1.0
        train, test, validation = ((part - mean) / scale for part in (train, test, validation))
    truth = target.take(fold.train)
    notes: list[str] = []
    present = len(target.classes)
    if target.task in ("binary", "multiclass"):
        present = len(np.unique(truth.values))
        notes += _absent(target, np.unique(truth.values))
    strength = given_strength(selection, X.shape[1], max(present, 1))
    grid = np.array([strength]) if strength is not None else np.sort(np.array(selection.grid, dtype=np.float64))
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    if selection.rule == "inner_cv":
        parts, said = inner_folds(selection, target, patients, fold.train, seed)
        notes += said
        if not parts:
            grid = np.array([1.0])
            notes.append("Too few training patients to choose C; C = 1 was used.")
    if selection.rule == "validation" and not len(fold.validation):
        raise EvaluationError(
            "C is to be chosen on validation records, but there are none.",
            where="column 'split'",
            expected="records with the split 'val'",
            fix="--set method.selection.rule=inner_cv",
        )
    # The last training set is the whole one: its solutions for every C come out of the same batch.
    sets = [inside for inside, _ in parts if _learnable(truth.take(inside))] + [np.arange(len(fold.train))]
    held = [outside for inside, outside in parts if _learnable(truth.take(inside))]
    models = _fit(train, truth, grid, sets, method, device, notes)
    chosen: dict[str, Any] = {}
    pick = 0
    if selection.rule == "validation":
        known = target.take(fold.validation)
        pick = best(np.array([[quality(selection.metric, known, _score(m[-1], validation, target))] for m in models]))
    elif len(held):
        table = np.array(
            [
                [
                    quality(selection.metric, truth.take(o), _score(m, train[o], target))
                    for m, o in zip(row, held, strict=False)
                ]
                for row in models
            ]
        )
        pick = best(table)
    chosen["C"] = float(grid[pick])
    if strength is None and len(grid) > 1 and pick in (0, len(grid) - 1):
        notes.append(f"C = {grid[pick]:g} lies at the edge of the grid.")
    model = models[pick][-1]
    raw = _raw_weights(model, scale, target)
    kept, standard = (scale, raw * scale) if method.standardise else (None, None)
    return Outcome(_score(model, test, target), chosen, tuple(notes), raw, kept, standard)


def _fit(
    X: np.ndarray,
    target: Target,
    grid: np.ndarray,
    sets: list[np.ndarray],
    method: LinearProbe,
    device: str | None,
    notes: list[str],
) -> list[list[_Model]]:
    """Models [C][training set]; `sets` are positions within `X`."""
    if target.task == "regression":
        paths = [fit_ridge(X[rows], target.values[rows], grid) for rows in sets]
        every = np.zeros(1, dtype=np.int64)
        return [[_Model(p.coef[g : g + 1], p.intercept[g : g + 1], every) for p in paths] for g in range(len(grid))]
    if target.task == "multilabel" or (target.task == "multiclass" and method.multi_class == "one_vs_rest"):
        return _fit_columns(X, target, grid, sets, method, device, notes)
    models: list[list[_Model]] = [[] for _ in grid]
    if method.solver == "sklearn":
        for rows in sets:
            for g, C in enumerate(grid):
                models[g].append(_sklearn_model(X[rows], target.values[rows], float(C), method, notes))
        return models
    # Training sets with the same classes present share one batch.
    kinds = [tuple(np.unique(target.values[rows])) for rows in sets]
    fitted: dict[int, list[_Model]] = {}
    for kind in dict.fromkeys(kinds):
        which = [i for i, k in enumerate(kinds) if k == kind]
        _at_least_two(len(kind))
        present = np.array(kind, dtype=np.int64)
        weights = np.zeros((len(which), len(X)))
        for row, i in zip(weights, which, strict=True):
            row[sets[i]] = _sample_weights(target.values[sets[i]], method)
        # Rows of other classes have weight zero here; any valid position will do for them.
        y = np.searchsorted(present, target.values).clip(0, len(present) - 1)
        fit = fit_logistic(X, y, grid, weights, classes=len(present), tol=method.tol or DEFAULT_TOL, device=device)
        for p, i in enumerate(which):
            fitted[i] = [_Model(fit.coef[g, p], fit.intercept[g, p], present) for g in range(len(grid))]
    return [[fitted[i][g] for i in range(len(sets))] for g in range(len(grid))]


def _fit_columns(
    X: np.ndarray,
    target: Target,
    grid: np.ndarray,
    sets: list[np.ndarray],
    method: LinearProbe,
    device: str | None,
    notes: list[str],
) -> list[list[_Model]]:
    """One binary problem per label (unknown labels weigh nothing) or per class against the rest."""
    labels = len(target.classes)
    if target.task == "multilabel":
        truth = target.values
    else:
        truth = (target.values[:, None] == np.arange(labels)).astype(np.float64)
    known = ~np.isnan(truth)
    y = np.where(known, truth, 0).astype(np.int64)
    width = X.shape[1]
    coef = np.zeros((len(grid), len(sets), labels, width))
    intercept = np.zeros((len(grid), len(sets), labels))
    constant = np.full((len(sets), labels), np.nan)
    weights, columns, places = [], [], []
    for i, rows in enumerate(sets):
        for label in range(labels):
            use = rows[known[rows, label]]
            if len(use) == 0 or len(np.unique(y[use, label])) < 2:
                constant[i, label] = y[use, label].mean() if len(use) else np.nanmean(truth[:, label])
                if i == len(sets) - 1:
                    notes.append(f"'{target.classes[label]}' has a single value among the training records.")
                continue
            row = np.zeros(len(X))
            row[use] = _sample_weights(y[use, label], method)
            weights.append(row)
            columns.append(y[:, label])
            places.append((i, label))
    if method.solver == "sklearn":
        for row, column, (i, label) in zip(weights, columns, places, strict=True):
            use = row > 0
            for g, C in enumerate(grid):
                fitted = fit_sklearn(X[use], column[use], float(C), row[use], max_iter=method.max_iter, tol=method.tol)
                coef[g, i, label], intercept[g, i, label] = fitted[0][0], fitted[1][0]
                if not fitted[3]:
                    _note(notes, _not_converged(method))
    elif places:
        fit = fit_logistic(
            X, np.array(columns), grid, np.array(weights), classes=2, tol=method.tol or DEFAULT_TOL, device=device
        )
        for p, (i, label) in enumerate(places):
            coef[:, i, label], intercept[:, i, label] = fit.coef[:, p, 0], fit.intercept[:, p, 0]
    every = np.arange(labels)
    return [
        [_Model(coef[g, i], intercept[g, i], every, constant[i]) for i in range(len(sets))] for g in range(len(grid))
    ]


def _raw_weights(model: _Model, scale: np.ndarray, target: Target) -> np.ndarray:
    """Weights on the features before they were scaled, one row per class; see :class:`Outcome`."""
    raw = model.coef / scale
    if target.task == "multiclass" and len(raw) != len(target.classes):
        # Of two classes present a single column is fitted, which speaks for the second.
        rows = np.vstack([-raw / 2, raw / 2]) if len(raw) == 1 else raw
        raw = np.zeros((len(target.classes), raw.shape[1]))
        raw[model.present] = rows
    return raw


def _score(model: _Model, X: np.ndarray, target: Target) -> np.ndarray:
    """float64 (m, classes) probabilities over all classes of `target`; (m, 1) for regression."""
    if target.task == "regression":
        return np.asarray(X, dtype=np.float64) @ model.coef.T + model.intercept
    if model.constant is not None:
        scores = 1 / (1 + np.exp(-np.clip(np.asarray(X, dtype=np.float64) @ model.coef.T + model.intercept, -700, 700)))
        scores = np.where(np.isnan(model.constant), scores, model.constant)
        if target.task == "multiclass":
            total = scores.sum(axis=1, keepdims=True)
            scores = np.where(total > 0, scores / np.where(total > 0, total, 1), 1 / scores.shape[1])
        return scores
    scores = np.zeros((len(X), len(target.classes)))
    scores[:, model.present] = probabilities(X, model.coef, model.intercept)
    return scores


def _sklearn_model(X: np.ndarray, y: np.ndarray, C: float, method: LinearProbe, notes: list[str]) -> _Model:
    _at_least_two(len(np.unique(y)))
    weights = _sample_weights(y, method) if method.class_weight == "balanced" else None
    coef, intercept, present, converged = fit_sklearn(X, y, C, weights, max_iter=method.max_iter, tol=method.tol)
    if not converged:
        _note(notes, _not_converged(method))
    return _Model(coef, intercept, present.astype(np.int64))


def _not_converged(method: LinearProbe) -> str:
    return f"scikit-learn stopped at {method.max_iter} iterations without converging (as published on raw features)."


def _sample_weights(y: np.ndarray, method: LinearProbe) -> np.ndarray:
    """float64 (n,): ones, or n / (K x count of the own class) for balanced classes."""
    if method.class_weight == "none":
        return np.ones(len(y))
    _, inverse, counts = np.unique(y, return_inverse=True, return_counts=True)
    return (len(y) / (len(counts) * counts))[inverse]


def _learnable(target: Target) -> bool:
    """Whether a model can be fitted on these units."""
    if target.task in ("binary", "multiclass"):
        return len(np.unique(target.values)) >= 2
    return len(target) >= 2


def _at_least_two(classes: int) -> None:
    if classes < 2:
        raise EvaluationError(
            "The training records of a fold have a single class.",
            expected="at least two classes in every training set",
            fix="use fewer or stratified folds, or a larger training fraction",
        )


def _absent(target: Target, present: np.ndarray) -> tuple[str, ...]:
    names = [c for i, c in enumerate(target.classes) if i not in set(present.tolist())]
    return (f"Classes absent from a training set are never predicted there: {', '.join(names)}.",) if names else ()


def _note(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)
