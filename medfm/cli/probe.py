"""``medfm probe``: labels and an encoder in, a result with intervals and a report out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from medfm.cli.common import Verb, cohort_options, config_options, json_option, print_config
from medfm.cli.options import (
    baseline_option,
    drop_unlabelled_option,
    encoder_options,
    explanations_option,
    folder_options,
    map_method_option,
    progress_for,
    protocol_option,
    run_options,
    taken_cohort,
    target_of,
    task_option,
    tell_run,
)


@click.command(cls=Verb)
@click.argument("table", type=click.Path())
@encoder_options(
    preprocessing="A variant (medfm encoders show ID).", embeddings="File of medfm embed --out, instead of --encoder."
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="COLUMN",
    help="Label column [the YAML's, else label]; repeat: multilabel.",
)
@task_option("binary", "multiclass", "multilabel", "regression")
@baseline_option
@click.option("--positive", metavar="CLASS", help="Positive class of a binary task [the second in order].")
@protocol_option("linear-probe@1")
@click.option("--knowledge", metavar="NAME|FILE", help="Findings of concept-probe@1.")
@click.option("--label-set", metavar="NAME", help="Only findings of this label set.")
@folder_options
@click.option("--attention", "attention_out", type=click.Path(dir_okay=False), help="CSV of attention per cell (MIL).")
@drop_unlabelled_option()
@map_method_option
@explanations_option
@run_options
@cohort_options
@config_options
@json_option
def command(
    table: str,
    targets: tuple[str, ...],
    protocol: str,
    knowledge: str | None,
    label_set: str | None,
    cache: str | None,
    on_error: str | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Evaluate an encoder on labels: linear probe, findings, kNN, or bags.

    Examples:
      medfm probe labels.csv --encoder dinobloom-s --target label --out runs/first
      medfm probe labels.csv --embeddings cells.npz --protocol dinobloom-knn@1 --set method.k=[1,5]
      medfm probe labels.csv --encoder dinobloom-s --protocol mil@1 --map patient_id=donor --out runs/mil
      medfm probe eyes.csv --encoder flair-resnet50 --protocol concept-probe@1 --out runs/findings
    Protocols: linear-probe@1, gradient-probe@1, concept-probe@1, knn@1, mil@1; of papers: dinobloom-linear@1,
    dinobloom-linear-split@1, dinobloom-knn@1, dinobloom-aml-mil@1, reddino-linear@1, merl-linear@1;
    or a YAML file. --dry-run shows one.
    Checked before any work: the table, leakage between splits, classes, the encoder's training data.
    Nothing is ever chosen on test records. Exit code 1: done, but records could not be read.
    Common errors: a patient in two splits (mend it, or --allow CODE), missing labels
    (--drop-unlabelled), no split 'test' (--set scheme.kind=kfold), the folder exists (--overwrite).
    """
    from medfm.workflows.concept_probe import concept_plan

    plan = concept_plan(protocol, overrides, knowledge=knowledge, label_set=label_set)
    if dry_run:
        print_config(plan, as_json)
        return 0
    from medfm.workflows.probe_table import probe_table

    cohort = taken_cohort(options, options["encoder"])
    run = probe_table(
        table,
        target=target_of(targets),
        protocol=plan,
        allow=cohort["allow"],
        cohort=cohort,
        embed_settings={"cache": cache, "on_error": on_error},
        progress=progress_for(as_json),
        **options,
    )
    return tell_run(run, as_json, _averages, on_error=on_error)


def _averages(result: Any) -> Iterator[str]:
    for metric, found in result.extras.get("paper_average", {}).get("main", {}).items():
        if found["mean"] is not None:
            spread = "" if found["std"] is None else f" ± {found['std']:.4f}"
            name = metric.replace("_", " ")
            yield f"as the paper averages: {name} {found['mean']:.4f}{spread} over {found['n']} folds"
