"""How the regularisation strength is chosen: rules and scores, on training data only."""

from __future__ import annotations

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.core.names import unknown_name
from medfm.evaluation.protocol import Selection
from medfm.evaluation.schemes import split_rows
from medfm.evaluation.target import Target

METRICS = ("log_loss", "accuracy", "balanced_accuracy", "auroc", "r2")


def given_strength(selection: Selection, dim: int, classes_present: int) -> float | None:
    """C by a rule that looks at no data beyond its shape; ``None`` for the searching rules.

    ``dim_times_classes_over_100`` is D x K / 100 with K the classes among the training labels
    (DinoBloom's rule: L2 weight 100 / (D K)).
    """
    if selection.rule == "fixed":
        if selection.value is None:
            raise EvaluationError("The rule 'fixed' needs a value of C.", fix="--set method.selection.value=1.0")
        return selection.value
    if selection.rule == "dim_times_classes_over_100":
        return dim * classes_present / 100.0
    return None


def inner_folds(
    selection: Selection, target: Target, patients: np.ndarray, rows: np.ndarray, seed: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[str]]:
    """Inner folds over the training rows, grouped by patient and stratified.

    Fewer folds are made where there are fewer patients; none at all where there is only one.

    Args:
        selection: Number of folds.
        target: Truth of all units.
        patients: Patient of each unit.
        rows: Positions of the training units.
        seed: Seed of the shuffling.

    Returns:
        Pairs of positions *within* `rows`, and notes.
    """
    groups = len(np.unique(patients[rows].astype(str)))
    folds = min(selection.folds, groups)
    notes = []
    if folds < selection.folds:
        notes.append(f"Only {groups} training patients: {folds} inner folds instead of {selection.folds}.")
    if folds < 2:
        return [], notes
    strata = target.take(rows).strata(folds)
    parts, _ = split_rows(folds, patients[rows], strata, seed=seed, count=len(rows))
    return parts, notes


def quality(metric: str, target: Target, scores: np.ndarray) -> float:
    """How good `scores` (m, classes) or (m, 1) are on the truth `target`; higher is better.

    NaN where undefined (a metric over classes that do not occur).

    Raises:
        UnknownNameError: There is no such metric, or it does not fit the task.
    """
    if metric not in METRICS:
        raise unknown_name("selection metric", metric, METRICS)
    if target.task == "regression":
        # Any classification metric named by a protocol means squared error here.
        spread = float(np.square(target.values - target.values.mean()).sum())
        error = float(np.square(target.values - scores[:, 0]).sum())
        return 1.0 - error / spread if spread > 0 else float("nan")
    if metric == "r2":
        raise EvaluationError(f"r2 does not fit a {target.task} task.", where="selection.metric")
    if target.task == "multilabel":
        values = []
        for column in range(scores.shape[1]):
            known = ~np.isnan(target.values[:, column])
            part = np.column_stack([1 - scores[known, column], scores[known, column]])
            values.append(_class_quality(metric, target.values[known, column].astype(np.int64), part))
        found = [v for v in values if not np.isnan(v)]
        return float(np.mean(found)) if found else float("nan")
    return _class_quality(metric, target.values, scores)


def _class_quality(metric: str, truth: np.ndarray, scores: np.ndarray) -> float:
    if not len(truth):
        return float("nan")
    if metric == "log_loss":
        own = scores[np.arange(len(truth)), truth]
        return float(np.log(np.clip(own, np.finfo(np.float64).eps, 1.0)).mean())
    if metric == "auroc":
        return _mean_auroc(truth, scores)
    hits = scores.argmax(axis=1) == truth
    if metric == "accuracy":
        return float(hits.mean())
    return float(np.mean([hits[truth == c].mean() for c in np.unique(truth)]))


def _mean_auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    from scipy.stats import rankdata

    values = []
    for c in range(scores.shape[1]):
        positive = truth == c
        p, q = int(positive.sum()), int((~positive).sum())
        if p and q:
            ranks = rankdata(scores[:, c])
            values.append((ranks[positive].sum() - p * (p + 1) / 2) / (p * q))
    return float(np.mean(values)) if values else float("nan")


def best(qualities: np.ndarray) -> int:
    """Position of the best mean quality over folds (G, folds); ties go to the stronger penalty.

    NaN folds are left out; the first position (strongest penalty) when nothing is defined.
    """
    defined = ~np.isnan(qualities)
    sums = np.where(defined, qualities, 0.0).sum(axis=1)
    means = np.where(defined.any(axis=1), sums / np.maximum(defined.sum(axis=1), 1), -np.inf)
    return int(np.argmax(means))
