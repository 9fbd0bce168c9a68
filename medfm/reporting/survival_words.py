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
