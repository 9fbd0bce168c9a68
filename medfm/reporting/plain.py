"""Values as plain JSON-like data: what goes into a result folder comes back unchanged."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from medfm.core.errors import StoreError


def plain(value: Any) -> Any:
    """`value` as dicts, lists, text, numbers and ``None``.

    Arrays and tuples become lists, NumPy scalars become Python's, keys become text, dates
    become ISO text, and NaN or infinite numbers become ``None`` (JSON has no word for them).

    Raises:
        StoreError: The value holds something that has no plain form, such as an open file.
    """
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    raise StoreError(
        f"A value of type {type(value).__name__} cannot be kept in a result.",
        expected="text, numbers, lists and groups of these",
    )


def not_finite(value: Any, key: str = "") -> list[str]:
    """Keys of the NaN or infinite numbers inside plain data, such as ``["summary.headline.0.value"]``."""
    if isinstance(value, float):
        return [] if math.isfinite(value) else [key]
    if isinstance(value, dict):
        items = [(str(k), v) for k, v in value.items()]
    elif isinstance(value, list):
        items = [(str(i), v) for i, v in enumerate(value)]
    else:
        return []
    return [bad for name, item in items for bad in not_finite(item, f"{key}.{name}" if key else name)]
