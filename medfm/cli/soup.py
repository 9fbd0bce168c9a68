"""``medfm soup``: fine-tuning runs of one encoder in, the average of their weights out."""

from __future__ import annotations

from typing import Any

import click

from medfm.cli.common import Verb, cohort_options, json_option, print_json
from medfm.cli.options import (
    cohort_from_options,
    device_option,
    progress_for,
)


@click.command(cls=Verb)
@click.argument("folders", nargs=-1, required=True, type=click.Path())
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder of the model to write.")
@click.option("--rule", type=click.Choice(["uniform", "greedy"]), default="uniform", show_default=True, help="Which.")
@click.option("--table", type=click.Path(), help="Records with labels and a column split (val chooses, train helps).")
@click.option(
    "--metric",
    type=click.Choice(["log_loss", "auroc", "balanced_accuracy", "accuracy"]),
    default="log_loss",
    show_default=True,
    help="Of the greedy choice.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier soup in --out.")
@device_option
@cohort_options
@json_option
def command(
    folders: tuple[str, ...],
    out: str,
    rule: str,
    table: str | None,
    metric: str,
    overwrite: bool,
    device: str,
    as_json: bool,
    **options: Any,
) -> int:
    """Average the weights of fine-tuning runs that started from the same encoder: a model soup.

    Examples:
      medfm soup runs/a runs/b runs/c --out runs/soup
      medfm soup runs/a runs/b runs/c --rule greedy --table labels.csv --out runs/soup
      medfm soup runs/nested/model/members/1 runs/nested/model/members/2 --out runs/soup
    uniform takes every run. greedy goes from the best to the worst on the records of the split 'val' and
    keeps each run that does not make the soup worse; these must be patients that no run has learned from.
    The split 'test' is never looked at. The result loads as an encoder and in medfm predict.
    Checked: same encoder at the start, same network, preprocessing and classes.
    Exit code 1: done, but records could not be read.
    Common errors: runs of different encoders or classes, no split 'val' for a greedy soup, BatchNorm
    statistics that training moved (--table with the split 'train', on which they are measured anew).
    """
    from medfm.encoders.registry import get_card
    from medfm.training.tuned import model_folder
    from medfm.workflows.soup_runs import soup_runs

    places = [model_folder(folder) for folder in folders]
    cohort = None
    if table is not None:
        cohort = cohort_from_options(table, options, get_card(places[0]).modality)
    run = soup_runs(
        folders,
        out,
        rule,  # type: ignore[arg-type]
        cohort=cohort,
        metric=metric,  # type: ignore[arg-type]
        overwrite=overwrite,
        device=device,
        progress=progress_for(as_json),
    )
    if as_json:
        print_json(run.about())
    else:
        click.echo(str(run))
        click.echo(f"Use it: medfm predict {run.out} TABLE --out predictions.csv, or --encoder {run.out}")
    return 1 if run.failures else 0
