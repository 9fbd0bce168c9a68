"""``medfm data show``: draw records as people expect to see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from medfm.cli.common import Verb, json_option, pairs, print_json, rows_kept, table
from medfm.cli.options import progress_for

if TYPE_CHECKING:
    from medfm.workflows.show import ShownRecord


@click.command("show", cls=Verb)
@click.argument("source", metavar="FILE|FOLDER|TABLE", type=click.Path())
@click.option("--out", type=click.Path(), help="File (.png, .svg, .pdf) or folder [RECORD.png here].")
@click.option("--record", "record_ids", multiple=True, metavar="ID", help="Record of the table; may be repeated.")
@click.option("--records", default=1, show_default=True, type=int, help="The first so many of the table.")
@click.option("--modality", help="Modality [of a file by its ending, of a table by its YAML].")
@click.option("--root", type=click.Path(), help="Folder the table's paths are relative to.")
@click.option("--map", "mapping", multiple=True, metavar="NAME=COLUMN", help="Read NAME from COLUMN.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Keep only these rows.")
@click.option("--layout", type=click.Choice(["3x4", "6x2", "12x1"]), help="ECG: rows x columns [3x4].")
@click.option("--order", type=click.Choice(["standard", "cabrera"]), help="ECG: order of limb leads.")
@click.option("--gain", type=click.Choice(["auto", "5", "10", "20"]), help="ECG: mm per mV [auto].")
@click.option("--colours", type=click.Choice(["clinical", "neutral"]), help="ECG: red or grey grid.")
@click.option("--start", type=float, help="ECG: seconds at which the sheet begins [0].")
@click.option("--field", is_flag=True, default=None, help="Retina: draw the edge of the field of view.")
@click.option(
    "--set", "reader", multiple=True, metavar="KEY=VALUE", help="Of a file: sampling_hz, units, leads, series."
)
@click.option("--encoder", help="Where this encoder looks: attention, or Grad-CAM of --text.")
@click.option("--text", help="What Grad-CAM asks for, in words.")
@click.option("--weights", multiple=True, help="Its weights: file, 'random', PART=FILE [the card's].")
@click.option("--reconstruct", is_flag=True, help="Brain: draw it again with --encoder.")
@click.option("--manipulate", metavar="PROBE", help="Brain: move along the direction of a probe.")
@click.option("--strength", type=float, metavar="K", help="From -K to K [2].")
@click.option("--along", type=click.Choice(["pattern", "weight"]), help="Pattern or weights of it [pattern].")
@click.option("--with", "other", metavar="FILE|ID", help="Brain: towards this later scan.")
@click.option("--between", metavar="FILE|ID", help="The true scan between the two.")
@click.option("--share", type=float, help="Where it lies, 0 to 1 [0.5].")
@click.option("--steps", type=int, help="Steps of drawing [the card's].")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@json_option
def show_command(
    source: str,
    out: str | None,
    record_ids: tuple[str, ...],
    records: int,
    modality: str | None,
    root: str | None,
    mapping: tuple[str, ...],
    where: tuple[str, ...],
    layout: str | None,
    order: str | None,
    gain: str | None,
    colours: str | None,
    start: float | None,
    field: bool | None,
    reader: tuple[str, ...],
    encoder: str | None,
    text: str | None,
    weights: tuple[str, ...],
    reconstruct: bool,
    manipulate: str | None,
    strength: float | None,
    along: str | None,
    other: str | None,
    between: str | None,
    share: float | None,
    steps: int | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Draw a record as people expect it: a 12-lead sheet to scale, a picture, three slices of a brain.

    Examples:
      medfm data show ecg.xml --out ecg.pdf
      medfm data show labels.csv --modality ecg --record JS00001 --layout 6x2
      medfm data show labels.csv --modality ecg --records 6 --out sheets.pdf
      medfm data show brain.nii.gz --out panels.png
      medfm data show eye.jpg --modality retina --encoder flair-resnet50 --text "hard exudates"
      medfm data show brain.nii.gz --encoder runs/semantic --reconstruct --out again.png
      medfm data show brain.nii.gz --encoder runs/semantic --manipulate runs/probe --out older.gif

    Several records share one file (a PDF has a page for each), or get one each in a folder.
    Printed at 100 %, 25 mm are one second. Facts are of the acquisition, never a name.

    Common errors: the file exists (--overwrite); a rate or unit is unknown (--set units=uV).
    """
    from medfm.workflows.show import show

    settings = {"layout": layout, "order": order, "gain": gain, "colours": colours, "start": start, "field": field}
    settings["text"] = text
    wish = {"manipulate": manipulate, "strength": strength, "along": along, "other": other}
    wish |= {"middle": between, "share": share}
    wish = {key: value for key, value in {**wish, "steps": steps}.items() if value is not None}
    if reconstruct or wish:
        from medfm.workflows.show_drawn import Wish, show_drawn

        if encoder is None:
            raise click.UsageError("--reconstruct, --manipulate and --with need --encoder.")
        foreign = [key for key, value in settings.items() if value is not None]
        if foreign or records > 1:
            raise click.UsageError(
                f"--{foreign[0] if foreign else 'records'} has no meaning for a scan drawn from codes."
            )
        drawn_scan = show_drawn(
            source,
            Wish(reconstruct=reconstruct, **wish),  # type: ignore[arg-type]
            encoder=encoder,
            weights=weights,
            out=out,
            modality=modality,
            record_ids=record_ids,
            cohort={"root": root, "map": pairs(mapping, "--map"), "where": rows_kept(where)},
            reader=pairs(reader, "--set"),
            overwrite=overwrite,
            progress=progress_for(as_json),
        )
        return _said([drawn_scan], as_json)
    if len(weights) > 1:
        raise click.UsageError("--weights names one file here; PART=FILE is for scans drawn from codes.")
    done = show(
        source,
        out=out,
        modality=modality,
        record_ids=record_ids,
        records=records,
        cohort={"root": root, "map": pairs(mapping, "--map"), "where": rows_kept(where)},
        settings={key: value for key, value in settings.items() if value is not None},
        reader=pairs(reader, "--set"),
        encoder=encoder,
        weights=weights[0] if weights else None,
        overwrite=overwrite,
        progress=progress_for(as_json or (len(record_ids) or records) == 1),
    )
    return _said(done, as_json)


def _said(done: Sequence[ShownRecord], as_json: bool) -> int:
    """Print what was drawn and where; the exit code."""
    if as_json:
        print_json(
            [
                {
                    "record_id": one.record_id,
                    "path": None if one.path is None else str(one.path),
                    "facts": dict(one.facts),
                    "error": one.error,
                }
                for one in done
            ]
        )
    elif len(done) == 1:
        table(done[0].facts, ("fact", "value"))
    for one in done if not as_json else ():
        if one.error is not None:
            click.echo(f"not drawn: {one.record_id}: {one.error}", err=True)
    if not as_json:
        for path in dict.fromkeys(str(one.path) for one in done if one.path is not None):
            click.echo(f"written   {path}")
    drawn = sum(one.path is not None for one in done)
    return 0 if drawn == len(done) else 1 if drawn else 2
