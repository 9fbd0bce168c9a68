"""The weights of a concept probe over its trainings, as plain data for a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medfm.evaluation.concepts import Concept
from medfm.evaluation.evaluate import Evaluation, FoldWeights
from medfm.evaluation.predictions import TaskKind


def weights_of(done: Evaluation, task: TaskKind, classes: Sequence[str], concepts: Sequence[Concept]) -> dict[str, Any]:
    """What the trainings of the main variant agree on.

    Returns:
        ``columns`` (the positive class of two, else every class or label); ``findings``, the heaviest
        first, each with its text, the classes it is listed under and, under ``weights``, per column the mean over
        trainings, the smallest and largest, and in how many trainings it is not 0 (columns where it never is
        are left out); ``asked``, ``used`` (in any training), ``trainings``; and ``folds``, the weights of
        each training.
    """
    stack = np.stack([_per_deviation(found) for found in done.weights])  # (trainings, rows, findings)
    columns = [classes[1]] if task == "binary" else list(classes)
    used = (stack != 0).any(axis=(0, 1))
    heaviest = np.abs(stack.mean(axis=0)).max(axis=0)
    findings = []
    for k in np.lexsort((np.arange(len(concepts)), -heaviest)).tolist():
        concept, values = concepts[k], stack[:, :, k]
        weights = {
            name: {
                "mean": float(values[:, i].mean()),
                "least": float(values[:, i].min()),
                "most": float(values[:, i].max()),
                "trainings": int((values[:, i] != 0).sum()),
            }
            for i, name in enumerate(columns)
            if (values[:, i] != 0).any()
        }
        findings.append(
            {"finding": concept.name, "text": concept.text, "classes": list(concept.classes), "weights": weights}
        )
    folds = [
        {
            "repeat": found.repeat,
            "fold": found.fold,
            "weights": {
                name: {concepts[k].name: float(values[i, k]) for k in np.flatnonzero(values[i]).tolist()}
                for i, name in enumerate(columns)
            },
        }
        for found, values in zip(done.weights, stack, strict=True)
    ]
    return {
        "columns": columns,
        "findings": findings,
        "asked": len(concepts),
        "used": int(used.sum()),
        "trainings": len(stack),
        "folds": folds,
    }


def _per_deviation(found: FoldWeights) -> np.ndarray:
    """Weights per standard deviation of a similarity, so that findings can be compared."""
    return found.coef if found.scale is None else found.coef * found.scale
