"""``medfm fewshot``: k labelled records per class in, learning curve with intervals out."""

from __future__ import annotations

from typing import Any

import click

from medfm.cli.common import Verb, cohort_options, config_options, json_option, print_config
from medfm.cli.options import (
    class_pairs,
    drop_unlabelled_option,
    encoder_options,
    explanations_option,
    folder_options,
    map_method_option,
    progress_for,
    prompt_options,
    protocol_option,
    run_options,
    taken_cohort,
    task_option,
    tell_run,
)


@click.command(cls=Verb)
@click.argument("table", type=click.Path())
@encoder_options(
    required=True,
    weights="Checkpoint, or 'random' for untrained ones.",
    preprocessing="Another preprocessing of the card.",
    embeddings="File of medfm embed --out: records are not read.",
)
@click.option("--target", metavar="COLUMN", help="Column of classes [the YAML's, else label].")
@task_option("binary", "multiclass")
@click.option("--positive", metavar="CLASS", help="Positive class of two [the second in order].")
@protocol_option("few-shot-lp@1")
@click.option("--shots", metavar="1,2,4", help="Records per class; the largest is the headline [1,2,4,8,16].")
@click.option("--draws", type=click.IntRange(1), help="Repeated draws of every number of shots [5].")
@click.option("--strategy", metavar="NAME", help="Prompt strategy of methods on texts.")
@prompt_options
@click.option("--leave-out", multiple=True, metavar="CLASS", help="Do without the records of this class.")
@folder_options
@drop_unlabelled_option()
@map_method_option
@explanations_option
@run_options
@cohort_options
@config_options
@json_option
def command(
    table: str,
    encoder: str,
    protocol: str,
    shots: str | None,
    draws: int | None,
    strategy: str | None,
    prompt_file: str | None,
    knowledge: str | None,
    label_set: str | None,
    map_class: tuple[str, ...],
    on_error: str | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Adapt to k labelled records per class, drawn by patient; learning curve out.

    Examples:
      medfm fewshot labels.csv --encoder dinobloom-s --out runs/shots
      medfm fewshot labels.csv --encoder flair-resnet50 --protocol tip-adapter-f@1 --prompt-file p.json
      medfm fewshot labels.csv --encoder dinobloom-s --protocol attentive-probe@1 --shots 1,4,16
    Protocols on embeddings: few-shot-lp@1, flair-lp@1; on texts: clip-adapter@1, tip-adapter@1,
    tip-adapter-f@1, zero-shot-lp@1; on tokens: attentive-probe@1, attentive-probe-multi@1,
    moment-probe@1; as published: flair-*@1, tip-adapter-f-published@1 (docs/fewshot.md).
    Beside it, on the same shots: the plain linear probe, and the texts alone. Exit code 1: done, but
    records could not be read.
    Checked before any work: texts and tokens are there, leakage between splits, classes.
    Common errors: a class without a prompt (--prompt-file, --map-class, --leave-out), no text tower or
    tokens (another encoder), too few records of a class (--shots), no split (--set scheme.kind=kfold).
    """
    from medfm.workflows.few_shot import few_shot_plan

    prompts = {"strategy": strategy, "knowledge": knowledge, "label_set": label_set, "prompt_file": prompt_file}
    plan = few_shot_plan(protocol, overrides, shots=_numbers(shots), draws=draws, prompts=prompts)
    if dry_run:
        print_config(plan, as_json)
        return 0
    from medfm.reporting.few_shot import curve_lines
    from medfm.workflows.few_shot import few_shot_table

    cohort = taken_cohort(options, encoder)
    run = few_shot_table(
        table,
        encoder=encoder,
        allow=cohort["allow"],
        cohort=cohort,
        protocol=plan,
        map_class=class_pairs(map_class),
        embed_settings={"on_error": on_error},
        progress=progress_for(as_json),
        **options,
    )
    return tell_run(run, as_json, curve_lines, on_error=on_error)


def _numbers(text: str | None) -> tuple[int, ...]:
    """``1,2,4`` as numbers."""
    if text is None:
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(
            f"--shots takes whole numbers with commas between, such as 1,4,16, not '{text}'."
        ) from None
