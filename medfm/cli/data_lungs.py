"""``medfm data lungs``: crop chest radiographs to their lung fields."""

from __future__ import annotations

from typing import Any

import click

from medfm.cli.common import Verb, cohort_options, json_option, print_json, table
from medfm.cli.options import (
    cohort_from_options,
    progress_for,
)


@click.command("lungs", cls=Verb)
@click.argument("cohort_table", metavar="TABLE", type=click.Path())
@click.option("--weights", type=click.Path(), help="Checkpoint of the segmentation network (needed).")
@click.option("--out", required=True, type=click.Path(), help="Folder to write; an interrupted run goes on in it.")
@click.option("--margin", default=0.05, show_default=True, type=float, help="Added to each side, share of the box.")
@click.option("--overwrite", is_flag=True, help="Remove an earlier result in the folder first.")
@cohort_options
@json_option
def lungs_command(
    cohort_table: str,
    weights: str | None,
    out: str,
    margin: float,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Find the lungs in chest radiographs, and write a table that crops to them.

    Examples:
      medfm data lungs labels.csv --weights pspnet_chestxray_best_model_4.pth --out crops
      medfm data lungs labels.csv --weights pspnet.pth --margin 0.1 --out wide
      medfm data show crops/labels.csv --records 4 --out cropped.png

    Writes labels.csv with a column 'crop' that every verb obeys (the files are not copied),
    overview.png to look at, and provenance.json. Where one lung or none is seen the radiograph
    is kept whole and listed. Run again, it goes on where it stopped.

    The network is PSPNet of ChestX-Det as torchxrayvision publishes it; its weights are not
    part of medfm. What was trained on crops must be given crops.

    Common errors: the weights are those of another network; the records are not chest
    radiographs (--modality chest_xray); the folder holds crops by other weights (--overwrite).
    Exit code 1: some radiographs could not be read (listed, left out of the table).
    """
    from pathlib import Path

    from medfm.cohorts.info import load_info
    from medfm.workflows.lungs import find_lungs

    # Files that are missing or damaged are listed at the end, not refused at the beginning.
    cohort = cohort_from_options(cohort_table, options, "chest_xray", check=False)
    done = find_lungs(
        cohort,
        weights,
        out,
        margin=margin,
        info=load_info(Path(cohort_table)),
        overwrite=overwrite,
        progress=progress_for(as_json),
    )
    if as_json:
        print_json(
            {
                "out": str(done.out),
                "table": None if done.table is None else str(done.table),
                "cropped": done.cropped,
                "kept_whole": [{"record_id": record, "seen": seen} for record, seen in done.whole],
                "found_before": done.kept,
                "failed": [{"record_id": record, "reason": reason} for record, reason in done.failed],
            }
        )
    else:
        listed = [(record, f"kept whole: {_SEEN[seen]}") for record, seen in done.whole] + list(done.failed)
        if listed:
            table(listed[:20], ("record", "what"))
        if len(listed) > 20:
            click.echo(f"{len(listed) - 20} more; all are in provenance.json")
        before = f" ({done.kept} found before)" if done.kept else ""
        click.echo(
            f"{done.cropped} cropped, {len(done.whole)} kept whole, {len(done.failed)} failed{before} -> {done.out}"
        )
        if done.table is not None:
            click.echo(f"look at {done.out / 'overview.png'}; next: medfm embed {done.table} --encoder xrv-resnet50")
    return 0 if not done.failed else 1 if done.table is not None else 2


_SEEN = {"one": "one lung only was seen", "none": "no lung was seen"}
