"""Load a cohort: table in, validated :class:`Cohort` out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from medfm.cohorts.checks.run import run_checks
from medfm.cohorts.cohort import REQUIRED_COLUMNS, SPLITS, Cohort
from medfm.cohorts.findings import stop_on_errors
from medfm.cohorts.info import CohortInfo, load_info
from medfm.cohorts.paths import clean_paths, refuse_escaping_links
from medfm.core.errors import CohortError
from medfm.core.names import did_you_mean
from medfm.io.tables import read_table
from medfm.modalities.blood_cell import BOX_COLUMNS
from medfm.modalities.registry import get_modality

Where = Mapping[str, Any]


def load_cohort(
    table: str | Path | pd.DataFrame,
    modality: str | None = None,
    root: str | Path | None = None,
    map: Mapping[str, str] | None = None,
    where: Where | None = None,
    allow: Sequence[str] = (),
    name: str | None = None,
    check: bool = True,
    default_modality: str = "blood_cell",
) -> Cohort:
    """Load and validate a table of records.

    Args:
        table: A CSV, TSV or Parquet file, or a data frame. A YAML of the same name beside the
            file (see :class:`medfm.cohorts.info.CohortInfo`) adds task, label map, units, licence.
        modality: Modality of the records; the YAML's, else `default_modality`, when ``None``.
        root: Folder the paths are relative to; the table's own folder when ``None`` (required
            with a data frame).
        map: ``{"patient_id": "source_id"}`` reads `patient_id` from the column `source_id`.
        where: ``{"task": "pbc_cell"}`` keeps only these rows; a list keeps any of its values, each of
            which must be there.
        allow: Codes of checks that may fail; they are stamped on the cohort's findings.
        name: Name shown in reports; the YAML's, else the table's own, when ``None``.
        check: Whether to run the quick checks (no file is decoded) and stop on an error.
        default_modality: Where neither `modality` nor the YAML says; the command line passes the encoder's.

    Returns:
        The cohort. Without a `patient_id` every record (with boxes: every image) counts as its own
        patient and ``patients_known`` is false; without a `record_id` the path (and the box) is the id.

    Raises:
        CohortError: A column is missing, an id is missing or doubled, a path is absolute or
            leaves the root, a split is not train, val or test, a box is not numbers,
            or no row is left.
        ChecksFailedError: A quick check found an error whose code is not in `allow`.
    """
    if isinstance(table, pd.DataFrame):
        if root is None:
            raise CohortError("A data frame needs a root folder.", fix="pass root=FOLDER, the folder of the paths")
        frame, info, label, base = table.reset_index(drop=True), CohortInfo(), name or "cohort", Path(root)
    else:
        file = Path(table)
        info, label = load_info(file), str(file)
        columns = {**info.columns, **(map or {})}
        frame = read_table(file, text={*REQUIRED_COLUMNS, *(columns[c] for c in REQUIRED_COLUMNS if c in columns)})
        base = Path(root) if root is not None else file.parent / (info.root or "")
        name = name or info.name or file.stem
    frame = _map_columns(frame, {**info.columns, **(map or {})}, label)
    frame = _filter(frame, where or {}, label)
    for column, values in info.label_map.items():
        _need(frame, column, label)
        frame[column] = frame[column].map(lambda v, values=values: values.get(_plain(v), v))
    known = "patient_id" in frame.columns
    chosen = modality or info.modality or default_modality
    get_modality(chosen)
    if not base.is_dir():
        raise CohortError("The root folder does not exist.", where=str(base), fix="name it with --root (root=)")
    frame = _canonical(frame, base, label, allow, getattr(get_modality(chosen), "locate", None))
    details = {
        **info.model_dump(mode="json", exclude_defaults=True, exclude={"columns", "label_map", "root"}),
        **({"map": dict(map)} if map else {}),
        **({"where": dict(where)} if where else {}),
        **({"allowed_codes": sorted(set(allow))} if allow else {}),
    }
    cohort = Cohort(
        table=frame,
        modality=chosen,
        root=base.absolute(),
        name=name or "cohort",
        patients_known=known,
        synthetic=info.synthetic,
        info=details,
    )
    cohort.check_options()  # a malformed box in the last row comes out now, not after hours
    if not check:
        return cohort
    # Labels are checked by the workflow that uses them: embedding needs none.
    findings = run_checks(cohort, target=False, deep=False)
    stop_on_errors(findings)
    return replace(cohort, findings=findings)


def _map_columns(frame: pd.DataFrame, mapping: Mapping[str, str], label: str) -> pd.DataFrame:
    result = frame.copy()
    for name, column in mapping.items():
        _need(frame, column, f"{label}, map {name}={column}")
        result[name] = frame[column]
    return result


def _filter(frame: pd.DataFrame, where: Where, label: str) -> pd.DataFrame:
    for column, value in where.items():
        _need(frame, column, f"{label}, where {column}={value}")
        wanted = {str(v) for v in (value if isinstance(value, (list, tuple, set)) else [value])}
        values = frame[column].map(_plain)
        keep = values.isin(wanted)
        absent = sorted(wanted - set(values[keep]))
        if absent or not keep.any():  # of several values too: one that no row has is misspelt, and would go unnoticed
            present = sorted({_plain(v) for v in frame[column].dropna().unique()})
            raise CohortError(
                f"{'No row is left' if not keep.any() else 'A value is not there'}: no '{column}' equals {' or '.join(absent)}.",
                where=label,
                fix=did_you_mean(" ".join(absent), present[:40]),
            )
        frame = frame[keep].reset_index(drop=True)
    if frame.empty:
        raise CohortError("The table has no rows.", where=label)
    return frame


def _need(frame: pd.DataFrame, column: str, label: str) -> None:
    if column not in frame.columns:
        names = [str(c) for c in frame.columns]
        raise CohortError(
            f"The table has no column '{column}'.",
            where=label,
            expected=f"one of {', '.join(names[:20])}",
            fix=f"{did_you_mean(column, names)}; --map {column}=COLUMN reads it from another column"
            if column == "path"
            else did_you_mean(column, names),
        )


def _canonical(
    frame: pd.DataFrame, root: Path, label: str, allow: Sequence[str], locate: Callable[[Path], Path] | None
) -> pd.DataFrame:
    _need(frame, "path", label)
    named = clean_paths(_identifiers(frame, "path", label), label)
    # Ids are what the table says, whatever ending its files turn out to have.
    paths = named if locate is None else [_beside(path, locate(root / path).name) for path in named]
    if "F006" not in allow:
        refuse_escaping_links(root, paths, label)
    frame = frame.assign(path=paths)
    boxed = set(BOX_COLUMNS) <= set(frame.columns)
    if "record_id" in frame.columns:
        ids = _identifiers(frame, "record_id", label)
    elif boxed:
        boxes = frame[list(BOX_COLUMNS)].itertuples(index=False, name=None)
        ids = [
            p if pd.isna(b[0]) else f"{p}#{'-'.join(_plain(v) for v in b)}" for p, b in zip(paths, boxes, strict=True)
        ]
    else:
        ids = list(named)
    _refuse_doubled(ids, label)
    # Cells cut from one image are never independent: there the image stands in for the patient.
    # The same holds for the rows of one picture with several captions.
    pictures = _identifiers(frame, "picture_id", label) if "picture_id" in frame.columns else ids
    fallback = paths if boxed else pictures
    patients = _identifiers(frame, "patient_id", label) if "patient_id" in frame.columns else fallback
    site = _optional(frame, "site")
    split = _optional(frame, "split")
    wrong = sorted({str(v) for v in split.dropna()} - set(SPLITS))
    if wrong:
        raise CohortError(
            f"The split '{wrong[0]}' is not known.",
            where=f"{label}, column 'split'",
            expected="train, val or test (or empty)",
            fix="rename the values, or read another column with --map split=COLUMN",
        )
    rest = frame.drop(columns=[c for c in ("record_id", "path", "patient_id", "site", "split") if c in frame.columns])
    front = pd.DataFrame({"record_id": ids, "path": paths, "patient_id": patients, "site": site, "split": split})
    return pd.concat([front.reset_index(drop=True), rest.reset_index(drop=True)], axis=1)


def _beside(path: str, name: str) -> str:
    """`path` with another file name."""
    folder, slash, old = path.rpartition("/")
    return path if name == old else f"{folder}{slash}{name}"


def _plain(value: Any) -> str:
    """A number as written by people: 12, not 12.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _identifiers(frame: pd.DataFrame, column: str, label: str) -> list[str]:
    values = _texts(frame[column])
    if values is None or "" in set(values):
        gone = (frame[column].isna() | (frame[column].map(str).str.strip() == "")).to_numpy()
        values = None if gone.any() else [_plain(value).strip() for value in frame[column]]
    if values is None:
        raise CohortError(
            f"{int(gone.sum())} of {len(frame)} rows have no {column} (first: row {int(gone.argmax()) + 1}).",
            where=label,
            expected=f"a {column} in every row",
            fix=f"fill it in, or read another column: --map {column}=COLUMN",
        )
    # One look at all of them together; which one it is matters only where there is one.
    for row, value in enumerate([] if "".join(values).isprintable() else values, start=1):
        if not value.isprintable():
            raise CohortError(
                f"Row {row}: the {column} has a line break or another character that cannot be printed: {value!r}",
                where=label,
                expected="plain text",
                fix="check the quotes of the table near this row, and remove the character",
            )
    return values


def _optional(frame: pd.DataFrame, column: str) -> pd.Series:
    if column not in frame.columns:
        return pd.Series([None] * len(frame), dtype=object)
    texts = _texts(frame[column].dropna())
    if texts is None:
        cleaned = frame[column].map(lambda v: None if pd.isna(v) or not str(v).strip() else _plain(v).strip())
        return cleaned.astype(object)
    known = {text: text.strip() or None for text in set(frame[column].dropna())}
    return pd.Series([known.get(value) for value in frame[column]], index=frame.index, dtype=object)


def _texts(column: pd.Series) -> list[str] | None:
    """The cells without spaces around them, or ``None`` where one of them is no text."""
    cells = column.tolist()
    return list(map(str.strip, cells)) if set(map(type, cells)) <= {str} else None


def _refuse_doubled(ids: Sequence[str], label: str) -> None:
    if len(set(ids)) == len(ids):
        return
    series = pd.Series(list(ids))
    doubled = series[series.duplicated()].unique()
    if len(doubled):
        raise CohortError(
            f"{len(doubled)} record id{'s appear' if len(doubled) > 1 else ' appears'} more than once, first: "
            f"{doubled[0]}",
            where=label,
            expected="one row per record",
            fix="remove the doubled rows, give a record_id column, or keep one task with --where COLUMN=VALUE",
        )
