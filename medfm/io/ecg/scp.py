"""SCP-ECG (EN 1064, ISO 11073-91064): the rhythm, with the reference beat put back where it was taken out.

Read are the pointers (section 0), Huffman tables (2), leads (3), QRS places (4), the reference beat (5) and the
rhythm (6). Section 1, which holds the patient's data, is never opened. Bimodal compression, which stores the
stretches between the beats at a quarter of the rate, is refused.
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.ecg.raw import Options, RawECG, read_bytes, truncated
from medfm.io.ecg.scp_huffman import DEFAULT, Table, parse_tables, unpack

_LEADS = {
    1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6", 9: "V7", 11: "V3R", 12: "V4R", 13: "V5R",
    14: "V6R", 16: "X", 17: "Y", 18: "Z", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF", 66: "V8", 67: "V9",
}  # fmt: skip
_HEADER = 16
_DEFAULT_TABLE = 19999
# Leads times samples, gaps between the starts of leads included: 160 MB of float64.
_MAX_VALUES = 20_000_000
_DIFFERENCES = (0, 1, 2)


@dataclass(frozen=True)
class _Lead:
    first: int
    last: int
    name: str

    @property
    def samples(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class _Coded:
    """What sections 5 and 6 have in common: scale, interval, and the bytes of each lead."""

    nanovolts: int
    microseconds: int
    difference: int
    bimodal: bool
    parts: list[bytes]


def read_scp(path: Path, options: Options, where: str) -> RawECG:
    """Read the rhythm of an SCP-ECG record.

    Raises:
        ReadError: Not SCP-ECG, cut off, pointers that lead out of the file, a section whose checksum does not fit,
            a sample code that no Huffman table has, or bimodal compression.
    """
    data = read_bytes(path, where)
    if len(data) < 6 + _HEADER:
        raise ReadError("The SCP-ECG file is cut off in its first section.", where=where)
    whole_crc, promised = struct.unpack_from("<HI", data)
    if promised > len(data):
        raise truncated("The SCP-ECG record", where, promised, len(data))
    sections = _Sections(data[:promised] if promised >= 6 + _HEADER else data, where)
    flags, leads = _leads(sections.body(3), where)
    tables = _tables(sections.optional(2), where)
    coded = _coded(sections.body(6), len(leads), "rhythm", where)
    if coded.bimodal:
        raise ReadError(
            "The SCP-ECG record uses bimodal compression (a lower rate between the beats), which is not read.",
            where=where,
            expected="sections 6 without bimodal compression",
            fix="export the recording again without compression, or as DICOM or HL7 aECG",
        )
    begin = min(lead.first for lead in leads)
    total = max(lead.last for lead in leads) - begin + 1
    if total * len(leads) > _MAX_VALUES:
        raise ReadError("The SCP-ECG record promises too many samples.", where=where, expected=f"{_MAX_VALUES} values")
    values = np.full((len(leads), total), np.nan)
    for row, (lead, part) in enumerate(zip(leads, coded.parts, strict=True)):
        start = lead.first - begin
        samples = _samples(part, tables, coded.difference, lead.samples, where)
        values[row, start : start + lead.samples] = samples * (coded.nanovolts / 1000)
    subtracted = bool(flags & 1)
    if subtracted:
        _put_beats_back(values, begin, leads, coded, sections, tables, where)
    facts = {
        "huffman": "none" if tables is None else "default" if tables is DEFAULT else "own tables",
        "difference_order": coded.difference,
        "reference_beat_subtracted": subtracted,
        # Sections that were read are verified one by one; this is the record as a whole, section 1 included.
        "record_checksum": binascii.crc_hqx(sections.data[2:], 0xFFFF) == whole_crc,
    }
    rate = 1e6 / coded.microseconds
    rate = float(round(rate)) if abs(rate - round(rate)) < 1e-9 * rate else rate
    return RawECG("scp-ecg", values, [lead.name for lead in leads], ["uV"] * len(leads), rate, "file", facts)


class _Sections:
    """The sections of a record by number; their headers and checksums are verified where they are opened."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self._where = data, where
        self._places: dict[int, tuple[int, int]] = {}
        length = struct.unpack_from("<I", data, 6 + 4)[0]
        if length < _HEADER or 6 + length > len(data):
            raise ReadError("The pointers of the SCP-ECG record are cut off.", where=where)
        self._places[0] = (6, length)
        pointers = self.body(0)
        for offset in range(0, len(pointers) - 9, 10):
            number, size, index = struct.unpack_from("<HII", pointers, offset)
            if size and number not in self._places:
                self._places[number] = (index - 1, size)

    def optional(self, number: int) -> bytes | None:
        """The content of a section; ``None`` where the record lacks it."""
        return self.body(number) if number in self._places else None

    def body(self, number: int) -> bytes:
        """The content of a section that must be there."""
        if number not in self._places:
            raise ReadError(f"The SCP-ECG record has no section {number}.", where=self._where)
        start, size = self._places[number]
        if start < 0 or size < _HEADER or start + size > len(self.data):
            raise ReadError(f"The pointer to section {number} leads out of the SCP-ECG record.", where=self._where)
        crc, found, length = struct.unpack_from("<HHI", self.data, start)
        if found != number or length != size:
            raise ReadError(
                f"The pointer to section {number} of the SCP-ECG record leads elsewhere.", where=self._where
            )
        if binascii.crc_hqx(self.data[start + 2 : start + size], 0xFFFF) != crc:
            raise ReadError(
                f"Section {number} of the SCP-ECG record does not fit its checksum.",
                where=self._where,
                fix="copy or export the file again; it was changed or damaged after it was written",
            )
        return self.data[start + _HEADER : start + size]


def _leads(body: bytes, where: str) -> tuple[int, list[_Lead]]:
    count, flags = body[:2] if len(body) >= 2 else (0, 0)
    if count < 1:
        raise ReadError("The SCP-ECG record describes no lead.", where=where)
    if len(body) < 2 + 9 * count:
        raise truncated("The list of leads", where, 2 + 9 * count, len(body))
    leads = []
    for offset in range(2, 2 + 9 * count, 9):
        first, last, code = struct.unpack_from("<IIB", body, offset)
        if first < 1 or last < first:
            raise ReadError("A lead of the SCP-ECG record has no samples.", where=where)
        leads.append(_Lead(first, last, _LEADS.get(code, "")))
    return flags, leads


def _tables(body: bytes | None, where: str) -> tuple[Table, ...] | None:
    """The Huffman tables; ``None`` where the samples are plain 16-bit numbers."""
    if body is None:
        return None
    if len(body) < 2:
        raise ReadError("The Huffman tables of the SCP-ECG record are cut off.", where=where)
    count = struct.unpack_from("<H", body)[0]
    return DEFAULT if count == _DEFAULT_TABLE else parse_tables(body[2:], count, where)


def _coded(body: bytes, leads: int, what: str, where: str) -> _Coded:
    head = 6 + 2 * leads
    if len(body) < head:
        raise truncated(f"The section of the {what}", where, head, len(body))
    nanovolts, microseconds, difference, bimodal = struct.unpack_from("<HHBB", body)
    if not nanovolts or not microseconds or difference not in _DIFFERENCES:
        raise ReadError(
            f"The {what} of the SCP-ECG record has no scale, no rate, or an unknown order of differences.", where=where
        )
    sizes = struct.unpack_from(f"<{leads}H", body, 6)
    if head + sum(sizes) > len(body):
        raise truncated(f"The section of the {what}", where, head + sum(sizes), len(body))
    ends = np.cumsum((head, *sizes))
    parts = [body[a:b] for a, b in pairwise(ends)]
    return _Coded(nanovolts, microseconds, difference, bimodal == 1, parts)


def _samples(part: bytes, tables: tuple[Table, ...] | None, difference: int, count: int, where: str) -> np.ndarray:
    """`count` samples (int64) of one lead, differences summed up."""
    # A code takes at least one bit; without this, a promise of billions would be believed.
    held = len(part) // 2 if tables is None else 8 * len(part)
    if held < count:
        raise truncated("A lead of the SCP-ECG record", where, count, held, "samples")
    if tables is None:
        values = np.frombuffer(part[: 2 * count], "<i2").astype(np.int64)
    else:
        values = unpack(part, tables, count, where)
    if difference == 1:
        values = np.cumsum(values)
    elif difference == 2 and count > 1:
        slopes = np.cumsum(np.concatenate(([values[1] - values[0]], values[2:])))
        values = np.cumsum(np.concatenate((values[:1], slopes)))
    if np.abs(values).max() > 1 << 31:
        raise ReadError("The samples of the SCP-ECG record exceed every range; the file is damaged.", where=where)
    return values


def _put_beats_back(
    values: np.ndarray, begin: int, leads: list[_Lead], coded: _Coded, sections: _Sections,
    tables: tuple[Table, ...] | None, where: str,
) -> None:  # fmt: skip
    """Add the reference beat to every beat of type 0 it was taken out of, in place."""
    places = sections.body(4)
    beat = _coded(sections.body(5), len(leads), "reference beat", where)
    if beat.microseconds != coded.microseconds:
        raise ReadError(
            "The reference beat of the SCP-ECG record has another rate than the rhythm, which is not read.",
            where=where,
            fix="export the recording again without compression, or as DICOM or HL7 aECG",
        )
    if len(places) < 6:
        raise ReadError("The QRS places of the SCP-ECG record are cut off.", where=where)
    milliseconds, centre, count = struct.unpack_from("<HHH", places)
    if len(places) < 6 + 14 * count:
        raise truncated("The QRS places of the SCP-ECG record", where, 6 + 14 * count, len(places))
    length = milliseconds * 1000 // beat.microseconds
    if length < 1:
        raise ReadError("The reference beat of the SCP-ECG record has no samples.", where=where)
    scale = beat.nanovolts / 1000
    beats = [_samples(part, tables, beat.difference, length, where) * scale for part in beat.parts]
    for number in range(count):
        kind, start, fiducial, end = struct.unpack_from("<HIII", places, 6 + 14 * number)
        if kind != 0:
            continue
        # Sample n of the rhythm (from 1) holds sample centre + n - fiducial of the beat (from 1).
        shift = centre - fiducial
        first, last = max(start, 1 - shift), min(end, length - shift)
        for row, lead in enumerate(leads):
            a, b = max(first, lead.first), min(last, lead.last)
            if a <= b:
                values[row, a - begin : b - begin + 1] += beats[row][a + shift - 1 : b + shift]
