"""``medfm predict``: a fine-tuned model and records in, probabilities out."""

from __future__ import annotations

from typing import Any

import click

from medfm.cli.common import Verb, cohort_options, json_option, print_json
from medfm.cli.options import (
    cohort_from_options,
    embedding_options,
    progress_for,
)


@click.command(cls=Verb)
@click.argument("folder", type=click.Path())
@click.argument("table", type=click.Path())
@click.option("--out", type=click.Path(dir_okay=False), help="predictions.csv or .parquet; a .json lies beside it.")
@click.option("--sets", type=float, metavar="RATE", help="Also sets of classes that hold the true one at RATE (0.9).")
@embedding_options
@cohort_options
@json_option
def command(
    folder: str,
    table: str,
    out: str | None,
    sets: float | None,
    device: str,
    cache: str | None,
    on_error: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Classify the records of TABLE with the model that medfm finetune left in FOLDER.

    Examples:
      medfm predict runs/ft new.csv --out predictions.csv
      medfm predict runs/ft/model new.csv --out predictions.parquet --on-error skip
      medfm predict runs/ft new.csv --where split=test --sets 0.9 --json
    TABLE needs record_id and path; labels are neither needed nor looked at. The output has, per
    record, the class and the probability of every class; the .json beside it says which threshold
    was used, how it was chosen, and what the model was trained on.
    Checked: the classifier belongs to the encoder beside it, the modality, every record.
    Exit code 1: done, but records could not be read.
    Common errors: a folder of another verb, records of another modality, an unreadable record
    (named; --on-error skip goes on without complaint).
    """
    from medfm.encoders.registry import get_card
    from medfm.training.ensemble import ensemble_folder
    from medfm.training.tuned import model_folder
    from medfm.workflows.predict import check_out, predict

    place = ensemble_folder(folder) or model_folder(folder)
    if out is not None:
        check_out(out)
    cohort = cohort_from_options(table, options, get_card(place).modality)
    found = predict(
        place,
        cohort,
        device=device,
        sets=sets,
        embed_settings={"cache": cache, "on_error": on_error},
        progress=progress_for(as_json),
    )
    if out is not None:
        found.save(out)
    if as_json:
        print_json({**found.about(), "predictions": found.table.to_dict(orient="records"), "out": out})
    else:
        click.echo(str(found))
        if out is not None:
            click.echo(f"file: {out}")
    return 1 if found.failures and on_error != "skip" else 0
