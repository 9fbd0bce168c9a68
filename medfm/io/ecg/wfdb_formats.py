"""Sample encodings of WFDB signal files (WFDB Applications Guide, signal(5))."""

from __future__ import annotations

import numpy as np

# format -> the value that marks a missing sample
MISSING = {"16": -(1 << 15), "24": -(1 << 23), "32": -(1 << 31), "61": -(1 << 15), "80": -(1 << 7),
           "160": -(1 << 15), "212": -(1 << 11)}  # fmt: skip


def bytes_needed(fmt: str, count: int) -> int:
    """How many bytes `count` samples of the format take."""
    if fmt == "212":
        return (3 * count + 1) // 2
    return count * {"16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2}[fmt]


def samples_held(fmt: str, size: int) -> int:
    """How many whole samples of the format lie in `size` bytes."""
    if fmt == "212":
        return 2 * (size // 3) + (1 if size % 3 == 2 else 0)
    return size // {"16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2}[fmt]


def decode(data: bytes | memoryview, fmt: str, count: int) -> np.ndarray:
    """The first `count` samples in `data` as integers (int16 or int32), offsets of binary formats removed."""
    view = memoryview(data)[: bytes_needed(fmt, count)]
    if fmt == "16":
        return np.frombuffer(view, "<i2")
    if fmt == "61":
        return np.frombuffer(view, ">i2")
    if fmt == "32":
        return np.frombuffer(view, "<i4")
    if fmt == "80":
        return np.frombuffer(view, np.uint8).astype(np.int16) - 128
    if fmt == "160":
        return np.frombuffer(view, "<u2").astype(np.int32) - 32768
    if fmt == "24":
        parts = np.frombuffer(view, np.uint8).reshape(-1, 3).astype(np.int32)
        return parts[:, 0] | parts[:, 1] << 8 | (parts[:, 2] ^ 0x80) - 0x80 << 16
    return _decode_212(np.frombuffer(view, np.uint8), count)


def _decode_212(data: np.ndarray, count: int) -> np.ndarray:
    """Two 12-bit samples in three bytes: low byte, both high halves, low byte."""
    whole = len(data) // 3
    triples = data[: 3 * whole].reshape(whole, 3).astype(np.int16)
    out = np.empty(2 * whole + (count & 1), np.int16)
    out[0 : 2 * whole : 2] = triples[:, 0] | (triples[:, 1] & 0x0F) << 8
    out[1 : 2 * whole : 2] = triples[:, 2] | (triples[:, 1] & 0xF0) << 4
    if len(out) > 2 * whole:
        out[-1] = int(data[3 * whole]) | (int(data[3 * whole + 1]) & 0x0F) << 8
    out -= (out & 0x800) << 1  # sign of twelve bits
    return out[:count]
