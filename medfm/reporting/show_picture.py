"""Pictures are shown as they are, enlarged, with their size below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
        if settings.text is not None and encoder is None:
            raise ConfigError("A text without an encoder has no meaning here.", fix="name it with --encoder")
        high, wide = record.array.shape[:2]
        scale = _BOX / max(high, wide)
        box = (_MARGIN, _MARGIN, wide * scale, high * scale)
        drawing = Drawing(
            _BOX + 2 * _MARGIN, high * scale + 2 * _MARGIN + 13.0, f"Picture of record {record.record_id}"
        )
        frame = rectangle(*box)
        drawing.add(Picture(*box, record.array), Lines([frame[[0, 1, 2, 3, 0]]], "#888888", 0.2))
        y = high * scale + _MARGIN + 5.5
        drawing.add(Text(_MARGIN, y, short_name(record.record_id), 3.6, bold=True))
        drawing.add(Text(_MARGIN, y + 4.6, _about(record), 3.0, colour="#333333"))
        if synthetic:
            drawing.add(Text(_MARGIN, y + 9.0, "SYNTHETIC", 3.0, bold=True, colour="#b3261e"))
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


def short_name(text: str) -> str:
    """A record's id that fits below a picture."""
    return text if len(text) <= _LETTERS else f"{text[:16]}…{text[-19:]}"


PICTURE = PictureShower()
