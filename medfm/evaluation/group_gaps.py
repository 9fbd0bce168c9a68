"""Intervals of the gaps between groups: largest minus smallest rate of a decision, over the groups that are shown.

The interval is Newcombe's of a difference of two proportions (Statistics in Medicine 17, 1998, method 10), made of the
Wilson intervals of the two groups that are furthest apart. These were chosen for being so: with more than two groups
the level is Bonferroni's for the number of pairs, and for two rates at once for both. Bounds do not go below 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from medfm.evaluation.predictions import Predictions
from medfm.evaluation.score_intervals import clustered_wilson
from medfm.evaluation.summary import GroupGap

# Which rates a gap is the largest difference of.
_RATES = {
    "equal_opportunity_difference": ("sensitivity",),
    "equalized_odds_difference": ("sensitivity", "false positives"),
    "demographic_parity_difference": ("selected",),
}


def with_intervals(
    gaps: Mapping[str, float | None],
    column: str,
    predictions: Predictions,
    values: np.ndarray,
    clusters: np.ndarray | None,
    level: float,
) -> tuple[GroupGap, ...]:
    """Each gap with its interval and the two groups that make it.

    Args:
        gaps: From :func:`medfm.evaluation.groups.fairness_gaps`.
        column: Of the groups.
        predictions: A binary task; rows of the shown groups only.
        values: (n,) group of each row.
        clusters: (n,) patient of each row; ``None`` where each row is one of its own.
        level: Of the intervals.
    """
    table = predictions.table
    ill, called = (table[c].astype(str).to_numpy() == predictions.classes[1] for c in ("truth", "predicted"))
    rows = {"sensitivity": ill, "false positives": ~ill, "selected": np.ones(len(ill), dtype=bool)}
    made = []
    for metric, value in gaps.items():
        if value is None:
            made.append(GroupGap(column=column, metric=metric, value=None))
            continue
        best: tuple[float, float, float, str, str] | None = None
        names = np.unique(values).tolist()
        pairs = sum(1 for _ in combinations(names, 2)) * len(_RATES[metric])
        own_level = 1 - (1 - level) / max(pairs, 1)
        for rate in _RATES[metric]:
            groups = {name: (values == name) & rows[rate] for name in names}
            shares = {
                name: clustered_wilson(called[own], None if clusters is None else clusters[own], own_level)
                for name, own in groups.items()
                if own.any()
            }
            high = max(shares, key=lambda name: shares[name][0])
            low = min(shares, key=lambda name: shares[name][0])
            found = difference(shares[high], shares[low])
            if best is None or found[0] > best[0]:
                best = (*found, high, low)
        if best is None or abs(best[0] - value) > 1e-9:
            made.append(GroupGap(column=column, metric=metric, value=value))
        else:
            made.append(
                GroupGap(
                    column=column,
                    metric=metric,
                    value=value,
                    low=best[1],
                    high=best[2],
                    highest=best[3],
                    lowest=best[4],
                )
            )
    return tuple(made)


def difference(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float, float]:
    """First minus second of two ``(share, low, high)``: the difference and its bounds, the lower one 0 or above."""
    value = first[0] - second[0]
    below = np.hypot(first[0] - first[1], second[2] - second[0])
    above = np.hypot(first[2] - first[0], second[0] - second[1])
    return float(value), float(max(value - below, 0.0)), float(min(value + above, 1.0))
