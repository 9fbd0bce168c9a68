"""Records in the sorted order of their files' paths, where a published program takes them as the file system lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def path_order(table: pd.DataFrame) -> np.ndarray:
    """int64 (n,): place of each row when rows are sorted by path, code point by code point.

    Records of one file follow by record id, so that the order of the table never matters. Rows without a path
    (a table of embeddings alone) are sorted by record id.
    """
    ids = table["record_id"].astype(str)
    paths = table["path"].fillna("").astype(str) if "path" in table.columns else [""] * len(table)
    keys = list(zip(paths, ids, strict=True))
    place = np.empty(len(keys), dtype=np.int64)
    place[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    return place


def patients_by_order(patients: np.ndarray, order: np.ndarray) -> np.ndarray:
    """object: every patient once, in the order of their first records, as ``pandas.Series.unique`` gives them.

    Args:
        patients: (n,), compared as texts.
        order: int64 (n,), of :func:`path_order`.
    """
    found = dict.fromkeys(patients[np.argsort(order)].astype(str).tolist())
    return np.array(list(found), dtype=object)


def first_by_order(rows: np.ndarray, patients: np.ndarray, order: np.ndarray) -> np.ndarray:
    """int64, rising: of `rows` the first record of each patient, as ``drop_duplicates`` by patient leaves it.

    Args:
        rows: int64, positions.
        patients: (n,), compared as texts.
        order: int64 (n,), of :func:`path_order`.
    """
    placed = rows[np.argsort(order[rows])]
    return np.sort(placed[np.unique(patients[placed].astype(str), return_index=True)[1]]).astype(np.int64)
