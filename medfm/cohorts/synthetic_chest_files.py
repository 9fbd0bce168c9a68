"""Writing synthetic radiographs: PNG of 8 and 16 bit, JPEG, and DICOM of the kinds CR and DX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from medfm.cohorts.synthetic_notice import NOTICE
from medfm.core.hashing import sha256_bytes

CR, DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"


def save_grey(file: Path, picture: np.ndarray, *, sixteen: bool = False) -> None:
    """Write float (h, w) in [0, 1] as grey PNG (8 or 16 bit) or JPEG, the notice in its metadata."""
    values = np.rint(picture * (65535 if sixteen else 255)).astype(np.uint16 if sixteen else np.uint8)
    image = Image.fromarray(values)
    if file.suffix == ".jpg":
        exif = Image.Exif()
        exif[0x010E] = NOTICE  # ImageDescription
        image.save(file, quality=92, exif=exif)
        return
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Description", NOTICE)
    image.save(file, pnginfo=notes, compress_level=3)


def save_radiograph_dicom(
    file: Path,
    picture: np.ndarray,
    *,
    digital: bool,
    bits: int,
    inverted: bool,
    view: str,
    spacing_mm: float,
    patient: str,
    burned_in: bool = False,
) -> None:
    """A Digital X-Ray or Computed Radiography object, explicit little endian, not compressed.

    The picture takes the middle of the stored range, and a window gives it back; so a reader that ignores the window
    shows it pale.

    Args:
        file: Where to; its name decides the identifiers together with the pixels.
        picture: Float (h, w) in [0, 1], dense is bright.
        digital: DX rather than CR.
        bits: Bits stored, in 16 allocated.
        inverted: MONOCHROME1 rather than MONOCHROME2.
        view: ``"PA"``, ``"AP"`` or ``"LL"``.
        spacing_mm: Of the detector's pixels.
        patient: An invented name, equal for the pictures of one person.
        burned_in: What the header says of text in the pixels.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    top = 2**bits - 1
    low, width = round(top * 0.1), round(top * 0.8)
    stored = np.rint(low + picture * width)
    stored = (top - stored if inverted else stored).astype("<u2")
    number = int(sha256_bytes(stored.tobytes() + file.name.encode())[:30], 16)
    sop, instance = UID(DX if digital else CR), UID(f"2.25.{number}")
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, sop
    meta.MediaStorageSOPInstanceUID = instance
    dataset = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = sop, instance, "DX" if digital else "CR"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID(f"2.25.{number + 1}"), UID(f"2.25.{number + 2}")
    dataset.PatientName, dataset.PatientID = f"SYNTHETIC^{patient}", f"SYNTHETIC-{patient}"
    dataset.SeriesDescription = NOTICE
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", view
    dataset.PatientOrientation = ["L", "F"] if view != "LL" else ["A", "F"]
    dataset.ImagerPixelSpacing = [spacing_mm, spacing_mm]
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "YES" if burned_in else "NO", "00"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1" if inverted else "MONOCHROME2"
    if digital:
        dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    dataset.Rows, dataset.Columns = picture.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, bits, bits - 1, 0
    # LINEAR maps centre - 0.5 +- (width - 1) / 2 to the ends, so this window is exact.
    first = top - low - width if inverted else low
    dataset.WindowCenter, dataset.WindowWidth = first + width / 2 + 0.5, width + 1
    dataset.VOILUTFunction = "LINEAR"
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(file, implicit_vr=False, little_endian=True)
