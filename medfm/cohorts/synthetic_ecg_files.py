"""Writers of ECG files for synthetic cohorts: WFDB with .dat and .mat, DICOM waveform, HL7 aECG."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from medfm.cohorts.synthetic_notice import NOTICE
from medfm.core.hashing import sha256_bytes
from medfm.io.ecg.leads import LEADS


def digitise(values: np.ndarray, microvolts: float) -> np.ndarray:
    """int16 (12, samples) of values in mV: whole steps of `microvolts`.

    I and II are made even, so that the four other limb leads follow from them without rounding.

    Args:
        values: Leads I, II, III, aVR, aVL, aVF, V1 to V6.
        microvolts: Size of a step.
    """
    digits = np.rint(values * 1000 / microvolts).clip(-32000, 32000).astype(np.int64)
    one, two = digits[0] & ~1, digits[1] & ~1
    digits[:6] = one, two, two - one, -(one + two) // 2, one - two // 2, two - one // 2
    return digits.clip(-32767, 32767).astype(np.int16)


def write_wfdb(folder: Path, name: str, digits: np.ndarray, hertz: int, microvolts: float) -> Path:
    """``NAME.hea`` and ``NAME.dat`` (format 16); the header's path."""
    (folder / f"{name}.dat").write_bytes(digits.T.astype("<i2").tobytes())
    return _header(folder, name, f"{name}.dat 16", digits, hertz, microvolts)


def write_wfdb_mat(folder: Path, name: str, digits: np.ndarray, hertz: int, microvolts: float) -> Path:
    """``NAME.hea`` and ``NAME.mat`` (MATLAB 4, variable ``val``), as the PhysioNet challenges have them."""
    rows, columns = digits.shape
    # Type 30: little-endian int16, full matrix, stored column by column.
    start = struct.pack("<5i", 30, rows, columns, 0, 4) + b"val\0"
    (folder / f"{name}.mat").write_bytes(start + digits.T.astype("<i2").tobytes())
    return _header(folder, name, f"{name}.mat 16+{len(start)}", digits, hertz, microvolts)


def _header(folder: Path, name: str, signal: str, digits: np.ndarray, hertz: int, microvolts: float) -> Path:
    lines = [f"{name} {len(digits)} {hertz} {digits.shape[1]}"]
    for lead, row in zip(LEADS, digits.astype(np.int64), strict=True):
        checksum = int(row.sum()) & 0xFFFF
        signed = checksum - 0x10000 if checksum > 0x7FFF else checksum
        lines.append(f"{signal} {1000 / microvolts:g}/mV 16 0 {row[0]} {signed} 0 {lead}")
    file = folder / f"{name}.hea"
    file.write_text("\n".join([*lines, f"# {NOTICE}", ""]), encoding="ascii")
    return file


def write_dicom(folder: Path, name: str, digits: np.ndarray, hertz: int, microvolts: float) -> Path:
    """A 12-Lead ECG Waveform Storage object, 16 bit signed, explicit little endian."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    # Decided by the content, so that equal cohorts have equal files.
    number = int(sha256_bytes(digits.tobytes() + name.encode())[:30], 16)
    sop, instance = UID("1.2.840.10008.5.1.4.1.1.9.1.1"), UID(f"2.25.{number}")
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, sop
    meta.MediaStorageSOPInstanceUID = instance
    file = folder / f"{name}.dcm"
    dataset = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = sop, instance, "ECG"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID(f"2.25.{number + 1}"), UID(f"2.25.{number + 2}")
    dataset.PatientName, dataset.PatientID = "SYNTHETIC", "SYNTHETIC"
    dataset.SeriesDescription = NOTICE
    group = Dataset()
    group.WaveformOriginality, group.MultiplexGroupLabel = "ORIGINAL", "RHYTHM"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = digits.shape
    group.SamplingFrequency = str(hertz)
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.ChannelDefinitionSequence = [_channel(lead, microvolts) for lead in LEADS]
    group.WaveformData = digits.T.astype("<i2").tobytes()
    group["WaveformData"].VR = "OW"
    dataset.WaveformSequence = [group]
    dataset.save_as(file, implicit_vr=False, little_endian=True)
    return file


def _channel(lead: str, microvolts: float) -> object:
    from pydicom.dataset import Dataset

    channel, source, unit = Dataset(), Dataset(), Dataset()
    source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = lead, "99MEDFM", f"Lead {lead}"
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "uV", "UCUM", "microvolt"
    channel.ChannelSourceSequence, channel.ChannelSensitivityUnitsSequence = [source], [unit]
    channel.ChannelSensitivity = f"{microvolts:g}"
    channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = "1", "0"
    channel.WaveformBitsStored = 16
    return channel


def write_aecg(folder: Path, name: str, digits: np.ndarray, hertz: int, microvolts: float) -> Path:
    """HL7 annotated ECG with one rhythm series."""
    leads = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{lead.upper()}" codeSystem="2.16.840.1.113883.6.24"/>'
        f'<value xsi:type="SLIST_PQ"><origin value="0" unit="uV"/><scale value="{microvolts:g}" unit="uV"/>'
        f"<digits>{' '.join(map(str, row))}</digits></value></sequence></component>\n"
        for lead, row in zip(LEADS, digits.tolist(), strict=True)
    )
    time = (
        '<component><sequence><code code="TIME_RELATIVE"/><value xsi:type="GLIST_PQ"><head value="0" unit="s"/>'
        f'<increment value="{1000 / hertz:g}" unit="ms"/></value></sequence></component>\n'
    )
    file = folder / f"{name}.xml"
    file.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<!-- {NOTICE} -->\n<AnnotatedECG xmlns="urn:hl7-org:v3" '
        f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><text>{NOTICE}</text><component><series>'
        f"<component><sequenceSet>\n{time}{leads}</sequenceSet></component></series></component></AnnotatedECG>\n",
        encoding="utf-8",
    )
    return file


WRITERS = {"wfdb": write_wfdb, "wfdb_mat": write_wfdb_mat, "dicom": write_dicom, "aecg": write_aecg}
