"""Known identifiers of a file in places where the profile does not look for them.

The profile names attributes. People also write a name or a case number into a protocol, a comment of the
standard that nobody thought of, or the description of a kernel. What stood in the identifying attributes of a
file is therefore looked for in all its remaining texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Attributes whose values name the patient or the visit.
_IDS = ("PatientID", "AccessionNumber", "OtherPatientIDs", "AdmissionID", "PatientAddress", "PatientTelephoneNumbers", "MedicalRecordLocator")  # fmt: skip
# Terms that say how pixels and objects are to be read. A patient may be called like one (Mr. Color), so they stay as they are.
_TERMS = frozenset(
    [
        "ORIGINAL",
        "DERIVED",
        "PRIMARY",
        "SECONDARY",
        "MIXED",
        "AXIAL",
        "LOCALIZER",
        "OTHER",
        "VOLUME",
        "LABEL",
        "THUMBNAIL",
        "OVERVIEW",
        "NONE",
        "RESAMPLED",
        "IVUS",
        "IVOCT",
        "PLAN",
        "RTIMAGE",
        "RTDOSE",
        "RTPLAN",
        "RTSTRUCT",
        "RTRECORD",
        "AUDIO",
        "IDENTITY",
        "INVERSE",
        "LINEAR",
        "LINEAR_EXACT",
        "SIGMOID",
        "MONOCHROME1",
        "MONOCHROME2",
        "COLOR",
        "TRUE",
        "PALETTE",
        "MODIFIED",
        "ENABLED",
        "GEOMETRY",
        "FIDUCIAL",
        "ABSOLUTE",
        "RELATIVE",
    ]
)
_STRUCTURE = ("ImageType", "Modality", "VOILUTFunction", "PresentationLUTShape", "PixelSpacingCalibrationType",
              "PhotometricInterpretation", "PixelPresentation", "PixelIntensityRelationship")  # fmt: skip
_PHOTOMETRIC = re.compile(r"MONOCHROME[12]|PALETTE COLOR|RGB|HSV|ARGB|CMYK|XYB|YBR_(FULL|PARTIAL|ICT|RCT)(_4\d\d)?")
_FREE = ("LO", "SH", "ST", "LT", "UT", "UC", "AE", "PN", "UR")
_SHORTEST = 4
_INSIDE = 6  # from this length on, a word is also looked for inside others
_BINARY = 5  # from this length on, it is looked for in values that are no text
_HEAD = 4096  # bytes of a compressed picture in which comments stand


def identifiers(dataset: Dataset) -> frozenset[str]:
    """Lower-case words that name the patient, or other persons, anywhere in `dataset`; taken before cleaning."""
    found: set[str] = set()
    for element in _elements(dataset):
        # A wrong value representation makes a name no less a name.
        value = element.value.decode("utf-8", "replace") if isinstance(element.value, bytes) else element.value
        if element.VR == "PN" or _names_people(int(element.tag)):
            for person in _texts(value):
                found.update(re.split(r"[\^=\s,.\0]+", person.lower()))
        elif element.keyword in _IDS:
            for text in _texts(value):
                found.add(text.strip("\0 ").lower())
    # Two characters of Chinese or Japanese are a name; two Latin letters are in every text.
    return frozenset(word for word in found if len(word) >= (_SHORTEST if word.isascii() else 2))


def _names_people(tag: int) -> bool:
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    return dictionary_has_tag(tag) and dictionary_VR(tag) == "PN"


def sweep(dataset: Dataset, words: frozenset[str]) -> list[str]:
    """Empty every free text of `dataset` that still holds one of `words`; the names of these attributes."""
    if not words:
        return []
    inside = [re.escape(word) for word in words if len(word) >= _INSIDE]
    alone = [rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])" for word in words if len(word) < _INSIDE]
    pattern = re.compile("|".join(inside + alone))
    whole = re.compile("|".join(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])" for word in words))
    long = [word.encode() for word in words if len(word) >= _BINARY]
    emptied = []
    for element in _elements(dataset):
        if isinstance(element.value, bytes):
            held = _inside(element.value, long)
        else:
            search = pattern if element.VR in _FREE else whole if element.VR == "CS" else None
            held = search is not None and any(
                search.search(text.lower()) for text in _texts(element.value) if not _term(element, text)
            )
        if held:
            element.value = None
            emptied.append(element.keyword or f"{int(element.tag):08X}")
    return emptied


def in_compressed_pixels(dataset: Dataset, words: frozenset[str]) -> bool:
    """Whether one of `words` stands where compressed pixels have their comments: in the first bytes of a fragment."""
    from pydicom.encaps import generate_fragments

    value = dataset.get("PixelData")
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if not isinstance(value, bytes) or syntax is None or not getattr(syntax, "is_compressed", False):
        return False
    long = [word.encode() for word in words if len(word) >= _BINARY]
    try:
        return any(_inside(fragment[:_HEAD], long) for fragment in generate_fragments(value))
    except Exception:  # no fragments (deflated as a whole), or damaged: a reader will say so
        return _inside(value[:_HEAD], long)


def _inside(data: bytes, words: list[bytes]) -> bool:
    low = data.lower()
    return any(word in low for word in words)


def _term(element: Any, text: str) -> bool:
    """Whether `text` is a word of the standard in an attribute that says how the object is read."""
    plain = text.strip().upper()
    if element.keyword == "SpecificCharacterSet":
        return plain.startswith(("ISO", "GB", "\\")) or not plain
    return element.keyword in _STRUCTURE and (plain in _TERMS or bool(_PHOTOMETRIC.fullmatch(plain)))


def _elements(dataset: Dataset) -> Iterator[Any]:
    """Every element at every depth that can be read, pixels left out."""
    for tag in list(dataset.keys()):
        if int(tag) >> 16 == 0x7FE0:
            continue
        try:
            element = dataset[tag]
            value = element.value
        except Exception:  # a damaged element; cleaning removes it
            continue
        if element.VR == "SQ":
            for item in value or []:
                yield from _elements(item)
        else:
            yield element


def _texts(value: Any) -> Iterator[str]:
    if value is None:
        return
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        for one in value:
            yield str(one)
    elif not isinstance(value, (bytes, int, float)):
        yield str(value)
