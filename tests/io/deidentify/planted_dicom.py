"""DICOM files with something identifying in every attribute that the profile names, at any depth."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from medfm.io.deidentify.profile import rules

XRAY = "1.2.840.10008.5.1.4.1.1.1.1"
# Sequences that the profile does not name: their items are walked.
DOORS = ("ReferencedSeriesSequence", "AnatomicRegionSequence", "SharedFunctionalGroupsSequence", "ViewCodeSequence")
KNOWN = sorted(int(tag, 16) for tag in rules() if "x" not in tag and dictionary_has_tag(int(tag, 16)))
_TEXT = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT", "UR")
# Written by pydicom itself, or structure of the file.
_NOT_PLANTED = {0x00020003, 0xFFFCFFFC, 0x00080018}


@dataclass
class Planted:
    """A data set and the byte strings that must not be in the file that comes out."""

    dataset: Dataset
    secrets: list[bytes] = field(default_factory=list)
    numbers: int = 0

    def secret(self, vr: str) -> Any:
        """A new value of this kind, remembered."""
        self.numbers += 1
        number = self.numbers
        if vr in _TEXT:
            text = f"LEAK{number:05d}Q"
            self.secrets.append(text.encode())
            return text
        if vr == "UI":
            uid = f"1.2.826.99{number:05d}.7"
            self.secrets.append(uid.encode())
            return uid
        if vr in ("DA", "DT"):
            day = f"{2051 + number % 40}{1 + number % 12:02d}{1 + number % 28:02d}"
            self.secrets.append(day.encode())
            return day if vr == "DA" else f"{day}101112.5+0100"
        if vr == "TM":
            return "101112"
        if vr in ("DS", "IS"):
            digits = f"77{number:05d}7"
            self.secrets.append(digits.encode())
            return digits
        if vr == "AS":
            return "047Y"
        if vr in ("OB", "OW", "UN", "OB or OW"):
            text = f"LEAK{number:05d}QX"
            self.secrets.append(text.encode())
            return text.encode()
        if vr in ("FD", "FL"):
            return 0.5
        if vr == "AT":
            return 0x00100010
        return 1234

    def put(self, into: Dataset, tag: int) -> None:
        """Something in the attribute `tag` of `into`."""
        if tag in _NOT_PLANTED or tag >> 16 in (0, 2):
            return
        vr = dictionary_VR(tag)
        if vr == "SQ":
            item = Dataset()
            item.CodeMeaning = self.secret("LO")
            item.PersonName = self.secret("PN")
            into.add_new(tag, "SQ", Sequence([item]))
            if self_reads_uids(tag):
                # Items of these stay: only what the profile names in them goes.
                self.secrets.pop(-2)
        else:
            kind = vr.split(" ")[0]
            into.add_new(tag, kind, self.secret(kind))

    def private(self, into: Dataset, group: int = 0x0029) -> None:
        """A block of private attributes."""
        block = into.private_block(group, self.secret("LO"), create=True)
        block.add_new(0x01, "LO", self.secret("LO"))
        block.add_new(0x02, "OB", self.secret("OB"))
        inner = Dataset()
        inner.PatientName = self.secret("PN")
        block.add_new(0x03, "SQ", Sequence([inner]))


def self_reads_uids(tag: int) -> bool:
    """Whether the action of a sequence keeps its items."""
    return "U" in rules()[f"{tag:08x}"].action


def door(dataset: Dataset, name: str) -> Dataset:
    """An item in the sequence `name` of `dataset`."""
    if name not in dataset:
        setattr(dataset, name, Sequence([]))
    item = Dataset()
    dataset[name].value.append(item)
    return item


def picture(planted: Planted, rows: int = 16, columns: int = 20) -> np.ndarray:
    """Pixels of a small radiograph, also put into the data set."""
    values = np.arange(rows * columns, dtype=np.uint16).reshape(rows, columns) * 3 % 4096
    dataset = planted.dataset
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = values.tobytes()
    return values


def base(sop: str = XRAY) -> Planted:
    """A radiograph of one patient, every usual identifier filled in."""
    planted = Planted(Dataset())
    dataset = planted.dataset
    dataset.SOPClassUID = sop
    dataset.SOPInstanceUID = planted.secret("UI")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = planted.secret("UI"), planted.secret("UI")
    dataset.PatientName, dataset.PatientID = "Zwiebelmann^Rosamunde", "MRN-0047110815"
    planted.secrets += [b"Zwiebelmann", b"Rosamunde", b"MRN-0047110815"]
    dataset.PatientBirthDate, dataset.PatientSex = "19470815", "F"
    planted.secrets.append(b"19470815")
    dataset.Modality, dataset.BodyPartExamined = "DX", "CHEST"
    dataset.StudyDate, dataset.StudyTime = "20260301", "083015"
    planted.secrets.append(b"20260301")
    picture(planted)
    return planted


def as_bytes(dataset: Dataset, syntax: str = ExplicitVRLittleEndian, **meta: Any) -> bytes:
    """The file, with a preamble that says something too."""
    header = FileMetaDataset()
    header.TransferSyntaxUID = syntax
    header.MediaStorageSOPClassUID, header.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    for name, value in meta.items():
        setattr(header, name, value)
    file = FileDataset(
        "x",
        dataset,
        preamble=b"LEAKPREAMBLE".ljust(128, b"\0"),
        file_meta=header,
        is_implicit_VR=header.TransferSyntaxUID.is_implicit_VR,
        is_little_endian=header.TransferSyntaxUID.is_little_endian,
    )
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def again(content: bytes) -> pydicom.FileDataset:
    """The data set in these bytes."""
    return pydicom.dcmread(io.BytesIO(content))
