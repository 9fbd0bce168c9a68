"""A writer of small Philips XML files in the XLI compression, with a patient's name."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import numpy as np
from ecg_files import BIRTH, LEADS, NAME


def lzw(data: bytes) -> bytes:
    """Codes of 10 bits, highest bit first, ended by 1023; the table stops growing at code 1022."""
    table = {bytes([value]): value for value in range(256)}
    codes, current = [], b""
    for value in data:
        longer = current + bytes([value])
        if longer in table:
            current = longer
            continue
        codes.append(table[current])
        if len(table) <= 1022:
            table[longer] = len(table)
        current = bytes([value])
    codes += [table[current]] if current else []
    bits = "".join(f"{code:010b}" for code in [*codes, 1023])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def xli(row: np.ndarray) -> bytes:
    """One lead: header, then the codes of all high bytes and all low bytes."""
    z = [int(v) for v in row]
    differences = [2 * z[i - 1] - z[i - 2] - z[i] for i in range(2, len(z))]
    # The difference of sample i lies at place i - 1; the first one stands in the header.
    stored = [z[0], z[1], *(d + 64 for d in differences[1:]), 64]
    packed = np.array(stored[: len(z)], np.int64).astype(np.uint16)
    codes = lzw((packed >> 8).astype(np.uint8).tobytes() + (packed & 0xFF).astype(np.uint8).tobytes())
    return struct.pack("<iHh", len(codes), 0, differences[0]) + codes


def residual(values: np.ndarray) -> np.ndarray:
    """The four limb leads as what their equations leave over."""
    i, ii, iii, right, left, foot = values[:6].astype(np.int64)
    limbs = [i, ii, ii - i - iii, -right - (i + ii) // 2, (i - iii) // 2 - left, (ii + iii) // 2 - foot]
    return np.concatenate([np.stack(limbs), values[6:]])


def document(
    samples: str,
    count: int,
    *,
    rate: str = "500",
    resolution: str | None = "5",
    waves: str | None = None,
    old: bool = False,
) -> str:
    """The XML around base64 `samples` of `count` samples a lead; `old` is version 1.03."""
    if waves is None:
        compression = 'compressmethod="XLI"' if old else f'compression="XLI" leadlabels="{" ".join(LEADS)}"'
        waves = f'dataencoding="Base64" {compression} durationperchannel="{count * 1000 / float(rate):g}"'
    tag = "signalresolution" if old else "resolution"
    scale = "" if resolution is None else f"<{tag}>{resolution}</{tag}>"
    return (
        f'<?xml version="1.0"?><restingecgdata xmlns="http://www3.medical.philips.com"><patient><name>{NAME}</name>'
        f"<dateofbirth>{BIRTH}</dateofbirth></patient><dataacquisition><signalcharacteristics>"
        f"<samplingrate>{rate}</samplingrate>{scale}<acquisitiontype>STD-12</acquisitiontype></signalcharacteristics>"
        f"</dataacquisition><waveforms><parsedwaveforms {waves}>\n{samples}\n</parsedwaveforms></waveforms></restingecgdata>"
    )


def write_philips(file: Path, values: np.ndarray, **more: object) -> Path:
    """Twelve leads of `values` (12, samples) in steps of the resolution."""
    data = b"".join(xli(row) for row in residual(values))
    text = document(base64.encodebytes(data).decode(), values.shape[1], **more)  # type: ignore[arg-type]
    file.write_text(text)
    return file
