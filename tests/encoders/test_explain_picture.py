"""Heat maps over the input and back over the original: places are found by following a bright spot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medfm.core.errors import CardError, ConfigError
from medfm.encoders.card import Card
from medfm.encoders.dinov2 import build_vit
from medfm.encoders.encoder import Encoder
from medfm.encoders.explain_picture import Frame, HeatMap, frame_of, heat_map
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.registry import get_card
from medfm.encoders.resnet import build_resnet
from medfm.modalities.record import Record

UNIT = {"step": "to_unit_range"}
CHAINS: dict[str, list[dict[str, Any]]] = {
    "squash": [{"step": "resize", "size": [64, 64]}, UNIT],
    "shorter side and crop": [
        {"step": "resize", "size": [72, 72], "resampler": "bicubic_pil", "mode": "shorter_side"},
        {"step": "center_crop", "size": [64, 64]},
        UNIT,
    ],
    "crop alone": [{"step": "center_crop", "size": [100, 90]}, UNIT],
    "longer side on a canvas": [
        UNIT,
        {"step": "resize_float", "size": 64, "antialias": True},
        {"step": "canvas", "size": [64, 64]},
    ],
    "foreground": [
        {"step": "to_rgb"},
        {"step": "crop_foreground"},
        UNIT,
        {"step": "resize_float", "size": 64, "antialias": True},
        {"step": "canvas", "size": [64, 64]},
    ],
}


def spot(rows: int, columns: int, at: tuple[int, int]) -> np.ndarray:
    """A red disc on black with a bright green spot of 12 x 12 pixels around `at`."""
    y, x = np.mgrid[:rows, :columns]
    picture = np.zeros((rows, columns, 3), np.uint8)
    picture[((y / rows - 0.5) ** 2 + (x / columns - 0.5) ** 2) < 0.16, 0] = 180
    picture[at[0] - 6 : at[0] + 6, at[1] - 6 : at[1] + 6, 1] = 255
    return picture


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("shape", [(120, 200), (201, 133), (80, 80)])
def test_a_spot_of_the_input_is_found_in_the_original(name, shape):
    at = (int(shape[0] * 0.55), int(shape[1] * 0.4))
    picture = spot(*shape, at)
    steps = Preprocessing(CHAINS[name])
    green = steps.array(picture)[1].astype(np.float64)
    frame = frame_of(steps.steps, picture)
    assert green.shape == frame.size and frame.shape == shape
    for axis in (0, 1):
        along = green.sum(axis=1 - axis)
        middle = (along * (np.arange(len(along)) + 0.5)).sum() / along.sum()
        assert frame.scale[axis] * middle + frame.start[axis] == pytest.approx(at[axis], abs=0.2)
    hot = HeatMap(green.astype(np.float32), "grad_cam", frame).on_original()
    peak = np.argwhere(hot >= 0.9 * np.nanmax(hot)).mean(axis=0)
    assert np.abs(peak + 0.5 - at).max() < 2


def test_what_a_crop_cut_off_is_not_a_number():
    picture = np.zeros((100, 200, 3), np.uint8)
    frame = frame_of(Preprocessing([{"step": "center_crop", "size": [100, 90]}, UNIT]).steps, picture)
    assert frame == Frame((100, 200), (100, 90), (1.0, 1.0), (0.0, 55.0))
    heat = HeatMap(np.ones((3, 3), np.float32), "grad_cam", frame).on_original()
    assert np.isnan(heat[:, :55]).all() and np.isnan(heat[:, 145:]).all() and (heat[:, 55:145] == 1).all()


def test_padding_lies_outside_the_original():
    frame = frame_of(Preprocessing([{"step": "center_crop", "size": [64, 64]}, UNIT]).steps, np.zeros((41, 50, 3)))
    assert frame.start == (-11.0, -7.0)
    assert np.isfinite(HeatMap(np.ones((2, 2), np.float32), "grad_cam", frame).on_original()).all()


def test_between_places_the_map_is_bilinear_as_torch_does_it():
    values = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    found = HeatMap(values, "grad_cam", Frame((9, 9), (60, 42), (1.0, 1.0), (0.0, 0.0))).on_input()
    expected = torch.nn.functional.interpolate(torch.from_numpy(values)[None, None], size=(60, 42), mode="bilinear")
    np.testing.assert_allclose(found, expected[0, 0].numpy(), atol=1e-5)


def test_a_foreground_behind_another_change_is_refused():
    steps = Preprocessing([{"step": "resize", "size": [64, 64]}, {"step": "crop_foreground"}, UNIT]).steps
    with pytest.raises(CardError, match="traced back"):
        frame_of(steps, np.zeros((80, 80, 3), np.uint8))


def card_of(name: str, args: dict[str, Any], dim: int, side: int) -> Card:
    card = get_card(name)
    spec = card.spec.to_dict()
    spec["architecture"]["args"] = args
    spec["input"]["shape"] = [3, side, side]
    spec["embedding"]["dim"] = dim
    spec["parameters"] = None
    spec["preprocessing_variants"] = {}
    spec["preprocessing"] = [{"step": "to_rgb"}, {"step": "resize", "size": [side, side]}, UNIT]
    changed = type(card.spec).model_validate(spec)
    return Card(card.path, card.header.model_copy(update={"medfm": changed}), card.prose, card.sha256)


RESNET = {"backbone": "resnet18", "image_size": 64}
VIT = {"size": "custom", "width": 16, "depth": 2, "heads": 2, "patch": 8, "img_size": 32}


@pytest.fixture
def resnet() -> Encoder:
    return Encoder(card_of("imagenet-resnet50", RESNET, 512, 64), build_resnet(RESNET), "random", "untrained")


@pytest.fixture
def vit() -> Encoder:
    return Encoder(card_of("dinov2-vitb14", VIT, 16, 32), build_vit(VIT), "random", "untrained")


def test_an_encoder_is_explained_by_the_method_that_fits(resnet, vit):
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    toward = np.random.default_rng(1).normal(size=512)
    found = heat_map(resnet, picture, toward)
    assert found.method == "grad_cam" and found.values.shape == (2, 2)
    assert found.on_input().shape == (64, 64) and found.on_original().shape == (90, 120)
    same = heat_map(resnet, Record("r", "retina", picture, {}), torch.from_numpy(toward), "grad_cam")
    np.testing.assert_array_equal(same.values, found.values)
    rolled = heat_map(vit, picture)
    assert rolled.method == "attention_rollout" and rolled.values.shape == (4, 4)
    assert 0 < rolled.values.sum() < 1 and np.isfinite(rolled.on_original()).all()
    before = resnet(resnet.preprocess(picture)[None])
    assert torch.equal(before, resnet(resnet.preprocess(picture)[None])) and not resnet.module.training


@pytest.mark.parametrize(
    "toward", [None, np.zeros(512), np.ones(511), np.ones((1, 512)), np.full(512, np.nan)], ids=str
)
def test_grad_cam_needs_a_direction(resnet, toward):
    with pytest.raises(ConfigError, match="direction"):
        heat_map(resnet, np.zeros((64, 64, 3), np.uint8), toward)


def test_methods_that_do_not_fit(resnet, vit):
    picture = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(CardError, match="no attention"):
        heat_map(resnet, picture, method="attention_rollout")
    with pytest.raises(CardError, match="no last map"):
        heat_map(vit, picture, np.ones(16), method="grad_cam")
    with pytest.raises(ConfigError, match="no question"):
        heat_map(vit, picture, np.ones(16))
