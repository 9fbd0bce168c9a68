"""Brain MRI is shown as three orthogonal slices in true proportions, in radiological convention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from medfm.core.config import StrictConfig
from medfm.core.errors import ConfigError
from medfm.io.volumes.volume import obliqueness, to_ras
from medfm.modalities.record import Record
from medfm.reporting.drawing import Drawing, Lines, Picture, Text
from medfm.reporting.thumbnails import thumbnail
from medfm.reporting.volume_slices import Slice, grey, slices

if TYPE_CHECKING:
    from medfm.encoders.encoder import Encoder

_WIDTH, _MARGIN, _GAP, _TITLE = 190.0, 7.0, 9.0, 7.0  # mm of the sheet
_DARK, _BRIGHT = 1.0, 99.7  # percentiles of what is not air
_LETTERS = 60


class VolumeSettings(StrictConfig):
    """A volume is shown by three slices through the middle of the head."""


class VolumeShower:
    """See :class:`medfm.reporting.show.Shower`."""

    settings: type[StrictConfig] = VolumeSettings
    columns = 1

    def draw(
        self, record: Record, settings: VolumeSettings, encoder: Encoder | None = None, synthetic: bool = False
    ) -> Drawing:
        """Sagittal, coronal and axial slice with letters at their sides, a scale bar and the facts below.

        Raises:
            ConfigError: An encoder is given; where it looks is not drawn for volumes.
        """
        if encoder is not None:
            raise ConfigError("Where an encoder looks is not drawn for volumes.", fix="leave out --encoder")
        parts = panels(record)
        scale = (_WIDTH - 2 * _MARGIN - 2 * _GAP) / sum(panel.size[0] for panel in parts)
        tallest = max(panel.size[1] for panel in parts) * scale
        drawing = Drawing(_WIDTH, tallest + 2 * _MARGIN + _TITLE + 20.0, f"Brain MRI of record {record.record_id}")
        x, top = _MARGIN, _MARGIN + _TITLE
        for panel in parts:
            wide, high = panel.size[0] * scale, panel.size[1] * scale
            middle, beside = x + wide / 2, top + high / 2 + 1.2
            drawing.add(
                Text(x, top - 4.6, f"{panel.name}, {panel.at[0] + 1} of {panel.at[1]}", 2.8, colour="#333333"),
                Picture(x, top, wide, high, np.repeat(panel.values[:, :, None], 3, axis=2)),
                Text(middle, top - 0.8, panel.ends[0], 3.2, "middle", bold=True),
                Text(middle, top + high + 3.4, panel.ends[1], 3.2, "middle", bold=True),
                Text(x - 0.8, beside, panel.sides[0], 3.2, "end", bold=True),
                Text(x + wide + 0.8, beside, panel.sides[1], 3.2, bold=True),
            )
            x += wide + _GAP
        y = top + tallest + 9.0
        bar = 50.0 * scale
        right = _WIDTH - _MARGIN
        drawing.add(
            Lines([np.array([(right - bar, y - 1.2), (right, y - 1.2)])], "#111111", 0.6),
            Text(right - bar / 2, y + 2.6, "50 mm", 2.8, "middle"),
            Text(_MARGIN, y, _short(record.record_id), 3.6, bold=True),
            Text(_MARGIN, y + 4.8, _about(record), 3.0, colour="#333333"),
            Text(_MARGIN, y + 9.4, _convention(record), 3.0, colour="#333333"),
        )
        if synthetic:
            drawing.add(Text(right, y + 9.4, "SYNTHETIC", 3.0, "end", bold=True, colour="#b3261e"))
        return drawing

    def in_report(
        self, records: Sequence[Record], encoder: Encoder | None = None, synthetic: bool = False
    ) -> list[bytes]:
        """JPEG thumbnails: the three slices side by side."""
        return [thumbnail(side_by_side(panels(record))) for record in records]


def panels(record: Record) -> tuple[Slice, Slice, Slice]:
    """The three slices through the middle of the head as grey values uint8, the patient's right at the left of the picture."""
    affine = np.asarray(record.facts["affine"], np.float64)
    dark, bright = _window(to_ras(record.array, affine)[0])
    found = slices(record.array, affine, sides_known=record.facts.get("left_right") == "known")
    made = [replace(one, values=grey(one.values, dark, bright)[:, :, 0]) for one in found]
    return made[0], made[1], made[2]


def side_by_side(parts: Sequence[Slice], height: int = 224) -> np.ndarray:
    """The panels as one picture uint8 (height, width, 3), each as high as its millimetres say."""
    from PIL import Image

    scale = height / max(panel.size[1] for panel in parts)
    pictures = [
        Image.fromarray(panel.values).resize(
            (max(round(panel.size[0] * scale), 1), max(round(panel.size[1] * scale), 1)), Image.Resampling.BILINEAR
        )
        for panel in parts
    ]
    sheet = Image.new("L", (sum(picture.width for picture in pictures) + 4 * (len(pictures) - 1), height))
    x = 0
    for picture in pictures:
        sheet.paste(picture, (x, (height - picture.height) // 2))
        x += picture.width + 4
    return np.repeat(np.asarray(sheet)[:, :, None], 3, axis=2)


def _window(array: np.ndarray) -> tuple[float, float]:
    """Darkest and brightest value shown."""
    step = [max(n // 96, 1) for n in array.shape]
    sample = array[:: step[0], :: step[1], :: step[2]]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 1.0
    low = float(sample.min())
    inside = sample[sample > low]
    if not inside.size:
        return low, low + 1.0
    dark = low if low >= 0 else float(np.percentile(inside, _DARK))
    bright = float(np.percentile(inside, _BRIGHT))
    return dark, bright if bright > dark else dark + 1.0


def _about(record: Record) -> str:
    facts = record.facts
    sizes = " x ".join(map(str, record.array.shape))
    spacing = " x ".join(f"{side:.3g}" for side in facts["spacing_mm"])
    parts = [f"{sizes} voxels of {spacing} mm", str(facts.get("format", "")).upper()]
    oblique = obliqueness(np.asarray(facts["affine"], np.float64))
    parts += [f"oblique by {oblique:.0f}°, shown along the voxels"] if oblique >= 1 else []
    parts += [f"{facts['not_finite']:,} voxels are no numbers"] if facts.get("not_finite") else []
    return ", ".join(part for part in parts if part)


def _convention(record: Record) -> str:
    if record.facts.get("left_right") == "known":
        return "radiological convention: the patient's right (R) is at the left of coronal and axial slices"
    return "LEFT AND RIGHT ARE NOT KNOWN: the file does not say which side is which"


def _short(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[:28]}…{text[-31:]}"


VOLUME_PANELS = VolumeShower()
