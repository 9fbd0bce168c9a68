"""What the header of a radiograph says of the picture: kind, view, orientation, spacing. Never of the patient.

Only the elements named here are parsed; those of the patient, the study and the device never are, so none can end in a
record, an error or a log. Text of the file reaches no fact: a known word becomes one of ours, another one ``"other"``.
"""

from __future__ import annotations

import math
from typing import Any

from medfm.core.errors import ReadError

# SOP classes read here -> the kind (PS3.4, B.5).
RADIOGRAPHS = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX for processing",
    "1.2.840.10008.5.1.4.1.1.7": "SC",
    "1.2.840.10008.5.1.4.1.1.7.1": "SC",
    "1.2.840.10008.5.1.4.1.1.7.2": "SC",
    "1.2.840.10008.5.1.4.1.1.7.3": "SC",
    "1.2.840.10008.5.1.4.1.1.7.4": "SC",
}
# Modalities of secondary captures that are no radiographs of the chest.
_FOREIGN = {
    "MG": "a mammogram", "CT": "CT", "MR": "MR", "US": "ultrasound", "OP": "an eye photograph", "OPT": "an eye scan",
    "PT": "PET", "NM": "scintigraphy", "SM": "microscopy", "ECG": "an ECG", "XA": "angiography", "RF": "fluoroscopy",
    "IO": "a dental radiograph", "PX": "a dental radiograph", "ES": "endoscopy", "DOC": "a document",
}  # fmt: skip
# Bit positions of overlays, which may lie in the unused bits of the pixels (retired, but met in old files).
OVERLAY_BITS = [0x60000102 + (group << 17) for group in range(16)]
ELEMENTS: list[Any] = [
    "SOPClassUID", "Modality", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
    "FloatPixelData", "DoubleFloatPixelData",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "VOILUTFunction", "WindowCenter",
    "WindowWidth", "PresentationLUTShape", "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData", "ViewPosition", "ViewCodeSequence",
    "PatientOrientation", "ImageLaterality", "Laterality", "ImagerPixelSpacing", "PixelSpacing",
    "PixelSpacingCalibrationType", "PixelAspectRatio", "BurnedInAnnotation", "LossyImageCompression",
    "BodyPartExamined", *OVERLAY_BITS,
]  # fmt: skip
_VIEWS = {
    "PA": "PA", "AP": "AP", "LL": "LL", "RL": "RL", "LLAT": "LL", "RLAT": "RL", "LAT": "LL", "LATERAL": "LL",
    "POSTERO-ANTERIOR": "PA", "ANTERO-POSTERIOR": "AP", "LEFT LATERAL": "LL", "RIGHT LATERAL": "RL",
}  # fmt: skip
# CID 4010 of PS3.16, SNOMED CT and its older codes (SRT), as listed by pydicom.sr.
_VIEW_CODES = {
    "399348003": "AP", "272479007": "PA", "399173006": "LL", "399198007": "RL", "399067008": "LL",
    "R-10206": "AP", "R-10214": "PA", "R-10236": "LL", "R-10232": "RL", "R-102CD": "LL",
}  # fmt: skip


def whole_number(header: Any, name: str, where: str, usual: int | None = None) -> int:
    """A whole number of the header; `usual` where it is absent.

    Raises:
        ReadError: It is absent without `usual`, or of a wrong kind (a wrong value representation); its value is not said.
    """
    try:
        value = header.get(name)
        if value is None or value == "":
            if usual is not None:
                return usual
            raise ReadError(f"The DICOM file does not say {name}.", where=where, fix="export it again")
        return int(value)
    except ReadError:
        raise
    except Exception as error:  # pydicom converts on access, and raises nearly anything
        raise ReadError(
            f"The element {name} of the DICOM file is not one whole number, as its value representation promises.",
            where=where,
            fix="export it again",
        ) from error


def word(header: Any, name: str) -> str:
    """A code string in capitals; empty where it is absent or of another kind."""
    try:
        value = header.get(name)
    except Exception:  # pydicom converts on access, and raises nearly anything
        return ""
    return value.strip().upper() if isinstance(value, str) else ""


def kind_of(header: Any, where: str) -> str:
    """``"CR"``, ``"DX"``, ``"DX for processing"`` or ``"SC"``.

    Raises:
        ReadError: The file is of another kind, which is named where the standard names it.
    """
    from pydicom.uid import UID

    # The file header repeats it, and is all that a DICOMDIR or a file cut off early has.
    meta = getattr(header, "file_meta", None) or {}
    sop = str(header.get("SOPClassUID", "") or meta.get("MediaStorageSOPClassUID", "") or "")
    expected = "CR, DX or a secondary capture of a chest radiograph"
    if not sop:
        raise ReadError(
            "The DICOM file does not say of what kind it is (no SOP class).",
            where=where,
            expected=expected,
            fix="copy or export the file again",
        )
    foreign = "take the record out of the table, or look for the radiograph that belongs there"
    if sop not in RADIOGRAPHS:
        uid = UID(sop)
        name = uid.name if uid.is_valid and not uid.is_private and uid.name != sop else "of a kind that is not known"
        raise ReadError(f"The DICOM file is no chest radiograph: {name}.", where=where, expected=expected, fix=foreign)
    modality = word(header, "Modality")
    if modality in _FOREIGN:
        raise ReadError(
            f"The DICOM file is no chest radiograph: it holds {_FOREIGN[modality]}.",
            where=where,
            expected=expected,
            fix=foreign,
        )
    return RADIOGRAPHS[sop]


def about(header: Any) -> dict[str, Any]:
    """Facts on view, orientation, spacing and origin; elements of another form than the standard's are passed over."""
    facts: dict[str, Any] = {}
    orientation = _orientation(header)
    view, source = _view(header, orientation)
    facts["view"] = view
    if source:
        facts["view_source"] = source
    if plane := _plane(view, orientation):
        facts["plane"] = plane
    if orientation:
        facts["patient_orientation"] = list(orientation)
    side = word(header, "ImageLaterality") or word(header, "Laterality")
    if side in ("R", "L", "B", "U"):
        facts["laterality"] = side
    facts |= _spacing(header)
    if (body := word(header, "BodyPartExamined")) != "":
        facts["body_part"] = "chest" if body in ("CHEST", "THORAX", "LUNG", "TORAX", "PORT CHEST") else "other"
    if (burned := word(header, "BurnedInAnnotation")) in ("YES", "NO"):
        facts["burned_in"] = burned == "YES"
    if (lossy := word(header, "LossyImageCompression")) in ("00", "01"):
        facts["lossy"] = lossy == "01"
    return facts


def _view(header: Any, orientation: tuple[str, str] | None) -> tuple[str, str]:
    """View and where it comes from; ``("unknown", "")``."""
    found = _VIEWS.get(word(header, "ViewPosition"))
    if found:
        return found, "view position"
    try:
        code = str(header.get("ViewCodeSequence")[0].CodeValue)
    except Exception:  # absent, empty or of another form
        code = ""
    if code in _VIEW_CODES:
        return _VIEW_CODES[code], "view code"
    return "unknown", ""


def _orientation(header: Any) -> tuple[str, str] | None:
    """Where rows and columns run to, such as ``("L", "F")``: only letters of the standard."""
    try:
        pair = [str(part).strip().upper() for part in header.get("PatientOrientation")]
    except Exception:  # absent or of another form
        return None
    if len(pair) != 2 or not all(part and set(part) <= set("RLAPHF") and len(part) <= 3 for part in pair):
        return None
    return pair[0], pair[1]


def _plane(view: str, orientation: tuple[str, str] | None) -> str:
    if view in ("PA", "AP"):
        return "frontal"
    if view in ("LL", "RL"):
        return "lateral"
    if orientation is not None:
        first = {part[0] for part in orientation} - {"H", "F"}
        return "frontal" if first <= set("RL") else "lateral" if first <= set("AP") else ""
    return ""


def _spacing(header: Any) -> dict[str, Any]:
    """mm between rows and between columns: of the detector unless the header says that it was calibrated."""
    calibrated = word(header, "PixelSpacingCalibrationType") in ("GEOMETRY", "FIDUCIAL")
    order = [("ImagerPixelSpacing", "detector"), ("PixelSpacing", "calibrated" if calibrated else "stated")]
    for name, at in order[::-1] if calibrated else order:
        try:
            pair = [float(value) for value in header.get(name)]
        except Exception:  # absent or of another form
            continue
        if len(pair) == 2 and all(math.isfinite(value) and value > 0 for value in pair):
            return {"spacing_mm": pair, "spacing_at": at}
    try:
        down, across = (int(value) for value in header.get("PixelAspectRatio"))
    except Exception:  # absent or of another form
        return {}
    return {"pixel_aspect": down / across} if down > 0 and across > 0 and down != across else {}
