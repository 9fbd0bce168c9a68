"""The report's section on the untrained encoder: one sentence and a table beside the trained one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfm.evaluation.predictions import MAIN
from medfm.reporting.result import Result
from medfm.reporting.tables import Table
from medfm.reporting.words import signed_with_ends, with_ends, word


def baseline_context(result: Result) -> dict[str, Any] | None:
    """What the partial template needs; ``None`` where the result has no such entry."""
    entry = result.extras.get("untrained")
    if not isinstance(entry, dict):
        return None
    if "why_not" in entry:
        return {"sentence": "", "why_not": entry["why_not"], "table": None, "notes": []}
    return {"sentence": entry["sentence"], "why_not": "", "table": _table(entry), "notes": entry["notes"]}


def baseline_line(result: Result) -> str:
    """The same for a terminal; empty where the result has no such entry."""
    entry = result.extras.get("untrained")
    if not isinstance(entry, dict):
        return ""
    return entry.get("sentence") or f"No untrained encoder stands beside this one: {entry['why_not']}."


def _table(entry: Mapping[str, Any]) -> Table:
    """Every headline figure of the main variant, and the first one of each other variant."""
    rows, seen = [], set()
    for row in entry["rows"]:
        variant = row["variant"]
        if variant != MAIN and variant in seen:
            continue
        seen.add(variant)
        less = " (less is better)" if row["better"] == "lower" else ""
        name = word(row["metric"]).title + less + ("" if variant == MAIN else f", {variant}")
        rows.append(
            (
                name,
                with_ends(row["trained"]),
                with_ends(row["untrained"]),
                signed_with_ends(row["difference"]),
            )
        )
    methods = "; ".join(dict.fromkeys(row["method"] for row in entry["rows"] if row["method"]))
    note = (
        f"Brackets give the {100 * entry['level']:g} % confidence interval. The difference is trained minus untrained"
        f"{f' ({methods})' if methods else ''}; intervals are not corrected for their number. Untrained weights: seed "
        f"{entry['seed']}."
    )
    return Table(("figure", "trained", "untrained", "difference"), tuple(rows), note, figures=False)
