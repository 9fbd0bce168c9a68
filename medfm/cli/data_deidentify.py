"""``medfm data deidentify``: DICOM files without who they are from."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medfm.cli.common import Verb, json_option, print_json, table
from medfm.cli.options import progress_for

if TYPE_CHECKING:
    from medfm.workflows.deidentify import Report

# DICOM's modality -> whose reader opens such files.
_READERS = {"CR": "chest_xray", "DX": "chest_xray", "MR": "brain_mri", "ECG": "ecg"}


@click.command("deidentify", cls=Verb)
@click.argument("source", type=click.Path())
@click.option("--out", required=True, type=click.Path(), help="Folder to write into, apart from the source.")
@click.option("--key", "key_file", required=True, type=click.Path(), help="File of the secret; made if there is none.")
@click.option(
    "--link", type=click.Path(), help="Also write which file became which (for you alone; it names patients)."
)
@click.option("--keep-characteristics", is_flag=True, help="Keep age (90 at most), sex, size, weight.")
@json_option
def deidentify_command(
    source: str, out: str, key_file: str, link: str | None, keep_characteristics: bool, as_json: bool
) -> int:
    """Write DICOM files anew without who they are from (PS3.15 Basic Profile).

    Examples:
      medfm data deidentify hospital --out clean --key ~/secrets/study7.key
      medfm data deidentify hospital --out clean --key study7.key --link study7-link.csv
      medfm data deidentify one.dcm --out clean --key study7.key --keep-characteristics

    Any DICOM: radiographs, CT and MR series, ECGs. Identifying attributes are removed, emptied
    or replaced at every depth, private ones removed, UIDs and patient ids mapped, dates moved
    by 400 to 3652 days, the same for all files of a patient. Pixels stay as they are,
    compressed or not. Equal keys give equal ids, so a later delivery fits the earlier one.

    Checked: every file again after cleaning; what is left over is refused, not copied. The
    same command goes on after an interruption. OUT/files.csv lists the files for
    'medfm data check'; OUT/deidentification.json counts what was changed, without values.

    Not done: text burned into the pixels is suspected and counted, never removed; faces in
    head scans stay. Look at the pictures before you hand them on.

    Exit code 1 when a file was refused. Common errors: the output lies in the source; the
    key can be read by others (chmod 600); a folder of an earlier run with another key.
    """
    from medfm.workflows.deidentify import deidentify

    report = deidentify(
        source,
        out,
        key_file,
        link=link,
        characteristics=keep_characteristics,
        progress=progress_for(as_json),
    )
    if as_json:
        print_json({"out": str(report.out), "key_made": report.key_made, **report.to_dict()})
    else:
        _print(report, key_file)
    return 1 if report.refused else 0


def _print(report: Report, key_file: str) -> None:
    if report.key_made:
        click.echo(f"A new key was made: {key_file}. Keep it; whoever has it can link the output to the patients.")
    kinds: dict[str, int] = {}
    for what in report.changes.values():
        for kind, number in what.items():
            kinds[kind] = kinds.get(kind, 0) + number
    table([(kind, f"{number:,}") for kind, number in sorted(kinds.items())], ("what was done", "attributes"))
    _lines("warning", report.warnings)
    _lines("warning, burned-in text", report.burned_in)
    _lines("refused", report.refused)
    if report.refused:
        click.echo("  (which files: --link FILE)")
    already = f", {report.before:,} were there already" if report.before else ""
    click.echo(f"{report.written:,} files written{already}; {report.patients:,} patients -> {report.out}")
    if not report.written + report.before:
        return
    check = f"medfm data check {report.out}/files.csv --modality {_reader(report.out / 'files.csv')} --deidentified"
    click.echo(f"next: look at the pictures, then {check}")


def _reader(files: Path) -> str:
    """The modality whose reader takes most of the files written; ``NAME`` where none is known to."""
    if not files.is_file():
        return "NAME"
    with files.open(encoding="utf-8", newline="") as opened:
        kinds = Counter(_READERS.get(row["dicom_modality"], "NAME") for row in csv.DictReader(opened))
    return kinds.most_common(1)[0][0] if kinds else "NAME"


def _lines(head: str, counts: Counter[str]) -> None:
    for reason, number in counts.most_common():
        click.echo(f"{head}: {number:,} x {reason}")
