"""``medfm report``: rebuild the report of a result folder."""

from __future__ import annotations

import click

from medfm.cli.common import Verb, json_option, print_json


@click.command("report", cls=Verb)
@click.argument("folders", nargs=-1, required=True, type=click.Path(), metavar="DIR...")
@click.option("--summary", is_flag=True, help="Also print the one-screen summary.")
@click.option("--documents", is_flag=True, help="Also write model card, TRIPOD+AI and CHAI.")
@json_option
def command(folders: tuple[str, ...], summary: bool, documents: bool, as_json: bool) -> int:
    """Rebuild report.html and card.md of result folders.

    Needs nothing but the folder: the table and the images may be gone or moved.

    Examples:
      medfm report runs/first                  prints the path of the report
      medfm report runs/*                      several folders
      medfm report runs/first --summary        also the summary
      medfm report runs/first --documents      runs/first/documents, see docs/documents.md

    Checked: the folder is whole, of a layout this version reads, and unchanged since it was
    written (SHA-256 of every part). Nothing but report.html, card.md and documents/ is written.

    Exit codes: 0 done; 1 some folders could not be rebuilt; 2 none could.

    Common errors: not a result folder (medfm probe --out DIR writes one); a file was changed
    or lost on the way (copy the folder again); the folder cannot be written to.
    """
    from medfm.reporting.result import load_result
    from medfm.workflows.report import rebuild_reports

    done = rebuild_reports(folders, documents=documents)
    good = [entry for entry in done if entry.error is None]
    if as_json:
        print_json(
            [
                {
                    "folder": str(entry.folder),
                    "report": None if entry.report is None else str(entry.report),
                    "card": None if entry.card is None else str(entry.card),
                    "documents": None if entry.documents is None else str(entry.documents.folder),
                    "unanswered": [] if entry.documents is None else list(entry.documents.unanswered),
                    "error": None if entry.error is None else str(entry.error),
                }
                for entry in done
            ]
        )
    else:
        for entry in done:
            if entry.error is not None:
                click.echo(f"Error: {entry.error}", err=True)
                continue
            if summary:
                click.echo(f"{load_result(entry.folder)}\n")
            click.echo(str(entry.report))
            if entry.documents is not None:
                open_questions = len(entry.documents.unanswered)
                click.echo(f"{entry.documents.folder} ({open_questions} questions open in answers.yaml)")
    if not good:
        return 2
    return 0 if len(good) == len(done) else 1
