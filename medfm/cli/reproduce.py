"""``medfm reproduce``: run the published results of a model card."""

from __future__ import annotations

import click

from medfm.cli.common import Verb, json_option, print_config, print_json, table
from medfm.cli.options import (
    device_option,
)


@click.command("reproduce", cls=Verb)
@click.argument("card", metavar="CARD")
@click.option("--data", type=click.Path(), help="Folder of the public data sets (DIR/acevedo, DIR/bmc, ...).")
@click.option("--weights", type=click.Path(), help="Checkpoint file [the card's own weights].")
@click.option("--out", type=click.Path(file_okay=False), help="Folder for the table and the result folders.")
@click.option("--only", multiple=True, metavar="NAME", help="Only results on this data set; may be repeated.")
@click.option("--allow", multiple=True, metavar="CODE", help="Go on although check CODE fails (then not counted).")
@click.option("--allow-partial", is_flag=True, help="Run on incomplete data sets (then not counted).")
@device_option
@click.option("--cache", type=click.Path(), help="Cache folder [MEDFM_CACHE, else ~/.cache/medfm].")
@click.option("--prompt-file", type=click.Path(dir_okay=False), help="The authors' prompts, for zero-shot results.")
@click.option("--dry-run", is_flag=True, help="Say what would run, with which data and weights; run nothing.")
@json_option
def command(
    card: str,
    data: str | None,
    weights: str | None,
    out: str | None,
    only: tuple[str, ...],
    allow: tuple[str, ...],
    allow_partial: bool,
    device: str,
    cache: str | None,
    prompt_file: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run every published result of a model card whose data is there, and compare.

    Examples:
      medfm reproduce dinobloom-s --data sets                          hub weights
      medfm reproduce dinobloom-s --data sets --weights dinobloom-s.pth --out runs/dinobloom-s
      medfm reproduce dinobloom-s --data sets --only acevedo --dry-run

    Checked: the data (layout, counts, leakage), the weights (hash, every tensor), that they are
    trained. Verdicts: reproduced (within the tolerance), not reproduced, not sourced (ran, but
    nobody has read the published value yet), could not run: the reason.

    Exit codes: 0 every sourced result that could run is reproduced; 1 one is not, or none is
    sourced; 2 nothing could run.

    Common errors: weights not here (medfm doctor CARD says where they come from); a data set is
    missing or incomplete (medfm data list says where to get it).
    """
    from medfm.core.progress import for_people
    from medfm.workflows.reproduce import reproduce

    if dry_run:
        from medfm.workflows.reproduce_plan import plan_reproduction

        plan = plan_reproduction(card, data, weights, only=only, allow=allow, allow_partial=allow_partial)
        print_config(plan, as_json)
        return 0 if plan.can_run else 2
    done = reproduce(
        card,
        data,
        weights,
        out=out,
        only=only,
        allow=allow,
        allow_partial=allow_partial,
        device=device,
        cache=cache,
        prompt_file=prompt_file,
        progress=for_people,
    )
    if as_json:
        print_json({**done.to_dict(), "exit_code": done.exit_code})
        return done.exit_code
    click.echo(f"{done.title}\n")
    for heading, rows in done.groups():
        table(rows, done.brief(), title=heading)
        click.echo("")
    for line in [done.how_to_read(), "", *done.reasons(), *done.about()]:
        click.echo(line)
    click.echo(done.sentence())
    if out is not None:
        click.echo(f"table: {out}/reproduce.html")
    return done.exit_code
