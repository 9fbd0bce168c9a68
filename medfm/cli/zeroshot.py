"""``medfm zeroshot``: labels and an encoder with a text tower in, scores without training out."""

from __future__ import annotations

from typing import Any

import click

from medfm.cli.common import Verb, cohort_options, config_options, json_option, print_config, print_json, table
from medfm.cli.options import (
    baseline_option,
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
    target_of,
    task_option,
    tell_run,
)


@click.command(cls=Verb)
@click.argument("table_file", metavar="TABLE", type=click.Path())
@encoder_options(
    "Encoder with a text tower (medfm encoders).",
    required=True,
    weights="Checkpoint, or 'random' for untrained ones.",
    preprocessing="Another preprocessing of the card, such as cpsc2018.",
    embeddings="File of medfm embed --out: records are not read.",
)
@click.option("--target", "targets", multiple=True, metavar="COLUMN", help="Label column; repeat it for label columns.")
@task_option("binary", "multiclass", "multilabel")
@click.option("--positive", metavar="CLASS", help="Positive class of two [the second in order].")
@protocol_option("zero-shot@1")
@click.option("--strategy", "strategies", multiple=True, metavar="NAME", help="Prompt strategy; several are compared.")
@prompt_options
@click.option("--leave-out", multiple=True, metavar="CLASS", help="Do not score records of this class.")
@click.option("--split", type=click.Choice(["test", "val", "train", "all"]), help="Which records [test].")
@folder_options
@drop_unlabelled_option()
@map_method_option
@baseline_option
@explanations_option
@run_options
@cohort_options
@config_options
@json_option
def command(
    table_file: str,
    encoder: str,
    targets: tuple[str, ...],
    protocol: str,
    strategies: tuple[str, ...],
    prompt_file: str | None,
    knowledge: str | None,
    label_set: str | None,
    map_class: tuple[str, ...],
    split: str | None,
    on_error: str | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Score records against texts that describe the labels; nothing is trained.

    Examples:
      medfm zeroshot ptbxl.csv --encoder merl-resnet18 --label-set ptbxl-super --out runs/zero
      medfm zeroshot labels.csv --encoder merl-resnet18 --strategy class-name@1 --strategy findings@1
      medfm zeroshot ptbxl.csv --encoder merl-resnet18 --protocol merl-zeroshot@1 --prompt-file CKEPE_prompt.json
    Protocols: zero-shot@1 (ours), {merl,flair,quilt,pathgen}-zeroshot@1 (as published), or a YAML file.
    Strategies: class-name@1, synonyms@1, findings@1 ... (docs/knowledge.md). --dry-run shows every prompt.
    Checked before any work: every class has a prompt, the text tower and its vocabulary are here.
    Exit code 1: done, but records could not be read.
    Common errors: a class without a prompt (--map-class, --leave-out), no vocabulary (the message
    says what to put where), no text tower (choose an encoder with one), the folder exists (--overwrite).
    """
    from medfm.workflows.zero_shot_target import zero_shot_plan

    given = (f"method.split={split}",) if split else ()
    plan = zero_shot_plan(
        protocol, (*overrides, *given), knowledge=knowledge, label_set=label_set, prompt_file=prompt_file
    )
    target = target_of(targets)
    cohort = taken_cohort(options, encoder)
    chosen = class_pairs(map_class)
    if dry_run:
        from medfm.workflows.zero_shot_preview import preview

        seen = preview(
            table_file,
            encoder,
            plan,
            cohort=cohort,
            target=target,
            strategies=strategies,
            map_class=chosen,
            **{k: options[k] for k in ("leave_out", "task", "positive", "drop_unlabelled")},
        )
        if as_json:
            print_json({"prompts": seen.rows, "notes": seen.notes, "config": plan.to_dict(), "sha256": plan.digest()})
            return 0
        table([[r["label"], r["strategy"], r["text"], r["tokens"]] for r in seen.rows],
              ["label", "strategy", "prompt", "tokens"], seen.title)  # fmt: skip
        for note in seen.notes:
            click.echo(note)
        click.echo("")
        print_config(plan)
        return 0
    from medfm.workflows.zero_shot import zero_shot_table

    run = zero_shot_table(
        table_file,
        encoder=encoder,
        cohort=cohort,
        target=target,
        protocol=plan,
        strategy=strategies,
        map_class=chosen,
        allow=cohort["allow"],
        embed_settings={"on_error": on_error},
        progress=progress_for(as_json),
        **options,
    )
    return tell_run(run, as_json, on_error=on_error)
