"""HL7 annotated ECG (aECG): the rhythm series, not its derived beats."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.ecg.leads import lead_name
from medfm.io.ecg.raw import RawECG, number, stack

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"


def read_aecg(root: Element, where: str) -> RawECG:
    """Read the longest sequence set of the rhythm series that holds leads I and II.

    Raises:
        ReadError: No sequence set, no sampling interval, or values that are no numbers.
    """
    # Derived beats lie in component/series/derivation/derivedSeries and are not on this path.
    sets = root.findall("component/series/component/sequenceSet")
    if not sets:
        raise ReadError("The aECG holds no rhythm series.", where=where)
    decoded = [_sequence_set(found, where) for found in sets]
    best = max(decoded, key=_rank)
    best.facts["sequence_sets"] = len(sets)
    return best


def _rank(raw: RawECG) -> tuple[bool, float, int]:
    found = {lead_name(name) for name in raw.names}
    return {"I", "II"} <= found, raw.values.shape[1] / (raw.sampling_hz or 1.0), len(raw.names)


def _sequence_set(found: Element, where: str) -> RawECG:
    rate: float | None = None
    names: list[str] = []
    units: list[str | None] = []
    rows: list[np.ndarray] = []
    for sequence in found.findall("component/sequence"):
        code = sequence.find("code")
        name = "" if code is None else code.get("code", "")
        value = sequence.find("value")
        if value is None:
            continue
        if name in ("TIME_ABSOLUTE", "TIME_RELATIVE"):
            rate = _rate(value, where) or rate
        elif (digits := value.find("digits")) is not None:
            row, unit = _values(value, digits, where)
            names.append(name)
            units.append(unit)
            rows.append(row)
    return RawECG("aecg", stack(rows, where), names, units, rate)


def _rate(value: Element, where: str) -> float | None:
    increment = value.find("increment")
    if increment is None:
        return None
    unit = increment.get("unit", "s")
    if unit not in _SECONDS:
        raise ReadError("The sampling interval is in an unknown unit.", where=where, expected=", ".join(_SECONDS))
    hertz = 1 / (number(increment.get("value"), "sampling interval", where, positive=True) * _SECONDS[unit])
    # 1 / 0.002 s and its like are whole up to rounding.
    return float(round(hertz)) if abs(hertz - round(hertz)) < 1e-9 * hertz else hertz


def _values(value: Element, digits: Element, where: str) -> tuple[np.ndarray, str | None]:
    try:
        row = np.array((digits.text or "").split(), np.float64)
    except ValueError:
        raise ReadError("The samples of the aECG are not all numbers.", where=where) from None
    if value.get(_XSI_TYPE, "").endswith("SLIST_INT"):
        return row, None
    scale, origin = value.find("scale"), value.find("origin")
    if scale is None:
        return row, None
    unit = scale.get("unit")
    row = row * number(scale.get("value"), "scale", where)
    offset = number(origin.get("value", 0), "origin", where) if origin is not None else 0.0
    if offset and origin is not None and origin.get("unit", unit) != unit:
        raise ReadError("Origin and scale of the aECG have different units.", where=where)
    return row + offset, unit
