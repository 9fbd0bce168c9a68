"""A writer of small SCP-ECG records (EN 1064), with a patient's name in section 1."""

from __future__ import annotations

import binascii
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
from ecg_files import BIRTH, NAME

CODES = {"I": 1, "II": 2, "V1": 3, "V2": 4, "V3": 5, "V4": 6, "V5": 7, "V6": 8,
         "III": 61, "aVR": 62, "aVL": 63, "aVF": 64}  # fmt: skip
# prefix bits as text, bits that follow, value
Code = tuple[str, int, int]


def default_codes() -> list[Code]:
    """The default table of the standard, from its description: n ones, a zero, the sign."""
    codes: list[Code] = [("0", 0, 0)]
    for n in range(1, 9):
        codes += [("1" * n + "00", 0, n), ("1" * n + "01", 0, -n)]
    return [*codes, ("1111111110", 8, 0), ("1111111111", 16, 0)]


def differences(values: np.ndarray, order: int) -> list[int]:
    """Differences of order 0, 1 or 2, the first values kept as they are."""
    samples = [int(v) for v in values]
    if order == 0:
        return samples
    first = [samples[0], *(b - a for a, b in pairwise(samples))]
    if order == 1 or len(samples) < 3:
        return first if order == 1 else samples[:2]
    return samples[:2] + [
        c - 2 * b + a for a, b, c in zip(samples, samples[1:], samples[2:], strict=False)
    ]  # fmt: skip


def pack_huffman(numbers: list[int], codes: list[Code]) -> bytes:
    """The bits of `numbers`, highest first, filled up with zeros to a whole byte."""
    short = {value: prefix for prefix, extra, value in codes if extra == 0}
    long = sorted((extra, prefix) for prefix, extra, _ in codes if extra)
    bits = ""
    for number in numbers:
        if number in short:
            bits += short[number]
            continue
        extra, prefix = next((e, p) for e, p in long if -(1 << (e - 1)) <= number < 1 << (e - 1))
        bits += prefix + f"{number & ((1 << extra) - 1):0{extra}b}"
    bits += "0" * (-len(bits) % 8)
    return int(bits or "0", 2).to_bytes(len(bits) // 8, "big")


def pack_plain(numbers: list[int]) -> bytes:
    return np.array(numbers, "<i2").tobytes()


def section(number: int, body: bytes) -> bytes:
    body += b"\0" * (len(body) % 2)
    rest = struct.pack("<HIBB6s", number, 16 + len(body), 20, 20, b"SCPECG" if number == 0 else b"\0" * 6) + body
    return struct.pack("<H", binascii.crc_hqx(rest, 0xFFFF)) + rest


def table_bytes(codes: list[Code]) -> bytes:
    """One table as in section 2: prefixes written with their first bit lowest."""
    rows = [
        struct.pack("<BBBhI", len(prefix), len(prefix) + extra, 1, value, int(prefix[::-1], 2))
        for prefix, extra, value in codes
    ]
    return struct.pack("<H", len(codes)) + b"".join(rows)


def assemble(sections: dict[int, bytes]) -> bytes:
    """The record of the given section bodies, pointers and both kinds of checksum."""
    built = {number: section(number, body) for number, body in sorted(sections.items())}
    length = 16 + 10 * 12
    place = 7 + length
    pointers = struct.pack("<HII", 0, length, 7)
    for number in range(1, 12):
        data = built.get(number, b"")
        pointers += struct.pack("<HII", number, len(data), place if data else 0)
        place += len(data)
    rest = section(0, pointers) + b"".join(built[number] for number in sorted(built))
    record = struct.pack("<I", 6 + len(rest)) + rest
    return struct.pack("<H", binascii.crc_hqx(record, 0xFFFF)) + record


def bodies(
    values: np.ndarray,
    names: list[str],
    *,
    order: int = 2,
    huffman: str = "default",
    own: list[Code] | None = None,
    nanovolts: int = 1000,
    microseconds: int = 2000,
    starts: list[int] | None = None,
    bimodal: int = 0,
    flags: int = 0x04,
) -> dict[int, bytes]:
    """Section bodies of a rhythm of `values` (leads, samples), which may have starts of their own."""
    codes = default_codes() if huffman == "default" else own
    packed = [
        pack_plain(differences(row, order)) if codes is None else pack_huffman(differences(row, order), codes)
        for row in values
    ]
    packed = [part + b"\0" * (len(part) % 2) for part in packed]
    first = starts or [1] * len(values)
    leads = b"".join(
        struct.pack("<IIB", start, start + values.shape[1] - 1, CODES[name])
        for start, name in zip(first, names, strict=True)
    )
    found = {
        1: bytes([0]) + struct.pack("<H", len(NAME)) + NAME.encode() + BIRTH.encode() + b"\xff\0\0",
        3: bytes([len(values), flags | (len(values) & 0x1F) << 3 & 0xFF]) + leads,
        6: struct.pack("<HHBB", nanovolts, microseconds, order, bimodal)
        + b"".join(struct.pack("<H", len(part)) for part in packed)
        + b"".join(packed),
    }
    if huffman == "default":
        found[2] = struct.pack("<H", 19999)
    elif own is not None:
        found[2] = struct.pack("<H", 1) + table_bytes(own)
    return found


def write_scp(file: Path, values: np.ndarray, names: list[str], **more: object) -> Path:
    file.write_bytes(assemble(bodies(values, names, **more)))  # type: ignore[arg-type]
    return file
