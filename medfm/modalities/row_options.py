"""Reading single cells of a cohort row as options of a reader."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from medfm.core.errors import ReadError


def missing(value: Any) -> bool:
    """Whether a cell of a table holds nothing."""
    if value is None or isinstance(value, str):
        return not value
    if isinstance(value, (float, int)):
        return bool(value != value)
    # Parquet brings NaN of 32 bits and pandas' own marks of absence; pandas' NA equals nothing, not even itself.
    return type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, Real) and math.isnan(value))


def whole(value: Any, column: str, unit: str = "pixels") -> int:
    """A cell as a whole number; raises :class:`ReadError` that names the `column`."""
    try:
        result = float(value)
        if not math.isfinite(result) or result != int(result):
            raise ValueError
    except (TypeError, ValueError) as error:
        raise ReadError(f"{column} is not a whole number of {unit}: {value!r}.") from error
    return int(result)


def positive(value: Any, column: str, unit: str) -> float:
    """A cell as a number above zero; raises :class:`ReadError` that names the `column`."""
    try:
        result = float(value)
        if not math.isfinite(result) or result <= 0:
            raise ValueError
    except (TypeError, ValueError) as error:
        raise ReadError(f"{column} is not a positive number of {unit}: {value!r}.") from error
    return result
