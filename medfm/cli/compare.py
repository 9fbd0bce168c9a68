"""``medfm compare``: two or more result folders, record by record."""

from __future__ import annotations

from typing import Literal

import click

from medfm.cli.common import Verb, json_option, print_json


@click.command(cls=Verb, short_help="Compare two results record by record.")
@click.argument("reference", metavar="REFERENCE", type=click.Path())
@click.argument("others", metavar="OTHER...", nargs=-1, type=click.Path())
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Metric; may be repeated [the headline ones].")
@click.option("--variant", default="main", show_default=True, help="Which predictions, such as fraction=0.01.")
@click.option("--resamples", type=click.IntRange(0), help="Of the bootstrap [1000, or 200 per comparison].")
@click.option("--seed", default=0, show_default=True, type=int, help="Of the bootstrap.")
@click.option("--require-better", metavar="NAME", help="End with 1 unless every OTHER beats REFERENCE on this metric.")
@click.option(
    "--correction",
    type=click.Choice(["holm", "bh"]),
    default="holm",
    show_default=True,
    help="Of p-values for many comparisons: Holm, or Benjamini-Hochberg for looking through many.",
)
@click.option("--transfer", metavar="ID|FILE", help="Instead: average over shared classes by this map, such as merl@1.")
@click.option("--out", type=click.Path(dir_okay=False), help="Also write this JSON file and a page (.html) beside it.")
@json_option
def command(
    reference: str,
    others: tuple[str, ...],
    metrics: tuple[str, ...],
    variant: str,
    resamples: int | None,
    seed: int,
    require_better: str | None,
    correction: Literal["holm", "bh"],
    transfer: str | None,
    out: str | None,
    as_json: bool,
) -> int:
    """Compare results on their common records: difference, interval, p-value.

    REFERENCE and OTHER are result folders. Differences are OTHER minus
    REFERENCE; both are scored under the same resampled patients, a binary
    AUROC by DeLong's paired test; p-values carry Holm's correction, or
    Benjamini and Hochberg's.

    Examples:
      medfm compare runs/base runs/new
      medfm compare runs/base runs/a runs/b --metric balanced_accuracy --metric auroc
      medfm compare runs/base runs/new --require-better auroc --out compare.json
      medfm compare runs/ptbxl-super runs/cpsc2018 runs/csn --transfer merl@1

    Checked: same task, target and classes; each common record has the same
    truth and patient in both. Records in only one result are left out, and
    the output says how many.

    Common errors: "no record in common" (the cohorts have other ids);
    "another truth" (the label tables differ).

    Exit codes: 0 compared, 1 --require-better not met, 2 could not compare.
    """
    if transfer is not None:
        if correction != "holm":
            raise click.UsageError("--transfer tests nothing; --correction does not go with it.")
        return _transfer(
            (reference, *others), transfer, metrics, require_better, variant, resamples, seed, out, as_json
        )
    if not others:
        raise click.UsageError("Missing argument 'OTHER...'.")
    from medfm.workflows.compare import compare

    found = compare(
        reference,
        *others,
        metrics=metrics,
        seed=seed,
        resamples=resamples,
        variant=variant,
        require_better=require_better,
        correction=correction,
    )
    if out is not None:
        found.save(out)
    if as_json:
        print_json(found.to_dict())
    else:
        click.echo(str(found))
    return 0 if found.passed else 1


def _transfer(
    folders: tuple[str, ...],
    name: str,
    metrics: tuple[str, ...],
    require_better: str | None,
    variant: str,
    resamples: int | None,
    seed: int,
    out: str | None,
    as_json: bool,
) -> int:
    """The distribution-shift table."""
    from medfm.workflows.transfer import transfer_table

    if metrics or require_better:
        raise click.UsageError("--transfer averages AUROCs; --metric and --require-better do not go with it.")
    found = transfer_table(
        folders, name, variant=variant, resamples=1000 if resamples is None else resamples, seed=seed
    )
    if out is not None:
        found.save(out)
    if as_json:
        print_json(found.to_dict())
    else:
        click.echo(str(found))
    return 0
