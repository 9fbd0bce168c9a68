"""Texts as sets of terms, so that a statement can be held against the knowledge.

A term is a word in lower case, singular, in one spelling; runs of leads such as "V1 to V4" or
"V1-V4" become each lead. A word that follows an absence word in its clause is marked as absent.
"""

from __future__ import annotations

import re

_STOP_WORDS = """
a an and are as at be by called every for from has have in into is it its lead leads of on or other
seen show showing shown shows that the their then this to where which with
"""
_STOP = frozenset(_STOP_WORDS.split())
_ABSENCE = frozenset({"no", "not", "without", "absent", "absence", "lacking", "missing", "lack"})
_SPELLING = {
    "ischaemia": "ischemia",
    "ischaemic": "ischemic",
    "repolarisation": "repolarization",
    "elevated": "elevation",
    "depressed": "depression",
    "widened": "wide",
    "broad": "wide",
    "inverted": "inversion",
    "complexes": "complex",
    "axes": "axis",
}
_SINGULAR_S = ("ss", "us", "is", "as", "qs", "rs")
_HYPHEN = re.compile(r"(?<=\w)-(?=\w)")  # not the sign of "-30 degrees"
_WORD = re.compile(r"[+-]?[a-z0-9/°']+(?:\.[0-9]+)?")
_MARKER = re.compile(r"^\s*(?:[-*•]+|\d+[.)])\s+", re.MULTILINE)
_ONLY_LEADS = re.compile(r"(?:(?:and|or|to|through|leads?|i{1,3}|av[rlf]|v[1-9])\b[\s–-]*)+")
_LEAD_RUN = re.compile(r"\bv([1-9])\s*(?:-|–|to|through)\s*v?([1-9])\b")


def clauses(answer: str) -> list[str]:
    """The statements of an answer: list markers off, cut at punctuation and line ends.

    A piece that only lists leads belongs to the piece before it ("Q waves in II, III and aVF").
    """
    found: list[str] = []
    for raw in re.split(r"[,;:!?\n\r]+|\.+(?=\s|$)", _MARKER.sub("", answer)):
        part = raw.strip().strip("\"'").strip()
        if found and part and _ONLY_LEADS.fullmatch(part.lower()):
            found[-1] += f", {part}"
        elif part:
            found.append(part)
    return found


def terms(text: str) -> frozenset[str]:
    """The terms of `text`; an absent one begins with ``no:``."""
    found: set[str] = set()
    for clause in re.split(r"[,;:()\n]+|\.+(?=\s|$)", text.lower()):
        spread = _LEAD_RUN.sub(_each_lead, clause)
        absent = False
        for word in _WORD.findall(_HYPHEN.sub(" ", spread)):
            if word in _ABSENCE:
                absent = True
            elif word not in _STOP:
                found.add(f"no:{_one_form(word)}" if absent else _one_form(word))
    return frozenset(found)


def _each_lead(match: re.Match[str]) -> str:
    first, last = sorted((int(match[1]), int(match[2])))
    return " ".join(f"v{number}" for number in range(first, last + 1))


def _one_form(word: str) -> str:
    if word in _SPELLING:
        return _SPELLING[word]
    if word.endswith("s") and len(word) > 3 and not word.endswith(_SINGULAR_S):
        word = word[:-1]
    return _SPELLING.get(word, word)
