"""Volumes that tests write: a head-like array, its 48 orders, DICOM slices and enhanced files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
SECRET = "DOE^JANE-19660101"


def numbered(shape: tuple[int, int, int] = (4, 5, 6), dtype: Any = np.int16) -> np.ndarray:
    """Every voxel another value, so that no exchange goes unseen."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def orders() -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The 48 ways to permute and flip three axes."""
    for axes in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            yield axes, signs


def reordered(array: np.ndarray, affine: np.ndarray, axes: Any, signs: Any) -> tuple[np.ndarray, np.ndarray]:
    """The same volume stored in another order: array axis n is axis `axes[n]` of the given one."""
    moved = np.transpose(array, axes)
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, old in enumerate(axes):
        matrix[old, new] = signs[new]
        if signs[new] < 0:
            matrix[old, 3] = moved.shape[new] - 1
    return moved[tuple(slice(None, None, sign) for sign in signs)], affine @ matrix


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """Rotations about x, y and z, in this order."""
    a, b, c = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def affine_of(
    spacing: Any = (1.0, 2.0, 3.0), origin: Any = (-10.0, 20.0, -30.0), turned: Any = (0, 0, 0)
) -> np.ndarray:
    """Affine of a volume in the order right, front, top, turned by some degrees."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(turned) @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


def save_nifti(
    path: Path,
    array: np.ndarray,
    affine: np.ndarray | None = None,
    *,
    s: int = 1,
    q: int = 1,
    kind: Any = nib.Nifti1Image,
) -> Path:
    """A NIfTI file with a name in every text of its header."""
    image = kind(array, affine_of() if affine is None else affine, dtype=array.dtype)
    image.header["descrip"] = SECRET.encode()
    image.header["aux_file"] = SECRET.encode()
    image.header["intent_name"] = SECRET[:15].encode()
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", SECRET.encode() * 20))
    image.set_sform(affine_of() if affine is None else affine, code=s)
    image.set_qform(affine_of() if affine is None else affine, code=q)
    nib.save(image, path)
    return path


def patched(path: Path, **fields: Any) -> Path:
    """Change fields of the header of an unpacked NIfTI-1 file in place."""
    data = bytearray(path.read_bytes())
    header = nib.Nifti1Header(binaryblock=bytes(data[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    data[:348] = header.binaryblock
    path.write_bytes(bytes(data))
    return path


def dicom_slices(
    folder: Path,
    array: np.ndarray,
    affine: np.ndarray,
    *,
    name: str = "IM",
    series: str | None = None,
    number: int = 4,
    names: Any = None,
    **changed: Any,
) -> list[Path]:
    """Write (columns, rows, slices) as classic MR slices; the affine is RAS. `changed` sets elements of every slice."""
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    sides = np.linalg.norm(lps[:3, :3], axis=0)
    uid, files = series or generate_uid(), []
    for k in range(array.shape[2]):
        dataset = _blank(MR)
        dataset.SeriesInstanceUID, dataset.SeriesNumber, dataset.InstanceNumber = uid, number, array.shape[2] - k
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        dataset.Rows, dataset.Columns = array.shape[1], array.shape[0]
        dataset.ImagePositionPatient = [f"{v:.8f}" for v in (lps @ [0, 0, k, 1])[:3]]
        dataset.ImageOrientationPatient = [f"{v:.10f}" for v in (*lps[:3, 0] / sides[0], *lps[:3, 1] / sides[1])]
        dataset.PixelSpacing = [f"{sides[1]:.8f}", f"{sides[0]:.8f}"]
        dataset.SliceThickness = "99"  # often wrong, so never used
        dataset.PixelRepresentation = 1 if array.dtype.kind == "i" else 0
        dataset.PixelData = np.ascontiguousarray(array[:, :, k].T).astype("<" + array.dtype.str[1:]).tobytes()
        for key, value in changed.items():
            setattr(dataset, key, value(k) if callable(value) else value)
        files.append(folder / f"{name}{(names or range(1000))[k]:04d}.dcm")
        dataset.save_as(files[-1], enforce_file_format=True)
    return files


def enhanced_file(
    path: Path,
    array: np.ndarray,
    affine: np.ndarray,
    *,
    order: Any = None,
    shared_orientation: bool = True,
    slopes: Any = None,
    times: Any = None,
) -> Path:
    """Write (columns, rows, frames) as one enhanced MR file, frames in any `order`."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    sides = np.linalg.norm(lps[:3, :3], axis=0)
    dataset = _blank(ENHANCED_MR)
    dataset.SeriesInstanceUID, dataset.SeriesNumber = generate_uid(), 7
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = array.shape[1], array.shape[0], array.shape[2]
    orientation = Dataset()
    orientation.ImageOrientationPatient = [f"{v:.10f}" for v in (*lps[:3, 0] / sides[0], *lps[:3, 1] / sides[1])]
    measures = Dataset()
    measures.PixelSpacing = [f"{sides[1]:.8f}", f"{sides[0]:.8f}"]
    shared = Dataset()
    shared.PixelMeasuresSequence = Items([measures])
    if shared_orientation:
        shared.PlaneOrientationSequence = Items([orientation])
    frames, places = [], list(order if order is not None else range(array.shape[2]))
    for n, k in enumerate(places):
        frame, position, content = Dataset(), Dataset(), Dataset()
        step = k if times is None else k % (array.shape[2] // times)
        position.ImagePositionPatient = [f"{v:.8f}" for v in (lps @ [0, 0, step, 1])[:3]]
        content.StackID, content.InStackPositionNumber = "1", n + 1
        content.TemporalPositionIndex = 1 if times is None else 1 + k // (array.shape[2] // times)
        frame.PlanePositionSequence, frame.FrameContentSequence = Items([position]), Items([content])
        if not shared_orientation:
            frame.PlaneOrientationSequence = Items([orientation])
        if slopes is not None:
            scaling = Dataset()
            scaling.RescaleSlope, scaling.RescaleIntercept = str(slopes[k]), "-1"
            frame.PixelValueTransformationSequence = Items([scaling])
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    dataset.PerFrameFunctionalGroupsSequence = Items(frames)
    dataset.PixelData = b"".join(np.ascontiguousarray(array[:, :, k].T).astype("<u2").tobytes() for k in places)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _blank(sop: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID(sop)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(sop), meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PatientName, dataset.PatientID = "MR", SECRET, SECRET
    dataset.SeriesDescription, dataset.ProtocolName = SECRET, SECRET
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    return dataset
