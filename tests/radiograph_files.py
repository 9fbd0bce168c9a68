"""DICOM radiographs made in memory: any header, any compression."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

DX = "1.2.840.10008.5.1.4.1.1.1.1"
CR = "1.2.840.10008.5.1.4.1.1.1"
SC = "1.2.840.10008.5.1.4.1.1.7"
NAME = "Hidden^Name"
JPEG = "1.2.840.10008.1.2.4."
# Transfer syntax -> how pixels of `bits` become a stream.
ENCODERS = {
    JPEG + "57": lambda a, bits: imagecodecs.ljpeg_encode(a, bitspersample=bits),
    JPEG + "70": lambda a, bits: imagecodecs.ljpeg_encode(a, bitspersample=bits),
    JPEG + "80": lambda a, bits: imagecodecs.jpegls_encode(a),
    JPEG + "81": lambda a, bits: imagecodecs.jpegls_encode(a),
    JPEG + "90": lambda a, bits: imagecodecs.jpeg2k_encode(
        a, level=0, codecformat="j2k", reversible=True, bitspersample=bits
    ),
    JPEG + "201": lambda a, bits: imagecodecs.htj2k_encode(a, reversible=True),
    JPEG + "110": lambda a, bits: imagecodecs.jpegxl_encode(a, lossless=True, bitspersample=bits),
}
LOSSY = {
    JPEG + "50": lambda a, bits: imagecodecs.jpeg8_encode(a, level=98),
    JPEG + "51": lambda a, bits: imagecodecs.jpeg_encode(a, level=98, bitspersample=bits),
    JPEG + "91": lambda a, bits: imagecodecs.jpeg2k_encode(a, level=60, codecformat="j2k", bitspersample=bits),
}


def ramp(rows: int = 24, columns: int = 20, bits: int = 12, *, signed: bool = False) -> np.ndarray:
    """All of the stored range from left to right, (rows, columns), a little different in every row."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = np.linspace(low, high, columns)[None, :] * np.linspace(1, 0.5, rows)[:, None]
    kind = {(False, True): np.uint8, (True, True): np.int8, (False, False): np.uint16, (True, False): np.int16}
    return np.rint(values).astype(kind[signed, bits <= 8])


def dataset(pixels: np.ndarray, **elements: Any) -> Dataset:
    """A DX object of `pixels`; `elements` by keyword replace what it says (``None`` takes it away)."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = DX, "2.25.1", "DX"
    made.PatientName, made.PatientID, made.StudyDescription = NAME, "SECRET-17", "SECRET study"
    made.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    made.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        made.PlanarConfiguration = 0
    made.Rows, made.Columns = pixels.shape[:2]
    made.BitsAllocated = pixels.dtype.itemsize * 8
    made.BitsStored = elements.pop("BitsStored", made.BitsAllocated)
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in elements.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    return made


def dicom(pixels: np.ndarray, syntax: str = "1.2.840.10008.1.2.1", **elements: Any) -> bytes:
    """The bytes of a file with preamble; the pixels compressed as `syntax` says."""
    made = dataset(pixels, **elements)
    encode = {**ENCODERS, **LOSSY}.get(syntax)
    if encode is not None:
        made.PixelData = encapsulate([encode(pixels, int(made.BitsStored))])
    else:
        data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
        made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 or encode is not None else "OW"
    return written(made, syntax, encapsulated=encode is not None)


def written(made: Dataset, syntax: str, *, encapsulated: bool = False) -> bytes:
    """The data set as a file in `syntax`."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = UID(syntax), made.get("SOPClassUID", UID(DX))
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    if encapsulated:
        made["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    file = FileDataset(buffer, made, file_meta=meta, preamble=b"\0" * 128)
    if UID(syntax).is_transfer_syntax:
        dcmwrite(buffer, file, enforce_file_format=True)
    else:  # newer than pydicom
        meta.FileMetaInformationVersion = b"\0\1"
        dcmwrite(buffer, file, force_encoding=True, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def headless(data: bytes) -> bytes:
    """The same file without preamble and without its group 2."""
    length = int.from_bytes(data[140:144], "little")  # (0002,0000) UL: the length of the rest of the group
    return data[144 + length :]


def lut(entries: np.ndarray, first: int, bits: int) -> Dataset:
    """An item of a look-up table sequence."""
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536, first, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = entries.astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    return item
