"""A small knowledge of shapes, for tests that need one they can bend."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

from medfm.core.config import build
from medfm.knowledge.load import load_knowledge
from medfm.knowledge.schema import Knowledge

SHAPES: dict[str, Any] = {
    "domain": "shapes",
    "title": "flat shapes",
    "version": 3,
    "reviewed_by": "none",
    "templates": ["a {name}.", "drawing of a {name}."],
    "context": {
        "age_and_sex": "{name} drawn by a {age}-year-old {sex}.",
        "age": "{name} drawn at {age}.",
        "sex": "{name} drawn by a {sex}.",
    },
    "code_tables": {"book": "a book of shapes"},
    "classes": [
        {"id": "round", "name": "round shape", "findings": [{"seen": "no corners"}]},
        {
            "id": "circle",
            "name": "circle",
            "synonyms": ["disc", "ring"],
            "parent": "round",
            "findings": [
                {"seen": "no corners"},
                {"seen": "constant radius", "where": "leads V1 to V3", "criterion": "within 1 percent"},
            ],
            "codes": {"geo": {"value": "C1", "checked_in": "book"}},
        },
        {"id": "ellipse", "name": "ellipse", "parent": "round", "findings": [{"seen": "two focal points"}]},
        {"id": "square", "name": "square", "synonyms": ["box"]},
    ],
    "label_sets": {
        "coarse": {"title": "two", "source": "here", "labels": {"R": "round", "S": "square"}},
        "fine": {"title": "three", "source": "here", "labels": {"C": "circle", "E": "ellipse", "S": "square"}},
    },
}


def values() -> dict[str, Any]:
    """The plain values, free to be changed."""
    return copy.deepcopy(SHAPES)


def shapes() -> Knowledge:
    """The knowledge."""
    return build(Knowledge, SHAPES, where="shapes")


@lru_cache(maxsize=1)
def ecg() -> Knowledge:
    """The shipped knowledge of electrocardiography, read once for all tests."""
    return load_knowledge("ecg")
