"""``medfm reconstruct``: scans and a latent diffusion autoencoder in, how well it draws them out."""

from __future__ import annotations

from typing import Any

import click

from medfm.cli.common import Verb, cohort_options, config_options, json_option, print_config
from medfm.cli.options import (
    device_option,
    folder_options,
    name_option,
    progress_for,
    protocol_option,
    taken_cohort,
    tell_run,
)


@click.command(cls=Verb)
@click.argument("table", type=click.Path())
@click.option("--encoder", required=True, metavar="ID|FOLDER", help="Card with a generator, or folder of a training.")
@click.option("--weights", multiple=True, metavar="FILE|random", help="PART=FILE, a folder, or 'random' [the card's].")
@protocol_option("ldae-reconstruction@1")
@click.option("--time", metavar="COLUMN", help="Months of a visit, for interpolation [months, else session].")
@click.option("--features", metavar="ID[=FILE]", help="Encoder that judges distributions [own semantic codes].")
@folder_options
@click.option("--no-pictures", is_flag=True, help="Leave out the sheets of best, median and worst.")
@click.option("--batch-size", default=4, show_default=True, type=click.IntRange(1), help="Volumes drawn together.")
@name_option
@device_option
@cohort_options
@config_options
@json_option
def command(
    table: str,
    encoder: str,
    protocol: str,
    time: str | None,
    no_pictures: bool,
    overrides: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Draw brain scans again from their codes, or a visit from those before and after, and compare.

    Examples:
      medfm reconstruct brains/labels.csv --encoder runs/semantic --set method.steps=[20] --out runs/again
      medfm reconstruct brains/labels.csv --encoder runs/semantic --protocol ldae-interpolation@1 --time session
      medfm reconstruct scans.csv --encoder ldae-brain-mri --weights files --device cuda --out runs/ldae
    Given: SSIM (window stated), PSNR and MSE per record with intervals over patients; the autoencoder
    alone as the ceiling, the mean image as the floor; for visits, blended images beside, and the paired gain.
    Checked before any work: table, weights, windows, leakage. Nothing is trained.
    Exit code 1: done, but scans could not be read.
    Common errors: weights not here (--weights FOLDER with all three files); no patient with three visits;
    no column of months (--time COLUMN); too slow on a CPU (--set method.steps=[10], --set method.limit=20).
    """
    from medfm.workflows.reconstruct import plan_of, reconstruct_table

    settings = (*overrides, *([f"method.time={time}"] if time else []))
    plan = plan_of(protocol, settings)
    if dry_run:
        print_config(plan, as_json)
        return 0

    cohort = taken_cohort(options, encoder)
    run = reconstruct_table(
        table,
        encoder=encoder,
        protocol=plan,
        pictures=not no_pictures,
        allow=cohort["allow"],
        cohort=cohort,
        progress=progress_for(as_json),
        **options,
    )
    return tell_run(run, as_json)
