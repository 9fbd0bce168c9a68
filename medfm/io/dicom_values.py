"""From stored DICOM values to display: modality LUT, VOI LUT or window, depth (PS3.3 C.11.1, C.11.2, PS3.4 N.2).

The three steps in the order of the standard. The result is the share of the display's range, 0 to 1,
so that 8, 12 and 16 bit photographs end on one scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from medfm.core.errors import ReadError


@dataclass(frozen=True)
class Voi:
    """Which values of interest are shown.

    Attributes:
        window: Centre and width to use instead of the file's; ``None`` for the file's.
        off: Show the whole stored range, whatever the file says.
        index: Which of several tables or windows, from 0.
    """

    window: tuple[float, float] | None = None
    off: bool = False
    index: int = 0


_HEADER = Voi()
_OWN_WINDOW = (
    "export it again, or choose what is shown in a column 'window': none, or centre and width such as 2048,4096"
)


def displayed(
    stored: np.ndarray,
    header: Any,
    where: str,
    facts: dict[str, Any],
    voi: Voi = _HEADER,
    inverted: bool | None = None,
) -> np.ndarray:
    """Grey values as shares of the display's range, MONOCHROME1 turned over.

    Args:
        stored: Stored values, any integer type.
        header: The data set (only elements of the pixel description are read).
        where: How errors name the file.
        facts: Receives ``modality_lut`` and ``voi``: which of the steps applied.
        voi: Which window; the file's first, a table before a window, by default.
        inverted: Whether low values are white; by the photometric interpretation when ``None``.

    Raises:
        ReadError: A table or a window that cannot be, or an index that there is not.
    """
    values, low, high = _modality(stored, header, where, facts)
    share = _voi(values, low, high, header, where, facts, voi)
    share = np.clip(share, 0.0, 1.0)
    if inverted is None:
        inverted = str(header.get("PhotometricInterpretation", "")) == "MONOCHROME1"
    return 1.0 - share if inverted else share


def stored_range(header: Any) -> tuple[float, float]:
    """Lowest and highest value that the stored bits can hold."""
    bits = int(header.BitsStored)
    return (
        (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)
        if int(header.get("PixelRepresentation", 0))
        else (0.0, 2.0**bits - 1)
    )


def _modality(stored: np.ndarray, header: Any, where: str, facts: dict[str, Any]) -> tuple[np.ndarray, float, float]:
    """The values after the modality LUT, and the range that they can have."""
    low, high = stored_range(header)
    table = _first(header, "ModalityLUTSequence")
    if table is not None:
        entries, first, bits = _table(table, header, where)
        facts["modality_lut"] = "table"
        return _looked_up(stored, entries, first), 0.0, 2.0**bits - 1
    slope, intercept = (
        _number(header.get(name), usual) for name, usual in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    if slope is None or intercept is None or slope == 0:
        raise ReadError(
            "The rescale slope or intercept of the DICOM file is no number, or the slope is zero.",
            where=where,
            fix="export the file again: without a slope its values have no order",
        )
    if (slope, intercept) == (1.0, 0.0):
        return stored, low, high
    facts["modality_lut"] = "rescaled"
    ends = sorted((low * slope + intercept, high * slope + intercept))
    return stored * slope + intercept, ends[0], ends[1]


def _voi(
    values: np.ndarray, low: float, high: float, header: Any, where: str, facts: dict[str, Any], voi: Voi
) -> np.ndarray:
    whole = (np.asarray(values, np.float64) - low) / (high - low)
    if voi.off:
        return whole
    tables = header.get("VOILUTSequence") or ()
    if tables and voi.window is None:
        entries, first, bits = _table(_chosen(tables, voi.index, where, facts), header, where)
        facts["voi"] = "table"
        return _looked_up(np.rint(values).astype(np.int64), entries, first) / (2.0**bits - 1)
    centre, width = voi.window or _window(header, voi.index, where, facts)
    if math.isnan(centre) or math.isnan(width):
        return whole
    kind = str(header.get("VOILUTFunction") or "LINEAR").upper() if voi.window is None else "LINEAR"
    if kind not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or (width < 1 and kind == "LINEAR") or width <= 0:
        raise ReadError(
            "The window of the DICOM file has no width, or a function that is not known.",
            where=where,
            expected="LINEAR (width of at least 1), LINEAR_EXACT or SIGMOID (width above 0)",
            fix=_OWN_WINDOW,
        )
    facts["voi"] = f"window, {kind.lower().replace('_', ' ')}"
    x = np.asarray(values, np.float64)
    if kind == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (x - centre) / width, -700, 700))))
    if kind == "LINEAR_EXACT":
        return (x - centre) / width + 0.5
    if width == 1:
        return (x > centre - 0.5).astype(np.float64)
    return (x - (centre - 0.5)) / (width - 1) + 0.5


def _window(header: Any, index: int, where: str, facts: dict[str, Any]) -> tuple[float, float]:
    """Centre and width number `index` of the file; NaN where it has none."""
    pair = []
    for name in ("WindowCenter", "WindowWidth"):
        value = header.get(name)
        if value is None or value == "":
            pair.append(math.nan)
            continue
        several = list(value) if hasattr(value, "__len__") and not isinstance(value, (str, bytes)) else [value]
        number = _number(_chosen(several, index, where, facts), math.nan) if several else math.nan
        if number is None:
            raise ReadError("The window of the DICOM file is not made of numbers.", where=where, fix=_OWN_WINDOW)
        pair.append(number)
    return pair[0], pair[1]


def _chosen(items: Any, index: int, where: str, facts: dict[str, Any]) -> Any:
    if not 0 <= index < len(items):
        raise ReadError(
            f"There is no window or table of values number {index}.",
            where=where,
            expected="0" if len(items) == 1 else f"0 to {len(items) - 1}",
        )
    if len(items) > 1:
        facts["voi_items"] = len(items)
    return items[index]


def _looked_up(values: np.ndarray, entries: np.ndarray, first: int) -> np.ndarray:
    # Values outside the table take its first or last entry (PS3.3, C.11.1.1.1).
    return entries[np.clip(values.astype(np.int64) - first, 0, len(entries) - 1)].astype(np.float64)


def _table(item: Any, header: Any, where: str) -> tuple[np.ndarray, int, int]:
    """Entries, first value mapped and bits per entry of a look-up table."""
    wrong = ReadError("A look-up table of the DICOM file is shorter or longer than it says.", where=where)
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    if descriptor is None or data is None or len(descriptor) != 3:
        raise wrong
    count, first, bits = (int(v) for v in descriptor)
    count = count or 65536
    if int(header.get("PixelRepresentation", 0)) and first >= 32768:
        first -= 65536  # the element is read as unsigned, but means a signed value
    if isinstance(data, (bytes, bytearray)):
        width = "<u1" if len(data) in (count, count + 1) and bits <= 8 else "<u2"
        entries = np.frombuffer(bytes(data)[: len(data) // np.dtype(width).itemsize * np.dtype(width).itemsize], width)
    else:
        entries = np.atleast_1d(np.asarray(data, np.int64)) & 0xFFFF
    if len(entries) < count or not 8 <= bits <= 16:
        raise wrong
    return entries[:count].astype(np.int64), first, bits


def _first(header: Any, name: str) -> Any:
    items = header.get(name)
    return items[0] if items else None


def _number(value: Any, usual: float) -> float | None:
    """A decimal element (the first of several); `usual` where it is absent, ``None`` where it is no number."""
    if value is None or value == "":
        return usual
    try:
        result = float(value[0] if hasattr(value, "__len__") and not isinstance(value, (str, bytes)) else value)
    except (TypeError, ValueError, IndexError):
        return None
    return result if math.isfinite(result) else None
