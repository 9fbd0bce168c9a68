"""Brain MRI as three slices: which side is where, proportions, what is written below."""

from __future__ import annotations

import re

import numpy as np
import pytest
from brain_volumes import head

from medfm.core.errors import ConfigError
from medfm.io.volumes.volume import to_ras
from medfm.modalities.record import Record
from medfm.reporting.drawing import Lines, Picture
from medfm.reporting.show import facts_table, shower
from medfm.reporting.show_volume import VolumeSettings, panels, side_by_side

SHOWER = shower("brain_mri")


def record(array: np.ndarray | None = None, affine: np.ndarray | None = None, **facts: object) -> Record:
    array = head() if array is None else array
    affine = np.diag([4.0, 4, 4, 1]) if affine is None else affine
    known = {
        "format": "nifti1",
        "affine": affine.tolist(),
        "spacing_mm": np.linalg.norm(affine[:3, :3], axis=0).tolist(),
        "left_right": "known",
    }
    return Record("scan 7", "brain_mri", array.astype(np.float32), known | facts)


def marked(where: tuple[str, ...]) -> Record:
    """A head of one grey with a bright half towards each of the given sides."""
    array = np.full((40, 48, 44), 10.0)
    for side in where:
        axis, upper = {"R": (0, 1), "L": (0, 0), "A": (1, 1), "P": (1, 0), "S": (2, 1), "I": (2, 0)}[side]
        part = [slice(None)] * 3
        half = array.shape[axis] // 2
        part[axis] = slice(half, None) if upper else slice(0, half)
        array[tuple(part)] += 100
    return record(array)


@pytest.mark.parametrize(
    ("side", "panel", "bright"),
    [
        ("R", 1, "left"), ("R", 2, "left"), ("L", 1, "right"), ("L", 2, "right"),
        ("A", 0, "left"), ("P", 0, "right"), ("A", 2, "top"), ("P", 2, "bottom"),
        ("S", 0, "top"), ("S", 1, "top"), ("I", 0, "bottom"), ("I", 1, "bottom"),
    ],
)  # fmt: skip
def test_radiological_convention(side: str, panel: int, bright: str) -> None:
    part = panels(marked((side,)))[panel]
    pixels = part.values.astype(float)
    halves = {
        "left": pixels[:, : pixels.shape[1] // 2],
        "right": pixels[:, pixels.shape[1] // 2 :],
        "top": pixels[: pixels.shape[0] // 2],
        "bottom": pixels[pixels.shape[0] // 2 :],
    }
    opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[bright]
    assert halves[bright].mean() > halves[opposite].mean() + 100
    letters = {"left": part.sides[0], "right": part.sides[1], "top": part.ends[0], "bottom": part.ends[1]}
    assert letters[bright] == side


def test_the_order_of_the_array_does_not_matter() -> None:
    array, affine = head(), np.diag([4.0, 4, 4, 1])
    flipped = np.diag([-4.0, 4, -4, 1])
    flipped[:3, 3] = [4 * (array.shape[0] - 1), 0, 4 * (array.shape[2] - 1)]
    one, other = panels(record(array, affine)), panels(record(array[::-1, :, ::-1], flipped))
    assert np.array_equal(to_ras(array[::-1, :, ::-1], flipped)[0], array)
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a.values, b.values) and a.size == b.size


def test_proportions_are_those_of_the_head() -> None:
    thick = record(head(2.0)[:, :, ::4], np.diag([2.0, 2, 8, 1]))
    for part, even in zip(panels(thick), panels(record()), strict=True):
        assert part.size == pytest.approx(even.size, rel=0.02)
    drawing = SHOWER.draw(thick, VolumeSettings())
    boxes = [part for part in drawing.parts if isinstance(part, Picture)]
    scales = [box.width / part.size[0] for box, part in zip(boxes, panels(thick), strict=True)]
    scales += [box.height / part.size[1] for box, part in zip(boxes, panels(thick), strict=True)]
    assert max(scales) == pytest.approx(min(scales), rel=1e-6)
    bar = next(part for part in drawing.parts if isinstance(part, Lines))
    assert bar.lines[0][1, 0] - bar.lines[0][0, 0] == pytest.approx(50 * scales[0])
    assert max(box.x + box.width for box in boxes) < drawing.width
    assert max(box.y + box.height for box in boxes) < drawing.height


def test_words_and_letters() -> None:
    svg = SHOWER.draw(record(), VolumeSettings()).svg()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert texts.count("R") == texts.count("L") == 2 and texts.count("S") == texts.count("I") == 2
    assert texts.count("A") == texts.count("P") == 2 and "scan 7" in texts
    assert "50 x 62 x 60 voxels of 4 x 4 x 4 mm, NIFTI1" in texts
    assert any("radiological convention" in text for text in texts)
    assert "oblique" not in svg and "SYNTHETIC" not in svg
    assert "SYNTHETIC" in SHOWER.draw(record(), VolumeSettings(), synthetic=True).svg()


def test_unknown_sides_are_not_named() -> None:
    svg = SHOWER.draw(record(left_right="not known"), VolumeSettings()).svg()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert "R" not in texts and "L" not in texts and texts.count("?") == 4
    assert any("LEFT AND RIGHT ARE NOT KNOWN" in text for text in texts) and "radiological" not in svg


def test_oblique_volumes_and_damaged_voxels_say_so() -> None:
    angle = np.radians(12)
    affine = np.eye(4) * 4
    affine[:2, :2] = 4 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine[3, 3] = 1
    array = head()
    array[5, 5, 5] = np.nan
    svg = SHOWER.draw(record(array, affine, not_finite=1), VolumeSettings()).svg()
    assert "oblique by 12°" in svg and "1 voxels are no numbers" in svg


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 5, 6)),
        np.full((4, 5, 6), -3.0),
        np.full((2, 2, 2), np.nan),
        -head(),
        np.eye(6)[:, :, None] * np.ones(6),
    ],
)
def test_odd_volumes_are_drawn(array: np.ndarray) -> None:
    assert SHOWER.draw(record(array), VolumeSettings()).svg().count("<image") == 3


def test_thumbnails_for_reports() -> None:
    pictures = SHOWER.in_report([record(), record(head(8.0), np.diag([8.0, 8, 8, 1]))])
    assert len(pictures) == 2 and all(picture[:3] == b"\xff\xd8\xff" for picture in pictures)
    sheet = side_by_side(panels(record()))
    assert sheet.dtype == np.uint8 and sheet.shape[0] == 224 and sheet.shape[2] == 3
    assert sheet.shape[1] == pytest.approx(224 * (248 + 200 + 200) / 248 + 8, abs=4)


def test_an_encoder_is_refused() -> None:
    with pytest.raises(ConfigError, match="not drawn for volumes"):
        SHOWER.draw(record(), VolumeSettings(), encoder=object())  # type: ignore[arg-type]


def test_facts_are_rows() -> None:
    rows = dict(facts_table(record()))
    assert rows["shape"] == "50 x 62 x 60, float32" and rows["left right"] == "known"
