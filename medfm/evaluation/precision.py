"""How precise an AUROC can be: before any record is scored, from the counts alone.

Hanley and McNeil (Radiology 143, 1982): the standard error under the assumption that scores are
exponentially distributed. It plans a study; the interval of a result comes from its own scores
(:mod:`medfm.evaluation.score_intervals`).
"""

from __future__ import annotations

import math

from medfm.core.errors import EvaluationError
from medfm.evaluation.intervals import normal_quantile
from medfm.evaluation.score_intervals import check_auroc, newcombe_interval


def hanley_mcneil_se(auroc: float, positives: float, negatives: float) -> float:
    """Standard error of an AUROC of `positives` and `negatives` independent patients.

    Raises:
        EvaluationError: An AUROC outside 0 to 1, or fewer than one of either kind.
    """
    check_auroc(auroc, positives, negatives)
    both_above = auroc / (2 - auroc)
    both_below = 2 * auroc**2 / (1 + auroc)
    spread = auroc * (1 - auroc)
    spread += (positives - 1) * (both_above - auroc**2) + (negatives - 1) * (both_below - auroc**2)
    return math.sqrt(max(spread, 0.0) / (positives * negatives))


def patients_for_width(auroc: float, prevalence: float, width: float, level: float = 0.95) -> int:
    """Fewest patients for whom the interval of an expected `auroc` is at most `width` wide (both sides together).

    The interval is Newcombe's, whose variance is Hanley and McNeil's at the bounds: near an AUROC of 1 plus and minus
    1.96 standard errors would promise far too much.

    Args:
        auroc: What is expected.
        prevalence: Share of positives, strictly between 0 and 1.
        width: Upper minus lower bound.
        level: Of the interval.

    Raises:
        EvaluationError: A value out of its range.
    """
    if not 0 < prevalence < 1:
        raise EvaluationError(f"A prevalence cannot be {prevalence}.", expected="a number between 0 and 1")
    if not 0 < width < 1:
        raise EvaluationError(f"An interval cannot be planned {width} wide.", expected="a number between 0 and 1")
    if not 0 <= auroc <= 1:
        raise EvaluationError(f"An AUROC cannot be {auroc}.", expected="a number from 0 to 1")
    normal_quantile(level)

    def wide(total: int) -> bool:
        positives = total * prevalence
        if min(positives, total - positives) < 1:
            return True
        low, high = newcombe_interval(auroc, positives, total - positives, level)
        return high - low > width

    upper = 2
    while wide(upper):
        upper *= 2
    lower = upper // 2
    while upper - lower > 1:
        middle = (lower + upper) // 2
        lower, upper = (middle, upper) if wide(middle) else (lower, middle)
    return upper
