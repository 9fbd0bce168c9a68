"""Ophthalmic DICOM files for tests, written by pydicom, identifiers of an invented person included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

PHOTO_8 = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
PHOTO_16 = "1.2.840.10008.5.1.4.1.1.77.1.5.2"
OCT = "1.2.840.10008.5.1.4.1.1.77.1.5.4"
SECRETS = ("MUSTERMANN^ERIKA", "PATIENT-4711", "19610203", "Praxis Dr. Beispiel", "SERIAL-99")


def eye_file(
    path: Path,
    pixels: np.ndarray,
    *,
    sop: str = PHOTO_8,
    photometric: str = "RGB",
    bits: int | None = None,
    frames: int | None = None,
    elements: dict[str, Any] | None = None,
    compress: str | None = None,
) -> Path:
    """Write `pixels` ((rows, columns[, 3]) or (frames, rows, columns)) as a DICOM file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = sop, meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = SECRETS[:3]
    ds.InstitutionName, ds.DeviceSerialNumber = SECRETS[3:]
    colour = photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    shape = pixels.shape[:-1] if colour else pixels.shape
    ds.Rows, ds.Columns = shape[-2:]
    ds.SamplesPerPixel = 3 if colour else 1
    if colour:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated = pixels.dtype.itemsize * 8
    ds.BitsStored = bits or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    if frames is not None or len(shape) == 3:
        ds.NumberOfFrames = frames or shape[0]
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    for name, value in (elements or {}).items():
        setattr(ds, name, value)
    if compress:
        ds.compress(compress, generate_instance_uid=False)
    ds.save_as(path)
    return path


def lut(first: int, entries: list[int], bits: int) -> Dataset:
    """An item of a Modality or VOI LUT sequence."""
    item = Dataset()
    item.add_new(0x00283002, "US", [len(entries), first, bits])
    item.add_new(0x00283006, "US", entries)
    return item
