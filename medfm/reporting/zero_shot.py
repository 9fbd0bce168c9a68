"""What a report says of a zero-shot result: its prompts, what hangs on each, and how to read the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from medfm.reporting.result import Result
from medfm.reporting.tables import Table
from medfm.reporting.words import count, figure, signed

KEY = "zero_shot"
_MOST_PROMPTS = 400
Level = Literal["stop", "caution", "note"]
Notice = tuple[Level, str, str]


def zero_shot_section(result: Result) -> dict[str, Any] | None:
    """What the template ``_zero_shot.html.j2`` shows; ``None`` for results of another kind."""
    extras = result.extras.get(KEY)
    if not isinstance(extras, Mapping):
        return None
    knowledge = extras.get("knowledge")
    return {
        "sources": _sources(extras, knowledge),
        "strategies": [_strategy(extras, entry) for entry in extras["strategies"]],
        "sensitivity_note": extras.get("sensitivity_note") or "",
        "texts": _texts(extras.get("texts") or []),
        "comparisons": _comparisons(extras.get("comparison")),
        "comparison_notes": (extras.get("comparison") or {}).get("notes", []),
        "best_f1": _best_f1(extras.get("best_f1")),
        "best_f1_flaw": extras.get("best_f1_flaw", ""),
    }


def zero_shot_warnings(result: Result) -> list[Notice]:
    """Level, title and text of what must be known before the figures; empty for other results."""
    extras = result.extras.get(KEY)
    if not isinstance(extras, Mapping):
        return []
    found: list[Notice] = []
    if extras.get("stand_in"):
        found.append(
            (
                "stop",
                "Not the published prompts",
                f"The protocol {result.protocol.id} asks with a prompt file of its authors, which was not given. Prompts "
                f"of the strategy {extras['strategies'][0]['strategy']} stand in for it, so no figure here can count as "
                "reproduced.",
            )
        )
    cut = [entry for entry in extras.get("texts") or [] if entry["kept"] < entry["tokens"]]
    if cut:
        found.append(
            (
                "caution",
                "Prompts cut off",
                f"{count(len(cut), 'prompt')} {'is' if len(cut) == 1 else 'are'} longer than the text tower takes.",
            )
        )
    if extras.get("best_f1"):
        found.append(("caution", "The published best F1 is chosen on the test records", extras["best_f1_flaw"]))
    knowledge = extras.get("knowledge")
    if knowledge and knowledge.get("reviewed_by") == "none":
        found.append(
            ("note", "Prompts not reviewed", "No clinician has reviewed the texts that the prompts are made of.")
        )
    found.append(
        (
            "note",
            "Scores are no probabilities",
            "A zero-shot score is a similarity. It ranks records; calibration, Brier score, and for label columns F1 at "
            "a threshold of 0.5 say nothing about it and are left out.",
        )
    )
    return found


def _sources(extras: Mapping[str, Any], knowledge: Any) -> list[str]:
    lines = []
    if knowledge:
        lines.append(
            f"Knowledge {knowledge['domain']}, version {knowledge['version']} (sha256 {knowledge['sha256'][:12]}), "
            f"reviewed by: {knowledge['reviewed_by']}"
            + (f"; label set {extras['label_set']}." if extras.get("label_set") else ".")
        )
    file = extras.get("prompt_file")
    if file:
        lines.append(f"Prompt file {file['name']} (sha256 {file['sha256'][:12]}).")
    lines.append("Texts are lower-cased." if extras.get("lower_case") else "Texts keep their case.")
    return lines


def _strategy(extras: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    tokens = {entry["text"]: entry for entry in extras.get("texts") or []}
    rows = [row for row in extras["prompts"] if row["variant"] == about["variant"]]
    several = any(row["without"] is not None for row in rows)
    header = ["label", "prompt", "weight", *(["tokens"] if tokens else [])]
    if several:
        header += ["AUROC with all", "without it", "change"]
    cells = []
    for row in rows[:_MOST_PROMPTS]:
        entry = tokens.get(row["text"])
        counted = "–" if entry is None else str(entry["tokens"])
        if entry is not None and entry["kept"] < entry["tokens"]:
            counted += f", cut to {entry['kept']}"
        cell = [row["label"], row["text"], figure(row["weight"]), *([counted] if tokens else [])]
        if several:
            cell += [figure(row["auroc"]), figure(row["without"]), signed(row["change"])]
        cells.append(tuple(cell))
    left = len(rows) - len(cells)
    note = f"{left} further prompts are in result.json. " if left > 0 else ""
    if several:
        note += (
            "AUROC of the label's cosine against all other records. Without it: the same when this prompt is left "
            "out; a negative change means that the prompt helps. Choosing prompts by this table would be training on "
            "the test records."
        )
    return {
        "name": about["strategy"],
        "does": about["does"][:1].upper() + about["does"][1:],
        "main": about["variant"] == "main",
        "count": count(about["prompts"], "prompt"),
        "table": Table(tuple(header), tuple(cells), note, figures=False),
    }


def _texts(texts: Sequence[Mapping[str, Any]]) -> Table | None:
    if not texts:
        return None
    rows = tuple(
        (entry["text"], entry["encoded"], str(entry["tokens"]), "yes" if entry["kept"] < entry["tokens"] else "no")
        for entry in texts[:_MOST_PROMPTS]
    )
    return Table(("text", "as the tower reads it", "tokens", "cut off"), rows, figures=False)


def _comparisons(found: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """One table per further strategy: it against the headline, metric by metric."""
    if not found:
        return []
    made = []
    for other in dict.fromkeys(row["other"] for row in found["rows"]):
        rows = []
        for row in found["rows"]:
            if row["other"] != other:
                continue
            ends = "–" if row["low"] is None else f"{signed(row['low'])} to {signed(row['high'])}"
            difference = signed(row["difference"])
            rows.append(
                (
                    row["title"],
                    figure(row["first"]),
                    figure(row["second"]),
                    difference,
                    ends,
                    _p(row["p"]),
                    _p(row["p_holm"]),
                    f"{other if row['winner'] == 'other' else found['reference']} is better"
                    if row["winner"]
                    else "no difference shown",
                )
            )
        header = (
            "metric",
            found["reference"],
            other,
            "difference",
            f"{100 * found['level']:g} % CI",
            "p",
            "Holm",
            "verdict",
        )
        made.append(
            {"other": other, "reference": found["reference"], "table": Table(header, tuple(rows), figures=False)}
        )
    return made


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _best_f1(rows: Sequence[Mapping[str, Any]] | None) -> Table | None:
    if not rows:
        return None
    cells = tuple(
        (row["label"], figure(row["f1"]), "–" if row["threshold"] is None else f"{row['threshold']:+.4f}",
         figure(row["accuracy"]))
        for row in rows
    )  # fmt: skip
    return Table(("label", "best F1", "at cosine above", "accuracy there"), cells)
