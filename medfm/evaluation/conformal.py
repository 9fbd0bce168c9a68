"""Split conformal prediction sets: lists of classes that hold the true one at a stated rate.

Vovk, Gammerman and Shafer 2005; Sadinle, Lei and Wasserman (JASA 114, 2019) for the score used,
one minus the probability of the class. Fitted on *validation* patients that the model was not
trained on. The promise holds on average over patients like those, one record each; records of one
patient are not exchangeable with new patients, and another hospital's patients neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medfm.core.errors import EvaluationError

# Of the sets that reports measure; with fewer records than the second, the rank that the promise needs does not exist, and
# every set would hold every class.
LEVEL = 0.9
FEWEST = int(np.ceil(LEVEL / (1 - LEVEL) - 1e-9))


@dataclass(frozen=True)
class ConformalSets:
    """Keeps each class whose probability reaches the threshold of that class.

    Attributes:
        thresholds: One per class; 0 keeps the class always (too few validation records for the rate).
        level: The promised rate of sets that hold the truth.
        by_class: Whether the promise holds for each class by itself.
    """

    thresholds: tuple[float, ...]
    level: float
    by_class: bool = False

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """bool (n, classes): which classes are in the set, of float (n, classes) probabilities."""
        values = np.asarray(scores, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.thresholds):
            raise EvaluationError(
                f"Scores of shape {values.shape} do not fit.", expected=f"(records, {len(self.thresholds)})"
            )
        return values >= np.array(self.thresholds)

    def coverage(self, scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
        """Share of sets that hold the truth, and mean number of classes in a set."""
        sets, labels = self(scores), np.asarray(truth, dtype=np.int64)
        return float(sets[np.arange(len(labels)), labels].mean()), float(sets.sum(axis=1).mean())


def fit_conformal(
    scores: np.ndarray, truth: np.ndarray, level: float = 0.9, *, by_class: bool = False
) -> ConformalSets:
    """Thresholds from validation records: the promise is a coverage of at least `level`.

    Args:
        scores: float (n, classes) probabilities.
        truth: int (n,) class positions.
        level: Between 0 and 1.
        by_class: A threshold for each class from its own records (label-conditional sets): rare
            classes are then covered as often as common ones, by larger sets.

    Raises:
        EvaluationError: No record, or a level or label that cannot be.
    """
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.int64)
    if not 0 < level < 1:
        raise EvaluationError(f"Prediction sets cannot have level {level}.", expected="a number between 0 and 1")
    if values.ndim != 2 or len(values) != len(labels) or not len(labels):
        raise EvaluationError(f"Scores of shape {values.shape} do not fit {len(labels)} labels.")
    if labels.min() < 0 or labels.max() >= values.shape[1] or not np.isfinite(values).all():
        raise EvaluationError("Labels must be positions of classes, and scores finite numbers.")
    own = values[np.arange(len(labels)), labels]
    classes = range(values.shape[1])
    if by_class:
        return ConformalSets(tuple(_threshold(own[labels == k], level) for k in classes), level, True)
    return ConformalSets((_threshold(own, level),) * values.shape[1], level)


def _threshold(own: np.ndarray, level: float) -> float:
    """The score that all but a share ``1 - level`` of n + 1 exchangeable records reach; 0 if n is too small."""
    # The tiny amount undoes rounding, such as 0.9 * 10 = 9.000000000000002.
    rank = len(own) + 1 - int(np.ceil(level * (len(own) + 1) - 1e-9))
    return float(np.sort(own)[rank - 1]) if rank >= 1 else 0.0
