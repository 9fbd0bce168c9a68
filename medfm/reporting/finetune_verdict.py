"""One sentence on what kind of verdict a fine-tuning result is: nested cross-validation, or one split."""

from __future__ import annotations

from collections import Counter

from medfm.evaluation.protocol_nested import NestedFineTune
from medfm.reporting.result import Result
from medfm.reporting.words import count, recipe_name


def verdict_sentence(result: Result) -> str:
    """How the figures were got; empty for results of other kinds."""
    protocol = result.protocol.id
    nested = result.extras.get("nested")
    if isinstance(nested, dict):
        folds = nested["folds"]
        sites = " (one per site)" if result.protocol.scheme.kind == "leave_one_site_out" else ""
        votes = Counter(fold["candidate"] for fold in folds).most_common()
        method = result.protocol.method
        if isinstance(method, NestedFineTune) and not method.chooses:
            return (
                f"Verdict by cross-validation ({protocol}): {count(len(folds), 'outer fold')}{sites} by patient; nothing was "
                f"chosen inside: {recipe_name(votes[0][0])} trained on all patients that a fold does not test, and its last "
                "epoch was scored."
            )
        return (
            f"Verdict by nested cross-validation ({protocol}): {count(len(folds), 'outer fold')}{sites} by patient; recipe, "
            "epoch, threshold and recalibration were chosen inside each, and the tested patients chose nothing. "
            f"Chosen: {', '.join(f'{recipe_name(name)} in {n}' for name, n in votes)}."
        )
    tuned = result.extras.get("finetune")
    if isinstance(tuned, dict):
        name = result.config.get("recipe", {}).get("name", "one recipe")
        return (
            f"Verdict by one split ({protocol}): {name}, trained once, tested once on "
            f"{count(result.summary.n_records, 'record')}. Without a recipe the verdict is a nested cross-validation."
        )
    return ""
