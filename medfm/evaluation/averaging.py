"""Several models' scores of the same records as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.special import expit, softmax

from medfm.evaluation.predictions import TaskKind

Average = Literal["probabilities", "logits"]
# As near to 0 and 1 as float64 tells apart.
_FLOOR = 1e-15


def average_scores(scores: Sequence[np.ndarray], task: TaskKind, rule: Average = "probabilities") -> np.ndarray:
    """float64 (n, classes), or (n, 1) of a regression: the mean over models.

    Args:
        scores: One array per model, all of one shape: probabilities of classes or labels, or values of a regression.
        task: Kind of task; the values of a regression are averaged as they are under either rule.
        rule: ``"probabilities"``, or ``"logits"``: the mean of the logits (of log probabilities for exclusive
            classes), so that one very sure model weighs more.

    Raises:
        ValueError: No scores, or shapes that differ.
    """
    stacked = np.stack([np.asarray(s, dtype=np.float64) for s in scores])
    if rule == "probabilities" or task == "regression":
        return np.asarray(stacked.mean(axis=0))
    inside = np.clip(stacked, _FLOOR, 1 - _FLOOR)
    if task == "multilabel":
        return np.asarray(expit((np.log(inside) - np.log1p(-inside)).mean(axis=0)))
    return np.asarray(softmax(np.log(inside).mean(axis=0), axis=1))
