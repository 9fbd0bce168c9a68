"""EDF, EDF+ and BDF: the ECG channels of a recording (Kemp 1992, Kemp and Olivan 2003).

Patient and recording fields are skipped unread. Gaps of a discontinuous file (EDF+D) are missing
samples at their true place in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.ecg.leads import lead_name
from medfm.io.ecg.raw import MAX_BYTES, Options, RawECG, number, read_bytes, truncated
from medfm.io.ecg.resample import resample

_FIELDS = (("label", 16), ("transducer", 80), ("unit", 8), ("physical_min", 8), ("physical_max", 8),
           ("digital_min", 8), ("digital_max", 8), ("filter", 80), ("samples", 8), ("reserved", 32))  # fmt: skip


@dataclass(frozen=True)
class _Layout:
    records: int
    seconds: float
    width: int
    start: int
    columns: dict[str, list[str]]
    counts: list[int]
    discontinuous: bool


def read_edf(path: Path, options: Options, where: str) -> RawECG:
    """Read the channels whose labels name leads; with stated ``leads``, all signal channels.

    Channels of lower rate are brought to the highest.

    Raises:
        ReadError: Malformed header, a file shorter than the header promises, or no ECG channel.
    """
    data = read_bytes(path, where)
    layout = _layout(data, where)
    labels = layout.columns["label"]
    marks = [i for i, label in enumerate(labels) if label in ("EDF Annotations", "BDF Annotations")]
    signals = [i for i in range(len(labels)) if i not in marks]
    wanted = signals if options.get("leads") is not None else [i for i in signals if lead_name(labels[i]) is not None]
    if not wanted:
        raise ReadError(
            "No channel of the EDF file names a lead.",
            where=where,
            fix="state the channels in a 'leads' column of the cohort, in the order of the file",
        )
    frames = np.frombuffer(data, np.uint8, layout.records * sum(layout.counts) * layout.width, layout.start)
    frames = frames.reshape(layout.records, -1)
    ends = np.cumsum([0, *layout.counts]) * layout.width
    onsets = None
    if layout.discontinuous and marks:
        onsets = _onsets(frames[:, ends[marks[0]] : ends[marks[0] + 1]], where)
    highest = max(layout.counts[i] for i in wanted)
    rows = []
    for i in wanted:
        row = _channel(frames[:, ends[i] : ends[i + 1]], layout, i, where)
        if onsets is not None:
            row = _placed(row, onsets, layout, i, where)
        rows.append(resample(row, layout.counts[i], highest) if layout.counts[i] != highest else row)
    shortest = min(map(len, rows))
    values = np.stack([row[:shortest] for row in rows]).astype(np.float64)
    units: list[str | None] = [layout.columns["unit"][i] or None for i in wanted]
    facts = {"discontinuous": True} if onsets is not None else {}
    kind = "bdf" if layout.width == 3 else "edf"
    return RawECG(kind, values, [labels[i] for i in wanted], units, highest / layout.seconds, "file", facts)


def _layout(data: bytes, where: str) -> _Layout:
    if len(data) < 256:
        raise truncated("The EDF header", where, 256, len(data))
    width = 3 if data[0] == 0xFF else 2
    count = int(number(data[252:256], "number of signals", where, positive=True))
    start = 256 * (count + 1)
    if len(data) < start:
        raise truncated("The EDF header", where, start, len(data))
    columns: dict[str, list[str]] = {}
    position = 256
    for name, size in _FIELDS:
        cells = [data[position + i * size : position + (i + 1) * size] for i in range(count)]
        columns[name] = [cell.decode("latin-1").strip(" \0") for cell in cells]
        position += size * count
    counts = [int(number(text, "samples per record", where, positive=True)) for text in columns["samples"]]
    seconds = number(data[244:252], "duration of a data record", where, positive=True)
    records = int(number(data[236:244], "number of data records", where))
    size = sum(counts) * width
    if records == -1:  # a recording that was not closed
        records = (len(data) - start) // size
    if records < 1:
        raise ReadError("The recording has no samples.", where=where)
    if len(data) < start + records * size:
        raise truncated("The EDF file", where, start + records * size, len(data))
    reserved = data[192:197]
    return _Layout(records, seconds, width, start, columns, counts, reserved in (b"EDF+D", b"BDF+D"))


def _channel(frames: np.ndarray, layout: _Layout, index: int, where: str) -> np.ndarray:
    if layout.width == 2:
        digital = np.ascontiguousarray(frames).view("<i2").reshape(-1).astype(np.float64)
    else:
        parts = frames.reshape(-1, 3).astype(np.int32)
        digital = (parts[:, 0] | parts[:, 1] << 8 | (parts[:, 2] ^ 0x80) - 0x80 << 16).astype(np.float64)
    cells = {name: layout.columns[name][index] for name, _ in _FIELDS}
    low, high = (number(cells[f"digital_{end}"], f"digital {end}", where) for end in ("min", "max"))
    bottom, top = (number(cells[f"physical_{end}"], f"physical {end}", where) for end in ("min", "max"))
    if high <= low or top == bottom:
        raise ReadError("The range of a channel of the EDF file is empty.", where=where)
    return (digital - low) * ((top - bottom) / (high - low)) + bottom


def _onsets(frames: np.ndarray, where: str) -> list[float]:
    """Start of each data record in seconds: the first time stamp of its annotations."""
    stamps = [bytes(frame).split(b"\x14", 1)[0].split(b"\x15", 1)[0] for frame in frames]
    return [number(stamp, "onset of a data record", where) for stamp in stamps]


def _placed(row: np.ndarray, onsets: list[float], layout: _Layout, index: int, where: str) -> np.ndarray:
    count = layout.counts[index]
    rate = count / layout.seconds
    starts = [round((onset - onsets[0]) * rate) for onset in onsets]
    if any(b < a + count for a, b in pairwise(starts)):
        raise ReadError("The data records of the EDF file overlap in time.", where=where)
    length = starts[-1] + count
    if length * 8 > MAX_BYTES:
        raise ReadError("The gaps of the EDF file are too long for an ECG.", where=where)
    out = np.full(length, np.nan)
    for record, start in enumerate(starts):
        out[start : start + count] = row[record * count : (record + 1) * count]
    return out
