"""``medfm finetune`` as nested cross-validation: what a shell is told before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.encoders.encoder import Encoder
    from medfm.workflows.finetune import FinetuneRun
    from medfm.workflows.nested import NestedPlan


def run_nested(
    plan: NestedPlan,
    encoder: Encoder,
    cohort: Cohort,
    target: str | list[str] | None,
    out: str,
    as_json: bool,
    options: Mapping[str, Any],
) -> FinetuneRun:
    """Run the plan; before, say how many trainings it is and what of the table is not looked at."""
    from medfm.workflows.nested import nested_finetune
    from medfm.workflows.nested_folds import split_note

    if not as_json:
        click.echo(str(plan))
        click.echo("About how long it takes is said from the second training on.")
        for note in split_note(cohort):
            click.echo(f"note: {note}")
    return nested_finetune(encoder, cohort, target, plan, out, **options)


def nested_lines(run: FinetuneRun) -> list[str]:
    """What is said after the figures: whether it helped, and how to use the final model."""
    from medfm.reporting.nested import nested_line

    lines = [nested_line(run.result), f"report    {run.out / 'report.html'}"]
    final = run.result.extras["nested"].get("final")
    if final is not None:
        also = "" if final["kind"] == "ensemble" else f", or --encoder {run.out / 'model'}"
        if final.get("reading"):
            lines.insert(1, _reading_line(final["reading"]))
        lines.append(f"Use it: medfm predict {run.out} TABLE --out predictions.csv{also}")
    return lines


def _reading_line(said: str) -> str:
    """What the report says of the zero-shot reading, as a sentence of its own."""
    if said.startswith("none: "):
        return f"No zero-shot reading beside the model: {said.removeprefix('none: ')}."
    return said.partition("outer folds: ")[2] or said
