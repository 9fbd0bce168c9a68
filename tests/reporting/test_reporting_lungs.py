"""The drawing of a crop: what is outside is dimmed, the frame lies where the crop is, whole ones say so."""

from __future__ import annotations

import numpy as np
import pytest

from medfm.encoders.lungs import LungField
from medfm.modalities.record import Record
from medfm.reporting.drawing import Drawing, Lines, Picture, Text
from medfm.reporting.lungs import draw_crop
from medfm.reporting.show_chest import picture_box

BRIGHT = np.full((100, 200), 0.8, np.float32)


def parts(drawing: Drawing, kind: type) -> list:
    return [part for part in drawing.parts if isinstance(part, kind)]


def words(drawing: Drawing) -> str:
    return " | ".join(part.text for part in parts(drawing, Text))


def test_a_crop_is_framed_and_the_rest_dimmed() -> None:
    record = Record("r1", "chest_xray", BRIGHT, {})
    drawing = draw_crop(record, LungField("both", (10, 40, 60, 180), (0.12, 0.1)))
    assert "lungs 12% and 10% of the picture" in words(drawing) and "r1" in words(drawing)
    pixels = parts(drawing, Picture)[0].pixels[..., 0].astype(float)
    assert pixels.shape == (100, 200)
    assert pixels[10:60, 40:180].min() > 2 * pixels[:10].max() > 0
    frame = parts(drawing, Lines)[-1].lines[0]
    x, y, wide, high = picture_box(record)
    np.testing.assert_allclose(frame[:, 0].min(), x + 0.2 * wide)
    np.testing.assert_allclose(frame[:, 0].max(), x + 0.9 * wide)
    np.testing.assert_allclose([frame[:, 1].min(), frame[:, 1].max()], [y + 0.1 * high, y + 0.6 * high])
    assert record.array is BRIGHT and BRIGHT.min() == np.float32(0.8), "the record is not changed"


@pytest.mark.parametrize(("seen", "said"), [("one", "one lung only seen"), ("none", "no lung seen")])
def test_a_whole_one_says_why(seen: str, said: str) -> None:
    drawing = draw_crop(Record("r", "chest_xray", BRIGHT, {}), LungField(seen, None, (0.0, 0.1)), synthetic=True)
    assert f"{said}: kept whole" in words(drawing) and "SYNTHETIC" in words(drawing)
    assert np.ptp(parts(drawing, Picture)[0].pixels) == 0


@pytest.mark.parametrize(("side", "expected"), [(600, 600), (601, 301), (1300, 434)])
def test_large_pictures_are_thinned(side: int, expected: int) -> None:
    record = Record("r", "chest_xray", np.zeros((40, side), np.float32), {})
    assert parts(draw_crop(record, LungField("none", None, (0, 0))), Picture)[0].pixels.shape[1] == expected
