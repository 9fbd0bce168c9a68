"""``medfm finetune``: labels, an encoder and a recipe in; a tuned model and its report out."""

from __future__ import annotations

from typing import Any

import click

from medfm.cli.common import (
    Verb,
    cohort_options,
    config_options,
    default_modality,
    json_option,
    pairs,
    print_config,
    print_run,
)


@click.command(cls=Verb)
@click.argument("table", type=click.Path())
@click.option("--encoder", metavar="ID|FOLDER", help="Encoder id (medfm encoders), or a folder of a training run.")
@click.option("--weights", metavar="FILE|random", help="Checkpoint file, or 'random' for the untrained network.")
@click.option("--preprocessing", metavar="NAME", help="A variant (medfm encoders show ID).")
@click.option("--recipe", default="bpd-progressive", show_default=True, metavar="NAME|FILE", help="How it is trained.")
@click.option("--target", "targets", multiple=True, metavar="COLUMN", help="Label column; repeat: multilabel.")
@click.option("--task", type=click.Choice(["auto", "binary", "multiclass", "multilabel", "regression"]), default="auto")
@click.option("--positive", metavar="CLASS", help="Positive class of a binary task [the second in order].")
@click.option("--protocol", default="finetune@1", show_default=True, metavar="ID|FILE", help="How it is evaluated.")
@click.option(
    "--beside", multiple=True, metavar="ID", help="With nested-cv@1: another encoder probed on its folds; repeat."
)
@click.option("--out", type=click.Path(file_okay=False), help="Folder to write [runs/RECIPE].")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier run in --out.")
@click.option("--drop-unlabelled", is_flag=True, help="Leave out records without a label.")
@click.option("--name", default="", help="What the result is called.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda.")
@click.option("--cache", type=click.Path(), help="Cache folder [MEDFM_CACHE].")
@click.option("--on-error", type=click.Choice(["report", "skip", "stop"]), help="What a bad record does [report].")
@cohort_options
@config_options
@json_option
def command(
    table: str,
    encoder: str | None,
    weights: str | None,
    preprocessing: str | None,
    recipe: str,
    targets: tuple[str, ...],
    protocol: str,
    beside: tuple[str, ...],
    out: str | None,
    modality: str | None,
    root: str | None,
    mapping: tuple[str, ...],
    where: tuple[str, ...],
    allow: tuple[str, ...],
    cache: str | None,
    on_error: str | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Adapt an encoder to the labels of TABLE, and test it on held-out patients.

    Examples:
      medfm finetune labels.csv --encoder dinobloom-s --target label --out runs/ft
      medfm finetune labels.csv --encoder dinobloom-s --recipe lora --set stages.tune.epochs=10
      medfm finetune ecgs.csv --encoder merl-resnet18 --recipe lp-ft --target afib --out runs/afib --resume
      medfm finetune labels.csv --encoder dinobloom-s --protocol nested-cv@1 --out runs/nested
    Recipes: linear-probe, lp-ft, bpd-progressive, ulmfit, layer-decay, lora, norm-only, bias-only, full;
    as published: bpd-progressive@1 and its ablations; or a YAML file. --dry-run shows one.
    Trains on the split 'train', chooses epoch and threshold on 'val' or on patients taken out of
    'train', tests once on 'test' beside a linear probe of the untouched encoder. --out gets the result
    (report.html), model/ (an encoder, and a classifier for medfm predict) and training/ (log, checkpoints).
    --protocol nested-cv@1 chooses among recipes inside outer folds by patient instead (--set changes
    the protocol, --dry-run counts the trainings, --resume skips finished ones); no column split is needed.
    Checked before any work: the table, leakage between splits, classes, the encoder's training data.
    Exit code 1: done, but records could not be read.
    Common errors: no split 'test', a patient in two splits (mend it, or --allow CODE), missing labels
    (--drop-unlabelled), a published recipe on another network, the folder holds a run (--resume).
    """
    from medfm.cli.finetune_nested import check_nested_options, is_nested, run_nested
    from medfm.workflows.finetune import finetune, load_finetune_recipe
    from medfm.workflows.nested import NestedPlan, nested_plan

    nested = is_nested(protocol)
    config = nested_plan(protocol, overrides, options["device"]) if nested else load_finetune_recipe(recipe, overrides)
    check_nested_options(nested, beside)
    if dry_run:
        print_config(config.protocol if isinstance(config, NestedPlan) else config, as_json)
        if isinstance(config, NestedPlan):
            click.echo(f"# {config}".replace("\n", "\n# "), err=as_json)
        return 0
    if encoder is None:
        raise click.UsageError("Name the encoder to start from: --encoder ID (medfm encoders lists them).")
    from medfm.cohorts.load import load_cohort
    from medfm.core.progress import Silent, for_people
    from medfm.encoders.load import load_encoder

    cohort = load_cohort(
        table,
        modality=modality,
        default_modality=default_modality(encoder),
        root=root,
        map=pairs(mapping, "--map"),
        where=pairs(where, "--where"),
        allow=allow,
    )
    loaded = load_encoder(encoder, weights=weights, device=options["device"], variant=preprocessing)
    target = None if not targets else targets[0] if len(targets) == 1 else list(targets)
    if isinstance(config, NestedPlan):
        return run_nested(
            config, loaded, cohort, target, out, beside, allow, {"cache": cache, "on_error": on_error}, as_json, options
        )
    run = finetune(
        loaded,
        cohort,
        target,
        config,
        out or f"runs/{config.name}",
        protocol=protocol,
        allow=allow,
        embed_settings={"cache": cache, "on_error": on_error},
        progress=Silent if as_json else for_people,
        **options,
    )
    if as_json:
        print_run(run)
    else:
        from medfm.reporting.finetune import before_line

        click.echo(str(run.result))
        click.echo(before_line(run.result))
        click.echo(f"report    {run.out / 'report.html'}")
        click.echo(f"Use it: medfm predict {run.out} TABLE --out predictions.csv, or --encoder {run.out / 'model'}")
    return 1 if run.failed and on_error != "skip" else 0
