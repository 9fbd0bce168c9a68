"""Figures of each class (one-vs-rest) or label, with intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medfm.evaluation import metrics_labels as labels
from medfm.evaluation.metrics import Metric
from medfm.evaluation.metrics_outcomes import Weighted
from medfm.evaluation.metrics_ranking import ratio
from medfm.evaluation.statistics_estimates import Sample, estimate
from medfm.evaluation.summary import ClassRow

# Each computes float64 (classes, B).
PER_CLASS = {
    "auroc": Metric("auroc", "AUROC", lambda view: view.aurocs),
    "average_precision": Metric("average_precision", "average precision", lambda view: view.average_precisions),
    "sensitivity": Metric("sensitivity", "sensitivity (recall)", labels.class_recall),
    "specificity": Metric("specificity", "specificity", labels.class_specificity),
    "ppv": Metric("ppv", "positive predictive value (precision)", labels.class_precision),
    "f1": Metric("f1", "F1", labels.class_f1),
}


def _label_recall(view: Weighted) -> np.ndarray:
    hit, _, true, _ = view.label_counts
    return ratio(hit, true)


def _label_specificity(view: Weighted) -> np.ndarray:
    hit, predicted, true, known = view.label_counts
    return ratio(known - true - (predicted - hit), known - true)


def _label_precision(view: Weighted) -> np.ndarray:
    hit, predicted, _, _ = view.label_counts
    return ratio(hit, predicted)


def per_class_metrics(task: str, *, thresholds: bool = True) -> dict[str, Metric]:
    """What is computed for each class or label; empty for regression.

    Args:
        task: Kind of task.
        thresholds: Whether figures of decisions are wanted too, not only those of rankings.
    """
    if task == "regression":
        return {}
    if not thresholds:
        return {name: PER_CLASS[name] for name in ("auroc", "average_precision")}
    if task != "multilabel":
        return PER_CLASS
    own = {
        "sensitivity": _label_recall,
        "specificity": _label_specificity,
        "ppv": _label_precision,
        "f1": labels.label_f1,
    }
    return {name: replace(m, compute=own.get(name, m.compute)) for name, m in PER_CLASS.items()}


def class_rows(
    sample: Sample, point: Weighted, drawn: dict[str, np.ndarray], found: dict[str, Metric] | None = None
) -> tuple[ClassRow, ...]:
    """One row per class or label.

    Args:
        sample: What is described.
        point: The sample with all weights 1.
        drawn: ``class:NAME`` -> float64 (classes, B) for the names of :func:`per_class_metrics`.
        found: The metrics; all of :func:`per_class_metrics` when ``None``.
    """
    outcomes = sample.outcomes
    found = per_class_metrics(outcomes.task) if found is None else found
    values = {name: m.compute(point)[:, 0] for name, m in found.items()}
    rows = []
    for c, title in enumerate(outcomes.classes):
        own = outcomes.truth[:, c] == 1 if outcomes.task == "multilabel" else outcomes.truth == c
        codes = sample.clusters.codes[own]
        estimates = []
        for name, m in found.items():
            resampled = drawn.get(f"class:{name}")
            made = estimate(
                sample,
                m,
                float(values[name][c]),
                None if resampled is None else resampled[c],
                positive=c,
            )
            if made.value is None and name != "auroc":
                made = made.model_copy(update={"note": f"undefined: '{title}' is absent or never predicted"})
            estimates.append(made)
        rows.append(
            ClassRow(
                name=title,
                n_records=int(own.sum()),
                n_patients=len(np.unique(codes)),
                estimates=tuple(estimates),
            )
        )
    return tuple(rows)
