"""ROC and precision-recall curves on a fixed grid, with pointwise bootstrap bands.

The curve itself uses every score. The band is computed at up to 512 cut-offs per class, which
keeps a thousand resamples cheap; between cut-offs it is interpolated as the curve is.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from medfm.evaluation.bootstrap import percentile_interval
from medfm.evaluation.metrics import number
from medfm.evaluation.metrics_labels import mean_defined
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.metrics_ranking import indicator_matrix
from medfm.evaluation.summary import Curve

GRID = np.linspace(0.0, 1.0, 101)
_CUTS = 512
MACRO = "macro"


class ClassCurves:
    """ROC and PR of every class (one-vs-rest) or label on the grid; call it with weightings.

    Args:
        outcomes: A task with scores.
        labels: Positions of the classes to draw.
        cuts: At most this many cut-offs per class; ``None`` for every distinct score.
    """

    def __init__(self, outcomes: Outcomes, labels: list[int], cuts: int | None = _CUTS) -> None:
        self.labels = labels
        self._parts = []
        for label in labels:
            if outcomes.task == "multilabel":
                known = ~np.isnan(outcomes.truth[:, label])
                positive = outcomes.truth[:, label] == 1
            else:
                known = np.ones(len(outcomes), dtype=bool)
                positive = outcomes.truth == label
            scores = outcomes.scores[:, label]
            values = np.unique(scores[known])
            if cuts is not None and len(values) > cuts:
                values = values[np.linspace(0, len(values) - 1, cuts).round().astype(np.int64)]
            # Row r counts the records whose score reaches exactly the r highest cut-offs' last.
            row = len(values) - np.searchsorted(values, scores, side="right")
            shape = (len(values) + 1, len(outcomes))
            parts = []
            for chosen in (positive & known, ~positive & known):
                rows = np.flatnonzero(chosen)
                parts.append(indicator_matrix(row[rows], rows, shape))
            self._parts.append(parts)

    def __call__(self, view: Weighted) -> np.ndarray:
        """float64 (2, labels, grid, B): true-positive rate at each false-positive rate, precision at each recall."""
        result = np.full((2, len(self.labels), len(GRID), view.count), np.nan)
        for i, parts in enumerate(self._parts):
            true, false = (np.cumsum(np.asarray(part @ view.weights, np.float64), axis=0) for part in parts)
            good = np.flatnonzero((true[-1] > 0) & (false[-1] > 0))
            if len(good):
                true, false = true[:, good], false[:, good]
                result[0, i][:, good] = roc_columns(false / false[-1], true / true[-1])
                result[1, i][:, good] = precision_columns(true, false)
        return result


def roc_columns(false_rate: np.ndarray, true_rate: np.ndarray, grid: np.ndarray = GRID) -> np.ndarray:
    """True-positive rate at each false-positive rate of `grid`; the upper end of vertical steps. Curves are columns.

    Args:
        false_rate: float (m, B), rising, at falling cut-offs, ending at 1.
        true_rate: float (m, B), likewise.
        grid: Where to read the curves.

    Returns:
        float (grid, B).
    """
    start = np.zeros((1, false_rate.shape[1]))
    x, y = np.concatenate([start, false_rate]), np.concatenate([start, true_rate])
    # The last point at or before each grid value, and the next one: the polyline between them.
    before = _places(x, np.repeat(grid[:, None] + 1e-12, x.shape[1], axis=1), 2.0, "right") - 1
    after = np.minimum(before + 1, len(x) - 1)
    x_before, y_before = np.take_along_axis(x, before, 0), np.take_along_axis(y, before, 0)
    width = np.take_along_axis(x, after, 0) - x_before
    share = np.divide(grid[:, None] - x_before, width, out=np.zeros(width.shape), where=width > 0)
    return np.asarray(y_before + (np.take_along_axis(y, after, 0) - y_before) * np.clip(share, 0.0, 1.0))


def precision_columns(true: np.ndarray, false: np.ndarray, grid: np.ndarray = GRID) -> np.ndarray:
    """Precision at the first (highest) cut-off that reaches each recall of `grid`. Curves are columns.

    Args:
        true: float (m, B), records found rightly (whole numbers), at falling cut-offs; the last is all positives.
        false: float (m, B), records found wrongly.
        grid: Recalls; at recall 0 the precision of the first cut-off that finds a positive.

    Returns:
        float (grid, B).
    """
    wanted = np.maximum(grid[:, None] * true[-1], 1e-3) * (1 - 1e-12)
    place = np.minimum(_places(true, wanted, float(true[-1].max()) + 2, "left"), len(true) - 1)
    found = np.take_along_axis(true, place, 0)
    return np.asarray(found / (found + np.take_along_axis(false, place, 0)))


def _places(columns: np.ndarray, wanted: np.ndarray, apart: float, side: Literal["left", "right"]) -> np.ndarray:
    """``np.searchsorted`` column by column: int (q, B) of rising (m, B) and (q, B), all below `apart`."""
    rows, count = columns.shape
    shift = np.arange(count) * apart
    # One search over all columns, each lifted above the one before it.
    found = np.searchsorted((columns + shift).T.ravel(), (wanted + shift).T.ravel(), side=side)
    return np.asarray(found.reshape(count, -1).T - np.arange(count) * rows)


def curves(
    outcomes: Outcomes, labels: list[int], names: list[str], resampled: np.ndarray | None, level: float, macro: bool
) -> tuple[tuple[Curve, ...], tuple[Curve, ...]]:
    """ROC and PR curves with bands.

    Args:
        outcomes: A task with scores.
        labels: Classes to draw.
        names: Their names.
        resampled: float64 (2, labels, grid, B) from :class:`ClassCurves`, or ``None`` for no band.
        level: Of the band.
        macro: Also the mean over classes, first in the list.

    Returns:
        The ROC curves and the PR curves; a class without positives or negatives is left out.
    """
    exact = ClassCurves(outcomes, labels, cuts=None)(Weighted(outcomes, np.ones((len(outcomes), 1))))[..., 0]
    made: tuple[list[Curve], list[Curve]] = ([], [])
    for kind in (0, 1):
        bands = None if resampled is None else resampled[kind]
        if macro:
            mean = mean_defined(exact[kind])
            made[kind].append(_curve(MACRO, mean, None if bands is None else mean_defined(bands), level))
        for i, name in enumerate(names):
            if not np.isnan(exact[kind, i]).all():
                made[kind].append(_curve(name, exact[kind, i], None if bands is None else bands[i], level))
    return tuple(made[0]), tuple(made[1])


def _curve(name: str, y: np.ndarray, resampled: np.ndarray | None, level: float) -> Curve:
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    if resampled is not None:
        bounds = percentile_interval(resampled, level)
        low, high = tuple(map(number, bounds[0])), tuple(map(number, bounds[1]))
    return Curve(name=name, x=tuple(map(float, GRID)), y=tuple(map(number, y)), low=low, high=high)
