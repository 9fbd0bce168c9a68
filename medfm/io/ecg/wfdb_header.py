"""WFDB headers (.hea): the facts a reader needs, and none of the comments.

Written after the WFDB Applications Guide, header(5). Comment lines (``#``) hold age, sex, diagnoses
and sometimes names; they are skipped unread. The date of the record line is ignored too, so headers
with dates of any form are accepted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from medfm.core.errors import ReadError
from medfm.io.ecg.raw import number, read_bytes

DEFAULT_HZ = 250.0
DEFAULT_GAIN = 200.0

_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?")
_GAIN = re.compile(r"([-+0-9.eE]+)(?:\(([-+]?\d+)\))?(?:/(\S+))?")
_MAX_SAMPLES = 1 << 31


class SignalLine(NamedTuple):
    """One signal of the header; `units` is ``None`` where the header is silent (mV by the standard)."""

    file: str
    fmt: str
    per_frame: int
    skew: int
    offset: int
    gain: float
    baseline: int
    units: str | None
    initial: int | None
    checksum: int | None
    name: str
    calibrated: bool


@dataclass(frozen=True)
class Header:
    """The record line with the signals, or with the (name, samples) of segments.

    `samples` is ``None`` where the header does not say.
    """

    sampling_hz: float
    samples: int | None
    signals: tuple[SignalLine, ...]
    segments: tuple[tuple[str, int], ...] = ()
    rate_stated: bool = True


def header_path(path: Path) -> Path:
    """The ``.hea`` that belongs to `path`: itself, the record name with ``.hea``, or the sibling of a signal file."""
    if path.suffix == ".hea":
        return path
    appended = path.with_name(path.name + ".hea")
    return appended if appended.is_file() or not path.suffix else path.with_suffix(".hea")


def read_header(path: Path, where: str) -> Header:
    """Read the header at `path`.

    Raises:
        ReadError: Missing or malformed header; a file name in it leads out of the folder.
    """
    raw = read_bytes(path, where, "The header")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    lines = [line for line in map(str.strip, text.splitlines()) if line and line[0] != "#"]
    if not lines:
        raise ReadError("The WFDB header has no record line.", where=where)
    fields = lines[0].split()
    if len(fields) < 2:
        raise ReadError("The record line of the WFDB header is incomplete.", where=where, expected="name and signals")
    count = _whole(fields[1], "number of signals", where)
    rate = DEFAULT_HZ
    if len(fields) > 2:
        rate = number(re.split(r"[/(]", fields[2])[0], "sampling frequency", where, positive=True)
    samples = _whole(fields[3], "number of samples", where) if len(fields) > 3 else None
    if samples is not None and samples > _MAX_SAMPLES:
        raise ReadError(f"The WFDB header promises {samples} samples.", where=where, expected=f"at most {_MAX_SAMPLES}")
    body = lines[1:]
    if "/" in fields[0]:
        wanted = _whole(fields[0].split("/")[1], "number of segments", where)
        parts = [line.split() for line in body[:wanted]]
        if len(parts) < wanted or any(len(part) < 2 for part in parts):
            raise ReadError(f"The WFDB header lists {len(parts)} of {wanted} segments with their lengths.", where=where)
        segments = tuple((_safe(p[0], where), _whole(p[1], "length of a segment", where)) for p in parts)
        if sum(length for _, length in segments) > _MAX_SAMPLES or any(length < 0 for _, length in segments):
            raise ReadError("The WFDB header promises segments of impossible length.", where=where)
        return Header(rate, samples, (), segments, len(fields) > 2)
    if count < 1:
        raise ReadError("The WFDB header describes no signal.", where=where)
    if len(body) < count:
        raise ReadError(f"The WFDB header describes {len(body)} of {count} signals.", where=where)
    signals = tuple(_signal(line, where) for line in body[:count])
    return Header(rate, samples or None, signals, (), len(fields) > 2)


def _signal(line: str, where: str) -> SignalLine:
    fields = line.split(None, 8)
    form = _form(fields[1]) if len(fields) > 1 else None
    if form is None:
        raise ReadError("A signal line of the WFDB header has no storage format.", where=where)
    gain, baseline, units, calibrated = DEFAULT_GAIN, None, None, False
    if len(fields) > 2:
        parts = _gain(fields[2])
        if parts is None:
            raise ReadError("A signal line of the WFDB header has an unreadable gain.", where=where)
        stated = number(parts[0], "gain", where)
        calibrated = stated != 0  # 0 means not calibrated; the default gain applies then
        gain = stated or DEFAULT_GAIN
        baseline = int(parts[1]) if parts[1] else None
        units = parts[2]
    zero = _whole(fields[4], "ADC zero", where) if len(fields) > 4 else 0
    return SignalLine(
        file=_safe(fields[0], where),
        fmt=form[0],
        per_frame=form[1],
        skew=form[2],
        offset=form[3],
        gain=gain,
        baseline=zero if baseline is None else baseline,
        units=units,
        initial=_whole(fields[5], "initial value", where) if len(fields) > 5 else None,
        checksum=_whole(fields[6], "checksum", where) if len(fields) > 6 else None,
        name=fields[8].strip() if len(fields) > 8 else "",
        calibrated=calibrated,
    )


# The signals of a record, and the records of a data set, share these two fields: each is parsed once.
@lru_cache(maxsize=256)
def _form(text: str) -> tuple[str, int, int, int] | None:
    """Format, samples per frame, skew and byte offset."""
    found = _FORMAT.fullmatch(text)
    return None if found is None else (found[1], int(found[2] or 1), int(found[3] or 0), int(found[4] or 0))


@lru_cache(maxsize=256)
def _gain(text: str) -> tuple[str, str | None, str | None] | None:
    """Gain, baseline and units as written."""
    found = _GAIN.fullmatch(text)
    return None if found is None else (found[1], found[2], found[3])


def _whole(text: str, what: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ReadError(f"The {what} in the WFDB header is not a whole number.", where=where) from None


def _safe(name: str, where: str) -> str:
    """Signal files and segments lie beside their header; nothing else is opened."""
    if "/" in name or "\\" in name or name in (".", "..") or "\0" in name or ":" in name:
        raise ReadError("The WFDB header names a file outside its own folder.", where=where)
    return name
