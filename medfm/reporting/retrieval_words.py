"""Plain words for the metrics of a retrieval."""

from __future__ import annotations

from medfm.evaluation.retrieval_metrics import direction_words, parts

_MEANINGS = {
    "r": "The share of searches with at least one right answer among the first {k} found.",
    "p": "Of the first {k} found, the share that is right, averaged over the searches.",
    "median_rank": "Half of the searches find their first right answer at this place or before; 1 is best.",
    "mrr": "One divided by the place of the first right answer, averaged over the searches; 1 is best.",
    "map": "How far all right answers stand at the top, averaged over the searches; 1 is best.",
}
_TO_DEPTH = " Only the first {k} places count; what stands further down counts as not found."
_TITLES = {"median_rank": "median rank", "mrr": "MRR", "map": "mAP"}


def retrieval_words(metric: str) -> tuple[str, str] | None:
    """Title and one sentence; ``None`` for a metric of another kind."""
    split = parts(metric)
    if split is None:
        return None
    direction, name = split
    figure, _, k = name.partition("@")
    if figure not in _MEANINGS:
        return None
    title = _TITLES.get(figure, figure.upper()) + (f"@{k}" if k else "")
    meaning = _MEANINGS[figure] + (_TO_DEPTH if k and figure in _TITLES else "")
    return f"{title}, {direction_words(direction)}", meaning.format(k=k)
