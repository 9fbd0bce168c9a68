"""What ``medfm zeroshot --dry-run`` shows: every prompt with its tokens, and nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medfm.evaluation.predictions import TaskKind
from medfm.evaluation.protocol import Protocol, ZeroShot
from medfm.workflows.zero_shot_prompts import questions, token_counts
from medfm.workflows.zero_shot_target import headline_metrics, scope_of


@dataclass(frozen=True)
class Preview:
    """Prompts as they would be encoded.

    Attributes:
        title: What would be scored, in a line.
        rows: ``label, strategy, text, weight, tokens`` (``None`` where they cannot be counted).
        notes: What a reader should know.
    """

    title: str
    rows: list[dict[str, Any]]
    notes: list[str]


def preview(
    table: str | Path,
    encoder: str,
    plan: Protocol,
    *,
    cohort: Mapping[str, Any] | None = None,
    target: str | Sequence[str] | None = None,
    strategies: Sequence[str] = (),
    map_class: Mapping[str, str] | None = None,
    leave_out: Sequence[str] = (),
    task: Literal["auto"] | TaskKind = "auto",
    positive: str | None = None,
    drop_unlabelled: bool = False,
) -> Preview:
    """Load the table and make the prompts; no weights, no records, no network.

    Args:
        table, encoder, cohort: As of :func:`medfm.workflows.zero_shot.zero_shot_table`.
        plan: The resolved protocol.
        target, strategies, map_class, leave_out, task, positive, drop_unlabelled: As of
            :func:`medfm.workflows.zero_shot.zero_shot`.

    Raises:
        ConfigError, CohortError, EvaluationError, UnknownNameError: What the run itself would say.
    """
    from medfm.cohorts.load import load_cohort
    from medfm.encoders.registry import get_card

    card = get_card(encoder)
    records = load_cohort(table, **dict(cohort or {}))
    method = plan.method
    assert isinstance(method, ZeroShot)
    scope = scope_of(records, target, method, leave_out, task, positive, drop_unlabelled)
    headline_metrics(plan, scope.truth.task)
    asked = questions(
        method,
        scope.truth.classes,
        strategies=strategies,
        modality=records.modality,
        label_set=records.info.get("label_set"),
        given=map_class,
    )
    rows: list[dict[str, Any]] = [
        {"label": entry.label, "strategy": q.strategy, "text": prompt.text, "weight": prompt.weight}
        for q in asked.asked
        for entry in q.prompts.classes
        for group in entry.groups
        for prompt in group
    ]
    text = card.spec.text
    lower = method.lower_case if method.lower_case is not None else text is None or text.lower_case
    counts, why = token_counts([row["text"] for row in rows], card, bool(lower))
    for row in rows:
        row["tokens"] = counts.get(row["text"])
    notes = [*scope.notes, *asked.notes, *([why] if why else [])]
    most = None if text is None else text.max_tokens
    long = [row for row in rows if most is not None and row["tokens"] is not None and row["tokens"] > most]
    if long:
        notes.append(f"{len(long)} prompts are longer than {most} tokens and would be cut off.")
    if any(q.in_context for q in asked.asked):
        notes.append("context@1 asks each record by its age and sex; shown are the prompts of an unknown person.")
    if asked.stand_in:
        notes.append("These are not the published prompts; name them with --prompt-file to reproduce a figure.")
    title = f"{len(scope.truth)} records of {records.name}, {len(scope.truth.classes)} classes, {scope.truth.task}"
    return Preview(title, rows, notes)
