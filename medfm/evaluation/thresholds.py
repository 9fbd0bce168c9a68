"""The score from which a record counts as positive, chosen on validation records alone."""

from __future__ import annotations

import numpy as np


def youden(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """The threshold with the highest sensitivity + specificity - 1 for ``score >= threshold``.

    It lies in the middle between two neighbouring scores, so that it does not hang on one record's
    exact value; of equally good gaps the one nearest to 0.5 is taken.

    Args:
        scores: float (n,) in [0, 1].
        positive: bool (n,).

    Returns:
        The threshold; ``None`` where one of the classes is absent or all scores are equal.
    """
    truth = np.asarray(positive, dtype=bool)
    values = np.unique(scores)
    if truth.all() or not truth.any() or len(values) < 2:
        return None
    gaps = (values[:-1] + values[1:]) / 2
    high, low = np.sort(scores[truth]), np.sort(scores[~truth])
    sensitivity = 1 - np.searchsorted(high, gaps, side="left") / len(high)
    specificity = np.searchsorted(low, gaps, side="left") / len(low)
    gain = sensitivity + specificity
    best = np.flatnonzero(gain >= gain.max() - 1e-12)
    return float(gaps[best[np.abs(gaps[best] - 0.5).argmin()]])
