"""One DICOM data set without who it is from: every attribute of the profile, at every depth."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medfm.io.deidentify.key import Key
from medfm.io.deidentify.profile import action_for
from medfm.io.deidentify.values import capped_age, dummy, shifted

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_STANDARD_ROOT = "1.2.840.10008."
_LONGEST_OF_THE_STANDARD = 34  # the longest in use has 31; one made for an object has a time or a number in it
_PATIENT_ID, _PATIENT_NAME, _PATIENT_AGE = 0x00100020, 0x00100010, 0x00101010
_OVERLAY_BIT = 0x0102
_NOT_DATA = (0x0000, 0x0002)
# Kinds that are written as text but are numbers, times or ages: anything else in them is no value of theirs.
_NUMBERS = {
    "IS": re.compile(r"\s*([-+]?\d+)?\s*"),
    "DS": re.compile(r"\s*([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?)?\s*"),
    "TM": re.compile(r"[\d.:\- ]*"),
    "AS": re.compile(r"\s*(\d{3}[DWMY])?\s*"),
}
PRIVATE = "private attributes"
UNKNOWN = "attributes unknown to the standard"
_CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
_CHARACTERISTICS = ("113108", "Retain Patient Characteristics Option")


@dataclass
class Changes:
    """What was done to one data set: counts by (attribute, what), never a value."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    warnings: set[str] = field(default_factory=set)

    def add(self, attribute: str, what: str) -> None:
        """Count one."""
        self.counts[attribute, what] += 1


class Cleaner:
    """Applies the profile to data sets of one patient.

    Args:
        key: Where new values come from.
        patient: The old patient id, or what stands for it.
        characteristics: Whether age, sex, size and weight are kept.
    """

    def __init__(self, key: Key, patient: str, characteristics: bool = False) -> None:
        self._key = key
        self._id = key.patient(patient)
        self._days = key.days(patient)
        self._characteristics = characteristics
        self.changes = Changes()

    def clean(self, dataset: Dataset) -> None:
        """Change `dataset` in place."""
        self._walk(dataset)

    def finish(self, dataset: Dataset) -> None:
        """Give the cleaned `dataset` its new id, and mark it as de-identified."""
        dataset.PatientID = self._id
        dataset.PatientName = self._id
        mark(dataset, self._characteristics)

    def _walk(self, dataset: Dataset) -> None:
        for tag in list(dataset.keys()):
            group, element = int(tag) >> 16, int(tag) & 0xFFFF
            if group & 1:
                del dataset[tag]
                self.changes.add(PRIVATE, "removed")
            elif element == 0 or group in _NOT_DATA:
                del dataset[tag]  # a group length, wrong after any change; or a stray part of a message or file header
            else:
                self._attribute(dataset, int(tag))

    def _attribute(self, dataset: Dataset, tag: int) -> None:
        from pydicom.datadict import dictionary_has_tag, keyword_for_tag

        name = keyword_for_tag(tag) or f"{tag:08X}"
        vr = _vr(dataset, tag)
        action = action_for(tag, vr, characteristics=self._characteristics)
        if action is None and not dictionary_has_tag(tag):
            del dataset[tag]
            self.changes.add(UNKNOWN, "removed")
            return
        if tag >> 24 == 0x60 and tag & 0xFFFF == _OVERLAY_BIT:
            self._embedded(dataset, tag)
        if action == "remove":
            del dataset[tag]
            self.changes.add(name, "removed")
            return
        try:
            value = dataset[tag].value
        except Exception:  # whatever a damaged value makes pydicom raise: it cannot be looked into, so it cannot stay
            del dataset[tag]
            self.changes.add(name, "removed, damaged")
            return
        if vr in _NUMBERS and not all(_NUMBERS[vr].fullmatch(one) for one in _strings(value)):
            del dataset[tag]  # words in the place of a number
            self.changes.add(name, "removed, damaged")
            return
        self._change(dataset[tag], name, vr, action, value)

    def _change(self, element: Any, name: str, vr: str, action: str | None, value: Any) -> None:
        tag = int(element.tag)
        if vr == "SQ":
            if action == "empty":
                element.value = []
                self.changes.add(name, "emptied")
            else:
                for item in value or []:
                    self._walk(item)
        elif tag in (_PATIENT_ID, _PATIENT_NAME):
            element.VR = "LO" if tag == _PATIENT_ID else "PN"  # where the file had bytes, text could not be written
            element.value = self._id
            self.changes.add(name, "replaced")
        elif vr == "UI":
            self._uids(element, name, value)
        elif action == "shift" or (action is None and vr in ("DA", "DT")):
            self._dates(element, name, value)
        elif action == "empty" or (action is None and vr == "PN"):
            if value not in (None, "", b""):
                self.changes.add(name, "emptied")
            element.value = None
        elif action == "dummy" or action == "uid":
            element.value = dummy(vr)
            self.changes.add(name, "replaced")
        elif tag == _PATIENT_AGE:
            element.value = capped_age(str(value or ""))

    def _uids(self, element: Any, name: str, value: Any) -> None:
        several = [str(one) for one in (value if _many(value) else [value]) if one]
        # The standard's own UIDs name kinds of objects, never one object.
        new = [one if _of_the_standard(one) else self._key.uid(one) for one in several]
        if new != several:
            element.value = new if len(new) > 1 else new[0]
            self.changes.add(name, "new UID")

    def _dates(self, element: Any, name: str, value: Any) -> None:
        several = [str(one) for one in (value if _many(value) else [value]) if one]
        if not several:
            return
        new = [shifted(one, self._days) for one in several]
        if any(one is None for one in new):
            element.value = None
            self.changes.add(name, "emptied, no whole date")
            return
        element.value = new if len(new) > 1 else new[0]
        self.changes.add(name, "date shifted")

    def _embedded(self, dataset: Dataset, tag: int) -> None:
        try:
            at = dataset[tag].value
        except Exception:
            return
        if at not in (None, 0):
            self.changes.warnings.add("an overlay lies in unused bits of the pixels and stays there")


def mark(dataset: Dataset, characteristics: bool) -> None:
    """Say in the data set that and how it was de-identified (PS3.15 E.1, PS3.3 C.7.1.1)."""
    from pydicom.dataset import Dataset as New
    from pydicom.sequence import Sequence

    items = []
    for code, meaning in (*_CODES, *((_CHARACTERISTICS,) if characteristics else ())):
        item = New()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", meaning
        items.append(item)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "medfm: PS3.15 Basic Profile, dates shifted per patient"
    dataset.DeidentificationMethodCodeSequence = Sequence(items)
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"


def _vr(dataset: Dataset, tag: int) -> str:
    """The value representation, looked up in the standard's dictionary where the file has none."""
    from pydicom.datadict import dictionary_VR

    raw = dataset.get_item(tag)
    stated = str(getattr(raw, "VR", None) or "UN")
    if stated != "UN":
        return stated
    try:
        return dictionary_VR(tag).split(" ")[0]
    except KeyError:
        return stated


def _of_the_standard(uid: str) -> bool:
    """Whether a UID is one of DICOM's own: in the dictionary, or at least written as one (a newer class of objects)."""
    from pydicom.uid import UID, UID_dictionary

    return uid in UID_dictionary or (
        uid.startswith(_STANDARD_ROOT) and UID(uid).is_valid and len(uid) <= _LONGEST_OF_THE_STANDARD
    )


def _strings(value: Any) -> Iterator[str]:
    """The values as written in the file."""
    for one in value if _many(value) else [value]:
        yield "" if one is None else str(getattr(one, "original_string", one))


def _many(value: Any) -> bool:
    from pydicom.multival import MultiValue

    return isinstance(value, (MultiValue, list, tuple))
