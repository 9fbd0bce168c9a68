"""A folder that a verb fills with a cohort made from another one: begun or gone on with, its table and its YAML."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from medfm.cohorts.cohort import Cohort
from medfm.cohorts.info import CohortInfo
from medfm.core.errors import StoreError
from medfm.core.files import write_text

PROVENANCE = "provenance.json"
# What the table of the source says, and the new one says for itself.
_OWN = {"columns", "label_map", "root", "modality", "counts", "notes", "name", "synthetic"}


def begin_folder(target: Path, writer: str, key: str, ours: Sequence[str], *, overwrite: bool, differs: str) -> None:
    """See that `target` is new, or the beginning of the same work.

    Args:
        target: The folder.
        writer: The command, as its provenance names it.
        key: SHA-256 of all that decides the outcome.
        ours: Files and folders that the command writes; they are removed where `overwrite` says so.
        overwrite: Begin again in a folder of the same command.
        differs: What the error says where the folder holds work of another `key`.

    Raises:
        StoreError: The folder holds other things, or work of another `key`.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        before = json.loads((target / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if not isinstance(before, dict) or before.get("written_by") != writer:
        raise StoreError(
            "The output folder exists already and holds other things.", where=str(target), fix="choose another name"
        )
    if overwrite:
        for name in ours:
            path = target / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    elif before.get("setup_sha256") != key:
        raise StoreError(differs, where=str(target), fix="choose another folder, or pass --overwrite to begin again")


def write_derived_table(
    table: pd.DataFrame,
    cohort: Cohort,
    info: CohortInfo,
    target: Path,
    note: str,
    *,
    root: str | None = None,
    gone: Sequence[str] = (),
) -> Path:
    """Write ``labels.csv`` and ``labels.yaml``, which says what the source's YAML says, and the `note`.

    Args:
        table: The rows.
        cohort: The source.
        info: Its YAML.
        target: The folder.
        note: What was done.
        root: Of the paths, where it is not the folder.
        gone: Columns that have no meaning any more.
    """
    import yaml

    # A column of record ids under the name of patients would claim more than is known.
    gone = [*gone, *([] if cohort.patients_known else ["patient_id"])]
    gone += [name for name in ("site", "split") if table[name].isna().all()]
    file = target / "labels.csv"
    write_text(file, table.drop(columns=gone).to_csv(index=False))
    about = CohortInfo(
        **info.model_dump(exclude=_OWN),
        **({} if root is None else {"root": root}),
        modality=cohort.modality,
        name=cohort.name,
        synthetic=cohort.synthetic,
        notes=[*info.notes, note],
    )
    plain = about.model_dump(mode="json", exclude_defaults=True)
    write_text(target / "labels.yaml", yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
    return file
