"""Plain words for the metrics of a survival analysis."""

from __future__ import annotations

from medfm.evaluation.survival_metrics import time_of

_WORDS = {
    "c_index": (
        "C-index (Harrell)",
        "Of two patients of whom it is known who had the event first, how often that one was given the higher risk: 0.5 is "
        "guessing, 1 is perfect order.",
    ),
    "c_index_uno": (
        "C-index (Uno)",
        "As the C-index, but weighted so that it does not depend on how long patients happened to be followed.",
    ),
}


_ABSOLUTE = {
    "integrated_brier": (
        "integrated Brier score",
        "Mean squared distance of the predicted risk from what happened, averaged over the follow-up; lower is better. It "
        "counts both the order and the size of the risks.",
    ),
    "observed_to_expected": ("observed to expected", "Events observed by the horizon over those predicted; 1 is best."),
    "horizon_slope": (
        "calibration slope at the horizon",
        "1 is best; below 1 the predicted risks are too extreme.",
    ),
    "horizon_intercept": (
        "calibration in the large at the horizon",
        "0 is best; below 0 the predicted risks are too high on the whole.",
    ),
}
SCALED = (
    "scaled integrated Brier score",
    "By what share the integrated Brier score is smaller than if every patient were given the average risk; 0 or less: the "
    "embedding adds nothing.",
)


def absolute_words(metric: str) -> tuple[str, str] | None:
    """Title and one sentence of a figure of absolute risks, none of which has a level that guessing reaches."""
    return _ABSOLUTE.get(metric)


def survival_words(metric: str) -> tuple[str, str] | None:
    """Title and one sentence; ``None`` for a metric of another kind. Guessing gives 0.5 for all."""
    if metric in _WORDS:
        return _WORDS[metric]
    time = time_of(metric)
    if time is None:
        return None
    return (
        f"AUC at time {time:g}",
        "The chance that a patient who has had the event by then was given a higher risk than one who is followed longer "
        "without it; weighted for those lost before.",
    )
