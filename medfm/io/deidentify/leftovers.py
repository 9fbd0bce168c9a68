"""What identifies somebody in a DICOM data set: the proof behind ``medfm data check`` and behind every file written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medfm.io.deidentify.clean import PRIVATE
from medfm.io.deidentify.profile import rule_of
from medfm.io.deidentify.values import dummy

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_DATES = ("DA", "DT", "TM")
_META = ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle", "ReceivingApplicationEntityTitle",
         "SourcePresentationAddress", "SendingPresentationAddress", "ReceivingPresentationAddress",
         "PrivateInformation")  # fmt: skip


def leftovers(dataset: Dataset) -> list[str]:
    """Names of attributes, at any depth, that the profile does not leave with a value; never the values.

    Dates, ids and patient characteristics count only where the data set does not say that it was de-identified
    (``PatientIdentityRemoved`` YES): they may then be shifted, mapped, or kept by an option of the profile, which
    nobody can see in a file.
    """
    removed = str(dataset.get("PatientIdentityRemoved", "") or "").strip().upper() == "YES"
    found: dict[str, None] = {}
    _look(dataset, removed, found)
    meta = getattr(dataset, "file_meta", None)
    for name in _META:
        if meta is not None and meta.get(name):
            found[f"{name} (file header)"] = None
    return list(found)


def _look(dataset: Dataset, removed: bool, found: dict[str, None]) -> None:
    from pydicom.datadict import keyword_for_tag

    for tag in list(dataset.keys()):
        number = int(tag)
        if (number >> 16) & 1:
            found[PRIVATE] = None
            continue
        if number >> 16 == 0x7FE0:
            continue
        name = keyword_for_tag(number) or f"{number:08X}"
        try:
            element = dataset[tag]
            value, vr = element.value, str(element.VR)
        except Exception:
            found[f"{name} (damaged)"] = None
            continue
        if vr == "SQ" and _allowed(number, vr, removed) is not False:
            for item in value or []:
                _look(item, removed, found)
        elif vr == "SQ":
            if len(value or []):
                found[name] = None
        elif value not in (None, "", b"") and _allowed(number, vr, removed) is False and value != dummy(vr):
            found[name] = None


def _allowed(tag: int, vr: str, removed: bool) -> bool | None:
    """Whether an attribute may have a value; ``None`` where the profile does not name it."""
    rule = rule_of(tag)
    if rule is None:
        return None
    if "U" in rule.action:
        return True  # nobody can see whether a UID is new
    if removed and (rule.characteristics or (rule.dates and vr in _DATES)):
        return True
    if removed and tag in (0x00100010, 0x00100020):
        return True  # ids made for the purpose
    return "D" in rule.action and removed
