"""Who took part: how many records were asked for, left out and used, and what they are like (Table 1).

Plain data for ``result.json``: counts that would show fewer patients than the minimum cell are
``None`` here already, so that no document made from it can show them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medfm.evaluation.groups import MISSING, group_values, suppressed_cells
from medfm.evaluation.target import Target

_MOST_LEVELS = 30


def participants(
    asked: pd.DataFrame,
    kept: pd.DataFrame,
    target: Target,
    parts: Mapping[str, np.ndarray],
    excluded: Sequence[tuple[str, int]],
    *,
    minimum: int,
    patients_known: bool = True,
) -> dict[str, Any]:
    """Flow and Table 1 of one evaluation.

    Args:
        asked: The cohort's table as it was given, with ``record_id, patient_id, site`` and perhaps ``age, sex``.
        kept: The rows that were used.
        target: Truth of the kept rows.
        parts: Rows of `kept` by the name of the part (train, validation, test); rows in no part count as unused.
        excluded: Reason and number of records, in the order in which they were left out.
        minimum: Cells below so many patients (records where patients are unknown) are hidden.
        patients_known: Whether patient ids can be trusted.

    Returns:
        ``asked`` and ``kept`` (``records``, ``patients``), ``excluded``, ``parts``, ``rows`` (one per line of Table 1: ``variable``,
        ``level``, ``kind`` and one cell per part), ``unit`` and ``minimum``.
    """
    names = list(parts)
    used = np.concatenate([np.asarray(parts[n], dtype=np.int64) for n in names]) if names else np.zeros(0, np.int64)
    left = len(kept) - len(np.unique(used))
    reasons = [(reason, number) for reason, number in excluded if number]
    if left:
        reasons.append(("in no part that is used", left))
    tables = [kept.iloc[parts[n]].reset_index(drop=True) for n in names]
    truths = [target.take(np.asarray(parts[n], dtype=np.int64)) for n in names]
    people = [t.groupby("patient_id", sort=False).first().reset_index() if patients_known else t for t in tables]
    rows = [*_ages(people, minimum)]
    for column in ("sex", "site"):
        rows += _levels(column, people, minimum)
    rows += _truth(tables, truths, minimum, patients_known)
    return {
        "asked": _size(asked, patients_known),
        "excluded": [{"reason": reason, "records": int(number)} for reason, number in reasons],
        "kept": _size(kept.iloc[np.unique(used)], patients_known),
        "parts": [{"name": n, **_size(t, patients_known)} for n, t in zip(names, tables, strict=True)],
        "rows": rows,
        "unit": "patients" if patients_known else "records",
        "minimum": minimum,
    }


def _size(table: pd.DataFrame, patients_known: bool) -> dict[str, int | None]:
    return {"records": len(table), "patients": int(table["patient_id"].nunique()) if patients_known else None}


def _ages(people: Sequence[pd.DataFrame], minimum: int) -> list[dict[str, Any]]:
    """Median and quartiles, and how many are missing."""
    if not any("age" in table.columns for table in people):
        return []
    spread: list[dict[str, Any] | None] = []
    missing: list[dict[str, Any] | None] = []
    for table in people:
        years = pd.to_numeric(table["age"], errors="coerce").to_numpy(np.float64)
        known = years[np.isfinite(years) & (years >= 0)]
        absent = len(years) - len(known)
        hidden = absent and bool(suppressed_cells([len(known), absent], minimum).any())
        if len(known) < max(minimum, 1):
            spread.append(None)
        else:
            low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
            spread.append({"median": float(middle), "low": float(low), "high": float(high)})
        missing.append(None if hidden else _share(absent, len(years)))
    return [
        {"variable": "age", "level": "median (quartiles), years", "kind": "spread", "cells": spread},
        {"variable": "age", "level": MISSING, "kind": "count", "cells": missing},
    ]


def _levels(column: str, people: Sequence[pd.DataFrame], minimum: int) -> list[dict[str, Any]]:
    """How many of each level, the missing last; nothing where nobody has the column."""
    if not any(column in table.columns and table[column].notna().any() for table in people):
        return []
    values = [group_values(table, column) for table in people]
    levels = sorted(set(np.concatenate(values)) - {MISSING})
    if len(levels) > _MOST_LEVELS:
        return []
    shown = [*levels, MISSING] if any((v == MISSING).any() for v in values) else levels
    counts = [[int((v == level).sum()) for level in shown] for v in values]
    return _rows(column, shown, counts, counts, [len(v) for v in values], minimum)


def _truth(
    tables: Sequence[pd.DataFrame], truths: Sequence[Target], minimum: int, patients_known: bool
) -> list[dict[str, Any]]:
    """The label by part, counted in records, hidden by the number of patients behind it."""
    if not truths:
        return []
    first = truths[0]
    if first.task == "regression":
        cells: list[dict[str, float] | None] = []
        for truth in truths:
            known = truth.values[np.isfinite(truth.values)]
            if len(known) < max(minimum, 1):
                cells.append(None)
                continue
            low, middle, high = map(float, np.quantile(known, [0.25, 0.5, 0.75]))
            cells.append({"median": middle, "low": low, "high": high})
        return [{"variable": first.name, "level": "median (quartiles)", "kind": "spread", "cells": cells}]
    ids = [np.asarray(t["patient_id" if patients_known else "record_id"].astype(str)) for t in tables]

    def behind(place: int, rows: np.ndarray) -> int:
        return len(np.unique(ids[place][rows]))

    found = []
    if first.task == "multilabel":
        # Every label is a table of its own: present, absent, unknown.
        for k, name in enumerate(first.classes):
            columns = [t.values[:, k] for t in truths]
            masks = [[c == 1, c == 0, np.isnan(c)] for c in columns]
            shown = ["present", "absent", *(["unknown"] if any(m[2].any() for m in masks) else [])]
            counts = [[int(m[j].sum()) for j in range(len(shown))] for m in masks]
            sizes = [[behind(i, m[j]) for j in range(len(shown))] for i, m in enumerate(masks)]
            found += _rows(name, shown, counts, sizes, [len(c) for c in columns], minimum)
        return found
    masks = [[t.values == k for k in range(len(first.classes))] for t in truths]
    counts = [[int(m.sum()) for m in part] for part in masks]
    sizes = [[behind(i, m) for m in part] for i, part in enumerate(masks)]
    return _rows(first.name, list(first.classes), counts, sizes, [len(t) for t in truths], minimum, records=True)


def _rows(
    variable: str,
    levels: Sequence[str],
    counts: Sequence[Sequence[int]],
    sizes: Sequence[Sequence[int]],
    totals: Sequence[int],
    minimum: int,
    *,
    records: bool = False,
) -> list[dict[str, Any]]:
    """One row per level; within a part, cells are hidden so that none follows by subtraction."""
    hidden = [_hidden(part, minimum) for part in sizes]
    return [
        {
            "variable": variable,
            "level": level,
            "kind": "records" if records else "count",
            "cells": [
                None if hidden[p][j] else _share(counts[p][j], totals[p]) for p in range(len(totals))
            ],
        }
        for j, level in enumerate(levels)
    ]  # fmt: skip


def _hidden(sizes: Sequence[int], minimum: int) -> np.ndarray:
    """As :func:`suppressed_cells`; empty cells show nobody and are no hiding place for others."""
    counts = np.asarray(sizes, dtype=np.int64)
    hidden = np.zeros(len(counts), dtype=bool)
    hidden[counts > 0] = suppressed_cells(counts[counts > 0].tolist(), minimum)
    return hidden


def _share(number: int, total: int) -> dict[str, Any]:
    return {"n": int(number), "percent": 100 * number / total if total else 0.0}
