"""The registry of metrics: name -> definition, for whom, which direction is better.

``metric("auroc", "binary")`` gives the entry; ``evaluate(predictions, names)`` the figures.
Every figure can be computed under many weightings at once (bootstrap, folds, groups).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.core.names import unknown_name
from medfm.evaluation import metrics_labels as labels
from medfm.evaluation import metrics_scores as scores
from medfm.evaluation import retrieval_metrics, similarity_metrics, survival_calibration, survival_metrics
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.predictions import Predictions, TaskKind

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric:
    """One metric for one kind of task.

    Attributes:
        name: Name in configurations and results.
        title: For people.
        compute: Weighted outcomes -> float64 (B,), NaN where undefined.
        better: Which direction is better.
        lowest, highest: The range of possible values.
        proportion: Whether the figure is a share of records (a Wilson interval makes sense).
    """

    name: str
    title: str
    compute: Callable[[Weighted], np.ndarray]
    better: Direction = "higher"
    lowest: float = 0.0
    highest: float = 1.0
    proportion: bool = False


_SHARED = (
    Metric("accuracy", "accuracy", labels.accuracy, proportion=True),
    Metric("balanced_accuracy", "balanced accuracy", labels.balanced_accuracy),
    Metric("mean_per_class_recall", "mean recall of the classes", labels.balanced_accuracy),
    Metric("specificity_macro", "specificity (one-vs-rest, macro)", labels.specificity_macro),
    Metric("f1_macro", "F1 (macro)", labels.f1_macro),
    Metric("f1_weighted", "F1 (weighted)", labels.f1_weighted),
    Metric("f1_micro", "F1 (micro)", labels.accuracy, proportion=True),
    Metric("mcc", "Matthews correlation", labels.matthews, lowest=-1.0),
    Metric("kappa", "Cohen's kappa", labels.kappa, lowest=-1.0),
)
_PROBABILITIES = (
    Metric("log_loss", "log loss", scores.log_loss, "lower", highest=np.inf),
    Metric("ece", "expected calibration error", scores.ece, "lower"),
    Metric("mce", "maximum calibration error", scores.mce, "lower"),
)
_BINARY = (
    Metric("auroc", "AUROC", lambda view: view.outcomes.rank_plan(1).auroc(view.weights)),
    Metric(
        "average_precision",
        "average precision",
        lambda view: view.outcomes.rank_plan(1).average_precision(view.weights),
    ),
    *_SHARED,
    Metric("sensitivity", "sensitivity", labels.sensitivity, proportion=True),
    Metric("specificity", "specificity", labels.specificity, proportion=True),
    Metric("ppv", "positive predictive value", labels.ppv, proportion=True),
    Metric("npv", "negative predictive value", labels.npv, proportion=True),
    Metric("f1", "F1", labels.f1_binary),
    Metric("brier", "Brier score", scores.brier, "lower"),
    *_PROBABILITIES,
)
_MULTICLASS = (
    *_SHARED,
    Metric("linear_kappa", "kappa, linear weights", partial(labels.kappa, power=1), lowest=-1.0),
    Metric("quadratic_kappa", "kappa, quadratic weights", partial(labels.kappa, power=2), lowest=-1.0),
    Metric("top5_accuracy", "accuracy, class among the first 5", scores.top_accuracy, proportion=True),
    Metric("auroc_ovr_macro", "AUROC (one-vs-rest, macro)", scores.auroc_macro),
    Metric("auroc", "AUROC (one-vs-rest, macro)", scores.auroc_macro),
    Metric("auroc_ovr_weighted", "AUROC (one-vs-rest, weighted)", scores.auroc_weighted),
    Metric("auroc_ovo_macro", "AUROC (one-vs-one, macro)", scores.auroc_ovo_macro),
    Metric("average_precision_macro", "average precision (macro)", scores.average_precision_macro),
    Metric("brier", "Brier score (summed over classes)", scores.brier, "lower", highest=2.0),
    *_PROBABILITIES,
)
_MULTILABEL = (
    Metric("auroc_macro", "AUROC (macro)", scores.auroc_macro),
    Metric("auroc", "AUROC (macro)", scores.auroc_macro),
    Metric("auroc_micro", "AUROC (micro)", scores.auroc_micro),
    Metric("map", "mean average precision", scores.average_precision_macro),
    Metric("f1_micro", "F1 (micro)", labels.label_f1_micro),
    Metric("f1_macro", "F1 (macro)", lambda view: labels.mean_defined(labels.label_f1(view))),
    Metric("f1_samples", "F1 (mean over records)", labels.label_f1_samples),
    Metric("hamming_loss", "Hamming loss", labels.hamming_loss, "lower"),
    Metric("subset_accuracy", "all labels right", labels.subset_accuracy, proportion=True),
    Metric("brier", "Brier score (mean over labels)", scores.brier, "lower"),
    *_PROBABILITIES,
)
_REGRESSION = (
    Metric("r2", "R²", scores.r2, lowest=-np.inf),
    Metric("mae", "mean absolute error", scores.mae, "lower", highest=np.inf),
    Metric("rmse", "root mean squared error", scores.rmse, "lower", highest=np.inf),
    Metric("pearson", "Pearson correlation", scores.pearson, lowest=-1.0),
    Metric("spearman", "Spearman correlation", scores.spearman, lowest=-1.0),
)
_RETRIEVAL = tuple(
    Metric(name, title, compute, "lower" if lower else "higher", 1.0 if lower else 0.0, np.inf if lower else 1.0, share)
    for name, title, compute, lower, share in retrieval_metrics.specs()
)
_SURVIVAL = (
    Metric("c_index", "C-index (Harrell)", survival_metrics.harrell),
    Metric("c_index_uno", "C-index (Uno)", survival_metrics.uno),
    *(Metric(n, t, c, b, low, high) for n, t, c, b, low, high in survival_calibration.specs()),
)
_REGISTRY: dict[TaskKind, dict[str, Metric]] = {
    "binary": {m.name: m for m in _BINARY},
    "multiclass": {m.name: m for m in _MULTICLASS},
    "multilabel": {m.name: m for m in _MULTILABEL},
    "regression": {m.name: m for m in _REGRESSION},
    "retrieval": {m.name: m for m in _RETRIEVAL},
    "survival": {m.name: m for m in _SURVIVAL},
    "similarity": {},  # filled below: its names are made of parts
}
_DEFAULTS: dict[TaskKind, tuple[str, ...]] = {
    "binary": ("auroc", "average_precision", "balanced_accuracy", "sensitivity", "specificity", "brier"),
    "multiclass": ("balanced_accuracy", "accuracy", "f1_macro", "f1_weighted", "auroc_ovr_macro", "brier"),
    "multilabel": ("auroc_macro", "map", "f1_macro", "f1_micro", "brier"),
    "regression": ("r2", "mae", "rmse", "spearman"),
    "retrieval": retrieval_metrics.headline(("record_to_text", "text_to_record"), (1, 5, 10)),
    "survival": ("c_index", "c_index_uno"),
    "similarity": ("ssim", "psnr", "mse"),
}


def _similarity(name: str) -> Metric | None:
    parts = similarity_metrics.spec(name)
    if parts is None:
        return None
    low, high = parts.bounds
    better: Direction = "lower" if parts.lower_is_better else "higher"
    return Metric(name, parts.title, partial(similarity_metrics.mean, name), better, low, high)


_REGISTRY["similarity"] |= {m.name: m for n in _DEFAULTS["similarity"] if (m := _similarity(n)) is not None}


def list_metrics(task: TaskKind) -> list[str]:
    """Names of the metrics of a kind of task."""
    return list(_REGISTRY[task])


def default_metrics(task: TaskKind) -> tuple[str, ...]:
    """The headline metrics of a kind of task."""
    return _DEFAULTS[task]


def metric(name: str, task: TaskKind) -> Metric:
    """The metric `name` for tasks of kind `task`.

    Raises:
        UnknownNameError: No such metric anywhere; near names are given.
        EvaluationError: The metric exists but not for this kind of task.
    """
    found = _REGISTRY[task].get(name)
    if found is not None:
        return found
    if task == "survival" and (horizon := survival_metrics.time_of(name)) is not None:
        return Metric(name, f"AUC at {horizon:g}", partial(survival_metrics.auc_at, horizon))
    if task == "similarity" and (made := _similarity(name)) is not None:
        return made
    others = [kind for kind, table in _REGISTRY.items() if name in table]
    if others:
        raise EvaluationError(
            f"The metric '{name}' is for {' and '.join(others)} tasks; this one is {task}.",
            expected="one of " + ", ".join(_REGISTRY[task]),
        )
    raise unknown_name("metric", name, _REGISTRY[task])


def metrics_for(names: Iterable[str], task: TaskKind) -> list[Metric]:
    """The metrics called `names`, or the task's headline metrics when there are none; no doubles."""
    chosen = tuple(dict.fromkeys(names)) or default_metrics(task)
    return [metric(name, task) for name in chosen]


def evaluate(predictions: Predictions | Outcomes, names: Iterable[str] = ()) -> dict[str, float | None]:
    """Point values of the metrics `names` on all rows; ``None`` where one is undefined."""
    outcomes = predictions if isinstance(predictions, Outcomes) else Outcomes.of(predictions)
    view = Weighted(outcomes, np.ones((len(outcomes), 1)))
    return {m.name: number(m.compute(view)[0]) for m in metrics_for(names, outcomes.task)}


def number(value: float) -> float | None:
    """A plain float, or ``None`` in place of NaN and infinities."""
    return float(value) if np.isfinite(value) else None
