"""Measurements of radiographs on drawn ones: polarity, which way up, borders, clipping, writing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from medfm.cohorts.synthetic_chest import Detector, Thorax, draw_opacities, draw_thorax, exposed
from medfm.modalities.chest_quality import ChestQuality, drawn, letters, measure

PLAIN = Detector(1.0, 1.0, 0.5, 0.01, "R", (0.05, 0.05))


def radiograph(height: int = 240, width: int = 240, seed: int = 0, detector: Detector = PLAIN) -> np.ndarray:
    rng = np.random.default_rng(seed)
    density = draw_thorax(Thorax(1.0, 1.0, 0.2, 1.0, 1.0), draw_opacities("mild", rng), 0.0, height, width, rng)
    return exposed(density, detector, rng).astype(np.float32)


def test_the_template_is_a_chest() -> None:
    picture = drawn()
    assert picture.shape == (32, 32) and np.isfinite(picture).all()
    lung, middle, corner, belly = picture[14, 9], picture[14, 16], picture[1, 2], picture[29, 16]
    assert lung < middle and corner < middle and lung < belly
    assert picture[16:, 17:22].sum() > picture[16:, 10:15].sum()  # the heart lies to the patient's left


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(240, 240), (120, 100), (300, 350)])
def test_likeness_tells_the_position(seed: int, shape: tuple[int, int]) -> None:
    picture = radiograph(*shape, seed=seed)
    quality = measure(picture, {})
    assert quality.likeness > 0.3 and quality.likeness > max(quality.upside_down, quality.turned) + 0.1
    negative = measure(1 - picture, {})
    assert negative.likeness == pytest.approx(-quality.likeness, abs=0.01)
    over = measure(np.ascontiguousarray(picture[::-1]), {})
    assert (over.likeness, over.upside_down) == pytest.approx((quality.upside_down, quality.likeness), abs=0.01)
    assert measure(np.ascontiguousarray(np.rot90(picture)), {}).turned == pytest.approx(quality.likeness, abs=0.01)


def test_grey_scales_do_not_matter() -> None:
    picture = radiograph()
    plain = measure(picture, {})
    for gamma in (0.4, 2.5):
        assert measure(picture**gamma, {}).likeness == pytest.approx(plain.likeness, abs=0.03)


def test_borders_clipping_and_spread() -> None:
    picture = radiograph()
    plain = measure(picture, {})
    assert plain.border < 0.1 and plain.clipped < 0.01 and plain.spread > 0.2 and plain.size == (240, 240)
    boxed = measure(np.pad(picture, ((0, 0), (120, 120))), {})
    assert boxed.border == pytest.approx(0.5, abs=0.06)
    assert measure(np.minimum(picture, np.quantile(picture, 0.9)).astype(np.float32), {}).clipped > 0.05
    faint = measure(picture / 16, {"bits_stored": 16})
    assert faint.spread < 0.1 and faint.brightest < 0.1 and faint.bits == 16


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_picture_is_like_nothing(value: float) -> None:
    quality = measure(np.full((50, 40), value, np.float32), {})
    assert (quality.likeness, quality.upside_down, quality.turned) == (0.0, 0.0, 0.0)
    assert quality.spread == 0 and quality.clipped == 1 and quality.border == 1 and quality.letters == 0


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (9, 2), (16, 16)])
def test_tiny_pictures_are_measured(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    quality = measure(rng.random(shape).astype(np.float32), {})
    assert all(np.isfinite(value) for value in (quality.likeness, quality.spread, quality.border))


@pytest.mark.parametrize("size", [240, 900])
@pytest.mark.parametrize("level", [0.02, 0.92])
def test_writing_is_a_row_of_letters_and_a_marker_is_not(size: int, level: float) -> None:
    # Without noise, so that only the letters decide.
    picture = radiograph(detector=dataclasses.replace(PLAIN, noise=0.0, gamma=1.3)) * np.float32(0.7)
    picture = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)).clip(0, 1)
    assert letters(picture) < 4
    image = Image.fromarray((picture * 255).astype(np.uint8))
    font = ImageFont.load_default(size=size / 20)
    ImageDraw.Draw(image).text((size * 0.3, size * level), "KX 27 HE", fill=255, font=font)
    assert letters(np.asarray(image, np.float32) / 255) >= 4


def test_facts_are_taken_over() -> None:
    facts = {
        "view": "AP", "plane": "frontal", "patient_orientation": ["L", "F"], "burned_in": True, "bits_stored": 12,
        "kind": "DX for processing", "above_bits_stored": 0.25, "notes": ["a"],
    }  # fmt: skip
    quality = measure(radiograph(64, 64), facts)
    assert (quality.view, quality.plane, quality.sides, quality.orientation) == ("AP", "frontal", True, ("L", "F"))
    assert (quality.burned_in, quality.raw, quality.above_bits, quality.bits) == (True, True, 0.25, 12)
    assert quality.notes == ("a",)
    lateral = measure(radiograph(64, 64), {"patient_orientation": ["A", "F"]})
    assert not lateral.sides and isinstance(lateral, ChestQuality)
