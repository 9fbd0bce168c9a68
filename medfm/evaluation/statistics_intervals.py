"""Which interval a figure has, beside the percentile bootstrap that serves where no other is known to be better."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.evaluation.class_mix import mix_variance
from medfm.evaluation.delong import delong
from medfm.evaluation.metrics import Metric
from medfm.evaluation.score_intervals import (
    auroc_interval,
    clustered_wilson,
    log_bootstrap_interval,
    logit_bootstrap_interval,
    mean_of_proportions,
)

if TYPE_CHECKING:
    from medfm.evaluation.statistics_estimates import Sample

Found = tuple[float, float, str]
# Biased where they are small: an interval around the value itself would be wrong by that bias, too.
_PERCENTILE = frozenset({"ece", "mce"})
_TASKS = ("binary", "multiclass", "multilabel", "survival", "regression")
_MEANS_OF_RECALL = ("balanced_accuracy", "mean_per_class_recall")


def direct_interval(sample: Sample, metric: Metric, value: float, one_class: int | None) -> Found | None:
    """Bounds and their method for what has a formula: AUROC, proportions, balanced accuracy; else ``None``.

    Args:
        sample: What `value` was computed from.
        metric: Its definition.
        value: Finite.
        one_class: The class or label of a figure of one class; 1 for the AUROC of a binary task.
    """
    if metric.name == "auroc" and one_class is not None:
        return _auroc(sample, one_class)
    if sample.plan.intervals != "score" or sample.clusters.count < 2:
        return None
    if metric.name in _MEANS_OF_RECALL and sample.outcomes.task in ("binary", "multiclass"):
        return _mean_recall(sample, value)
    hits = _hits(sample, metric.name, one_class)
    if hits is None or not len(hits[0]) or abs(float(hits[0].mean()) - value) > 1e-9:
        return None
    _, low, high = clustered_wilson(hits[0], _clusters(sample, hits[1]), sample.plan.level, repeats=_repeats(sample))
    if value in (0.0, 1.0):
        return low, high, "Wilson, one trial per " + _unit(sample)
    return low, high, "Wilson" + _suffix(sample)


def smooth_interval(
    sample: Sample, metric: Metric, value: float, resampled: np.ndarray, one_class: int | None = None
) -> Found | None:
    """Standard error of the bootstrap on the logit scale (a bounded range) or the log scale (one end); else ``None``.

    The bootstrap draws within classes; what the mix of classes adds comes from :mod:`medfm.evaluation.class_mix`.
    """
    if sample.plan.intervals != "score" or sample.outcomes.task not in _TASKS or metric.name in _PERCENTILE:
        return None
    if not (np.isfinite(metric.lowest) and np.isfinite(metric.highest)):
        return _one_end(sample, metric, value, resampled, one_class)
    found = logit_bootstrap_interval(
        value,
        resampled,
        sample.clusters.count,
        sample.plan.level,
        lowest=metric.lowest,
        highest=metric.highest,
        beside=_mix(sample, metric, one_class),
    )
    return None if found is None else (*found, sample.method().replace("bootstrap", "bootstrap (logit)"))


def _one_end(
    sample: Sample, metric: Metric, value: float, resampled: np.ndarray, one_class: int | None
) -> Found | None:
    """The log scale of the distance from the only end; ``None`` where there is no end."""
    if np.isfinite(metric.lowest):
        end, sign = metric.lowest, 1.0
    elif np.isfinite(metric.highest):
        end, sign = metric.highest, -1.0
    else:
        return None
    beside = _mix(sample, metric, one_class)
    count, level = sample.clusters.count, sample.plan.level
    found = log_bootstrap_interval(sign * (value - end), sign * (resampled - end), count, level, beside=beside)
    if found is None:
        return None
    low, high = sorted(end + sign * bound for bound in found)
    return low, high, sample.method().replace("bootstrap", "bootstrap (log)")


def _mix(sample: Sample, metric: Metric, one_class: int | None) -> float:
    """Variance from the mix of classes; 0 where a class so small was moved that the figure is not defined without it."""
    if metric.compute not in sample.mixes:
        sample.mixes[metric.compute] = mix_variance(sample.outcomes, sample.clusters, metric.compute)
    found = sample.mixes[metric.compute]
    own = float(found if found.ndim == 0 else found[one_class if one_class is not None else 0])
    return own if np.isfinite(own) else 0.0


def _auroc(sample: Sample, positive: int) -> Found | None:
    outcomes = sample.outcomes
    if outcomes.task == "multilabel":
        rows = np.flatnonzero(~np.isnan(outcomes.truth[:, positive]))
        truth = outcomes.truth[rows, positive] == 1
    else:
        rows, truth = np.arange(len(outcomes)), outcomes.truth == positive
    scores, clusters = outcomes.scores[rows, positive], _clusters(sample, rows)
    by_score = sample.plan.intervals == "score"
    try:
        if by_score:
            low, high = auroc_interval(scores, truth, clusters, sample.plan.level, repeats=_repeats(sample))
        else:
            low, high = delong(scores, truth, clusters).interval(level=sample.plan.level)
    except EvaluationError:
        # Too few patients for DeLong's variance; the bootstrap says what it can.
        return None
    return None if np.isnan(low) else (low, high, f"DeLong ({'score' if by_score else 'logit'})" + _suffix(sample))


def _mean_recall(sample: Sample, value: float) -> Found | None:
    truth, predicted = sample.outcomes.truth, sample.outcomes.predicted
    parts = []
    for c in np.unique(truth):
        rows = np.flatnonzero(truth == c)
        right = predicted[rows] == c
        parts.append(clustered_wilson(right, _clusters(sample, rows), sample.plan.level, repeats=_repeats(sample)))
    if abs(float(np.mean([p[0] for p in parts])) - value) > 1e-9:
        return None
    return (*mean_of_proportions(parts), "Wilson of each class, joined" + _suffix(sample))


def _hits(sample: Sample, name: str, one_class: int | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Whether each record counts as a hit, and the rows of the denominator; ``None`` for what is no proportion."""
    outcomes = sample.outcomes
    if outcomes.task == "multilabel" and one_class is not None:
        truth, predicted = outcomes.truth[:, one_class], outcomes.predicted[:, one_class] == 1
        known, own = ~np.isnan(truth), truth == 1
    elif outcomes.task in ("binary", "multiclass"):
        c = 1 if one_class is None else one_class
        own, predicted, known = outcomes.truth == c, outcomes.predicted == c, np.ones(len(outcomes), dtype=bool)
        if one_class is None and outcomes.task == "multiclass" and name not in ("accuracy", "f1_micro"):
            return None
    else:
        return None
    made: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
        "sensitivity": lambda: (predicted, known & own),
        "specificity": lambda: (~predicted, known & ~own),
        "ppv": lambda: (own, known & predicted),
        "npv": lambda: (~own, known & ~predicted),
    }
    if one_class is None:
        right = outcomes.truth == outcomes.predicted
        made |= dict.fromkeys(("accuracy", "f1_micro"), lambda: (right, known))
    if name not in made:
        return None
    hit, counted = made[name]()
    return hit[counted], np.flatnonzero(counted)


def _clusters(sample: Sample, rows: np.ndarray) -> np.ndarray | None:
    return None if sample.clusters.single else sample.clusters.codes[rows]


def _repeats(sample: Sample) -> float:
    return len(sample.outcomes) / max(sample.n_records, 1)


def _suffix(sample: Sample) -> str:
    return "" if sample.clusters.single else ", clustered by " + _unit(sample)


def _unit(sample: Sample) -> str:
    return "patient" if sample.patients_known else "record"
