"""ROC and precision-recall curves on a fixed grid, with pointwise bootstrap bands.

The curve itself uses every score. The band is computed at up to 512 cut-offs per class, which
keeps a thousand resamples cheap; between cut-offs it is interpolated as the curve is.
"""

from __future__ import annotations

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
            for b in range(view.count):
                positives, negatives = true[-1, b], false[-1, b]
                if positives <= 0 or negatives <= 0:
                    continue
                result[0, i, :, b] = roc_at(false[:, b] / negatives, true[:, b] / positives)
                result[1, i, :, b] = precision_at(true[:, b], false[:, b])
        return result


def roc_at(false_rate: np.ndarray, true_rate: np.ndarray, grid: np.ndarray = GRID) -> np.ndarray:
    """True-positive rate at each false-positive rate of `grid`; the upper end of vertical steps.

    Args:
        false_rate: float (m,), rising, at falling cut-offs, ending at 1.
        true_rate: float (m,), likewise.
        grid: Where to read the curve.
    """
    last = np.flatnonzero(np.append(np.diff(false_rate) > 0, True))
    x, y = false_rate[last], true_rate[last]
    if x[0] > 0:
        # The line from (0, 0) to the first point belongs to the curve.
        x, y = np.insert(x, 0, 0.0), np.insert(y, 0, 0.0)
    return np.interp(grid, x, y)


def precision_at(true: np.ndarray, false: np.ndarray, grid: np.ndarray = GRID) -> np.ndarray:
    """Precision at the first (highest) cut-off that reaches each recall of `grid`.

    Args:
        true: float (m,), records found rightly, at falling cut-offs; the last is all positives.
        false: float (m,), records found wrongly.
        grid: Recalls; at recall 0 the precision of the first cut-off that finds a positive.
    """
    wanted = np.maximum(grid * true[-1], 1e-9) * (1 - 1e-12)
    place = np.minimum(np.searchsorted(true, wanted, side="left"), len(true) - 1)
    return np.asarray(true[place] / (true[place] + false[place]))


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


def youden_threshold(scores: np.ndarray, positive: np.ndarray) -> float:
    """The score cut-off (score >= cut-off is positive) of the largest sensitivity + specificity.

    Choose it on validation records. Of equal ones the highest cut-off is taken.
    """
    values = np.unique(scores)[::-1]
    ours, theirs = np.sort(scores[positive]), np.sort(scores[~positive])
    true = 1 - np.searchsorted(ours, values, side="left") / max(len(ours), 1)
    false = 1 - np.searchsorted(theirs, values, side="left") / max(len(theirs), 1)
    return float(values[np.argmax(np.round(true - false, 12))])


def _curve(name: str, y: np.ndarray, resampled: np.ndarray | None, level: float) -> Curve:
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    if resampled is not None:
        bounds = percentile_interval(resampled, level)
        low, high = tuple(map(number, bounds[0])), tuple(map(number, bounds[1]))
    return Curve(name=name, x=tuple(map(float, GRID)), y=tuple(map(number, y)), low=low, high=high)
