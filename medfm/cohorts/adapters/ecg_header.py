"""Diagnosis codes, age and sex from the comments of a WFDB header; nothing else of them is kept.

The PhysioNet challenges and the Chapman-Shaoxing-Ningbo release write ``#Dx: 426783006,164934002``,
``#Age: 74`` and ``#Sex: Male``. Other comments may hold names and dates and are never looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from medfm.core.errors import CohortError

_COMMENT = re.compile(r"#\s*(Dx|Age|Sex)\s*:(.*)")
_OLDEST = 130
# Headers of twelve leads are under 1 kB; more than this is no header.
_LARGEST = 65536


@dataclass(frozen=True)
class HeaderFacts:
    """Codes in the order written (digits only), age in years, ``male`` or ``female``; absent ones are empty."""

    codes: tuple[str, ...] = ()
    age: int | None = None
    sex: str | None = None


def header_facts(path: Path, where: str) -> HeaderFacts:
    """The facts in the comments of the header at `path`; unreadable values count as absent.

    Raises:
        CohortError: The file cannot be read, or is far too long for a header.
    """
    try:
        with path.open("rb") as handle:
            content = handle.read(_LARGEST + 1)
    except OSError as error:
        raise CohortError(f"The header cannot be read ({error.strerror or 'input error'}).", where=where) from error
    if len(content) > _LARGEST:
        raise CohortError("This is not a WFDB header: it is longer than 64 kB.", where=where)
    found: dict[str, str] = {}
    for line in content.decode("utf-8", "replace").splitlines():
        match = _COMMENT.match(line)
        if match:
            found.setdefault(match.group(1), match.group(2).strip())
    codes = tuple(code for code in re.split(r"[,;\s]+", found.get("Dx", "")) if code.isascii() and code.isdigit())
    return HeaderFacts(tuple(dict.fromkeys(codes)), age_of(found.get("Age", "")), sex_of(found.get("Sex", "")))


def age_of(text: str) -> int | None:
    """Whole years from 0 to 130, else ``None``."""
    text = text.strip().removesuffix(".0")
    # A header of damaged digits may hold thousands, which Python refuses to convert.
    known = text.isascii() and text.isdigit() and len(text) <= 4
    return int(text) if known and int(text) <= _OLDEST else None


def sex_of(text: str) -> str | None:
    """``male``, ``female`` or ``None``."""
    return {"m": "male", "male": "male", "f": "female", "female": "female"}.get(text.strip().lower())
