"""``medfm survival``: follow-up and an encoder in, C-index and Kaplan-Meier curves with a report out."""

from __future__ import annotations

from typing import Any

import click

from medfm.cli.common import Verb, cohort_options, config_options, json_option, print_config
from medfm.cli.options import (
    drop_unlabelled_option,
    encoder_options,
    folder_options,
    progress_for,
    protocol_option,
    run_options,
    taken_cohort,
    tell_run,
)


@click.command(cls=Verb)
@click.argument("table", type=click.Path())
@encoder_options(embeddings="File of medfm embed --out, instead of --encoder.")
@click.option("--time", default="time", show_default=True, metavar="COLUMN", help="Follow-up time, above 0.")
@click.option("--event", default="event", show_default=True, metavar="COLUMN", help="0 censored, 1 event, 2.. others.")
@click.option("--unit", default="", metavar="WORD", help="What times are in, such as months.")
@protocol_option("conversion-survival@1")
@folder_options
@drop_unlabelled_option("a time or event")
@run_options
@cohort_options
@config_options
@json_option
def command(
    table: str,
    protocol: str,
    cache: str | None,
    on_error: str | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Tell from embeddings who has an event sooner: penalised Cox regression, patients held out.

    Examples:
      medfm survival labels.csv --encoder dinobloom-s --time months --event relapse --out runs/relapse
      medfm survival labels.csv --embeddings cells.npz --unit months --set method.times=[12,24,36]
      medfm survival labels.csv --encoder dinobloom-s --set method.groups=3 --set method.unit=first
    The time runs from the record to the event or to the last visit without it. Codes 2 and above are
    competing events, such as death. Given: Harrell's and Uno's C, AUC at given times, Kaplan-Meier by
    risk group with log-rank, hazard ratio, a check of proportional hazards, cumulative incidence.
    Checked before any work: the table, times and events, leakage between splits, enough events.
    Exit code 1: done, but records could not be read.
    Common errors: times of 0 or less, records of one patient that differ (--set method.unit=first),
    missing follow-up (--drop-unlabelled), too few events for the folds (--set scheme.folds=2).
    """
    from medfm.workflows.survival import plan_of, survival_table

    plan = plan_of(protocol, overrides)
    if dry_run:
        print_config(plan, as_json)
        return 0

    cohort = taken_cohort(options, options["encoder"])
    run = survival_table(
        table,
        protocol=plan,
        allow=cohort["allow"],
        cohort=cohort,
        embed_settings={"cache": cache, "on_error": on_error},
        progress=progress_for(as_json),
        **options,
    )
    return tell_run(run, as_json, on_error=on_error)
