"""The Huffman codes of SCP-ECG: the default table of the standard, tables of a file, and decoding.

A code is a prefix, followed by nothing (it stands for the table's value), by a number in two's complement (long
codes), or by a switch to another table. Bits are read from the highest of each byte; a table writes its prefixes
the other way round, first bit lowest.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from medfm.core.errors import ReadError

_LONGEST_PREFIX = 16
_LONGEST_CODE = 40
_MAX_TABLES = 8


@dataclass(frozen=True)
class Table:
    """Codes of one table; row k of the arrays is code k.

    Attributes:
        prefix: Bits of each prefix.
        total: Bits of each code with the number that follows.
        switches: Whether the code switches to the table with the number `value`, from 0, instead of giving one.
        value: What each code without a number stands for.
        code_of: int16 (65536,): the code that the next 16 bits begin with, -1 for none.
    """

    prefix: np.ndarray
    total: np.ndarray
    switches: np.ndarray
    value: np.ndarray
    code_of: np.ndarray


def table(rows: list[tuple[int, int, int, int, int]], where: str = "") -> Table:
    """A table from (prefix bits, code bits, mode, value, prefix with its first bit lowest) of each code.

    Raises:
        ReadError: Codes of impossible length, or one that begins like another.
    """
    code_of = np.full(1 << _LONGEST_PREFIX, -1, np.int16)
    for number, (prefix, total, _, _, code) in enumerate(rows):
        if not 1 <= prefix <= _LONGEST_PREFIX or not prefix <= total <= _LONGEST_CODE or code >> prefix:
            raise ReadError("A Huffman code of the SCP-ECG record has an impossible length.", where=where)
        high = int(f"{code:0{prefix}b}"[::-1], 2) << (_LONGEST_PREFIX - prefix)
        span = code_of[high : high + (1 << (_LONGEST_PREFIX - prefix))]
        if (span >= 0).any():
            raise ReadError("Two Huffman codes of the SCP-ECG record begin alike.", where=where)
        span[:] = number
    columns = [np.array(column, np.int64) for column in zip(*rows, strict=True)]
    switches, value = columns[2] == 0, columns[3]
    return Table(columns[0], columns[1], switches, np.where(switches, value - 1, value), code_of)


def _default() -> Table:
    rows = [(1, 1, 1, 0, 0)]
    for size in range(1, 9):
        bits, ones = size + 2, (1 << size) - 1  # so many ones, a zero, and the sign
        rows += [(bits, bits, 1, size, ones), (bits, bits, 1, -size, ones | 1 << (bits - 1))]
    ones = (1 << 9) - 1
    rows += [(10, 18, 1, 0, ones), (10, 26, 1, 0, ones | 1 << 9)]
    return table(rows)


DEFAULT: tuple[Table, ...] = (_default(),)


def parse_tables(body: bytes, count: int, where: str) -> tuple[Table, ...]:
    """The tables of a file.

    Raises:
        ReadError: No table, too many, cut off, or malformed.
    """
    if not 1 <= count <= _MAX_TABLES:
        raise ReadError(
            f"The SCP-ECG record promises {count} Huffman tables.", where=where, expected=f"1 to {_MAX_TABLES}"
        )
    tables: list[Table] = []
    offset = 0
    for _ in range(count):
        codes = struct.unpack_from("<H", body, offset)[0] if len(body) >= offset + 2 else 0
        offset += 2
        if codes < 1 or len(body) < offset + 9 * codes:
            raise ReadError("The Huffman tables of the SCP-ECG record are cut off or empty.", where=where)
        tables.append(table([struct.unpack_from("<BBBhI", body, offset + 9 * k) for k in range(codes)], where))
        offset += 9 * codes
    if any((t.switches & ~((t.value >= 0) & (t.value < count))).any() for t in tables):
        raise ReadError("A Huffman table of the SCP-ECG record switches to a table that is not there.", where=where)
    return tuple(tables)


def unpack(data: bytes, tables: tuple[Table, ...], count: int, where: str) -> np.ndarray:
    """The first `count` values (int64) in `data`.

    Every bit is looked up at once as if a code began there; then the codes that do begin one are followed.

    Raises:
        ReadError: The bits end before, or no code of the table begins with them.
    """
    bits = 8 * len(data)
    padded = np.frombuffer(data + bytes(8), np.uint8).astype(np.uint32)
    three = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]
    shifts = np.arange(8, 0, -1, dtype=np.uint32)
    windows = (three[: len(data), None] >> shifts & 0xFFFF).reshape(-1)
    codes = [t.code_of[windows].tolist() for t in tables]
    totals = [t.total.tolist() for t in tables]
    switches = [t.switches.tolist() if t.switches.any() else None for t in tables]
    places: list[int] = []
    numbers: list[int] = []
    chosen: list[int] = []
    position, current = 0, 0
    while len(places) < count:
        if position >= bits:
            raise ReadError("The samples of the SCP-ECG record are cut off.", where=where)
        code = codes[current][position]
        if code < 0:
            raise ReadError("The samples of the SCP-ECG record hold a code that its table lacks.", where=where)
        switch = switches[current]
        if switch is not None and switch[code]:
            position += totals[current][code]
            current = int(tables[current].value[code])
            continue
        places.append(position)
        numbers.append(code)
        chosen.append(current)
        position += totals[current][code]
    if position > bits:
        raise ReadError("The samples of the SCP-ECG record are cut off.", where=where)
    return _values(padded, tables, np.array(places), np.array(numbers), np.array(chosen))


def _values(
    padded: np.ndarray, tables: tuple[Table, ...], places: np.ndarray, codes: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    values = np.empty(len(places), np.int64)
    for number, one in enumerate(tables):
        mine = chosen == number
        picked = codes[mine]
        found = one.value[picked].copy()
        width = (one.total - one.prefix)[picked]
        long = np.flatnonzero(width > 0)
        if len(long):
            start = places[mine][long] + one.prefix[picked[long]]
            first = start // 8
            gathered = np.zeros(len(long), np.uint64)
            for byte in range(6):  # up to 39 bits from any bit on
                gathered = gathered << np.uint64(8) | padded[np.minimum(first + byte, len(padded) - 1)].astype(
                    np.uint64
                )
            size = width[long].astype(np.uint64)
            raw = gathered >> (np.uint64(48) - (start % 8).astype(np.uint64) - size)
            raw &= (np.uint64(1) << size) - np.uint64(1)
            signed = raw.astype(np.int64)
            signed -= (signed >> (width[long] - 1)) << width[long]
            found[long] = signed
        values[mine] = found
    return values
