"""Philips XML (Sierra ECG, 1.03 and 1.04): twelve leads in the XLI compression.

XLI stores a lead as LZW codes of 10 bits: first the high bytes of all samples, then the low bytes, of the negated
second differences plus 64, after the first two samples. III, aVR, aVL and aVF are stored as what their equations
leave over. The recording ends with a calibration pulse, which is cut off. The layout was learnt from the public sierra-ecg-tools and tried against its sample files.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.ecg.raw import RawECG, number, stack, truncated
from medfm.io.ecg.xml import text_of

_CODE_BITS = 10
_LAST_CODE = (1 << _CODE_BITS) - 2
_BIAS = 64
_STANDARD = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
# Ten minutes at 1000 Hz; a resting ECG has ten seconds.
_MAX_SAMPLES = 600_000
_LARGEST = 1 << 20
_PULSE_SECONDS = 0.2


def read_philips(root: Element, where: str) -> RawECG:
    """Read the compressed waveforms.

    Raises:
        ReadError: No waveforms, another compression, another set of leads, or samples that are damaged or cut off.
    """
    waves = next(root.iter("parsedwaveforms"), None)
    details = next(root.iter("signalcharacteristics"), None)
    if waves is None or details is None:
        raise ReadError("The Philips file holds no waveforms.", where=where)
    compression = waves.get("compressmethod") or waves.get("compression") or ""
    if waves.get("dataencoding") != "Base64" or compression.upper() != "XLI":
        raise ReadError(
            "The waveforms of the Philips file are not in the XLI compression, which alone is read.",
            where=where,
            fix="export the recording as DICOM or HL7 aECG",
        )
    rate = number(text_of(details, "samplingrate"), "sampling rate", where, positive=True)
    milliseconds = number(waves.get("durationperchannel"), "duration", where, positive=True)
    count = int(milliseconds * rate / 1000)
    if not 2 < count <= _MAX_SAMPLES:
        raise ReadError("The Philips file promises an impossible length.", where=where)
    names = (waves.get("leadlabels") or " ".join(_STANDARD)).split()
    if tuple(names[:6]) != _STANDARD[:6]:
        raise ReadError(
            "The Philips file does not begin with the six limb leads.", where=where, expected=", ".join(_STANDARD[:6])
        )
    try:
        data = base64.b64decode("".join((waves.text or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise ReadError("The samples of the Philips file are damaged (not base64).", where=where) from None
    rows = list(_leads(data, count, len(names), where))
    if len(rows) < len(names):
        raise truncated("The Philips file", where, len(names), len(rows), "leads")
    values = stack(_limbs_restored(rows), where)
    if np.abs(values).max() > _LARGEST:
        raise ReadError("The samples of the Philips file exceed every range; the file is damaged.", where=where)
    scale = text_of(details, "resolution") or text_of(details, "signalresolution")
    # The resolution is in microvolts; without one the numbers have no unit.
    factor = number(scale, "resolution", where, positive=True) if scale else 1.0
    unit = "uV" if scale else None
    pulse = _calibration(values, rate)
    kept = values[:, : values.shape[1] - pulse] * factor
    facts = {"calibration_samples_removed": pulse} if pulse else {}
    return RawECG("philips-xml", kept, names, [unit] * len(names), rate, "file", facts)


def _calibration(values: np.ndarray, rate: float) -> int:
    """Samples at the end that are the calibration pulse: zero, 1 mV, zero, the same in every lead."""
    differ = np.flatnonzero((values != values[:1]).any(axis=0))
    alike = values.shape[1] - (int(differ[-1]) + 1 if len(differ) else 0)
    is_pulse = alike >= _PULSE_SECONDS * rate and alike < values.shape[1] and np.ptp(values[0, -alike:]) > 0
    return alike if is_pulse else 0


def _leads(data: bytes, count: int, most: int, where: str) -> Iterator[np.ndarray]:
    offset = 0
    for _ in range(most):
        if len(data) < offset + 8:
            return
        size, _, last = struct.unpack_from("<iHh", data, offset)
        offset += 8
        if size < 1 or offset + size > len(data):
            raise ReadError("A lead of the Philips file is cut off.", where=where)
        unpacked = _lzw(data[offset : offset + size], 2 * count + 2, where)
        offset += size
        held = (len(unpacked) + 1) // 2
        if held < count:
            raise truncated("A lead of the Philips file", where, count, held, "samples")
        yield _undo_differences(unpacked, held, last)[:count]


def _lzw(data: bytes, most: int, where: str) -> bytes:
    """The bytes behind the codes of 10 bits, highest bit first; the table is never emptied.

    A file that unpacks to more than `most` bytes is refused, whatever it promises.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    whole = len(bits) // _CODE_BITS
    weights = 1 << np.arange(_CODE_BITS - 1, -1, -1)
    codes = (bits[: whole * _CODE_BITS].reshape(whole, _CODE_BITS) @ weights).tolist()
    strings = [bytes([value]) for value in range(256)]
    out: list[bytes] = []
    held, previous = 0, b""
    for code in codes:
        if code > _LAST_CODE:
            break
        if code < len(strings):
            found = strings[code]
        elif code == len(strings) and previous:
            found = previous + previous[:1]
        else:
            raise ReadError("The samples of the Philips file are damaged (unknown code).", where=where)
        if previous and len(strings) <= _LAST_CODE:
            strings.append(previous + found[:1])
        previous = found
        out.append(found)
        held += len(found)
        if held > most:
            raise ReadError("A lead of the Philips file is longer than the file says.", where=where)
    return b"".join(out)


def _undo_differences(unpacked: bytes, held: int, last: int) -> np.ndarray:
    """Samples (int64) from the high bytes, the low bytes, and the first difference, which stands in the header."""
    parts = np.frombuffer(unpacked.ljust(2 * held, b"\0"), np.uint8).astype(np.int64)
    stored = (parts[:held] << 8 | parts[held:]).astype(np.uint16).view(np.int16).astype(np.int64)
    # z[i] = 2 z[i-1] - z[i-2] - d[i-1] with d[1] = `last` and d[i] = stored[i] - 64 after it.
    steps = np.concatenate(([last], stored[2:-1] - _BIAS))[: max(held - 2, 0)]
    slopes = np.cumsum(np.concatenate(([stored[1] - stored[0]], -steps)))
    return np.cumsum(np.concatenate((stored[:1], slopes)))


def _limbs_restored(rows: list[np.ndarray]) -> list[np.ndarray]:
    one, two = rows[0], rows[1]
    three = two - one - rows[2]
    right = -rows[3] - (one + two) // 2
    left = (one - three) // 2 - rows[4]
    foot = (two + three) // 2 - rows[5]
    return [one, two, three, right, left, foot, *rows[6:]]
