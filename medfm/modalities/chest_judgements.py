"""What is judged of one radiograph: a negative, not upright, no chest, odd header; by all its measurements or at a glance.

A glance costs about a millisecond beside reading, so every radiograph that is embedded gets one; what takes longer
(writing, borders, the use of grey values) is for the full check of a cohort. How often each judgement is wrong was measured on
the real radiographs named in docs/chest_xray.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from typing import Any

import numpy as np

from medfm.modalities.chest_quality import ChestQuality, at_a_glance

# Correlation with a drawn radiograph: of a negative, and of a picture that is no chest in any position.
INVERTED, STRANGE = -0.12, 0.12
# How much more alike the picture must be upside down, or turned by a quarter.
LEAD_DOWN, LEAD_TURNED = 0.10, 0.05
_LONGEST = 512  # samples of the longer side that a glance takes


class Glance(IntFlag):
    """What a glance at one radiograph found; fits 16 bits."""

    SEEN = 1
    PA = 2
    AP = 4
    LATERAL = 8
    NEGATIVE = 16
    NOT_UPRIGHT = 32
    STRANGE = 64
    RAW = 128
    ABOVE_BITS = 256
    TWO_POLARITIES = 512
    WRITTEN = 1024


def inverted(quality: ChestQuality) -> bool:
    """Whether the lungs seem brighter than what lies around them."""
    # Turned pictures are for another check, and their negatives too.
    return quality.likeness < INVERTED and -quality.likeness > max(quality.upside_down, quality.turned) + LEAD_TURNED


def other_way_up(quality: ChestQuality) -> str | None:
    """``"upside down"``, ``"turned by a quarter"``, ``"turned or mirrored by the header"`` or ``None``."""
    if quality.orientation and quality.plane != "lateral" and quality.orientation != ("L", "F"):
        return "turned or mirrored by the header"
    if inverted(quality):
        return None
    if quality.upside_down > quality.likeness + LEAD_DOWN and quality.upside_down > STRANGE:
        return "upside down"
    if quality.turned > quality.likeness + LEAD_TURNED and quality.turned > STRANGE:
        return "turned by a quarter"
    return None


def not_a_chest(quality: ChestQuality) -> bool:
    """Whether the picture is unlike a frontal radiograph in every position and polarity; lateral views are not judged."""
    if quality.plane == "lateral":
        return False
    return max(abs(quality.likeness), quality.upside_down, quality.turned) < STRANGE


def odd_header(quality: ChestQuality) -> str | None:
    """What the header says that does not agree with the pixels, or ``None``."""
    if quality.raw:
        return "raw values for processing"
    if quality.above_bits > 0:
        return "values above the bits stored"
    contradicting = any(note.startswith("presentation is INVERSE") for note in quality.notes)
    return "polarity said in two ways" if contradicting else None


_HEADERS = {
    "raw values for processing": Glance.RAW,
    "values above the bits stored": Glance.ABOVE_BITS,
    "polarity said in two ways": Glance.TWO_POLARITIES,
}
ODD_HEADERS = {mark: words for words, mark in _HEADERS.items()}


def glance(array: np.ndarray, facts: Mapping[str, Any]) -> Glance:
    """What a glance at a radiograph float32 (height, width) in [0, 1] with its `facts` finds."""
    step = max(max(array.shape) // _LONGEST, 1)
    quality = at_a_glance(array[::step, ::step], facts)
    found = Glance.SEEN
    if quality.view in ("PA", "AP"):
        found |= Glance[quality.view]
    elif quality.view in ("LL", "RL") or quality.plane == "lateral":
        found |= Glance.LATERAL
    header = odd_header(quality)
    found |= _HEADERS[header] if header else Glance(0)
    found |= Glance.WRITTEN if quality.burned_in else Glance(0)
    if Glance.LATERAL in found:
        return found  # the drawn radiograph is a frontal one
    for mark, judged in (
        (Glance.NEGATIVE, inverted(quality)),
        (Glance.NOT_UPRIGHT, other_way_up(quality) is not None),
        (Glance.STRANGE, not_a_chest(quality)),
    ):
        found |= mark if judged else Glance(0)
    return found
