"""Chest radiographs are shown whole, in true proportions, with the sides where the file tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medfm.modalities.record import Record
from medfm.reporting.drawing import Drawing, Text
from medfm.reporting.show_heat import add_heat
from medfm.reporting.show_picture import (
    PictureSettings,
    PictureShower,
    add_captions,
    add_framed,
    add_synthetic,
    refuse_text_alone,
)
from medfm.reporting.thumbnails import eight_bit

if TYPE_CHECKING:
    from medfm.encoders.encoder import Encoder

_BOX, _MARGIN, _SIDE = 80.0, 5.0, 6.0  # mm: longer side of the picture, edge, room for the letters
_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "H": "F", "F": "H"}
_VIEWS = {"PA": "PA", "AP": "AP", "LL": "left lateral", "RL": "right lateral"}


class ChestShower(PictureShower):
    """See :class:`medfm.reporting.show.Shower`."""

    def draw(
        self, record: Record, settings: PictureSettings, encoder: Encoder | None = None, synthetic: bool = False
    ) -> Drawing:
        """The radiograph with its id, view and origin; with an encoder also its heat map.

        Letters at the sides say where the patient's right and left are, question marks that the file does not tell.

        Raises:
            CardError, ConfigError: The encoder cannot be explained, or the text does not fit it.
        """
        refuse_text_alone(settings.text, encoder)
        box = picture_box(record)
        width = max(box[2] + 2 * (_MARGIN + _SIDE), 62.0)
        drawing = Drawing(width, box[3] + 2 * _MARGIN + 18.0, f"Radiograph of record {record.record_id}")
        add_framed(drawing, np.repeat(eight_bit(record.array)[:, :, None], 3, axis=2), box)
        left, right, known = sides(record)
        middle = box[1] + box[3] / 2 + 1.5
        colour = "#111111" if known else "#888888"
        drawing.add(Text(box[0] - _SIDE / 2, middle, left, 4.5, anchor="middle", bold=True, colour=colour))
        drawing.add(Text(box[0] + box[2] + _SIDE / 2, middle, right, 4.5, anchor="middle", bold=True, colour=colour))
        y = box[1] + box[3] + 5.5
        add_captions(drawing, record.record_id, [_view(record, known), _about(record)], box[0], y)
        if synthetic:
            add_synthetic(drawing, box[0], y + 13.8)
        if encoder is not None:
            add_heat(drawing, record, encoder, settings.text, box)
        return drawing


def picture_box(record: Record) -> tuple[float, float, float, float]:
    """Where the drawing of a radiograph has its pixels: x, y, width and height in mm."""
    wide, high = proportions(record)
    scale = _BOX / max(wide, high)
    return _MARGIN + _SIDE, _MARGIN, wide * scale, high * scale


def proportions(record: Record) -> tuple[float, float]:
    """Width and height in one unit: mm where the file has a spacing, else pixels with their aspect."""
    high, wide = record.array.shape[:2]
    spacing = record.facts.get("spacing_mm")
    if isinstance(spacing, (list, tuple)) and len(spacing) == 2:
        return wide * float(spacing[1]), high * float(spacing[0])
    return float(wide), high * float(record.facts.get("pixel_aspect", 1.0))


def sides(record: Record) -> tuple[str, str, bool]:
    """Letters at the left and right of the picture, and whether the file tells them."""
    orientation = record.facts.get("patient_orientation")
    first = str(orientation[0])[:1] if isinstance(orientation, (list, tuple)) and orientation else ""
    if first not in _OPPOSITE:
        return "?", "?", False
    return _OPPOSITE[first], first, True


def _view(record: Record, known: bool) -> str:
    view = _VIEWS.get(str(record.facts.get("view")), "view not known")
    return view if known else f"{view}; sides not known (usually R at the left)"


def _about(record: Record) -> str:
    facts = record.facts
    parts = [f"{record.array.shape[1]} x {record.array.shape[0]} pixels"]
    parts += [str(facts.get("kind") or facts.get("format", "")).upper().replace("FOR PROCESSING", "raw")]
    parts += [f"{facts['bits_stored']} bit"] if facts.get("bits_stored") else []
    if facts.get("photometric") not in (None, "not stated"):
        parts.append(str(facts["photometric"]))
    return ", ".join(part for part in parts if part)


CHEST_PICTURE = ChestShower()
