"""``medfm finetune``: labels, an encoder and a recipe in; a tuned model and its report out."""

from __future__ import annotations

from typing import Any

import click

from medfm.cli.common import Verb, cohort_options, config_options, json_option, print_run


@click.command(cls=Verb)
@click.argument("table", metavar="TABLE|CONFIG", type=click.Path())
@click.option("--encoder", metavar="ID|FOLDER", help="Encoder id, or a training's folder.")
@click.option("--weights", metavar="FILE|random", help="Checkpoint, or 'random': untrained.")
@click.option("--preprocessing", metavar="NAME", help="A variant (medfm encoders show ID).")
@click.option("--recipe", metavar="NAME|FILE", help="Train this one once, on the column split.")
@click.option("--target", "targets", multiple=True, metavar="COLUMN", help="Label column; repeat: multilabel.")
@click.option("--task", type=click.Choice(["auto", "binary", "multiclass", "multilabel", "regression"]), default="auto")
@click.option("--positive", metavar="CLASS", help="Positive class of two [the second in order].")
@click.option("--protocol", metavar="ID|FILE", help="How it is judged [nested-cv@1; finetune@1 with --recipe].")
@click.option("--beside", multiple=True, metavar="ID", help="Nested: another encoder, probed; repeat.")
@click.option("--label-set", metavar="NAME", help="Names the classes, for the zero-shot reading.")
@click.option("--map-class", multiple=True, metavar="CLASS=NAME", help="What a class is called there.")
@click.option("--out", type=click.Path(file_okay=False), help="Folder to write [runs/nested, runs/RECIPE].")
@click.option("--resume", is_flag=True, help="Go on from where the run in --out stopped.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier run in --out.")
@click.option("--drop-unlabelled", is_flag=True, help="Leave out records without a label.")
@click.option("--name", default="", help="What the result is called.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda.")
@click.option("--cache", type=click.Path(), help="Cache folder [MEDFM_CACHE].")
@click.option("--on-error", type=click.Choice(["report", "skip", "stop"]), help="What a bad record does [report].")
@cohort_options
@config_options
@json_option
def command(table: str, dry_run: bool, as_json: bool, **options: Any) -> int:
    """Adapt an encoder to the labels of TABLE, and judge it on patients it never saw.

    Examples:
      medfm finetune labels.csv --encoder dinobloom-s --target label --out runs/nested
      medfm finetune labels.csv --encoder dinobloom-s --recipe lora --set stages.tune.epochs=10
      medfm finetune runs/nested/run.yaml --out runs/again --set scheme.seed=1
    Nested cross-validation (nested-cv@1) is the verdict: outer folds by patient, inside each recipe, epoch,
    threshold and recalibration are chosen. All records are used, whatever their split. --set changes the protocol,
    --dry-run counts the trainings, --resume skips finished ones.
    With --recipe that one is trained once: learns on the split 'train', chooses on 'val' or on patients of 'train',
    is tested once on 'test'; --set changes the recipe.
    Recipes: linear-probe, lp-ft, bpd-progressive, ulmfit, layer-decay, lora, norm-only, bias-only, full; as
    published: bpd-progressive@1 and its ablations; or a YAML file.
    CONFIG is a YAML file with all of this; options given beside it win. Every run writes its own: run.yaml.
    Result: report.html, beside it a probe of the untouched encoder; model/ (encoder, and classifier for medfm predict);
    training/ (logs).
    Checked before any work: the table, leakage, classes, folds, the encoder's training data.
    Common errors: too few patients for the folds (the fix is named), no split 'test', a patient in two splits (or
    --allow CODE), missing labels (--drop-unlabelled), the folder holds a run (--resume).
    """
    from medfm.cli.finetune_described import described, loaded_cohort, print_plan, resolved
    from medfm.workflows.finetune_file import is_file_of_run, write_run
    from medfm.workflows.nested import NestedPlan

    run, config = resolved(described(table, options))
    if dry_run:
        print_plan(run, config, is_file_of_run(table), as_json)
        return 0
    if run.encoder is None:
        raise click.UsageError("Name the encoder to start from: --encoder ID (medfm encoders lists them).")
    from medfm.cli.finetune_nested import nested_lines, run_nested
    from medfm.core.progress import Silent, for_people
    from medfm.encoders.load import load_encoder
    from medfm.reporting.finetune import before_line
    from medfm.reporting.finetune_verdict import verdict_sentence
    from medfm.workflows.finetune import finetune

    cohort = loaded_cohort(run)
    loaded = load_encoder(run.encoder, weights=run.weights, device=run.device, variant=run.preprocessing)
    given: dict[str, Any] = {
        "task": run.task,
        "positive": run.positive,
        "allow": run.allow,
        "drop_unlabelled": run.drop_unlabelled,
        "device": run.device,
        "resume": options["resume"],
        "overwrite": options["overwrite"],
        "name": run.name,
        "embed_settings": {"cache": options["cache"], "on_error": run.on_error},
        "progress": Silent if as_json else for_people,
        "label_set": run.label_set,
        "map_class": run.map_class,
        "describe": lambda folder: write_run(run, folder),
    }
    if isinstance(config, NestedPlan):
        out = run.out or "runs/nested"
        done = run_nested(config, loaded, cohort, run.asked(), out, as_json, {**given, "beside": run.beside})
    else:
        out = run.out or f"runs/{config.name}"
        done = finetune(loaded, cohort, run.asked(), config, out, protocol=run.protocol, **given)
    if as_json:
        print_run(done)
    else:
        click.echo(str(done.result))
        click.echo(verdict_sentence(done.result))
        use = f"Use it: medfm predict {done.out} TABLE --out predictions.csv, or --encoder {done.out / 'model'}"
        one = [before_line(done.result), f"report    {done.out / 'report.html'}", use]
        for line in nested_lines(done) if isinstance(config, NestedPlan) else one:
            click.echo(line)
        click.echo(f"Repeat it: medfm finetune {done.out / 'run.yaml'} --out FOLDER")
    return 1 if done.failed and run.on_error != "skip" else 0
