"""A radiograph with the crop about its lungs: what is cut off is dimmed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medfm.encoders.lungs import LungField
from medfm.modalities.record import Record
from medfm.reporting.drawing import Drawing, Lines, Picture, Text, rectangle
from medfm.reporting.show_chest import ChestShower, picture_box
from medfm.reporting.show_picture import PictureSettings

_DIMMED, _SHARP = 0.35, 600


def draw_crop(record: Record, field: LungField, synthetic: bool = False) -> Drawing:
    """The whole radiograph, dark outside the crop, with its shares; one that is kept whole says so.

    Args:
        record: As read, not cropped.
        field: What was found in it.
        synthetic: Whether the cohort was drawn by a program.
    """
    words = f"lungs {field.shares[0]:.0%} and {field.shares[1]:.0%} of the picture"
    if field.box is None:
        drawing = ChestShower().draw(record, PictureSettings(), synthetic=synthetic)
        seen = "no lung" if field.seen == "none" else "one lung only"
        drawing.add(Text(drawing.width / 2, 4.0, f"{seen} seen: kept whole", 3.4, "middle", True, colour="#b3261e"))
        return smaller(drawing)
    top, left, bottom, right = field.box
    dimmed = np.array(record.array * np.float32(_DIMMED))
    dimmed[top:bottom, left:right] = record.array[top:bottom, left:right]
    shown = Record(record.record_id, record.modality, dimmed, record.facts)
    drawing = ChestShower().draw(shown, PictureSettings(), synthetic=synthetic)
    x, y, wide, high = picture_box(record)
    rows, columns = record.array.shape
    across, down = wide / columns, high / rows
    frame = rectangle(x + left * across, y + top * down, (right - left) * across, (bottom - top) * down)
    drawing.add(Lines([frame[[0, 1, 2, 3, 0]]], "#f2b705", 0.5))
    drawing.add(Text(drawing.width / 2, 4.0, words, 3.0, "middle", colour="#333333"))
    return smaller(drawing)


def smaller(drawing: Drawing) -> Drawing:
    """The drawing with at most about 600 pixels on a picture's side: twelve stand on one sheet."""
    for place, part in enumerate(drawing.parts):
        if isinstance(part, Picture):
            step = max(-(-max(part.pixels.shape[:2]) // _SHARP), 1)
            drawing.parts[place] = replace(part, pixels=part.pixels[::step, ::step])
    return drawing
