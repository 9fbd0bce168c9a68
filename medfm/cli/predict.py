"""``medfm predict``: a fine-tuned model and records in, probabilities out."""

from __future__ import annotations

import click

from medfm.cli.common import Verb, cohort_options, json_option, pairs, print_json


@click.command(cls=Verb)
@click.argument("folder", type=click.Path())
@click.argument("table", type=click.Path())
@click.option("--out", type=click.Path(dir_okay=False), help="predictions.csv or .parquet; a .json lies beside it.")
@click.option("--sets", type=float, metavar="RATE", help="Also sets of classes that hold the true one at RATE (0.9).")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N.")
@click.option("--cache", type=click.Path(), help="Cache folder [MEDFM_CACHE].")
@click.option("--on-error", type=click.Choice(["report", "skip", "stop"]), help="What a bad record does [report].")
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
    modality: str | None,
    root: str | None,
    mapping: tuple[str, ...],
    where: tuple[str, ...],
    allow: tuple[str, ...],
    as_json: bool,
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
    from medfm.cohorts.load import load_cohort
    from medfm.core.progress import Silent, for_people
    from medfm.encoders.registry import get_card
    from medfm.training.ensemble import ensemble_folder
    from medfm.training.tuned import model_folder
    from medfm.workflows.predict import check_out, predict

    place = ensemble_folder(folder) or model_folder(folder)
    if out is not None:
        check_out(out)
    cohort = load_cohort(
        table,
        modality=modality,
        default_modality=get_card(place).modality,
        root=root,
        map=pairs(mapping, "--map"),
        where=pairs(where, "--where"),
        allow=allow,
    )
    found = predict(
        place,
        cohort,
        device=device,
        sets=sets,
        embed_settings={"cache": cache, "on_error": on_error},
        progress=Silent if as_json else for_people,
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
