"""A picture with its heat map beside it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_picture_encoder import NAME, WORDS, put_tiny_picture_encoder

import medfm
from medfm.core.errors import CardError, ConfigError, ReadError
from medfm.encoders.encoder import Encoder
from medfm.modalities.record import Record
from medfm.reporting.drawing import Picture
from medfm.reporting.heat_overlay import overlay, ramp
from medfm.reporting.show import shower
from medfm.reporting.show_heat import look, wrapped

PIXELS = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
PHOTO = Record("eye-1", "retina", PIXELS, {"kind": "photograph"})
QUESTION = "a fundus photograph with hard exudates"


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    monkeypatch.setenv("MEDFM_CARDS", str(put_tiny_picture_encoder(tmp_path / "cards")))
    return medfm.load_encoder(NAME, weights="random")


@pytest.fixture
def vit(monkeypatch: pytest.MonkeyPatch) -> Encoder:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent / "encoders")
    from test_explain_picture import VIT, card_of

    from medfm.encoders.dinov2 import build_vit

    return Encoder(card_of("dinov2-vitb14", VIT, 16, 32), build_vit(VIT), "random", "untrained")


def draw(record: Record, encoder: Encoder | None, **settings: object):
    artist = shower(record.modality)
    return artist.draw(record, artist.settings(**settings), encoder)


@pytest.mark.parametrize("modality", ["retina", "histopathology", "blood_cell"])
def test_picture_and_map_side_by_side(encoder, modality):
    record = Record("eye-1", modality, PIXELS, {})
    plain, both = draw(record, None), draw(record, encoder, text=QUESTION)
    first, second = (part for part in both.parts if isinstance(part, Picture))
    assert (first.y, first.height, first.width) == (second.y, second.height, second.width)
    assert second.x > first.x + first.width and both.width >= second.x + second.width
    assert both.height >= plain.height and np.array_equal(first.pixels, PIXELS)
    heat = look(encoder, record, QUESTION)
    np.testing.assert_array_equal(second.pixels, overlay(PIXELS, heat.on_scaled((90, 120))))
    text = re.sub(r"<[^>]+>", " ", both.svg())
    for words in ("Grad-CAM, tiny-picture", "hard exudates", "not a finding", "untrained weights"):
        assert words in text


def test_roll_out_needs_no_question_and_refuses_one(vit):
    record = Record("cell", "blood_cell", PIXELS, {})
    text = re.sub(r"<[^>]+>", " ", draw(record, vit).svg())
    assert "attention roll-out" in text and "reaches the class token" in text
    with pytest.raises(ConfigError, match="same whatever the text"):
        draw(record, vit, text="anything")


@pytest.mark.parametrize("text", [None, "", "  "])
def test_grad_cam_needs_a_question(encoder, text):
    with pytest.raises(ConfigError, match="towards a text"):
        draw(PHOTO, encoder, text=text)


def test_refusals(encoder):
    with pytest.raises(ConfigError, match="without an encoder"):
        draw(PHOTO, None, text=QUESTION)
    bare = Encoder(encoder.card, encoder.module, "random", "untrained")
    bare.__dict__["_text_keys"] = {}
    with pytest.raises(CardError, match="no text tower"):
        draw(PHOTO, bare, text=QUESTION)
    with pytest.raises(CardError, match="fixed formula"):
        draw(PHOTO, medfm.load_encoder("color-histogram"))
    volume = Record("oct", "retina", np.zeros((5, 40, 50), np.uint8), {"kind": "oct"})
    with pytest.raises(ReadError, match="OCT volume"):
        draw(volume, encoder, text=QUESTION)
    assert draw(volume, None).parts


def test_large_pictures_are_drawn_small(encoder):
    large = Record("eye", "retina", np.tile(PIXELS, (20, 20, 1)), {})
    drawn = draw(large, encoder, text=QUESTION)
    heat = [part for part in drawn.parts if isinstance(part, Picture)][1]
    assert heat.pixels.shape == (900, 1200, 3)


def test_another_question_gives_another_map(encoder):
    first, second = (look(encoder, PHOTO, text).values for text in (QUESTION, " ".join(WORDS[9:])))
    assert not np.allclose(first, second)
    assert torch.is_grad_enabled() and not any(p.requires_grad for p in encoder.module.parameters())


def test_long_questions_are_cut_to_four_lines():
    assert wrapped("short") == ["short"]
    lines = wrapped("many words " * 40)
    assert len(lines) == 4 and all(len(line) <= 40 for line in lines) and lines[-1].endswith("…")


@pytest.mark.parametrize("steps", [2, 7, 24])
def test_the_legend_runs_through_the_colours_of_the_overlay(steps):
    colours = ramp(steps)
    assert len(colours) == steps and all(re.fullmatch(r"#[0-9a-f]{6}", c) for c in colours)
    light = [sum(int(c[i : i + 2], 16) * w for i, w in ((1, 0.299), (3, 0.587), (5, 0.114))) for c in colours]
    assert light == sorted(light)
    heat = np.linspace(0, 1, steps)[None]
    painted = overlay(np.zeros((1, steps, 3), np.uint8), heat, opacity=1.0)
    assert "#" + bytes(painted[0, -1].tolist()).hex() == colours[-1]
