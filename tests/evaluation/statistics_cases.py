"""Predictions with known properties, shared by the tests of the statistics."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medfm.evaluation.metrics_outcomes import Outcomes
from medfm.evaluation.predictions import Predictions


def _frame(n: int, patients: np.ndarray, folds: int, rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "record_id": [f"r{i:05d}" for i in range(n)],
            "patient_id": [f"p{p:04d}" for p in patients],
            "site": rng.choice(["north", "south", "west"], n),
            "variant": "main",
            "repeat": 0,
            "fold": rng.integers(0, folds, n) if folds > 1 else 0,
            "age": rng.integers(5, 95, n).astype(float),
            "sex": rng.choice(["f", "m"], n),
        }
    )


def binary_case(
    n: int = 200, n_patients: int = 60, *, effect: float = 1.0, seed: int = 0, folds: int = 1, ties: bool = False
) -> Predictions:
    """Noisy scores of a binary task; with `ties` rounded to tenths."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    score = 1 / (1 + np.exp(-(rng.normal(size=n) + effect * (2 * truth - 1))))
    if ties:
        score = score.round(1)
    table = _frame(n, rng.integers(0, n_patients, n), folds, rng)
    names = np.array(["healthy", "ill"])
    table["truth"] = names[truth]
    table["predicted"] = names[(score >= 0.5).astype(int)]
    table["score:healthy"] = 1 - score
    table["score:ill"] = score
    return Predictions(table, "binary", ("healthy", "ill"))


def multiclass_case(
    n: int = 300, classes: int = 4, n_patients: int = 80, *, effect: float = 1.0, seed: int = 0, folds: int = 1
) -> Predictions:
    """Noisy scores of a multiclass task."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), truth] += effect
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = np.array([f"class {c}" for c in range(classes)])
    table = _frame(n, rng.integers(0, n_patients, n), folds, rng)
    table["truth"] = names[truth]
    table["predicted"] = names[scores.argmax(axis=1)]
    for c, name in enumerate(names):
        table[f"score:{name}"] = scores[:, c]
    return Predictions(table, "multiclass", tuple(map(str, names)))


def multilabel_case(n: int = 200, labels: int = 3, *, unknown: float = 0.1, seed: int = 0) -> Predictions:
    """Noisy scores of a multilabel task with some unknown truths."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, labels)) < np.linspace(0.2, 0.6, labels)).astype(float)
    scores = 1 / (1 + np.exp(-(rng.normal(size=(n, labels)) + 2 * truth - 1)))
    truth[rng.random((n, labels)) < unknown] = np.nan
    table = _frame(n, rng.integers(0, n // 2, n), 1, rng)
    names = tuple(f"finding {c}" for c in range(labels))
    for c, name in enumerate(names):
        table[f"truth:{name}"] = truth[:, c]
        table[f"score:{name}"] = scores[:, c]
    return Predictions(table, "multilabel", names)


def regression_case(n: int = 150, *, noise: float = 1.0, seed: int = 0) -> Predictions:
    """A continuous target predicted with noise."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(100, 5, n)
    table = _frame(n, rng.integers(0, n // 2, n), 1, rng)
    table["truth"] = truth
    table["predicted"] = truth + rng.normal(0, 5 * noise, n)
    return Predictions(table, "regression", (), "haemoglobin")


def case(task: str, seed: int = 0) -> Predictions:
    """One case of any kind of task."""
    made = {"binary": binary_case, "multiclass": multiclass_case, "multilabel": multilabel_case}
    return made.get(task, regression_case)(seed=seed)


def binary_outcomes(truth, scores) -> Outcomes:
    """Outcomes of a binary task from plain lists."""
    truth, scores = np.asarray(truth), np.asarray(scores, dtype=float)
    return Outcomes("binary", ("no", "yes"), truth, (scores >= 0.5).astype(int), np.stack([1 - scores, scores], axis=1))
