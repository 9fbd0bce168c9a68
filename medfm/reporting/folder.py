"""The result folder: written whole or not at all, read back exactly, refused when damaged."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from medfm.cohorts.findings import Finding
from medfm.core.config import build
from medfm.core.environment import package_version
from medfm.core.errors import ConfigError, EvaluationError, StoreError
from medfm.core.files import atomic_folder, write_text
from medfm.core.hashing import sha256_bytes, sha256_json
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import Protocol
from medfm.evaluation.summary import BatchEffect, Summary
from medfm.io.parquet import read_parquet
from medfm.reporting.plain import not_finite
from medfm.reporting.result import ADDED_COLUMNS, Result

SCHEMA_VERSION = 1
RESULT, PREDICTIONS, CONFIG, REPORT, CARD = (
    "result.json",
    "predictions.parquet",
    "config.yaml",
    "report.html",
    "card.md",
)


def save_result(result: Result, folder: str | Path, *, overwrite: bool = False, images: Any = None) -> Path:
    """Write `result` to `folder`; see :meth:`medfm.reporting.result.Result.save`."""
    from medfm.reporting.card import result_card
    from medfm.reporting.html import render_report
    from medfm.reporting.thumbnails import thumbnails

    target = Path(folder).absolute()
    if images is not None:
        result = replace(result, thumbnails=thumbnails(result, images))
    replaceable = _may_replace(target, overwrite)
    parquet, config = _parquet(result), yaml.safe_dump(result.config, sort_keys=False, allow_unicode=True).encode()
    head = _head(result, {PREDICTIONS: sha256_bytes(parquet), CONFIG: sha256_bytes(config)})
    files = {
        RESULT: head,
        PREDICTIONS: parquet,
        CONFIG: config,
        REPORT: render_report(result).encode(),
        CARD: result_card(result).encode(),
    }
    with atomic_folder(target, replace=replaceable) as temporary:
        for name, data in files.items():
            _write(temporary / name, data)
    return target


def read_result(folder: str | Path) -> Result:
    """Read a result folder; see :func:`medfm.reporting.result.load_result`."""
    place = Path(folder)
    if not place.is_dir():
        raise StoreError(
            "There is no such result folder.", where=str(place), expected="a folder written by medfm probe"
        )
    head = _read_head(place)
    parquet, config = _checked(place, PREDICTIONS, head), _checked(place, CONFIG, head)
    try:
        saved = read_parquet(parquet)
        about = head["predictions"]
        table = saved.drop(columns=[c for c in ADDED_COLUMNS if c in saved.columns])
        predictions = Predictions(table, about["task"], tuple(about["classes"]), about["target"])
        effect = head["batch_effect"]
        where = str(place / RESULT)
        return Result(
            kind=head["kind"],
            protocol=build(Protocol, head["protocol"], where=where),
            summary=build(Summary, head["summary"], where=where),
            predictions=predictions,
            provenance=head["provenance"],
            findings=tuple(build(Finding, finding, where=where) for finding in head["findings"]),
            config=yaml.safe_load(config.decode()) or {},
            batch_effect=None if effect is None else build(BatchEffect, effect, where=where),
            embedding_map=_map_of(saved, head["embedding_map"]),
            extras=head["extras"],
            name=head["name"],
            thumbnails=_thumbnails_of(saved),
        )
    except (KeyError, TypeError, ValueError, OSError, ConfigError, EvaluationError, yaml.YAMLError) as error:
        raise StoreError(
            f"The result folder is damaged: {error}.", where=str(place), fix="run the evaluation again"
        ) from error


def rebuild_report(folder: str | Path) -> tuple[Path, Path]:
    """Write ``report.html`` and ``card.md`` anew from the other files of a result folder.

    Returns:
        The paths of the report and of the card.

    Raises:
        StoreError: The folder is damaged or cannot be written to.
    """
    from medfm.reporting.card import result_card
    from medfm.reporting.html import render_report

    place = Path(folder).absolute()
    result = read_result(place)
    report, card = render_report(result), result_card(result)
    write_text(place / REPORT, report)
    write_text(place / CARD, card)
    return place / REPORT, place / CARD


def _may_replace(target: Path, overwrite: bool) -> bool:
    """Whether what lies at `target` may be replaced: an empty folder, or a result if asked."""
    if not target.exists():
        return False
    try:
        empty = target.is_dir() and not any(target.iterdir())
    except OSError as error:
        raise StoreError(f"The output folder cannot be looked into: {error.strerror}.", where=str(target)) from error
    if empty:
        return True
    if overwrite and not (target / RESULT).is_file():
        raise StoreError(
            "This folder is not a result folder, so it is not replaced.",
            where=str(target),
            fix="choose another name, or empty the folder yourself",
        )
    return overwrite


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _head(result: Result, hashes: Mapping[str, str]) -> bytes:
    predictions, map_table = result.predictions, result.embedding_map
    head = {
        "schema_version": SCHEMA_VERSION,
        "medfm": package_version(),
        "id": result.id,
        "name": result.name,
        "kind": result.kind,
        "files": dict(hashes),
        "summary": result.summary.to_dict(),
        "batch_effect": None if result.batch_effect is None else result.batch_effect.to_dict(),
        "findings": [finding.to_dict() for finding in result.findings],
        "provenance": result.provenance,
        "protocol": result.protocol.to_dict(),
        "predictions": {
            "task": predictions.task,
            "classes": list(predictions.classes),
            "target": predictions.target,
            "rows": len(predictions),
        },
        "embedding_map": None
        if map_table is None
        else {"method": str(map_table["method"].iloc[0]) if len(map_table) else ""},
        "extras": result.extras,
    }
    bad = not_finite(head)
    if bad:
        raise StoreError(
            "A result may not hold NaN or infinite numbers.", where=", ".join(bad[:10]), expected="a number, or None"
        )
    head["sha256"] = sha256_json(head)
    return (json.dumps(head, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _parquet(result: Result) -> bytes:
    table = result.predictions.table.copy()
    ids = table["record_id"].astype(str)
    if result.embedding_map is not None:
        places = result.embedding_map.set_index("record_id")
        table["map_x"], table["map_y"] = ids.map(places["x"]), ids.map(places["y"])
    if result.thumbnails:
        pictures = ids.map(result.thumbnails).astype(object)
        # Each picture once, on the record's first row.
        table["thumbnail"] = pictures.where(~ids.duplicated() & pictures.notna(), None)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _read_head(place: Path) -> dict[str, Any]:
    try:
        head = json.loads((place / RESULT).read_text(encoding="utf-8"))
        version = head["schema_version"]
    except FileNotFoundError as error:
        raise StoreError(
            f"The folder has no {RESULT}, so it is not a result folder.",
            where=str(place),
            expected=f"{RESULT}, {PREDICTIONS} and {CONFIG}",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"The file cannot be read as a result: {error}.",
            where=str(place / RESULT),
            fix="run the evaluation again",
        ) from error
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"The result was written with layout version {version}; this medfm reads version {SCHEMA_VERSION}.",
            where=str(place),
            fix=f"use the medfm that wrote it ({head.get('medfm', 'unknown')}), or run the evaluation again",
        )
    digest = head.pop("sha256", None)
    if digest != sha256_json(head):
        raise StoreError(
            f"{RESULT} was changed after it was written, so its figures cannot be trusted.",
            where=str(place / RESULT),
            fix="copy the whole folder again, or run the evaluation again",
        )
    return dict(head)


def _checked(place: Path, name: str, head: Mapping[str, Any]) -> bytes:
    try:
        data = (place / name).read_bytes()
    except FileNotFoundError as error:
        raise StoreError(
            f"The result folder lacks its file {name}.", where=str(place), fix="copy the whole folder again"
        ) from error
    except OSError as error:
        raise StoreError(f"The file cannot be read: {error.strerror}.", where=str(place / name)) from error
    files = head.get("files")
    if not isinstance(files, dict) or files.get(name) != sha256_bytes(data):
        raise StoreError(
            f"{name} is not the file that was written with this result: it was changed or damaged.",
            where=str(place / name),
            fix="copy the whole folder again, or run the evaluation again",
        )
    return data


def _map_of(saved: pd.DataFrame, about: Mapping[str, Any] | None) -> pd.DataFrame | None:
    if about is None:
        return None
    rows = saved[["record_id", "map_x", "map_y"]].dropna().drop_duplicates("record_id")
    return rows.rename(columns={"map_x": "x", "map_y": "y"}).assign(method=about["method"])


def _thumbnails_of(saved: pd.DataFrame) -> dict[str, bytes]:
    if "thumbnail" not in saved.columns:
        return {}
    rows = saved[saved["thumbnail"].notna()]
    return {str(k): bytes(v) for k, v in zip(rows["record_id"], rows["thumbnail"], strict=True)}
