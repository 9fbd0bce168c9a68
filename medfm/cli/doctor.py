"""``medfm doctor``: what is present, what is missing, where it comes from, under which licence."""

from __future__ import annotations

import click

from medfm.cli.common import Verb, json_option, print_json


@click.command("doctor", cls=Verb)
@click.argument("encoders", nargs=-1, metavar="[ENCODER]...")
@click.option("--check-files", is_flag=True, help="Read checkpoints fully: SHA-256, names and shapes of every tensor.")
@json_option
def command(encoders: tuple[str, ...], check_files: bool, as_json: bool) -> int:
    """Check this machine, and say for each encoder what is here and what is missing.

    Examples:
      medfm doctor                            the machine and every encoder
      medfm doctor dinobloom-b                one encoder; an id, a card file or a folder
      medfm doctor --check-files --json       also read every checkpoint; for machines

    Checked: Python, packages, torch and GPU, cores, memory, disk, cache and weights folders,
    offline switches, extras; per encoder its card, weights, source and licence. No network.

    PASS: fine. WARN: works, but something is missing; the line says what to do.
    FAIL: would stop a run. Exit code 1 if anything fails, else 0.

    Common errors: MEDFM_CARDS names a folder that does not exist; an empty or half-downloaded
    file in MEDFM_WEIGHTS; a cache folder that cannot be written to (set MEDFM_CACHE).
    """
    from medfm.workflows.doctor import diagnose

    found = diagnose(encoders, check_files=check_files)
    if as_json:
        print_json({"ok": found.ok, **found.to_dict()})
        return 0 if found.ok else 1
    click.echo("This machine")
    for finding in found.machine:
        _line(finding.state, finding.topic, finding.text, finding.fix)
    click.echo("\nEncoders")
    for entry in found.encoders:
        text = entry.present + (f"; missing: {entry.missing}" if entry.missing else "")
        _line(entry.state, entry.id, f"{text}. Licence {entry.licence}.", entry.fix)
        if entry.missing and entry.sources:
            click.echo(f"{'':26}from: {entry.sources[0]}")
        if entry.state != "PASS" and entry.licence_note.startswith("CONFLICT"):
            click.echo(f"{'':26}licence: {entry.licence_note}")
    click.echo("\n" + ("Nothing fails." if found.ok else "Something fails; see the lines marked FAIL."))
    return 0 if found.ok else 1


def _line(state: str, topic: str, text: str, fix: str) -> None:
    colour = {"PASS": "green", "WARN": "yellow", "FAIL": "red"}[state]
    click.echo(f"  {click.style(state, fg=colour)}  {topic:<16}  {text}")
    if fix:
        click.echo(f"{'':26}to do: {fix}" if state != "PASS" else f"{'':26}({fix})")
