"""Writing synthetic pictures: PNG, JPEG, TIFF and DICOM files that all say they are synthetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, PngImagePlugin

from medfm.cohorts.synthetic_notice import NOTICE
from medfm.core.hashing import sha256_bytes


def save_picture(file: Path, image: np.ndarray, *, sixteen: bool = False) -> None:
    """Write RGB uint8 (h, w, 3) in the format of the ending (.png, .jpg, .tif), the notice in its metadata.

    Args:
        file: Where to; must not exist.
        image: RGB uint8 (h, w, 3).
        sixteen: Whether a TIFF gets 16 bits per channel.
    """
    if file.suffix == ".tif":
        # 255 * 257 = 65535, so the reader's scaling gives the 8-bit values back exactly.
        values = image.astype(np.uint16) * 257 if sixteen else image
        tifffile.imwrite(
            file, values, photometric="rgb", compression="zlib", description=NOTICE, software="medfm", metadata=None
        )
        return
    picture = Image.fromarray(image)
    if file.suffix == ".jpg":
        exif = Image.Exif()
        exif[0x010E] = NOTICE  # ImageDescription
        picture.save(file, quality=92, subsampling=0, exif=exif)
        return
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Description", NOTICE)
    picture.save(file, pnginfo=notes, compress_level=3)


def save_photograph_dicom(file: Path, image: np.ndarray, side: str, field_deg: float) -> None:
    """An Ophthalmic Photography 8 Bit Image Storage object, RGB, explicit little endian, not compressed.

    Args:
        file: Where to; its name decides the identifiers together with the pixels.
        image: RGB uint8 (h, w, 3).
        side: ``"R"`` or ``"L"``.
        field_deg: Width of the field of view in degrees.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    # Decided by the content, so that equal cohorts have equal files.
    number = int(sha256_bytes(image.tobytes() + file.name.encode())[:30], 16)
    sop, instance = UID("1.2.840.10008.5.1.4.1.1.77.1.5.1"), UID(f"2.25.{number}")
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, sop
    meta.MediaStorageSOPInstanceUID = instance
    dataset = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = sop, instance, "OP"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID(f"2.25.{number + 1}"), UID(f"2.25.{number + 2}")
    dataset.PatientName, dataset.PatientID = "SYNTHETIC", "SYNTHETIC"
    dataset.SeriesDescription = NOTICE
    dataset.ImageLaterality, dataset.HorizontalFieldOfView = side, field_deg
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.Rows, dataset.Columns = image.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    data = image.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB"
    dataset.save_as(file, implicit_vr=False, little_endian=True)
