"""Pictures are shown as they are, enlarged, with their size below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from medfm.core.config import StrictConfig
from medfm.core.errors import ConfigError
from medfm.modalities.record import Record
from medfm.reporting.drawing import Drawing, Lines, Picture, Text, rectangle
from medfm.reporting.show_heat import add_heat
from medfm.reporting.thumbnails import thumbnail

if TYPE_CHECKING:
    from medfm.encoders.encoder import Encoder

_BOX = 80.0  # mm of the longer side
_MARGIN = 5.0
_LETTERS = 36  # that fit below a picture


class PictureSettings(StrictConfig):
    """A picture is shown whole. Attributes: text: what an encoder's heat map asks for (Grad-CAM)."""

    text: str | None = None


class PictureShower:
    """See :class:`medfm.reporting.show.Shower`."""

    settings: type[StrictConfig] = PictureSettings
    columns = 3

    def draw(
        self, record: Record, settings: PictureSettings, encoder: Encoder | None = None, synthetic: bool = False
    ) -> Drawing:
        """The picture with its id and size; with an encoder also its heat map.

        Raises:
            CardError, ConfigError: The encoder cannot be explained, or the text does not fit it.
        """
        refuse_text_alone(settings.text, encoder)
        high, wide = record.array.shape[:2]
        scale = _BOX / max(high, wide)
        box = (_MARGIN, _MARGIN, wide * scale, high * scale)
        drawing = Drawing(
            _BOX + 2 * _MARGIN, high * scale + 2 * _MARGIN + 13.0, f"Picture of record {record.record_id}"
        )
        add_framed(drawing, record.array, box)
        y = high * scale + _MARGIN + 5.5
        add_captions(drawing, record.record_id, [_about(record)], _MARGIN, y)
        if synthetic:
            add_synthetic(drawing, _MARGIN, y + 9.0)
        if encoder is not None:
            add_heat(drawing, record, encoder, settings.text, box)
        return drawing

    def in_report(
        self, records: Sequence[Record], encoder: Encoder | None = None, synthetic: bool = False
    ) -> list[bytes]:
        """JPEG thumbnails."""
        return [thumbnail(record.array) for record in records]


def _about(record: Record) -> str:
    facts = record.facts
    parts = [f"{record.array.shape[1]} x {record.array.shape[0]} pixels"]
    parts += [str(facts["format"]).upper()] if facts.get("format") else []
    parts += [f"{facts['source_bits']} bit"] if facts.get("source_bits") else []
    parts += [f"{facts['mpp']:g} µm/px"] if facts.get("mpp") else []
    return ", ".join(parts)


def refuse_text_alone(text: str | None, encoder: Encoder | None) -> None:
    """Raise ConfigError where a `text` is asked for and no encoder could read it."""
    if text is not None and encoder is None:
        raise ConfigError("A text without an encoder has no meaning here.", fix="name it with --encoder")


def add_framed(drawing: Drawing, pixels: np.ndarray, box: tuple[float, float, float, float]) -> None:
    """Add a picture uint8 (h, w, 3) with a thin frame; `box` is x, y, width and height in mm."""
    drawing.add(Picture(*box, pixels), Lines([rectangle(*box)[[0, 1, 2, 3, 0]]], "#888888", 0.2))


def add_captions(drawing: Drawing, name: str, facts: Sequence[str], x: float, y: float) -> None:
    """Add a record's id, and below it lines of facts 4.6 mm apart."""
    drawing.add(Text(x, y, short_name(name), 3.6, bold=True))
    for row, text in enumerate(facts, 1):
        drawing.add(Text(x, y + 4.6 * row, text, 3.0, colour="#333333"))


def add_synthetic(drawing: Drawing, x: float, y: float) -> None:
    """Say that nobody is shown here."""
    drawing.add(Text(x, y, "SYNTHETIC", 3.0, bold=True, colour="#b3261e"))


def short_name(text: str) -> str:
    """A record's id that fits below a picture."""
    return text if len(text) <= _LETTERS else f"{text[:16]}…{text[-19:]}"


PICTURE = PictureShower()
