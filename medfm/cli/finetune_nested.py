"""``medfm finetune --protocol nested-cv@1``: nested cross-validation from a shell's point of view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from medfm.cli.common import print_run

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.encoders.encoder import Encoder
    from medfm.workflows.nested import NestedPlan


def is_nested(protocol: str) -> bool:
    """Whether the protocol of that id or file is one of nested cross-validation."""
    from medfm.evaluation.protocol import load_protocol
    from medfm.evaluation.protocol_nested import NestedFineTune

    return isinstance(load_protocol(protocol).method, NestedFineTune)


def check_nested_options(nested: bool, beside: Sequence[str]) -> None:
    """Refuse options that would not do anything.

    Raises:
        UsageError: ``--recipe`` with nested cross-validation, or ``--beside`` without, or the same name twice.
    """
    source = click.get_current_context().get_parameter_source("recipe")
    if nested and source is not None and source.name == "COMMANDLINE":
        raise click.UsageError("Nested cross-validation takes a list of recipes: --set method.candidates=[NAME, NAME].")
    if beside and not nested:
        raise click.UsageError("--beside goes with --protocol nested-cv@1.")
    double = sorted({name for name in beside if beside.count(name) > 1})
    if double:
        raise click.UsageError(f"--beside names {', '.join(double)} twice.")


def run_nested(
    plan: NestedPlan,
    encoder: Encoder,
    cohort: Cohort,
    target: str | list[str] | None,
    out: str | None,
    beside: Sequence[str],
    allow: Sequence[str],
    embed_settings: Mapping[str, Any],
    as_json: bool,
    options: Mapping[str, Any],
) -> int:
    """Run the plan and say what came out; the exit code."""
    from medfm.core.progress import Silent, for_people
    from medfm.reporting.nested import nested_line
    from medfm.workflows.nested import nested_finetune

    if not as_json:
        click.echo(str(plan))
    run = nested_finetune(
        encoder,
        cohort,
        target,
        plan,
        out or "runs/nested",
        beside=beside,
        allow=allow,
        embed_settings=embed_settings,
        progress=Silent if as_json else for_people,
        **options,
    )
    if as_json:
        print_run(run)
    else:
        click.echo(str(run.result))
        click.echo(nested_line(run.result))
        click.echo(f"report    {run.out / 'report.html'}")
        final = run.result.extras["nested"].get("final")
        if final is not None:
            also = "" if final["kind"] == "ensemble" else f", or --encoder {run.out / 'model'}"
            click.echo(f"Use it: medfm predict {run.out} TABLE --out predictions.csv{also}")
    return 1 if run.failed and embed_settings.get("on_error") != "skip" else 0
