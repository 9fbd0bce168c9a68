"""Drawings of radiographs: proportions, sides, words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medfm.core.errors import ConfigError
from medfm.modalities.record import Record
from medfm.reporting.drawing import Picture
from medfm.reporting.show import shower
from medfm.reporting.show_chest import proportions, sides
from medfm.reporting.show_picture import PictureSettings


def record(shape: tuple[int, int] = (40, 30), **facts: Any) -> Record:
    array = np.linspace(0, 1, shape[0] * shape[1], dtype=np.float32).reshape(shape)
    return Record("chest 1", "chest_xray", array, {"format": "dicom", "kind": "DX", "bits_stored": 12, **facts})


def draw(one: Record, **more: Any) -> Any:
    return shower("chest_xray").draw(one, PictureSettings(), **more)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (["L", "F"], ("R", "L", True)),
        (["R", "F"], ("L", "R", True)),
        (["A", "F"], ("P", "A", True)),
        (["LA", "F"], ("R", "L", True)),
        ([], ("?", "?", False)),
        (None, ("?", "?", False)),
        (["X", "Y"], ("?", "?", False)),
    ],
)
def test_sides_are_those_of_the_header(orientation: Any, expected: tuple[str, str, bool]) -> None:
    one = record(patient_orientation=orientation)
    assert sides(one) == expected
    svg = draw(one).svg()
    assert f">{expected[0]}</text>" in svg and f">{expected[1]}</text>" in svg
    assert ("sides not known" in svg) is not expected[2]


def test_proportions_are_true() -> None:
    assert proportions(record()) == (30, 40)
    assert proportions(record(spacing_mm=[0.2, 0.1])) == pytest.approx((3, 8))
    assert proportions(record(pixel_aspect=2.0)) == (30, 80)
    for facts, ratio in (({}, 0.75), ({"spacing_mm": [0.1, 0.2]}, 1.5)):
        (picture,) = [part for part in draw(record(**facts)).parts if isinstance(part, Picture)]
        assert picture.width / picture.height == pytest.approx(ratio) and max(picture.width, picture.height) == 80


def test_pixels_are_grey_and_whole() -> None:
    (picture,) = [part for part in draw(record()).parts if isinstance(part, Picture)]
    assert picture.pixels.shape == (40, 30, 3) and picture.pixels.dtype == np.uint8
    assert (picture.pixels.min(), picture.pixels.max()) == (0, 255)
    assert (picture.pixels[..., 0] == picture.pixels[..., 2]).all()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"view": "PA", "photometric": "MONOCHROME1", "patient_orientation": ["L", "F"]},
            ["PA", "MONOCHROME1", "12 bit"],
        ),
        ({"view": "LL"}, ["left lateral"]),
        ({}, ["view not known"]),
        ({"kind": None, "format": "png", "photometric": "not stated", "bits_stored": 8}, ["PNG", "8 bit"]),
    ],
)
def test_words(facts: dict[str, Any], words: list[str]) -> None:
    svg = draw(record(**facts)).svg()
    assert all(word in svg for word in [*words, "chest 1", "30 x 40 pixels"]) and "not stated" not in svg


def test_synthetic_and_thumbnails_and_texts() -> None:
    assert "SYNTHETIC" in draw(record(), synthetic=True).svg() and "SYNTHETIC" not in draw(record()).svg()
    assert all(small[:3] == b"\xff\xd8\xff" for small in shower("chest_xray").in_report([record(), record((5, 90))]))
    with pytest.raises(ConfigError, match="encoder"):
        shower("chest_xray").draw(record(), PictureSettings(text="opacity"))
