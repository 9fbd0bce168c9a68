"""DICOM waveforms: 12-Lead, General and Ambulatory ECG (PS3.3 A.34, C.10.9).

Only the SOP class and the waveforms are parsed; patient attributes are never read. Of several
multiplex groups the rhythm is taken, not the median beat, which is marked as derived.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.ecg.leads import lead_name
from medfm.io.ecg.raw import Options, RawECG, number, read_bytes, truncated

SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.9.1.1": "12-lead",
    "1.2.840.10008.5.1.4.1.1.9.1.2": "general",
    "1.2.840.10008.5.1.4.1.1.9.1.3": "ambulatory",
    "1.2.840.10008.5.1.4.1.1.9.1.4": "general-32-bit",
}
_DTYPES = {"SB": "i1", "UB": "u1", "SS": "i2", "US": "u2", "SL": "i4", "UL": "u4"}
_BITS = {"SB": 8, "UB": 8, "SS": 16, "US": 16, "SL": 32, "UL": 32}
# Last part of the lead identifiers of SCP-ECG (5.6.3-9-N) and MDC (2:N).
_CODED = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF",
          3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6"}  # fmt: skip
_BEATS = ("MEDIAN", "AVERAGE", "TEMPLATE", "REPRESENTATIVE")


def read_dicom(path: Path, options: Options, where: str) -> RawECG:
    """Read the rhythm of a DICOM ECG.

    Raises:
        ReadError: Not a DICOM waveform, an unknown sample kind, or fewer bytes than the header promises.
    """
    import pydicom

    data = read_bytes(path, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(data), specific_tags=["SOPClassUID", "WaveformSequence"])
            sop = str(dataset.get("SOPClassUID", ""))
            groups = list(dataset.get("WaveformSequence") or [])
            little = bool(dataset.file_meta.TransferSyntaxUID.is_little_endian)
            if not groups:
                raise ReadError(
                    "The DICOM file holds no waveform.", where=where, expected="12-Lead, General or Ambulatory ECG"
                )
            if sop not in SOP_CLASSES:
                raise ReadError("The DICOM file is not an ECG by its SOP class.", where=where)
            chosen = _rhythm(groups, where)
            parts = [_group(group, little, where) for group in chosen]
    except ReadError:
        raise
    except Exception as error:
        # pydicom raises nearly anything on damaged files, sometimes with values of the file in the text.
        raise ReadError(
            f"The DICOM file is damaged or cut off ({type(error).__name__}).",
            where=where,
            fix="copy or export the file again",
        ) from None
    facts = {"sop_class": SOP_CLASSES[sop], "multiplex_groups": len(groups)}
    ignored = any(part[3] for part in parts)
    if ignored:
        facts["padding_ignored"] = True
    names = [name for part in parts for name in part[1]]
    units = [unit for part in parts for unit in part[2]]
    rate = number(chosen[0].SamplingFrequency, "sampling frequency", where, positive=True)
    return RawECG("dicom", np.concatenate([part[0] for part in parts]), names, units, rate, "file", facts)


def _rhythm(groups: list[Any], where: str) -> list[Any]:
    """The groups that are the recording itself: with leads I and II, the longest, and those of the same time."""
    originals = [
        group
        for group in groups
        if str(group.get("WaveformOriginality", "ORIGINAL")).upper() != "DERIVED"
        and not any(word in str(group.get("MultiplexGroupLabel", "")).upper() for word in _BEATS)
    ]
    if not originals:
        raise ReadError("The DICOM file holds only derived waveforms (median beats).", where=where)

    def shape(group: Any) -> tuple[int, float, float]:
        offset = float(group.get("MultiplexGroupTimeOffset", None) or 0)
        return int(group.NumberOfWaveformSamples), float(group.SamplingFrequency), offset

    sets: dict[tuple[int, float, float], list[Any]] = {}
    for group in originals:
        sets.setdefault(shape(group), []).append(group)
    together = [_without_repeats(same) for same in sets.values()]

    def rank(same: list[Any]) -> tuple[bool, float]:
        found = set().union(*map(_leads, same))
        return {"I", "II"} <= found, shape(same[0])[0] / shape(same[0])[1]

    return max(together, key=rank)


def _leads(group: Any) -> set[str]:
    return {lead for d in group.get("ChannelDefinitionSequence") or [] if (lead := lead_name(_name(d))) is not None}


def _without_repeats(same: list[Any]) -> list[Any]:
    """Groups of one time that bring leads of their own; a second version of the same leads is left out."""
    kept: list[Any] = []
    taken: set[str] = set()
    for group in same:
        if not _leads(group) & taken:
            kept.append(group)
            taken |= _leads(group)
    return kept


def _group(group: Any, little: bool, where: str) -> tuple[np.ndarray, list[str], list[str | None], bool]:
    kind = str(group.WaveformSampleInterpretation)
    if kind not in _DTYPES or int(group.WaveformBitsAllocated) != _BITS[kind]:
        raise ReadError(
            f"DICOM samples of kind '{kind if kind in ('MB', 'AB', 'SV', 'UV') else '?'}' are not read.",
            where=where,
            expected=", ".join(_DTYPES),
        )
    channels, samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    definitions = list(group.ChannelDefinitionSequence)
    if channels < 1 or samples < 1 or len(definitions) != channels:
        raise ReadError("The DICOM waveform has no samples, or its channels are not described.", where=where)
    dtype = np.dtype(_DTYPES[kind]).newbyteorder("<" if little else ">")
    needed = channels * samples * dtype.itemsize
    data = _in_order(group, "WaveformData", dtype.itemsize, little)
    if len(data) < needed:
        raise truncated("The waveform", where, needed, len(data))
    digital = np.frombuffer(data[:needed], dtype).reshape(samples, channels)
    values = digital.T.astype(np.float64)
    names: list[str] = []
    units: list[str | None] = []
    for row, definition in enumerate(definitions):
        sensitivity = definition.get("ChannelSensitivity")
        if sensitivity is not None:
            factor = number(sensitivity, "channel sensitivity", where)
            correction = definition.get("ChannelSensitivityCorrectionFactor")
            values[row] *= factor * (1.0 if correction is None else number(correction, "correction factor", where))
            values[row] += number(definition.get("ChannelBaseline") or 0, "channel baseline", where)
        names.append(_name(definition))
        coded = definition.get("ChannelSensitivityUnitsSequence")
        units.append(str(coded[0].CodeValue) if coded and sensitivity is not None else None)
    ignored = False
    padding = _in_order(group, "WaveformPaddingValue", dtype.itemsize, little)
    if len(padding) >= dtype.itemsize:
        value = np.frombuffer(padding[: dtype.itemsize], dtype)[0]
        # Some writers declare 0, which in signed samples is also the baseline of every lead.
        ignored = bool(value == 0 and kind[0] == "S")
        if not ignored:
            values[(digital == value).T] = np.nan
    return values, names, units, ignored


def _in_order(group: Any, keyword: str, width: int, little: bool) -> bytes:
    """The bytes of an element; empty where there is none.

    Samples of one byte in words (value representation OW) lie in pairs, the first in the lower byte, which a big-endian
    file writes last (PS3.5, 8.1 and A.3).
    """
    if keyword not in group:
        return b""
    element = group[keyword]
    data = bytes(element.value or b"")
    if width == 1 and not little and element.VR == "OW":
        data += b"\0" * (len(data) % 2)
        return np.frombuffer(data, "<u2").byteswap().tobytes()
    return data


def _name(definition: Any) -> str:
    for source in definition.get("ChannelSourceSequence") or []:
        code, scheme = str(source.get("CodeValue", "")), str(source.get("CodingSchemeDesignator", ""))
        last = code.rsplit("-", 1)[-1] if scheme.startswith("SCPECG") else code.removeprefix("2:")
        if scheme.startswith(("SCPECG", "MDC")) and last.isdigit() and int(last) in _CODED:
            return _CODED[int(last)]
        if source.get("CodeMeaning"):
            return str(source.CodeMeaning)
    return str(definition.get("ChannelLabel", ""))
