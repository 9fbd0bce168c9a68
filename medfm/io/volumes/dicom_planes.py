"""The planes of DICOM files: one per classic file, one per frame of an enhanced multi-frame file.

Only elements of the pixels, the geometry and the order of acquisition are parsed. Patient, study and device
texts are never read; identifiers of series and instances serve to tell files apart and stay inside this package.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import ReadError

CLASSIC = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED = ("1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")
_OTHER_KINDS = {
    "CT": "computed tomography", "PT": "positron emission tomography", "US": "ultrasound", "CR": "a radiograph",
    "DX": "a radiograph", "MG": "mammography", "SEG": "a segmentation", "RTSTRUCT": "contours", "SR": "a report",
    "OT": "another kind of image", "NM": "nuclear medicine", "XA": "angiography", "PR": "a presentation state",
}  # fmt: skip
HEADER = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality", "ImageType", "Rows", "Columns",
    "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "EchoTime",
    "AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime", "RescaleSlope", "RescaleIntercept",
    "ModalityLUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


@dataclass(frozen=True)
class Plane:
    """One plane of pixels and where it lies, in DICOM's own (left, back, top) millimetres.

    Attributes:
        file, frame: Where its pixels are; `frame` from 0, ``None`` in a classic file.
        instance: What tells copies of one file from two files.
        series, number: What its files are grouped by, and the number of the series.
        group: Stack and echo: what differs between volumes of one series.
        order: (name, value) pairs that may tell repeated planes apart: time, acquisition, kind of image.
        kinds: The words of ImageType.
        size: (rows, columns).
        position: Centre of the first pixel.
        along_row, along_column: Directions of increasing column and row.
        spacing: mm between (rows, columns).
        slope, intercept: stored * slope + intercept.
        inverted: Whether the smallest stored value is the brightest.
    """

    file: Path
    frame: int | None
    instance: str
    series: str
    number: int
    group: tuple[Any, ...]
    order: tuple[tuple[str, Any], ...]
    kinds: tuple[str, ...]
    size: tuple[int, int]
    position: tuple[float, ...]
    along_row: tuple[float, ...]
    along_column: tuple[float, ...]
    spacing: tuple[float, float]
    slope: float
    intercept: float
    inverted: bool

    @property
    def normal(self) -> np.ndarray:
        """Direction of the slices."""
        return np.cross(self.along_row, self.along_column)


def read_planes(files: Iterable[Path], where: str) -> list[Plane]:
    """The planes of all files, whose pixels are not read yet.

    Raises:
        ReadError: A damaged header, another kind of image than MR, a mosaic, or no geometry.
    """
    planes: list[Plane] = []
    for file in files:
        # The first file of a volume may be its only one; of many, one bad one is still named by its place.
        place = where if file.name == Path(where).name else f"{where}, {file.name}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                planes += _planes(file, place)
            except ReadError:
                raise
            except Exception as error:
                # pydicom raises nearly anything on damaged files, sometimes with values of the file in the text.
                raise ReadError(
                    f"The DICOM file is damaged or cut off ({type(error).__name__}).",
                    where=place,
                    fix="copy or export the file again",
                ) from None
    return planes


def _planes(file: Path, where: str) -> list[Plane]:
    import pydicom

    header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=HEADER)
    sop = str(header.get("SOPClassUID", ""))
    modality = str(header.get("Modality", ""))
    if modality != "MR" or (sop != CLASSIC and sop not in ENHANCED):
        what = _OTHER_KINDS.get(modality, "no image that is read here")
        raise ReadError(
            f"The DICOM file holds {what}, not magnetic resonance imaging.",
            where=where,
            expected="MR Image Storage or Enhanced MR Image Storage",
            fix="take the MR series; CT, PET and secondary captures belong to other modalities",
        )
    kinds = tuple(str(kind).upper() for kind in _list(header.get("ImageType")))
    if "MOSAIC" in kinds:
        raise ReadError(
            "The DICOM file is a mosaic: all slices of a time point as tiles of one picture.",
            where=where,
            expected="one slice per file, or enhanced multi-frame MR",
            fix="convert it to NIfTI with dcm2niix; mosaics are functional or diffusion series, hardly a structural scan",
        )
    if header.get("ModalityLUTSequence"):
        raise ReadError("The values of the DICOM file go through a table, which is not read for MR.", where=where)
    photometric = str(header.get("PhotometricInterpretation", ""))
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or int(header.get("SamplesPerPixel") or 1) != 1:
        raise ReadError("The DICOM file holds colours, not grey values.", where=where, expected="MONOCHROME1 or 2")
    shared = _first(header.get("SharedFunctionalGroupsSequence"))
    frames = header.get("PerFrameFunctionalGroupsSequence")
    number = header.get("SeriesNumber")
    same: dict[str, Any] = {
        "file": file,
        "series": str(header.get("SeriesInstanceUID", "")),
        "number": int(number) if number not in (None, "") else 0,
        "size": (int(header.Rows), int(header.Columns)),
        "inverted": photometric == "MONOCHROME1",
        "where": where,
    }
    instance = str(header.get("SOPInstanceUID", ""))
    if sop == CLASSIC or not frames:
        if int(header.get("NumberOfFrames") or 1) > 1:
            raise ReadError("The DICOM file has several frames without a geometry of each.", where=where)
        order = tuple(
            (name, _plain(header.get(name)))
            for name in ("TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime")
        )
        group = (_plain(header.get("EchoTime")),)
        return [_plane([header], instance, None, kinds, group, order, **same)]
    if len(frames) != int(header.get("NumberOfFrames") or 0):
        raise ReadError("The DICOM file describes more or fewer frames than it says it has.", where=where)
    return [
        _enhanced([frame, *([] if shared is None else [shared])], f"{instance}#{index}", index, kinds, same)
        for index, frame in enumerate(frames)
    ]


def _enhanced(groups: list[Any], instance: str, index: int, kinds: tuple[str, ...], same: dict[str, Any]) -> Plane:
    """One frame: what it says itself counts before what all share."""

    def within(*sequences: str) -> Any:
        return next((item for name in sequences for g in groups if (item := _first(g.get(name))) is not None), {})

    content = within("FrameContentSequence")
    echo = within("MREchoSequence").get("EffectiveEchoTime")
    own = within("MRImageFrameTypeSequence").get("FrameType")
    order = (
        ("TemporalPositionIndex", _plain(content.get("TemporalPositionIndex"))),
        ("FrameAcquisitionNumber", _plain(content.get("FrameAcquisitionNumber"))),
    )
    parts = [
        within(name)
        for name in (
            "PlanePositionSequence",
            "PlaneOrientationSequence",
            "PixelMeasuresSequence",
            "PixelValueTransformationSequence",
        )
    ]
    frame_kinds = tuple(str(kind).upper() for kind in _list(own)) or kinds
    return _plane(parts, instance, index, frame_kinds, (_plain(content.get("StackID")), _plain(echo)), order, **same)


def _plane(
    sources: list[Any],
    instance: str,
    frame: int | None,
    kinds: tuple[str, ...],
    group: tuple[Any, ...],
    order: tuple[tuple[str, Any], ...],
    *,
    where: str,
    **same: Any,
) -> Plane:
    def told(name: str, count: int) -> tuple[float, ...] | None:
        value = next((v for source in sources if (v := source.get(name)) is not None), None)
        numbers = tuple(float(v) for v in _list(value))
        return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None

    position, directions = told("ImagePositionPatient", 3), told("ImageOrientationPatient", 6)
    spacing = told("PixelSpacing", 2)
    if spacing is None or min(spacing) <= 0:
        raise ReadError(
            "The DICOM file has no spacing: the size of its pixels is not known.", where=where, expected="PixelSpacing"
        )
    if position is None or directions is None:
        raise ReadError(
            "The DICOM file does not say where its plane lies.",
            where=where,
            expected="ImagePositionPatient and ImageOrientationPatient",
            fix="export the series again from the archive, without stripping its geometry",
        )
    row, column = np.array(directions[:3]), np.array(directions[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if any(abs(length - 1) > 0.01 for length in lengths) or abs(row @ column) > 0.01:
        raise ReadError("The directions of rows and columns in the DICOM file are not at right angles.", where=where)
    slope, intercept = told("RescaleSlope", 1) or (1.0,), told("RescaleIntercept", 1) or (0.0,)
    if slope[0] == 0:
        raise ReadError("The rescale slope of the DICOM file is 0.", where=where)
    return Plane(
        frame=frame,
        instance=instance,
        group=group,
        order=order,
        kinds=kinds,
        position=position,
        along_row=tuple(float(v) for v in row / lengths[0]),
        along_column=tuple(float(v) for v in column / lengths[1]),
        spacing=(spacing[0], spacing[1]),
        slope=slope[0],
        intercept=intercept[0],
        **same,
    )


def _plain(value: Any) -> Any:
    """A number or a short text as such; ``None`` where there is nothing."""
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def _list(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]


def _first(items: Any) -> Any:
    return items[0] if items else None
