"""The columns of retrieval predictions and the metrics that are computed from them.

A column is ``DIRECTION:FIGURE`` with one number per query; a metric is named ``DIRECTION_FIGURE``,
such as ``record_to_text_r@5``, so that both directions share their resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from medfm.evaluation.metrics_outcomes import Weighted

DIRECTIONS = ("record_to_text", "text_to_record", "record_to_record")
DEPTHS = (1, 5, 10, 20, 50, 100, 200)
FIGURES = ("rank", "reciprocal", "ap")
LIST_DEPTHS = (100, 200)
_MEANS = {"map": ("ap", "mean average precision"), "mrr": ("reciprocal", "mean reciprocal rank")}


def list_depth(k: Sequence[int]) -> int:
    """How many nearest candidates an approximate search lists for depths `k`."""
    return next(depth for depth in LIST_DEPTHS if depth >= max(k))


def columns(directions: Sequence[str], k: Sequence[int], depth: int | None = None) -> tuple[str, ...]:
    """The columns of predictions, one number per query each; `depth` where only so many were listed."""
    whole = FIGURES if depth is None else (f"reciprocal@{depth}", f"ap@{depth}")
    figures = [*whole, *(f"hit@{d}" for d in k), *(f"precision@{d}" for d in k)]
    return tuple(f"{direction}:{figure}" for direction in directions for figure in figures)


def headline(directions: Sequence[str], k: Sequence[int], depth: int | None = None) -> tuple[str, ...]:
    """The metrics of a protocol: R@k, median rank, MRR, mAP and, beyond the first place, P@k.

    Of lists of `depth`: MRR and mAP to that depth, and no median rank, which may lie beyond.
    """
    whole = ["median_rank", "mrr", "map"] if depth is None else [f"mrr@{depth}", f"map@{depth}"]
    names = [*(f"r@{d}" for d in k), *whole, *(f"p@{d}" for d in k if d > 1)]
    return tuple(f"{direction}_{name}" for direction in directions for name in names)


def direction_words(direction: str) -> str:
    """``"record_to_text"`` -> ``"record to text"``."""
    return direction.replace("_", " ")


def parts(metric: str) -> tuple[str, str] | None:
    """Direction and figure of a metric's name; ``None`` for a metric that is not of retrieval."""
    for direction in DIRECTIONS:
        if metric.startswith(direction + "_"):
            return direction, metric[len(direction) + 1 :]
    return None


def specs() -> list[tuple[str, str, Callable[[Weighted], np.ndarray], bool, bool]]:
    """Name, title, function, whether lower is better, whether a share: of every retrieval metric."""
    made: list[tuple[str, str, Callable[[Weighted], np.ndarray], bool, bool]] = []
    for direction in DIRECTIONS:
        where = direction_words(direction)
        for d in DEPTHS:
            made.append((f"{direction}_r@{d}", f"R@{d}, {where}", partial(mean, f"{direction}:hit@{d}"), False, True))
            made.append(
                (f"{direction}_p@{d}", f"P@{d}, {where}", partial(mean, f"{direction}:precision@{d}"), False, False)
            )
        for name, (column, title) in _MEANS.items():
            made.append(
                (f"{direction}_{name}", f"{title}, {where}", partial(mean, f"{direction}:{column}"), False, False)
            )
            for d in LIST_DEPTHS:
                of = partial(mean, f"{direction}:{column}@{d}")
                made.append((f"{direction}_{name}@{d}", f"{title} to place {d}, {where}", of, False, False))
        made.append(
            (f"{direction}_median_rank", f"median rank, {where}", partial(median, f"{direction}:rank"), True, False)
        )
    return made


def mean(column: str, view: Weighted) -> np.ndarray:
    """Weighted mean of a column: float64 (B,); NaN without weight."""
    values = _values(column, view)
    return np.asarray(np.divide(view.sums(values), view.total, out=np.full(view.count, np.nan), where=view.total > 0))


def median(column: str, view: Weighted) -> np.ndarray:
    """Weighted median of a column, the mean of the two middle values where they differ: float64 (B,)."""
    values = _values(column, view)
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    heaped = np.cumsum(view.weights[order], axis=0, dtype=np.float64)
    half = view.total / 2
    low = (heaped < half).sum(axis=0)
    high = (heaped <= half).sum(axis=0)
    last = len(ranked) - 1
    middle = (ranked[np.minimum(low, last)] + ranked[np.minimum(high, last)]) / 2
    return np.asarray(np.where(view.total > 0, middle, np.nan))


def _values(column: str, view: Weighted) -> np.ndarray:
    from medfm.core.errors import EvaluationError

    if column not in view.outcomes.classes:
        raise EvaluationError(
            f"The result has no figures '{column}'.",
            expected="a direction and depth that the protocol has: " + ", ".join(view.outcomes.classes),
        )
    return np.asarray(view.outcomes.scores[:, view.outcomes.classes.index(column)])
