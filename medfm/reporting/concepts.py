"""The report's section on a concept probe: what the named findings cost and which of them count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfm.reporting.result import Result
from medfm.reporting.tables import Table
from medfm.reporting.verdict import deciding
from medfm.reporting.words import count, figure, with_ends, word

KEY = "concepts"
_MOST = 10  # findings shown per class; the others are in result.json
_MOST_CLASSES = 24


def concepts_context(result: Result) -> dict[str, Any] | None:
    """What the partial template shows; ``None`` for results of another kind."""
    entry = result.extras.get(KEY)
    if not isinstance(entry, Mapping):
        return None
    columns = entry["columns"]
    return {
        "sentence": concept_sentence(result),
        "sizes": _sizes(entry),
        "table": _figures(entry["black_box"]),
        "classes": [_one_class(entry, name) for name in columns[:_MOST_CLASSES]],
        "left": len(columns) - min(len(columns), _MOST_CLASSES),
        "unit": _unit(result),
        "source": _source(entry),
        "several": entry["trainings"] > 1,
    }


def concept_sentence(result: Result) -> str:
    """Whether the findings suffice, by the figure that the report's verdict is about; empty for other results."""
    entry = result.extras.get(KEY)
    if not isinstance(entry, Mapping):
        return ""
    rows = entry["black_box"]["rows"]
    decided = deciding(result)
    name = decided[0].metric if decided else rows[0]["metric"]
    row = next((r for r in rows if r["metric"] == name), rows[0])
    title = word(row["metric"]).title
    sides = f"{figure(row['concepts']['value'])} against {figure(row['black_box']['value'])}"
    value, low, high = (row["difference"][key] for key in ("value", "low", "high"))
    if value is None:
        return f"What the named findings cost cannot be said: {title} is undefined here."
    if low is None or high is None:
        return f"The concept probe differs from the black-box probe by {_signed(value)} in {title} ({sides}), without interval."
    sign = 1 if row["better"] == "higher" else -1
    ends = f"{_signed(value)}, {100 * entry['black_box']['level']:g} % CI {_signed(low)} to {_signed(high)}; {sides}"
    if max(sign * low, sign * high) < 0:
        return f"The named findings alone are worse than the black-box probe in {title} ({ends})."
    if min(sign * low, sign * high) > 0:
        return f"The named findings alone are better than the black-box probe in {title} ({ends})."
    return f"The named findings alone are not shown to be worse than the black-box probe in {title} ({ends})."


def _sizes(entry: Mapping[str, Any]) -> str:
    trainings = entry["trainings"]
    over = "" if trainings == 1 else f" in at least one of {trainings} trainings"
    return f"Of {count(entry['asked'], 'finding')} asked for, {entry['used']} {'has' if entry['used'] == 1 else 'have'} a weight{over}."


def _source(entry: Mapping[str, Any]) -> str:
    knowledge = entry["knowledge"]
    part = f", findings of the label set {entry['label_set']}" if entry.get("label_set") else ", all findings"
    return f"Knowledge {knowledge['domain']}, version {knowledge['version']}{part}; reviewed by: {knowledge['reviewed_by']}."


def _unit(result: Result) -> str:
    what = {
        "binary": "log odds of the positive class",
        "multilabel": "log odds of the label",
        "multiclass": "score of the class",
    }[result.summary.task]
    return f"A weight is the change of the {what} when the similarity to the finding grows by one standard deviation, the other similarities unchanged."


def _figures(box: Mapping[str, Any]) -> Table:
    rows = []
    for row in box["rows"]:
        less = " (less is better)" if row["better"] == "lower" else ""
        difference = row["difference"]
        signed = _signed(difference["value"])
        if difference["low"] is not None and difference["high"] is not None:
            signed += f" ({_signed(difference['low'])} to {_signed(difference['high'])})"
        rows.append((word(row["metric"]).title + less, with_ends(row["concepts"]), with_ends(row["black_box"]), signed))
    methods = "; ".join(dict.fromkeys(row["method"] for row in box["rows"] if row["method"]))
    note = (
        f"Brackets give the {100 * box['level']:g} % confidence interval. The difference is concepts minus black box"
        f"{f' ({methods})' if methods else ''}; intervals are not corrected for their number."
    )
    return Table(("figure", "named findings", "black box", "difference"), tuple(rows), note, figures=False)


def _signed(value: float | None, digits: int = 3) -> str:
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return "–" if value is None else f"{round(value, digits) + 0.0:+.{digits}f}"


def _one_class(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The heaviest findings of one class as bars; the longest bar of the page is the largest weight of all classes."""
    every = [abs(w["mean"]) for f in entry["findings"] for w in f["weights"].values()]
    top = max(every, default=0.0) or 1.0
    own = [(f, f["weights"][name]) for f in entry["findings"] if name in f["weights"]]
    own.sort(key=lambda pair: -abs(pair[1]["mean"]))
    rows = [
        {
            "finding": found["finding"],
            "weight": _signed(weight["mean"]),
            "span": f"{_signed(weight['least'], 2)} to {_signed(weight['most'], 2)}",
            "trainings": f"{weight['trainings']} of {entry['trainings']}",
            "listed": "; ".join(found["classes"][:3]) + (" …" if len(found["classes"]) > 3 else ""),
            "share": f"{50 * abs(weight['mean']) / top:.3g}",
            "against": weight["mean"] < 0,
        }
        for found, weight in own[:_MOST]
    ]
    return {"name": name, "rows": rows, "left": len(own) - len(rows)}
