"""``medfm embed``: a cohort table in, embeddings out."""

from __future__ import annotations

from typing import Any

import click

from medfm.cli.common import Verb, cohort_options, config_options, json_option, print_config, print_json
from medfm.cli.options import (
    ON_ERROR,
    device_option,
    encoder_options,
    progress_for,
    taken_cohort,
)


@click.command(cls=Verb)
@click.argument("table", type=click.Path())
@encoder_options("Encoder id (medfm encoders), or a card's file.", required=True)
@device_option
@click.option("--out", type=click.Path(dir_okay=False), help="Write .npz, .parquet, .h5 or .h5ad.")
@click.option("--cache", type=click.Path(), help="Cache folder [MEDFM_CACHE, else ~/.cache/medfm].")
@click.option("--batch-size", type=int, help="Records at a time [8 on CPU, 64 on a GPU].")
@click.option("--workers", type=int, help="Decoding processes; 0 = none [from the cores].")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="[fp32]")
@click.option("--on-error", type=ON_ERROR, help="What a bad record does [report].")
@click.option("--shard", metavar="auto|none|I/N", default="auto", show_default=True, help="Part of the work done here.")
@cohort_options
@config_options
@json_option
def command(
    table: str,
    encoder: str,
    weights: str | None,
    preprocessing: str | None,
    device: str,
    out: str | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Turn the records of a cohort into embeddings, cached by content and resumable.

    Examples:
      medfm embed labels.csv --encoder dinobloom-s --out cells.npz
      medfm embed labels.csv --encoder dinobloom-s --weights random --where task=pbc_cell --out cells.h5ad
      torchrun --nproc-per-node 4 -m medfm embed labels.csv --encoder dinobloom-g
    Checked: the table (medfm data check), modality of encoder and cohort, every file, finite values.
    A stopped run goes on where it was when the same command is given again. A record that fails
    is listed with its reason and the exit code is 1 (--on-error skip: 0; stop: the run ends).
    Under torchrun or in a SLURM array each process does its part and fills the shared cache;
    the same command with --shard none then writes --out.
    Common errors: no weights (medfm doctor), a missing column (--map NAME=COLUMN), paths
    relative to another folder (--root).
    """
    from medfm.workflows.embed import EmbedConfig, embed_table, resolve

    given = {name: value for name, value in options.items() if name in EmbedConfig.model_fields}
    config = resolve(EmbedConfig(), given, overrides)
    if dry_run:
        print_config(config, as_json)
        return 0
    run = embed_table(
        table,
        encoder,
        weights=weights,
        device=device,
        preprocessing=preprocessing,
        out=out,
        cohort=taken_cohort(options, encoder),
        config=config,
        progress=progress_for(as_json),
    )
    if as_json:
        print_json(run.to_dict())
    else:
        for line in run.lines():
            click.echo(line)
    return 1 if run.answer_is_no else 0
