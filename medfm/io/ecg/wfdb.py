"""WFDB records: ``.hea`` with ``.dat`` or MATLAB ``.mat`` signal files.

Formats 16, 24, 32, 61, 80, 160 and 212 with one sample per frame are decoded here, several times
faster than by the ``wfdb`` library and with equal values; everything else (compressed and packed
formats, several rates, skewed signals) goes through that library.
"""

from __future__ import annotations

import warnings
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.ecg.raw import RawECG, number, read_bytes, truncated
from medfm.io.ecg.resample import resample
from medfm.io.ecg.wfdb_formats import MISSING, bytes_needed, decode, samples_held
from medfm.io.ecg.wfdb_header import Header, SignalLine, header_path, read_header

# A day of twelve leads at 500 Hz; a header can promise gaps of any length without a byte behind them.
_MAX_VALUES = 12 * 500 * 86_400 + 1


def wfdb_files(path: Path, where: str) -> tuple[Path, ...]:
    """The header and every file it names, each once: what a content key must cover."""
    start = header_path(path)
    found: dict[Path, None] = {start: None}
    header = read_header(start, where)
    for name, _ in header.segments:
        if name != "~":
            segment = start.with_name(name + ".hea")
            found[segment] = None
            found.update({start.with_name(s.file): None for s in read_header(segment, where).signals if s.file != "~"})
    found.update({start.with_name(signal.file): None for signal in header.signals if signal.file != "~"})
    return tuple(found)


def read_wfdb(path: Path, where: str) -> RawECG:
    """Read the record whose header, signal file or bare name is `path`.

    Raises:
        ReadError: Malformed header, missing or truncated signal file, checksum or initial value that
            does not fit the samples, or a storage format that cannot be read.
    """
    start = header_path(path)
    header = read_header(start, where)
    ours = all(s.fmt in MISSING and s.per_frame == 1 and not s.skew and s.file != "~" for s in header.signals)
    if header.segments:
        return _segments(start, header, where)
    if not ours:
        return _by_library(start, header, where)
    blocks: list[np.ndarray] = []
    checked = 0
    for name, group in groupby(header.signals, key=lambda signal: signal.file):
        values, verified = _read_file(start.with_name(name), list(group), header.samples, where)
        blocks.append(values)
        checked += verified
    lengths = {block.shape[1] for block in blocks}
    if len(lengths) > 1:
        raise ReadError("The signal files of the record have different lengths.", where=where)
    values = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    facts = {"checksums_verified": checked == len(header.signals)}
    return _raw(header, values, [s.name for s in header.signals], [s.units for s in header.signals], facts)


def _raw(header: Header, values: np.ndarray, names: list[str], units: list[Any], facts: dict[str, Any]) -> RawECG:
    source = "file" if all(units) else "WFDB default (mV)"
    if any(not signal.calibrated for signal in header.signals):
        facts["calibrated"] = False  # the standard's gain of 200 per unit was used
    filled: list[str | None] = [unit or "mV" for unit in units]
    rate = header.sampling_hz if header.rate_stated else None
    return RawECG("wfdb", values, names, filled, rate, source, facts)


def _read_file(path: Path, signals: list[SignalLine], samples: int | None, where: str) -> tuple[np.ndarray, int]:
    """Physical values (signals, samples) of one signal file, and how many checksums were verified."""
    data = read_bytes(path, where, "The signal file")
    fmt, offset, width = signals[0].fmt, signals[0].offset, len(signals)
    if any(signal.fmt != fmt for signal in signals):
        raise ReadError("One signal file is declared with two storage formats.", where=where)
    held = samples_held(fmt, max(len(data) - offset, 0)) // width
    if samples is None:
        samples = held
    if samples == 0:
        raise ReadError("The recording has no samples.", where=where)
    if held < samples:
        promised = offset + bytes_needed(fmt, samples * width)
        raise truncated("The signal file", where, promised, len(data))
    digital = decode(memoryview(data)[offset:], fmt, samples * width).reshape(samples, width)
    # float64 until the end, as the published loaders compute, so that float32 copies are equal bit for bit.
    values = digital.T.astype(np.float64, order="C")
    # Sums of integers are exact in float64 up to 2**53, that is 2**22 samples of 32 bits.
    sums = values.sum(axis=1) if samples < 1 << 22 else digital.sum(axis=0, dtype=np.int64)
    verified = _verify([int(total) for total in sums], signals, where)
    if any(s.baseline for s in signals):
        values -= np.array([[s.baseline] for s in signals], np.float64)
    values /= np.array([[s.gain] for s in signals])
    missing = digital == MISSING[fmt]
    if missing.any():
        values[missing.T] = np.nan
    return values, verified


def _verify(sums: list[int], signals: list[SignalLine], where: str) -> int:
    """Compare the 16-bit checksum (sum of all samples) where the header has one."""
    verified = 0
    for index, signal in enumerate(signals):
        # A checksum of 0 is also what writers leave that do not compute any.
        if signal.checksum is None or (signal.checksum == 0 and signal.initial in (None, 0)):
            continue
        if (sums[index] - signal.checksum) & 0xFFFF:
            raise ReadError(
                f"The samples of signal {index + 1} do not fit the checksum in the header.",
                where=where,
                expected=f"{signal.checksum & 0xFFFF}, found {sums[index] & 0xFFFF}",
                fix="copy or download the record again; the file was changed or damaged after it was written",
            )
        verified += 1
    return verified


def _segments(start: Path, header: Header, where: str) -> RawECG:
    """Segments behind one another; gaps (``~``) and channels a segment lacks are missing samples."""
    parts: list[tuple[int, RawECG]] = []
    names: dict[str, str | None] = {}
    position = 0
    for name, length in header.segments:
        if name != "~":
            path = start.with_name(name + ".hea")
            described = read_header(path, where)
            if described.segments:
                raise ReadError("A segment of the WFDB record has segments itself.", where=where)
            if length == 0:  # the layout of a record whose segments hold different channels
                names.update({signal.name: signal.units or "mV" for signal in described.signals})
                continue
            part = read_wfdb(path, where)
            if part.values.shape[1] < length:
                raise truncated("A segment", where, length, part.values.shape[1], "samples")
            if part.sampling_hz is not None and abs(part.sampling_hz / header.sampling_hz - 1) > 1e-6:
                raise ReadError("A segment of the WFDB record has another sampling frequency.", where=where)
            for channel, unit in zip(part.names, part.units, strict=True):
                if names.setdefault(channel, unit) != unit:
                    raise ReadError("The segments of the WFDB record are in different units.", where=where)
            parts.append((position, part))
        position += length
    if not parts:
        raise ReadError("The recording has no samples.", where=where)
    if header.samples is not None and position < header.samples:
        raise truncated("The record", where, header.samples, position, "samples")
    if len(names) * position > _MAX_VALUES:
        raise ReadError("The WFDB record with its gaps is too long.", where=where, expected=f"{_MAX_VALUES} values")
    row = {name: index for index, name in enumerate(names)}
    values = np.full((len(names), position), np.nan)
    lengths = {begin: length for (_, length), begin in zip(header.segments, _begins(header), strict=True) if length}
    for begin, part in parts:
        length = lengths[begin]
        for channel, samples in zip(part.names, part.values, strict=True):
            values[row[channel], begin : begin + length] = samples[:length]
    facts = {"segments": len(header.segments)}
    rate = header.sampling_hz if header.rate_stated else None
    return RawECG("wfdb", values, list(names), list(names.values()), rate, parts[0][1].units_source, facts)


def _begins(header: Header) -> list[int]:
    begins = [0]
    for _, length in header.segments[:-1]:
        begins.append(begins[-1] + length)
    return begins


def _by_library(start: Path, header: Header, where: str) -> RawECG:
    import wfdb

    for file in wfdb_files(start, where):
        if not file.is_file():
            raise ReadError("A file of the record is missing.", where=where, expected="the header's files beside it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = wfdb.rdrecord(str(start.with_suffix("")), smooth_frames=False)
    except Exception as error:
        # The library raises nearly anything on damaged files, sometimes with text of the header in it.
        raise ReadError(
            f"The WFDB record cannot be decoded ({type(error).__name__}).",
            where=where,
            fix="copy or download the record again; if it is whole, convert it to storage format 16",
        ) from None
    names = [str(name or "") for name in record.sig_name]
    rate = number(record.fs, "sampling frequency", where, positive=True)
    per_frame = [signal.per_frame for signal in header.signals]
    highest = max(per_frame)
    if header.samples is not None:
        for channel, n in zip(record.e_p_signal, per_frame, strict=True):
            if len(channel) < header.samples * n:
                raise truncated("A signal", where, header.samples * n, len(channel), "samples")
    rows = [
        np.asarray(channel, np.float64) if n == highest else resample(np.asarray(channel), rate * n, rate * highest)
        for channel, n in zip(record.e_p_signal, per_frame, strict=True)
    ]
    shortest = min(map(len, rows))
    values = np.stack([row[:shortest] for row in rows]).astype(np.float64)
    raw = _raw(header, values, names, [str(unit) if unit else None for unit in record.units], {"decoded_by": "wfdb"})
    raw.sampling_hz = rate * highest if header.rate_stated else None
    return raw
