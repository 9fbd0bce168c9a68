"""One line that says what the headline figure means against guessing."""

from __future__ import annotations

from medfm.evaluation.summary import Estimate
from medfm.reporting.drawn_words import drawn_verdict
from medfm.reporting.result import Result
from medfm.reporting.words import chance_level, figure, word


def headline_chance(result: Result, estimate: Estimate) -> float | None:
    """What guessing would give for a headline figure of this result, where that is defined."""
    summary = result.summary
    if summary.task == "retrieval":
        chances: dict[str, float] = result.extras.get("chance", {})
        return chances.get(estimate.metric)
    prevalence = None
    if summary.task == "binary" and len(summary.classes) == 2:
        truth = result.predictions.of_variant(estimate.variant).table["truth"].astype(str)
        prevalence = float((truth == summary.classes[1]).mean()) if len(truth) else None
    return chance_level(estimate.metric, summary.task, len(summary.classes), prevalence)


def deciding(result: Result) -> tuple[Estimate, float] | None:
    """The first headline figure that can be held against guessing, and what guessing gives."""
    for estimate in result.summary.headline:
        chance = headline_chance(result, estimate)
        if chance is not None and estimate.value is not None:
            return estimate, chance
    return None


def verdict(result: Result) -> str:
    """Whether the first headline metric with a chance level is above guessing, with its interval."""
    if result.summary.task == "similarity":
        return drawn_verdict(result)
    found = deciding(result)
    if found is not None:
        estimate, chance = found
        title = word(estimate.metric).title
        if estimate.low is None or estimate.high is None:
            return f"No interval could be had for {title}, so it cannot be told from guessing ({figure(chance)})."
        if estimate.low > chance:
            return f"Better than guessing: the whole interval of {title} lies above {figure(chance)}."
        if estimate.high < chance:
            return f"Worse than guessing: the whole interval of {title} lies below {figure(chance)}."
        return f"Not told apart from guessing: the interval of {title} includes {figure(chance)}."
    return "None of the headline metrics has a level that guessing would reach; see the figures below."
