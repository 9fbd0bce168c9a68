"""``medfm demo``."""

from __future__ import annotations

import click

from medfm.cli.common import Verb, config_options, json_option, print_config, print_json


@click.command(cls=Verb)
@click.option("--out", default="medfm-demo", show_default=True, type=click.Path(), help="Folder to write into.")
@click.option("--overwrite", is_flag=True, help="Replace the results of an earlier demo in that folder.")
@config_options
@json_option
def command(out: str, overwrite: bool, overrides: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Run everything once, offline, on a synthetic cohort.

    Draws blood cells in real file formats, probes an untrained encoder, trains a tiny
    self-supervised one, probes it, compares the two and writes an HTML report.
    About two minutes on two cores. The figures are about drawn cells and say nothing
    about patients.

    \b
    Examples:
      medfm demo
      medfm demo --out runs/demo --overwrite
      medfm demo --set records=240 --set recipe=none

    \b
    Checks: the cohort's coded checks run before each probe.
    Common errors: the folder exists already (--overwrite); the disk is full.
    """
    from medfm.core.config import build
    from medfm.core.progress import for_people
    from medfm.workflows.demo import DemoConfig, demo

    config = build(DemoConfig, {}, where="medfm demo", overrides=overrides)
    if dry_run:
        print_config(config, as_json)
        return
    done = demo(out, config, overwrite=overwrite, say=lambda line: click.echo(line, err=True), progress=for_people)
    if as_json:
        print_json(
            {
                "report": str(done.report),
                "result": str(done.folder),
                "headline": [estimate.to_dict() for estimate in done.result.summary.headline],
                "comparison": None if done.comparison is None else done.comparison.to_dict(),
            }
        )
        return
    click.echo(str(done.result))
    if done.comparison is not None:
        click.echo("\nTrained against untrained, same patients:")
        click.echo(str(done.comparison))
    click.echo(f"\nReport: {done.report}")
