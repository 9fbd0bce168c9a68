"""GE MUSE XML (RestingECG): the rhythm waveform, eight leads or more, base64 of 16-bit samples."""

from __future__ import annotations

import base64
import binascii
from xml.etree.ElementTree import Element

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.ecg.raw import RawECG, number, stack, truncated
from medfm.io.ecg.xml import text_of

_MISSING = -32768


def read_muse(root: Element, where: str) -> RawECG:
    """Read the waveform of type Rhythm (the median beat is another waveform of the file).

    Raises:
        ReadError: No rhythm; fewer samples than a lead promises; samples that are not 16 bits wide.
    """
    rhythm = [wave for wave in root.findall("Waveform") if text_of(wave, "WaveformType").lower() == "rhythm"]
    if not rhythm:
        raise ReadError("The MUSE file holds no rhythm waveform.", where=where, expected="WaveformType Rhythm")
    wave = rhythm[0]
    rate = number(text_of(wave, "SampleBase"), "sample base", where, positive=True)
    rate *= 10 ** number(text_of(wave, "SampleExponent") or 0, "sample exponent", where)
    names: list[str] = []
    units: list[str | None] = []
    rows: list[np.ndarray] = []
    off = 0
    for lead in wave.findall("LeadData"):
        rows.append(_lead(lead, where))
        names.append(text_of(lead, "LeadID"))
        units.append(text_of(lead, "LeadAmplitudeUnits") or None)
        off += text_of(lead, "LeadOff").upper() == "TRUE"
    facts = {"electrodes_off": off} if off else {}
    return RawECG("muse-xml", stack(rows, where), names, units, rate, "file", facts)


def _lead(lead: Element, where: str) -> np.ndarray:
    if text_of(lead, "LeadSampleSize") not in ("", "2"):
        raise ReadError("The samples of the MUSE file are not 16 bits wide.", where=where)
    try:
        data = base64.b64decode("".join(text_of(lead, "WaveFormData").split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ReadError("The samples of the MUSE file are damaged (not base64).", where=where) from error
    promised = text_of(lead, "LeadSampleCountTotal")
    count = int(number(promised, "sample count", where, positive=True)) if promised else len(data) // 2
    if len(data) < 2 * count:
        raise truncated("A lead", where, count, len(data) // 2, "samples")
    digital = np.frombuffer(data[: 2 * count], "<i2")
    # Without a scale the numbers have no unit, whatever unit is named.
    values = digital * number(text_of(lead, "LeadAmplitudeUnitsPerBit"), "amplitude per bit", where, positive=True)
    values[digital == _MISSING] = np.nan
    return values
