"""Writers of small ECG files in every carrier, each with a patient's name planted where files hold one."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np

LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
NAME = "Mustermann"
BIRTH = "19530508"


def digital(seed: int = 0, samples: int = 700, leads: int = 12) -> np.ndarray:
    """int16 (leads, samples): smooth waves of about 0.2 mV at 1000 per mV, with limbs that agree."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / 500
    waves = [
        rng.integers(150, 400) * np.sin(2 * np.pi * rng.uniform(1, 20) * time + phase) for phase in np.arange(leads)
    ]
    values = np.rint(np.array(waves) + rng.normal(0, 5, (leads, samples))).astype(np.int16)
    if leads == 12:
        one, two = values[0] & ~1, values[1] & ~1
        values[:6] = one, two, two - one, -(one + two) // 2, one - two // 2, two - one // 2
    return values


def pack(values: np.ndarray, fmt: str) -> bytes:
    """Interleaved samples of `values` (signals, samples) in a WFDB format."""
    flat = values.T.reshape(-1).astype(np.int64)
    if fmt == "16":
        return flat.astype("<i2").tobytes()
    if fmt == "61":
        return flat.astype(">i2").tobytes()
    if fmt == "32":
        return flat.astype("<i4").tobytes()
    if fmt == "80":
        return (flat + 128).astype(np.uint8).tobytes()
    if fmt == "160":
        return (flat + 32768).astype("<u2").tobytes()
    if fmt == "24":
        return flat.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    assert fmt == "212"
    out = bytearray()
    for first, second in zip(flat[0::2] & 0xFFF, [*(flat[1::2] & 0xFFF), *([0] * (len(flat) % 2))], strict=True):
        out += bytes((first & 0xFF, (first >> 8) | ((second >> 4) & 0xF0), second & 0xFF))
    return bytes(out[: (3 * len(flat) + 1) // 2])


def write_wfdb(
    folder: Path,
    values: np.ndarray,
    fmt: str = "16",
    *,
    name: str = "rec",
    gain: str = "1000/mV",
    rate: str = "500",
    names: list[str] | None = None,
    checksums: bool = True,
    samples: int | None = None,
    ending: str = ".dat",
    prefix: bytes = b"",
    extra: str = "",
) -> Path:
    """A record of one signal file; returns the header's path."""
    (folder / f"{name}{ending}").write_bytes(prefix + pack(values, fmt))
    lines = [f"{name} {len(values)} {rate} {values.shape[1] if samples is None else samples}{extra}"]
    for row, lead in zip(values, names or LEADS, strict=False):
        offset = f"+{len(prefix)}" if prefix else ""
        sums = f"{int(row[0])} {int(np.int64(row.sum()).astype(np.int16))}" if checksums else "0 0"
        lines.append(f"{name}{ending} {fmt}{offset} {gain} 16 0 {sums} 0 {lead}")
    header = folder / f"{name}.hea"
    header.write_text("\n".join([*lines, f"# Name: {NAME}", f"#Birth: {BIRTH}", ""]))
    return header


def write_muse(file: Path, values: np.ndarray, names: list[str], *, doctype: str = "", scale: str = "1") -> Path:
    """GE MUSE XML in uV with a median beat before the rhythm."""

    def wave(kind: str, rows: np.ndarray) -> str:
        leads = "".join(
            f"<LeadData><LeadSampleCountTotal>{rows.shape[1]}</LeadSampleCountTotal>"
            f"<LeadAmplitudeUnitsPerBit>{scale}</LeadAmplitudeUnitsPerBit>"
            f"<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits><LeadID>{name}</LeadID><LeadSampleSize>2</LeadSampleSize>"
            f"<WaveFormData>\n{base64.encodebytes(row.astype('<i2').tobytes()).decode()}</WaveFormData></LeadData>"
            for name, row in zip(names, rows, strict=True)
        )
        return f"<Waveform><WaveformType>{kind}</WaveformType><SampleBase>5</SampleBase><SampleExponent>2</SampleExponent>{leads}</Waveform>"

    file.write_text(
        f'<?xml version="1.0"?>{doctype}<RestingECG><PatientDemographics><PatientLastName>{NAME}</PatientLastName>'
        f"<DateofBirth>{BIRTH}</DateofBirth></PatientDemographics>{wave('Median', values[:, :60])}{wave('Rhythm', values)}</RestingECG>"
    )
    return file


def write_aecg(
    file: Path, values: np.ndarray, names: list[str], *, unit: str = "uV", step: str = "2", origin: int = 0
) -> Path:
    """HL7 aECG of one series, with a derived series that must not be read."""
    leads = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{name.upper()}"/><value xsi:type="SLIST_PQ"><origin value="{origin}" '
        f'unit="{unit}"/><scale value="1" unit="{unit}"/><digits>{" ".join(map(str, row))}</digits></value></sequence></component>'
        for name, row in zip(names, values, strict=True)
    )
    time = (
        f'<component><sequence><code code="TIME_RELATIVE"/><value xsi:type="GLIST_PQ"><head value="0" unit="s"/>'
        f'<increment value="{step}" unit="ms"/></value></sequence></component>'
    )
    file.write_text(
        f'<?xml version="1.0"?><AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f'<subject><name>{NAME}</name><birthTime value="{BIRTH}"/></subject><component><series><component><sequenceSet>'
        f"{time}{leads}</sequenceSet></component><derivation><derivedSeries><component><sequenceSet>{time}"
        f"</sequenceSet></component></derivedSeries></derivation></series></component></AnnotatedECG>"
    )
    return file


def write_edf(
    file: Path,
    channels: list[tuple[str, str, np.ndarray]],
    *,
    per_record: list[int],
    seconds: float = 1.0,
    reserved: str = "",
    onsets: list[float] | None = None,
    bdf: bool = False,
    records: int | None = None,
) -> Path:
    """EDF, EDF+ (`onsets` given) or BDF of (label, unit, digital values) at one unit per digit."""
    total = len(channels[0][2]) // per_record[0]
    counts = list(per_record)
    labels, units = [c[0] for c in channels], [c[1] for c in channels]
    if onsets is not None:
        labels, units, counts = [*labels, "EDF Annotations"], [*units, ""], [*counts, 20]
    low, high = ("-8388608", "8388607") if bdf else ("-32768", "32767")
    count = len(labels)

    def cells(texts: list[str], size: int) -> str:
        return "".join(text.ljust(size) for text in texts)

    header = (
        "0".ljust(8)
        + f"X M {BIRTH} {NAME}".ljust(80)
        + f"Startdate X {NAME}".ljust(80)
        + "01.01.0101.01.01"
        + str(256 * (count + 1)).ljust(8)
        + reserved.ljust(44)
        + str(total if records is None else records).ljust(8)
        + f"{seconds:g}".ljust(8)
        + str(count).ljust(4)
        + cells(labels, 16)
        + cells([NAME] * count, 80)
        + cells(units, 8)
        + cells([low] * count, 8)
        + cells([high] * count, 8)
        + cells([low] * count, 8)
        + cells([high] * count, 8)
        + cells([""] * count, 80)
        + cells([str(n) for n in counts], 8)
        + cells([""] * count, 32)
    )
    data = bytearray(header.encode("latin-1"))
    if bdf:
        data[:8] = b"\xffBIOSEMI"
    for record in range(total):
        for (_, _, values), n in zip(channels, per_record, strict=True):
            part = values[record * n : (record + 1) * n]
            data += pack(part[None], "24" if bdf else "16")
        if onsets is not None:
            data += f"+{onsets[record]:g}\x14\x14\0{NAME}".encode().ljust(40, b"\0")[:40]
    file.write_bytes(bytes(data))
    return file


def write_dicom(
    file: Path,
    groups: list[dict],
    *,
    sop: str = "1.2.840.10008.5.1.4.1.1.9.1.1",
    big: bool = False,
) -> Path:
    """A DICOM waveform file; each group: values, kind, rate, label, names, and what is given beside."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRBigEndian if big else ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = FileDataset(
        str(file), {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False, is_little_endian=not big
    )
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = sop, "1.2.3", "ECG"
    dataset.PatientName, dataset.PatientBirthDate, dataset.PatientID = f"{NAME}^Erika", BIRTH, NAME
    sequence = []
    for group in groups:
        item = Dataset()
        kind = group.get("kind", "SS")
        dtype = {"SB": "i1", "UB": "u1", "SS": "i2", "US": "u2", "SL": "i4", "UL": "u4"}[kind]
        values = group["values"]
        item.WaveformOriginality = group.get("originality", "ORIGINAL")
        item.MultiplexGroupLabel = group.get("label", "RHYTHM")
        item.NumberOfWaveformChannels, item.NumberOfWaveformSamples = (
            values.shape[0],
            group.get("promised", values.shape[1]),
        )
        item.SamplingFrequency = str(group.get("rate", 500))
        item.WaveformBitsAllocated = np.dtype(dtype).itemsize * 8
        item.WaveformSampleInterpretation = kind
        channels = []
        for name in group.get("names", LEADS):
            channel, source, unit = Dataset(), Dataset(), Dataset()
            source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = group.get(
                "code", lambda n: ("X", "L", f"Lead {n}")
            )(name)
            channel.ChannelSourceSequence = [source]
            channel.ChannelLabel = NAME
            if group.get("sensitivity", "1") is not None:
                unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = group.get("unit", "uV"), "UCUM", "unit"
                channel.ChannelSensitivity = group.get("sensitivity", "1")
                channel.ChannelSensitivityUnitsSequence = [unit]
                channel.ChannelSensitivityCorrectionFactor = group.get("correction", "1")
                channel.ChannelBaseline = group.get("baseline", "0")
            channels.append(channel)
        item.ChannelDefinitionSequence = channels
        data = values.T.astype(np.dtype(dtype).newbyteorder(">" if big else "<")).tobytes()
        data += b"\0" * (len(data) % 2)
        words = dtype[1] != "1" or group.get("words", False)
        if big and words and dtype[1] == "1":  # bytes in words: the first of each pair is the lower one
            data = np.frombuffer(data, "<u2").byteswap().tobytes()
        item.WaveformData = data
        item["WaveformData"].VR = "OW" if words else "OB"
        if "padding" in group:
            padding = np.array(group["padding"]).astype(np.dtype(dtype).newbyteorder(">" if big else "<")).tobytes()
            item.WaveformPaddingValue = padding + b"\0" * (len(padding) % 2)
            item["WaveformPaddingValue"].VR = "OB" if dtype[1] == "1" else "OW"
        sequence.append(item)
    dataset.WaveformSequence = sequence
    dataset.save_as(file, little_endian=not big, implicit_vr=False)
    return file
