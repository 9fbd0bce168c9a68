"""``medfm data show``: draw records as people expect to see them."""

from __future__ import annotations

import click

from medfm.cli.common import Verb, json_option, pairs, print_json, table


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
@click.option("--encoder", help="Add where this encoder looks: attention, or Grad-CAM of --text.")
@click.option("--text", help="What Grad-CAM asks for, in words.")
@click.option("--weights", help="Its weights: file, 'random' [the card's].")
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
    weights: str | None,
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

    Several records share one file (a PDF has a page for each), or get one each in a folder.
    Printed at 100 %, 25 mm are one second. Facts printed are of the acquisition, never a name.

    Common errors: the file exists (--overwrite); a rate or unit is unknown (--set units=uV).
    """
    from medfm.core.progress import Silent, for_people
    from medfm.workflows.show import show

    settings = {"layout": layout, "order": order, "gain": gain, "colours": colours, "start": start, "field": field}
    settings["text"] = text
    done = show(
        source,
        out=out,
        modality=modality,
        record_ids=record_ids,
        records=records,
        cohort={"root": root, "map": pairs(mapping, "--map"), "where": pairs(where, "--where")},
        settings={key: value for key, value in settings.items() if value is not None},
        reader=pairs(reader, "--set"),
        encoder=encoder,
        weights=weights,
        overwrite=overwrite,
        progress=Silent if as_json or (len(record_ids) or records) == 1 else for_people,
    )
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
