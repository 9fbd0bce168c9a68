"""One DICOM file in, one without who it is from out."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.core.errors import ReadError
from medfm.core.files import atomic_path
from medfm.io.deidentify.burned_in import suspicion
from medfm.io.deidentify.clean import Changes, Cleaner
from medfm.io.deidentify.key import Key
from medfm.io.deidentify.leftovers import leftovers
from medfm.io.deidentify.sweep import identifiers, in_compressed_pixels, sweep

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

# Objects whose content is text or of unknown form: cleaning their header would prove nothing.
_DIRECTORY = "1.2.840.10008.1.3.10"
_REFUSED = {
    _DIRECTORY: "a directory of other files (DICOMDIR)",
    "1.2.840.10008.5.1.4.1.1.88": "a structured report: its content is text",
    "1.2.840.10008.5.1.4.1.1.104": "a document (PDF, CDA) inside DICOM: its content is text",
    "1.2.840.10008.5.1.4.1.1.66": "raw or registration data of unknown content",
}
_KEPT = ("1.2.840.10008.5.1.4.1.1.66.4",)  # segmentations


@dataclass(frozen=True)
class Cleaned:
    """A data set that may leave the house.

    Attributes:
        dataset: What to write.
        patient: The new patient id.
        old_patient: The old one, for the owner's own link table; empty where the file had none.
        study, series: The new UIDs.
        modality: DICOM's word, such as ``DX``.
        changes: What was done.
        burned_in: Why text may be burned in; ``None`` where nothing speaks for it.
        person: What tells two people of one id apart (a digest; not written anywhere).
    """

    dataset: FileDataset
    patient: str
    old_patient: str
    study: str
    series: str
    modality: str
    changes: Changes
    burned_in: str | None
    person: str


def read(content: bytes) -> FileDataset:
    """A DICOM file, also one without its preamble.

    Raises:
        ReadError: It is no DICOM file, or damaged.
    """
    import pydicom

    begins = content[128:132] == b"DICM"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(content), force=not begins)
            known = bool(dataset.get("SOPClassUID"))
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise ReadError("damaged DICOM file" if begins else "not a DICOM file") from error
    if not known and str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == _DIRECTORY:
        raise ReadError(_REFUSED[_DIRECTORY])
    if not known:
        raise ReadError("DICOM file without a SOP class" if begins else "not a DICOM file")
    return dataset


def clean(content: bytes, key: Key, characteristics: bool = False) -> Cleaned:
    """A DICOM file without who it is from.

    Args:
        content: The file's bytes.
        key: Where new ids, UIDs and shifts come from.
        characteristics: Whether age, sex, size and weight are kept.

    Raises:
        ReadError: No DICOM file, damaged, of a kind that cannot be cleaned, or something was left.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read(content)
        sop = str(dataset.SOPClassUID)
        for start, why in _REFUSED.items():
            if (sop == start or sop.startswith(f"{start}.")) and not sop.startswith(_KEPT):
                raise ReadError(why)
        try:
            return _clean(dataset, key, characteristics)
        except ReadError:
            raise
        except Exception as error:
            raise ReadError(f"damaged DICOM file ({type(error).__name__})") from error


def _clean(dataset: FileDataset, key: Key, characteristics: bool) -> Cleaned:
    old = _text(dataset, "PatientID")
    person = key.name(f"{_text(dataset, 'PatientBirthDate')}|{_text(dataset, 'PatientSex')}".encode())
    words = identifiers(dataset)
    _rebuild_meta(dataset)
    if in_compressed_pixels(dataset, words):
        raise ReadError("a known name stands in a comment of the compressed pixels")
    reason = suspicion(dataset)
    cleaner = Cleaner(key, f"id|{old}" if old else f"study|{_text(dataset, 'StudyInstanceUID')}", characteristics)
    cleaner.clean(dataset)
    changes = cleaner.changes
    for name in sweep(dataset, words):
        changes.add(name, "emptied, held an identifier")
    cleaner.finish(dataset)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if not old:
        changes.warnings.add("no patient id: every study counts as a patient of its own")
    left = leftovers(dataset)
    if left:
        raise ReadError(f"something identifying would have been left: {', '.join(left[:4])}")
    return Cleaned(
        dataset,
        str(dataset.PatientID),
        old,
        _text(dataset, "StudyInstanceUID"),
        _text(dataset, "SeriesInstanceUID"),
        _text(dataset, "Modality"),
        changes,
        reason,
        person,
    )


def _text(dataset: FileDataset, name: str) -> str:
    return str(dataset.get(name, "") or "").strip()


def _rebuild_meta(dataset: FileDataset) -> None:
    """A file header with nothing of the old one but how the rest is encoded, and an empty preamble."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import (
        PYDICOM_IMPLEMENTATION_UID,
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
    )

    syntax = dataset.file_meta.get("TransferSyntaxUID") if getattr(dataset, "file_meta", None) else None
    if not syntax:
        implicit, little = dataset.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128


def write(cleaned: Cleaned, path: Path) -> None:
    """Write the file whole or not at all.

    Raises:
        StoreError: It cannot be written.
        ReadError: The data set cannot be encoded.
    """
    with atomic_path(path) as temporary:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cleaned.dataset.save_as(temporary, enforce_file_format=True)
        except OSError:
            raise
        except Exception as error:
            raise ReadError(f"cannot be written as DICOM ({type(error).__name__})") from error


def encoded(cleaned: Cleaned) -> bytes:
    """The bytes that :func:`write` would write."""
    buffer: Any = io.BytesIO()
    cleaned.dataset.save_as(buffer, enforce_file_format=True)
    return bytes(buffer.getvalue())
