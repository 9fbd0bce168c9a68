"""A picture with its heat map beside it, as ``medfm data show --encoder`` draws it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from medfm.core.errors import CardError, ConfigError
from medfm.encoders.explain_picture import HeatMap, heat_map, method_for
from medfm.modalities.record import Record
from medfm.reporting.drawing import Areas, Drawing, Lines, Picture, Text, rectangle
from medfm.reporting.heat_overlay import overlay, ramp
from medfm.reporting.thumbnails import eight_bit

if TYPE_CHECKING:
    from medfm.encoders.encoder import Encoder

_GAP = 5.0  # mm between picture and heat map
_MOST = 1200  # pixels of the longer side of the overlay; the map itself is far coarser
_STEPS = 24  # of the legend
_LETTERS = 40  # to a line of 80 mm
_METHODS = {"grad_cam": "Grad-CAM", "attention_rollout": "attention roll-out"}


def look(encoder: Encoder, record: Record, text: str | None) -> HeatMap:
    """Where the encoder looks in the picture.

    Args:
        encoder: An encoder of pictures.
        record: The picture.
        text: What Grad-CAM asks for: places that raise the similarity to it. Roll-out asks nothing.

    Raises:
        CardError: The encoder cannot be explained, or a text is needed and it has no text tower.
        ConfigError: A text lacks where one is needed, or is given where it changes nothing.
    """
    method = method_for(encoder)
    if method == "attention_rollout":
        if text is not None:
            raise ConfigError(
                f"'{encoder.id}' is a transformer: its attention is the same whatever the text.",
                where="--text",
                fix="leave out --text, or use a ResNet with a text tower (such as flair-resnet50)",
            )
        return heat_map(encoder, record)
    if not encoder.has_text:
        raise CardError(
            f"The heat map of '{encoder.id}' needs a direction, and it has no text tower to give one.",
            fix="medfm probe shows it towards the classes of a probe; or use an encoder with a text tower",
        )
    if text is None or not text.strip():
        raise ConfigError(
            f"'{encoder.id}' is explained towards a text, and none is given.",
            where="--text",
            expected='what to look for, such as --text "a fundus photograph with hard exudates"',
        )
    return heat_map(encoder, record, encoder.encode_text([text])[0], cosine=True)


def add_heat(drawing: Drawing, record: Record, encoder: Encoder, text: str | None, box: tuple[float, ...]) -> None:
    """Draw the heat map to the right of a picture that lies in `box` (x, y, width, height; mm), and say what it is.

    The drawing becomes wider, and higher where the words need it.
    """
    heat = look(encoder, record, text)
    x, y, wide, high = box
    x += wide + _GAP
    rows, columns = record.array.shape[:2]
    share = min(1.0, _MOST / max(rows, columns))
    size = (max(1, round(columns * share)), max(1, round(rows * share)))
    picture = np.asarray(Image.fromarray(eight_bit(record.array)).convert("RGB").resize(size, Image.Resampling.LANCZOS))
    frame = rectangle(x, y, wide, high)
    drawing.add(Picture(x, y, wide, high, overlay(picture, heat.on_scaled((size[1], size[0])))))
    drawing.add(Lines([frame[[0, 1, 2, 3, 0]]], "#888888", 0.2))
    below = y + high + 5.5
    drawing.add(Text(x, below, f"{_METHODS[heat.method]}, {encoder.id}", 3.6, bold=True))
    lines = _words(heat, encoder, text)
    for number, line in enumerate(lines):
        drawing.add(Text(x, below + 4.6 * (number + 1), line, 3.0, colour="#333333"))
    end = below + 4.6 * (len(lines) + 1)
    step = 30.0 / _STEPS
    for number, colour in enumerate(ramp(_STEPS)):
        drawing.add(Areas([rectangle(x + number * step, end - 2.6, step, 3.0)], colour))
    drawing.add(Text(x + 32.0, end, "none to the largest here", 3.0, colour="#333333"))
    drawing.width = max(drawing.width, x + max(wide, 80.0) + 5.0)
    drawing.height = max(drawing.height, end + 5.0)


def _words(heat: HeatMap, encoder: Encoder, text: str | None) -> list[str]:
    if heat.method == "grad_cam":
        about = "nothing raises" if not heat.values.any() else "warm: raises"
        lines = wrapped(f"{about} the similarity to “{text}”")
    else:
        lines = ["warm: reaches the class token"]
    lines.append("not an outline, not a finding")
    if str(encoder.weights_kind) == "random":
        lines.append("untrained weights: means nothing")
    return lines


def wrapped(text: str) -> list[str]:
    """`text` in lines that fit below a picture; at most four."""
    import textwrap

    lines = textwrap.wrap(text, _LETTERS)
    return lines if len(lines) <= 4 else [*lines[:3], lines[3][: _LETTERS - 1] + "…"]
