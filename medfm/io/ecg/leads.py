"""Names of the leads, in all the ways files write them."""

from __future__ import annotations

import re

LEADS: tuple[str, ...] = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The canonical order of the twelve leads."""

# Further leads that some machines store: posterior and right-sided chest leads, the Frank leads.
EXTRA_LEADS: tuple[str, ...] = ("V7", "V8", "V9", "V3R", "V4R", "V5R", "V6R", "VX", "VY", "VZ", "X", "Y", "Z")

_KNOWN = {name.upper(): name for name in (*LEADS, *EXTRA_LEADS)}
_PREFIX = re.compile(r"^(MDC_ECG_LEAD_|MDC_ECG_LD_|MDC_ECG_|(ECG|EKG)(?=[\s_:-])|LEAD(?![A-Z]))+", re.ASCII)
_NOISE = re.compile(r"\([^)]*\)|[\s_:.]")


def lead_name(text: str) -> str | None:
    """The lead that `text` names, in canonical spelling; ``None`` when it names none we know.

    ``"AVR"``, ``"avr "``, ``"Lead aVR"``, ``"MDC_ECG_LEAD_AVR"``, ``"ECG aVR"`` and
    ``"aVR (Goldberger)"`` are aVR. ``"-aVR"`` (the inverted lead) and ``"MLII"`` are not.
    """
    found = _KNOWN.get(text)
    if found is not None:
        return found
    plain = text.strip().upper()
    previous = None
    while previous != plain:
        previous = plain
        plain = _PREFIX.sub("", plain).strip()
        if previous != plain:
            # Only what follows a prefix may begin with a separator: a leading "-" alone inverts the lead.
            plain = plain.lstrip("_: ")
    return _KNOWN.get(_NOISE.sub("", plain))
