"""``medfm retrieve``: search a cohort by text or record, or measure how well an encoder searches."""

from __future__ import annotations

from typing import Any

import click

from medfm.cli.common import Verb, cohort_options, config_options, json_option, print_config, print_json, table
from medfm.cli.options import (
    ON_ERROR,
    device_option,
    encoder_options,
    name_option,
    progress_for,
    taken_cohort,
    tell_run,
)


@click.command(cls=Verb)
@click.argument("table_file", metavar="TABLE", type=click.Path())
@encoder_options(weights="Checkpoint file, or 'random'.")
@click.option("--query", metavar="TEXT", help="Search for these words.")
@click.option("--like", metavar="RECORD_ID", help="Search for records like this one.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(1), help="How many to find.")
@click.option("--index", type=click.Choice(["auto", "exact", "faiss"]), help="auto: faiss above 10^10 pairs.")
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False), help="Also write what was found.")
@click.option("--text", default="text", show_default=True, metavar="COLUMN", help="Column of the texts.")
@click.option("--label", metavar="COLUMN", help="Measure among records: right is the same label.")
@click.option("--protocol", metavar="ID|FILE", help="Procedure of the measurement [see below].")
@click.option("--out", type=click.Path(file_okay=False), help="Result folder, with report.html.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier result folder.")
@click.option("--show-text", is_flag=True, help="Show texts, not only ids (they may name people).")
@name_option
@device_option
@click.option("--cache", type=click.Path(), help="Cache folder [MEDFM_CACHE].")
@click.option("--on-error", type=ON_ERROR, help="What a bad record does.")
@cohort_options
@config_options
@json_option
def command(
    table_file: str,
    encoder: str | None,
    query: str | None,
    like: str | None,
    top: int,
    index: str | None,
    csv_file: str | None,
    text: str,
    label: str | None,
    protocol: str | None,
    out: str | None,
    overwrite: bool,
    show_text: bool,
    name: str,
    cache: str | None,
    on_error: str | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    weights: str | None,
    preprocessing: str | None,
    device: str,
    **options: Any,
) -> int:
    """Search a cohort, or measure how well records and texts find each other.

    Examples:
      medfm retrieve labels.csv --encoder ID --query "atrial fibrillation" --modality ecg
      medfm retrieve labels.csv --encoder ID --modality ecg --out runs/search
      medfm retrieve labels.csv --encoder dinobloom-s --label label --out runs/similar
    Protocols: retrieval@1 (default), retrieval-one-to-one@1 and quilt-retrieval@1 (as papers count),
    retrieval-records@1 (with --label); or a file. Equal texts count as one; ties as in random order.
    Checked: the table, its texts or labels, the text tower. Exit code 1: done, but records failed.
    Common errors: no text column (--text COLUMN), an encoder without a text tower (--label COLUMN
    searches among records), the folder exists (--overwrite), faiss absent (leave --index out).
    """
    searching = query is not None or like is not None
    if index is not None and not searching:
        overrides = (*overrides, f"method.index={index}")
    if dry_run:
        from medfm.workflows.retrieve import plan_of

        print_config(plan_of(protocol, label, overrides), as_json)
        return 0
    if encoder is None:
        raise click.UsageError("Name an encoder: --encoder ID (medfm encoders lists them).")
    shared: dict[str, Any] = {
        "weights": weights,
        "device": device,
        "preprocessing": preprocessing,
        "text": text,
        "show_text": show_text,
        "cohort": taken_cohort(options, encoder),
        "embed_settings": {"cache": cache, "on_error": on_error},
        "progress": progress_for(as_json),
    }
    if searching:
        given = {"--out": out, "--label": label, "--protocol": protocol, "--set": overrides}
        unused = [option for option, value in given.items() if value]
        if unused:
            raise click.UsageError(f"{', '.join(unused)} belong to a measurement, not to --query or --like.")
        failed = _search(table_file, encoder, query, like, top, index or "auto", csv_file, as_json, shared)
    else:
        if csv_file:
            raise click.UsageError("--csv belongs to --query or --like; --out keeps a measurement.")
        measured = {
            "protocol": protocol,
            "label": label,
            "overrides": overrides,
            "allow": shared["cohort"]["allow"],
            "name": name,
        }
        failed = _measure(table_file, encoder, out, overwrite, as_json, {**shared, **measured})
    return 1 if failed and on_error != "skip" else 0


def _search(
    table_file: str,
    encoder: str,
    query: str | None,
    like: str | None,
    top: int,
    index: str,
    csv_file: str | None,
    as_json: bool,
    shared: dict[str, Any],
) -> int:
    from medfm.workflows.search import search_table

    found = search_table(table_file, encoder, query=query, like=like, top=top, index=index, **shared)  # type: ignore[arg-type]
    if csv_file is not None:
        found.to_csv(csv_file)
    if as_json:
        print_json(found.to_dict())
        return found.failed
    with_text = any(hit.text is not None for hit in found.hits)
    rows = [(h.place, h.record_id, f"{h.cosine:.4f}", *([h.text] if with_text else [])) for h in found.hits]
    table(rows, ("place", "record", "cosine", *(["text"] if with_text else [])))
    click.echo(f"{len(found.hits)} of {found.searched} records, by cosine (no probability), for: {found.query}")
    for note in (found.cut, found.note):
        if note is not None:
            click.echo(f"note      {note}")
    if found.untrained:
        click.echo("The encoder's weights are random: this order means nothing.")
    if found.recall is not None:
        click.echo(
            f"approximate index: finds {100 * found.recall:.1f} % of the exact 10 nearest (sample of the cohort)"
        )
    if csv_file is not None:
        click.echo(f"file      {csv_file}")
    return found.failed


def _measure(
    table_file: str, encoder: str, out: str | None, overwrite: bool, as_json: bool, settings: dict[str, Any]
) -> int:
    from medfm.workflows.retrieve import retrieve_table

    run = retrieve_table(table_file, encoder, out=out, overwrite=overwrite, **settings)
    if as_json:
        print_json(
            {
                "id": run.result.id,
                "out": None if run.out is None else str(run.out),
                "failed": run.failed,
                "summary": run.result.summary.to_dict(),
                "chance": run.result.extras["chance"],
            }
        )
    else:
        tell_run(run, as_json)
    return run.failed
