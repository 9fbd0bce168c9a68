"""Decision curve: net benefit over threshold probabilities (Vickers and Elkin, Med Decis Making 26, 2006).

Net benefit = TP/n - FP/n x t/(1-t), where a record counts as positive when its score >= t: the
benefit of treating by the score, in units of true positives, at a threshold t a clinician would
act upon.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from medfm.evaluation.bootstrap import percentile_interval
from medfm.evaluation.metrics import number
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.metrics_ranking import ratio
from medfm.evaluation.summary import Curve

THRESHOLDS = np.arange(1, 100) / 100


class NetBenefit:
    """Net benefit of a binary task's score on a grid of thresholds; call it with weightings.

    Args:
        outcomes: A binary task.
        thresholds: Rising, within (0, 1).
    """

    def __init__(self, outcomes: Outcomes, thresholds: np.ndarray = THRESHOLDS) -> None:
        self.thresholds = thresholds
        self._odds = (thresholds / (1 - thresholds))[:, None]
        # Number of thresholds at or below each score; the score counts as positive at those.
        reached = np.searchsorted(thresholds, outcomes.scores[:, 1], side="right")
        rows, shape = np.arange(len(outcomes)), (len(thresholds) + 1, len(outcomes))
        positive = (outcomes.truth == 1).astype(np.float64)
        self._true = sparse.csr_array((positive, (reached, rows)), shape=shape)
        self._false = sparse.csr_array((1 - positive, (reached, rows)), shape=shape)

    def __call__(self, view: Weighted) -> np.ndarray:
        """float64 (2, thresholds, B): of the score, and of treating everybody."""
        true = _from_above(self._true @ view.weights)
        false = _from_above(self._false @ view.weights)
        model = true[1:] - false[1:] * self._odds
        everybody = true[0] - false[0] * self._odds
        return ratio(np.stack([model, everybody]), view.total)


def thresholds_within(ends: tuple[float, float]) -> np.ndarray:
    """The thresholds of the grid from ``ends[0]`` to ``ends[1]``, both of them rounded to it."""
    hundredths = np.rint(100 * THRESHOLDS)
    return THRESHOLDS[np.isin(hundredths, np.arange(round(100 * ends[0]), round(100 * ends[1]) + 1))]


def decision_curves(
    outcomes: Outcomes, resampled: np.ndarray | None, level: float, thresholds: np.ndarray = THRESHOLDS
) -> tuple[Curve, ...]:
    """The curves ``model``, ``treat all`` and ``treat none`` with pointwise bands.

    Args:
        outcomes: A binary task.
        resampled: float64 (2, thresholds, B) from :class:`NetBenefit`, or ``None`` for no band.
        level: Of the band.
        thresholds: Of the curve; those that `resampled` was made with.
    """
    benefit = NetBenefit(outcomes, thresholds)
    values = benefit(Weighted(outcomes, np.ones((len(outcomes), 1))))[:, :, 0]
    low = high = np.full(values.shape, np.nan)
    if resampled is not None:
        low, high = percentile_interval(resampled, level)
    grid = tuple(map(float, benefit.thresholds))
    made = [
        Curve(
            name=name,
            x=grid,
            y=tuple(map(number, values[i])),
            low=() if resampled is None else tuple(map(number, low[i])),
            high=() if resampled is None else tuple(map(number, high[i])),
        )
        for i, name in enumerate(("model", "treat all"))
    ]
    made.append(Curve(name="treat none", x=grid, y=(0.0,) * len(grid)))
    return tuple(made)


def _from_above(sums: np.ndarray) -> np.ndarray:
    return np.cumsum(np.asarray(sums, np.float64)[::-1], axis=0)[::-1]
