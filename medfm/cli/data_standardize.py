"""``medfm data standardize``: make the volumes of a cohort ready once."""

from __future__ import annotations

from typing import Any

import click

from medfm.cli.common import Verb, cohort_options, config_options, json_option, print_config, print_json, table
from medfm.cli.options import (
    cohort_from_options,
    progress_for,
)


@click.command("standardize", cls=Verb)
@click.argument("cohort_table", metavar="TABLE", type=click.Path())
@click.option("--out", type=click.Path(), help="Folder to write; an interrupted run goes on in it.")
@click.option("--recipe", default="brain-mri", show_default=True, help="Shipped recipe, or a YAML file.")
@click.option("--template", type=click.Path(), help="T1 template that the recipe registers to, as NIfTI.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes; each holds a volume.")
@click.option("--overwrite", is_flag=True, help="Remove an earlier result in the folder first.")
@cohort_options
@config_options
@json_option
def standardize_command(
    cohort_table: str,
    out: str | None,
    recipe: str,
    template: str | None,
    workers: int,
    overwrite: bool,
    overrides: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Prepare brain volumes once: bias field, brain mask, affine registration, crop.

    Examples:
      medfm data standardize labels.csv --recipe brain-mri-light --out cohorts/light
      medfm data standardize labels.csv --template mni.nii.gz --out cohorts/mni --workers 4
      medfm data standardize labels.csv --set volume_brain_mask.method=synthstrip --dry-run

    Writes float32 NIfTI files named by record id, labels.csv with the same columns, and
    provenance.json (steps, versions, hashes, what each step found). Run again, it goes on
    where it stopped. Exit code 1: some volumes could not be prepared (listed, left out).

    Recipes: brain-mri (needs --template and medfm[mri-prep]), brain-mri-light (needs
    neither), ldae-published. Arguments of a step: --set STEP.ARGUMENT=VALUE

    Common errors: SimpleITK or the mask program is not installed; no --template; the folder
    holds the result of another recipe (--overwrite); registration failed (look at the scan).
    """
    from medfm.workflows.standardize import load_preparation, standardize

    made = load_preparation(recipe, overrides)
    if dry_run:
        print_config(made, as_json)
        return 0
    if out is None:
        raise click.UsageError("Missing option '--out': the folder to write.")
    from pathlib import Path

    from medfm.cohorts.info import load_info

    # Files that are missing or damaged are listed at the end, not refused at the beginning.
    cohort = cohort_from_options(cohort_table, options, made.modality, check=False)
    done = standardize(
        cohort,
        made,
        out,
        template=template,
        workers=workers,
        info=load_info(Path(cohort_table)),
        overwrite=overwrite,
        progress=progress_for(as_json),
    )
    if as_json:
        print_json(
            {
                "out": str(done.out),
                "table": None if done.table is None else str(done.table),
                "written": done.written,
                "kept": done.kept,
                "failed": [{"record_id": record, "reason": reason} for record, reason in done.failed],
            }
        )
    else:
        if done.failed:
            table(done.failed[:20], ("not prepared", "reason"))
        if len(done.failed) > 20:
            click.echo(f"{len(done.failed) - 20} more; all are in provenance.json")
        kept = f", {done.kept} kept from before" if done.kept else ""
        click.echo(f"{done.written} volumes prepared{kept}, {len(done.failed)} failed -> {done.out}")
        if done.table is not None:
            click.echo(f"next: medfm data show {done.table} --records 4 --out after.pdf")
    return 0 if not done.failed else 1 if done.table is not None else 2
