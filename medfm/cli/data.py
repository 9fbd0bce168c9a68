"""``medfm data``: list, prepare, check, show, standardize, de-identify or synthesize cohorts."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import click

from medfm.cli.common import (
    Verb,
    VerbGroup,
    cohort_options,
    json_option,
    pairs,
    print_json,
    rows_kept,
    table,
    text_width,
)
from medfm.cli.data_deidentify import deidentify_command
from medfm.cli.data_lungs import lungs_command
from medfm.cli.data_show import show_command
from medfm.cli.data_standardize import standardize_command
from medfm.cli.options import progress_for

if TYPE_CHECKING:
    from medfm.cohorts.findings import Finding
    from medfm.workflows.data import CheckReport

_SIGNS = {"error": "ERROR", "warning": "warning", "info": "info"}


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Cohorts: tables of records with labels, patients, sites and splits.

    Examples:
      medfm data check labels.csv --map patient_id=source_id
      medfm data prepare acevedo --source PBC_dataset_normal_DIB --out cohorts/acevedo
      medfm data show labels.csv --records 3 --out records.png
      medfm data synthesize blood_cell --out demo-cells
      medfm data deidentify hospital --out clean --key study7.key

    A cohort is a CSV, TSV or Parquet table with a column 'path' and any of record_id,
    patient_id, site, split and label columns; a YAML of the same name beside it may add
    task, licence and units. Each command explains itself: medfm data COMMAND --help
    """


command.add_command(show_command)
command.add_command(deidentify_command)
command.add_command(standardize_command)
command.add_command(lungs_command)


@command.command("list", cls=Verb)
@click.argument("name", required=False)
@json_option
def list_command(name: str | None, as_json: bool) -> None:
    """List the public data sets that can be prepared, or show one.

    Examples:
      medfm data list
      medfm data list bmc
      medfm data list --json

    Shows where to get a set, its licence, the layout expected, the counts that are checked,
    and what about it could not be verified.

    Common errors: a wrong name ("did you mean").
    """
    from medfm.workflows.data import list_sets

    sets = list_sets()
    if name is not None:
        from medfm.cohorts.adapters import get_adapter

        sets = [get_adapter(name).info()]
    if as_json:
        print_json(sets if name is None else sets[0])
    elif name is None:
        rows = [(s["id"], s["title"], s["task"], _counts(s["expected"]), s["licence"]) for s in sets]
        table(rows, ("id", "set", "task", "checked counts", "licence"))
    else:
        _show(sets[0])


def _counts(expected: dict[str, int]) -> str:
    main = {k: v for k, v in expected.items() if k in ("total", "train", "test", "smears", "patients")}
    return ", ".join(f"{v:,}" if k == "total" else f"{v:,} {k}" for k, v in main.items())


def _show(facts: dict[str, Any]) -> None:
    for key, value in facts.items():
        if value in ("", []):
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v:,}" for k, v in value.items())
        for i, line in enumerate(value if isinstance(value, list) else [value]):
            head = key.replace("_", " ") if i == 0 else ""
            body = textwrap.fill(str(line), text_width() - 16, break_long_words=False)
            body = body.replace("\n", "\n" + " " * 16)
            click.echo(f"{head:<15} {body}")


@command.command("prepare", cls=Verb)
@click.argument("name")
@click.option("--source", required=True, type=click.Path(), help="Folder of the data set as released; shards or table.")
@click.option("--out", required=True, type=click.Path(), help="Folder to write labels.csv and labels.yaml into.")
@click.option("--task", metavar="TASK", help="Task of a set with several [the first; medfm data list NAME].")
@click.option("--labels", metavar="VARIANT", help="How ECG sets are labelled: corrected or published [corrected].")
@click.option(
    "--splits", type=click.Path(), help="Published split or group files (MERL, LC25000-clean); brain MRI: ldae."
)
@click.option("--rate", type=int, metavar="HZ", help="PTB-XL: recordings at 500 or at 100 Hz [500].")
@click.option("--modality", metavar="NAME", help="image-text: histopathology or retina.")
@click.option(
    "--map", "mapping", multiple=True, metavar="NAME=COLUMN", help="image-text: text=title; bids: label=diagnosis."
)
@click.option("--allow-partial", is_flag=True, help="Accept other counts than the published ones.")
@click.option("--overwrite", is_flag=True, help="Replace the table that this command wrote there before.")
@json_option
def prepare_command(
    name: str,
    source: str,
    out: str,
    task: str | None,
    labels: str | None,
    splits: str | None,
    rate: int | None,
    modality: str | None,
    mapping: tuple[str, ...],
    allow_partial: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Turn a public data set, as released, into a cohort table. No file is copied.

    Examples:
      medfm data prepare acevedo --source PBC_dataset --out cohorts/acevedo
      medfm data prepare bmc --source part_of_it --out cohorts/bmc --allow-partial
      medfm data prepare ptbxl --task super --source ptb-xl-1.0.3 --out cohorts/ptbxl-super
      medfm data prepare ptbxl-sub@published --source ptb-xl-1.0.3 --out cohorts/sub-published
      medfm data prepare image-text --modality histopathology --source shards --out cohorts/pairs

    NAME is SET[-TASK][@LABELS]; --task and --labels say the same. Checks the layout and the
    published counts; writes licence, citation and what could not be verified beside the
    table. Nothing is written when a check fails.

    Common errors: another set; an incomplete download; --out holds a table (--overwrite).
    """
    from medfm.workflows.data import prepare

    done = prepare(
        name,
        source,
        out,
        allow_partial=allow_partial,
        task=task,
        labels=labels,
        splits=splits,
        rate=rate,
        modality=modality,
        columns=pairs(mapping, "--map"),
        overwrite=overwrite,
    )
    if as_json:
        facts = {"table": str(done.table), "info": str(done.info), "records": done.records, "counts": done.counts}
        print_json({**facts, "complete": done.complete, "differences": list(done.differences)})
        return
    table(list(done.counts.items()), ("class", "records"))
    for line in done.differences[:12]:
        click.echo(f"warning: {line}")
    if len(done.differences) > 12:
        click.echo(f"warning: {len(done.differences) - 12} more; all are in {done.info.name}")
    click.echo(f"{done.records:,} records -> {done.table}")
    click.echo(f"next: medfm data check {done.table}")


@command.command("check", cls=Verb)
@click.argument("cohort_table", metavar="TABLE", type=click.Path())
@cohort_options
@click.option("--target", "targets", multiple=True, help="Label column [the YAML's, else 'label']; repeat: multilabel.")
@click.option("--trained-on", multiple=True, metavar="NAME", help="Set the encoder was trained on; may be repeated.")
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2), help="Folds planned.")
@click.option("--quick", is_flag=True, help="Do not open the files.")
@click.option("--deidentified", is_flag=True, help="Files that say who they are from are errors, not warnings.")
@json_option
def check_command(
    cohort_table: str,
    modality: str | None,
    root: str | None,
    mapping: tuple[str, ...],
    where: tuple[str, ...],
    allow: tuple[str, ...],
    targets: tuple[str, ...],
    trained_on: tuple[str, ...],
    folds: int,
    quick: bool,
    deidentified: bool,
    as_json: bool,
) -> int:
    """Check a cohort before anything is computed on it; exit code 1 when an error is found.

    Examples:
      medfm data check labels.csv --map patient_id=source_id
      medfm data check labels.csv --where task=pbc_cell --target label --json
      medfm data check labels.csv --quick

    Checks (each with a code): missing, empty, damaged files; a patient, a study or the same
    image (also mirrored, turned or saved again) in two splits; labels missing, contradicting
    or tied to a site; classes too small; blank, grey or badly scaled pixels; overlap with the
    encoder's training data; names in DICOM headers and picture files.

    Common errors: no column 'path' (--map path=COLUMN); two tasks in one table (--where).
    """
    if quick and deidentified:
        raise click.UsageError("--deidentified has to open the files: leave --quick out.")
    from medfm.workflows.data import check

    report = check(
        cohort_table,
        modality=modality,
        root=root,
        map=pairs(mapping, "--map"),
        where=rows_kept(where),
        allow=allow,
        target=None if not targets else targets[0] if len(targets) == 1 else targets,
        trained_on=trained_on,
        folds=folds,
        deep=not quick,
        deidentified=deidentified,
        progress=progress_for(as_json),
    )
    if as_json:
        print_json(report.to_dict())
    else:
        _print_report(report)
    return 0 if report.ok else 1


def _print_report(report: CheckReport) -> None:
    synthetic = ", SYNTHETIC" if report.synthetic else ""
    click.echo(f"{report.cohort}: {report.records:,} records, {report.patients:,} patients{synthetic}")
    if report.classes:
        from medfm.cohorts.checks.codes import named

        classes = named([f"{name} {n:,}" for name, n in report.classes.items()], 40)
        # The labels of a multilabel task name themselves in the counts.
        head = report.target if isinstance(report.target, str) else "positive"
        click.echo(textwrap.fill(f"{head}: {classes}", text_width(), subsequent_indent="  "))
    click.echo("")
    for finding in report.findings:
        if finding.severity != "passed":
            _print_finding(finding)
    passed = [f.code for f in report.findings if f.severity == "passed"]
    click.echo(textwrap.fill(f"passed ({len(passed)}): {' '.join(passed)}", text_width(), subsequent_indent="  "))
    errors = sum(f.severity == "error" and not f.allowed for f in report.findings)
    click.echo("result: " + ("no errors" if report.ok else f"{errors} error{'s' if errors > 1 else ''}; see above"))


def _print_finding(finding: Finding) -> None:
    sign = f"{_SIGNS[finding.severity]}{' (allowed)' if finding.allowed else ''}"
    click.echo(f"{finding.code} {sign}, {'about' if finding.severity == 'info' else 'not met'}: {finding.title}")
    lines = textwrap.wrap(finding.detail, text_width() - 5, break_long_words=False)
    if finding.records:
        shown = [_short(record) for record in finding.records[:6]]
        more = " ..." if len(finding.records) > 6 else ""
        records = f"records: {', '.join(shown)}{more}"
        lines += textwrap.wrap(records, text_width() - 5, subsequent_indent="  ", break_on_hyphens=False)
    lines += textwrap.wrap(f"to do: {finding.fix}", text_width() - 5, subsequent_indent="  ")
    click.echo(textwrap.indent("\n".join(lines), "     ") + "\n")


def _short(record: str) -> str:
    """An id that may be very long, with its middle left out."""
    return record if len(record) <= 80 else f"{record[:50]}...{record[-27:]}"


@command.command("synthesize", cls=Verb)
@click.argument("modality")
@click.option("--out", required=True, type=click.Path(), help="Folder to create.")
@click.option("--records", default=600, show_default=True, type=click.IntRange(1), help="Pictures or recordings.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of everything drawn.")
@click.option("--size", type=int, help="Height of images [112, chest 224, retina 384, tissue 224].")
@click.option("--overwrite", is_flag=True, help="Replace an earlier synthetic cohort.")
@json_option
def synthesize_command(
    modality: str, out: str, records: int, seed: int, size: int | None, overwrite: bool, as_json: bool
) -> None:
    """Write a synthetic cohort in real file formats, for demos, tests and dry runs.

    Examples:
      medfm data synthesize blood_cell --out demo-cells
      medfm data synthesize histopathology --out tissue --seed 7 --json
      medfm data synthesize brain_mri --out brains --records 400

    Equal arguments give equal files; every file and table says that it is synthetic.

    blood_cell: ninety patients at three sites with different stains; PNG, JPEG and TIFF (8 and
    16 bit); six whole fields with boxes (smears.csv).

    ecg: 160 patients at four sites, 10 s of twelve leads at 250, 500 or 1000 Hz; WFDB (.dat
    and .mat), DICOM and HL7 aECG; 0/1 label columns and a report text per recording.

    retina: both eyes of 120 patients at four sites, grades 0 to 4, glaucoma, laterality, report
    text; JPEG, PNG, TIFF (16 bit), DICOM.

    histopathology: H&E patches of five tissues, 80 patients at four sites with different
    stains, a caption each; PNG, JPEG, TIFF, HDF5.
    brain_mri: five visits of every subject, CN, MCI or AD, two sites; NIfTI of 5 mm.
    chest_xray: radiographs at four sites; PNG (8, 16 bit), DICOM CR and DX.

    Common errors: the folder exists (--overwrite); another modality than these six.
    """
    from medfm.cohorts.synthesize import synthesize

    done = synthesize(modality, out, records, seed, size, overwrite, progress=progress_for(as_json))
    if as_json:
        facts = {"table": str(done.table), "records": done.records, "counts": done.counts}
        facts |= {"smears": str(done.smears)} if done.smears else {}
        print_json({**facts, "patients": done.patients, "synthetic": True})
        return
    table(list(done.counts.items()), ("class", "records"))
    click.echo(f"{done.records:,} synthetic records of {done.patients} patients -> {done.table}")
    if done.smears is not None:
        click.echo(f"whole fields with boxes -> {done.smears}")
    click.echo(f"next: medfm data check {done.table}")
