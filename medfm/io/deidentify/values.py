"""Values that stand where an identifying value was: dummies by kind, dates moved by whole days."""

from __future__ import annotations

import datetime
import re
from typing import Any

_TEXT = "REMOVED"
_DUMMIES: dict[str, Any] = {
    "AE": _TEXT, "AS": "000D", "AT": 0, "CS": _TEXT, "DA": "19000101", "DS": "0", "DT": "19000101000000", "FD": 0.0,
    "FL": 0.0, "IS": "0", "LO": _TEXT, "LT": _TEXT, "OB": b"\0\0", "OD": b"\0" * 8, "OF": b"\0" * 4, "OL": b"\0" * 4,
    "OV": b"\0" * 8, "OW": b"\0\0", "PN": _TEXT, "SH": _TEXT, "SL": 0, "SS": 0, "ST": _TEXT, "SV": 0, "TM": "000000",
    "UC": _TEXT, "UL": 0, "UN": b"\0\0", "UR": "urn:removed", "US": 0, "UT": _TEXT, "UV": 0,
}  # fmt: skip
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})(.*)", re.DOTALL)  # with points: the old form of ACR-NEMA
OLDEST = "090Y"


def dummy(vr: str) -> Any:
    """A valid value of this kind that tells nothing."""
    return _DUMMIES.get(vr, _TEXT)


def shifted(value: str, days: int) -> str | None:
    """A DA or DT value moved `days` into the past; ``None`` where it is no whole date.

    What follows the day (hours, fractions, offset from UTC) stays as it is.
    """
    match = _DATE.fullmatch(value.strip().strip("\0"))
    if match is None:
        return None
    try:
        day = datetime.date(int(match[1]), int(match[2]), int(match[3])) - datetime.timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{day:%Y%m%d}".rjust(8, "0") + match[4].strip()


def capped_age(value: str) -> str:
    """An AS value, ages above 89 years as ``090Y`` (so few people are older that the age names them)."""
    match = re.fullmatch(r"\s*(\d{3})([DWMY])\s*", value)
    if match is None:
        return ""
    years = int(match[1]) * {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1}[match[2]]
    return OLDEST if years >= 90 else value.strip()
