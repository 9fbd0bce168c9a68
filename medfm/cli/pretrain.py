"""``medfm pretrain``: train an encoder without labels."""

from __future__ import annotations

from typing import Any

import click

from medfm.cli.common import Verb, cohort_options, config_options, json_option, print_config, print_json
from medfm.cli.options import (
    cohort_from_options,
)


@click.command(cls=Verb, short_help="Train an encoder without labels.")
@click.argument("table", type=click.Path())
@click.option("--recipe", default="dinov2-tiny", show_default=True, help="Name of a recipe, or a YAML file.")
@click.option("--out", type=click.Path(file_okay=False), help="Folder for the encoder [runs/RECIPE].")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out.")
@cohort_options
@config_options
@json_option
def command(
    table: str,
    recipe: str,
    out: str | None,
    resume: bool,
    overrides: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Train an encoder on the records of TABLE, without labels.

    \b
    Recipes of the family dinov2 take pictures, those of merl ECGs with a column 'text',
    those of clip, flair and convirt pictures with a column 'text' or categories,
    those of ldae brain MRI, one stage after the other (--set start=FOLDER).
    Examples:
      medfm pretrain cells/labels.csv --out runs/tiny
      medfm pretrain cells/labels.csv --out runs/tiny --resume
      medfm pretrain ecgs/labels.csv --modality ecg --recipe merl-tiny --out runs/merl

    \b
    Only records of the split 'train' are used ('val' to choose the epoch of pairs). --out
    gets encoder.safetensors, card.md, config.yaml, log.jsonl, loss.png and checkpoint/;
    --encoder DIR of the other verbs takes that folder. Ctrl-C saves a checkpoint first;
    --resume goes on exactly.
    Checked: the table, the recipe against the network, one run per folder, a finite loss.
    Common errors: no column 'split' (--set split=all), fewer records than batch_size,
    a folder that holds another run. Recipes and every setting: docs/pretrain.md.
    """
    from medfm.workflows.pretrain import load_recipe, pretrain

    config = load_recipe(recipe, overrides)
    if dry_run:
        print_config(config, as_json)
        return 0
    from medfm.core.progress import for_people

    cohort = cohort_from_options(table, options, _default_modality(config))
    result = pretrain(cohort, config, out or f"runs/{config.name}", resume=resume, progress=for_people)
    if not result.is_main:
        return 0
    if as_json:
        values: dict[str, Any] = {**vars(result), "folder": str(result.folder), "failures": list(result.failures)}
        print_json({key: value for key, value in values.items() if key != "is_main"})
    else:
        click.echo(str(result))
        stage = getattr(config, "stage", None)
        following = {"autoencoder": "latent", "latent": "semantic"}.get(stage or "")
        if following:
            click.echo(f"Next: the stage '{following}', with --set start={result.folder}")
            return 0
        verb = "probe" if config.family == "dinov2" or stage else "zeroshot"
        click.echo(f"Use it: medfm {verb} {table} --encoder {result.folder}")
    return 0


def _default_modality(config: Any) -> str:
    """What a table without a YAML holds, by the recipe."""
    from medfm.encoders.registry import get_card

    return "blood_cell" if config.family == "dinov2" else str(get_card(config.encoder).modality)
