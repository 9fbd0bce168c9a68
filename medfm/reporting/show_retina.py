"""Fundus photographs are shown whole, with the eye and the field of view; OCT volumes by their middle B-scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from medfm.core.config import StrictConfig
from medfm.core.errors import ReadError
from medfm.modalities.fundus_field import field_of_view
from medfm.modalities.record import Record
from medfm.reporting.drawing import Drawing, Lines, Text
from medfm.reporting.show_picture import PICTURE, PictureSettings
from medfm.reporting.thumbnails import thumbnail

if TYPE_CHECKING:
    from medfm.encoders.encoder import Encoder

_EYES = {"R": "right eye (OD)", "L": "left eye (OS)"}
_BOX, _MARGIN = 80.0, 5.0  # as show_picture draws


class FundusSettings(StrictConfig):
    """Attributes: field: whether the edge of the field of view is drawn; text: what an encoder's heat map asks for."""

    field: bool = False
    text: str | None = None


class RetinaShower:
    """See :class:`medfm.reporting.show.Shower`."""

    settings: type[StrictConfig] = FundusSettings
    columns = 3

    def draw(
        self, record: Record, settings: FundusSettings, encoder: Encoder | None = None, synthetic: bool = False
    ) -> Drawing:
        """The photograph with its id, its size and the eye; with an encoder also its heat map.

        Raises:
            CardError, ConfigError: The encoder cannot be explained, or the text does not fit it.
            ReadError: An encoder is given, and the record is an OCT volume.
        """
        picture = _as_picture(record)
        if encoder is not None and picture is not record:
            raise ReadError("Heat maps are drawn of photographs, and this is an OCT volume.", where=record.record_id)
        drawing = PICTURE.draw(picture, PictureSettings(text=settings.text), encoder, synthetic)
        high, wide = picture.array.shape[:2]
        scale = _BOX / max(high, wide)
        if settings.field and picture is record:
            field = field_of_view(picture.array)
            if field.found:
                angles = np.linspace(0, 2 * np.pi, 181)
                x = np.clip(field.centre[0] + 0.5 + field.radius * np.cos(angles), field.box[2], field.box[3])
                y = np.clip(field.centre[1] + 0.5 + field.radius * np.sin(angles), field.box[0], field.box[1])
                drawing.add(Lines([np.stack([_MARGIN + x * scale, _MARGIN + y * scale], axis=1)], "#1a73e8", 0.4))
        about = _EYES.get(str(record.facts.get("laterality")), "eye not known")
        if picture is not record:
            about += f", OCT, B-scan {len(record.array) // 2 + 1} of {len(record.array)}"
        drawing.add(
            Text(_MARGIN + (28.0 if synthetic else 0.0), high * scale + _MARGIN + 14.5, about, 3.0, colour="#333333")
        )
        return drawing

    def in_report(
        self, records: Sequence[Record], encoder: Encoder | None = None, synthetic: bool = False
    ) -> list[bytes]:
        """JPEG thumbnails."""
        return [thumbnail(_as_picture(record).array) for record in records]


def _as_picture(record: Record) -> Record:
    """The record, or of a volume its middle B-scan, scaled by its own brightest value."""
    if record.facts.get("kind") != "oct":
        return record
    scan = record.array[len(record.array) // 2].astype(np.float64)
    grey = np.rint(scan * (255.0 / max(float(scan.max()), 1.0))).astype(np.uint8)
    return replace(record, array=np.repeat(grey[:, :, None], 3, axis=2))


RETINA_PICTURE = RetinaShower()
