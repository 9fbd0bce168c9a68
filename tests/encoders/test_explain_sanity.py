"""Sanity of saliency (Adebayo et al., NeurIPS 2018): other weights, another question, another picture: another map.

A map that stays as it is when the weights are randomised shows edges of the picture, not what the network knows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_picture_encoder import NAME, put_tiny_picture_encoder

import medfm
from medfm.core.errors import CardError
from medfm.encoders.encoder import Encoder
from medfm.encoders.explain_picture import heat_map, method_for
from medfm.encoders.registry import get_card

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
TOWARD = np.random.default_rng(1).normal(size=8)


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    monkeypatch.setenv("MEDFM_CARDS", str(put_tiny_picture_encoder(tmp_path / "cards")))
    return medfm.load_encoder(NAME, weights="random", seed=1)


@pytest.fixture
def vit(tmp_path: Path) -> Encoder:
    from test_explain_picture import VIT, card_of

    from medfm.encoders.dinov2 import build_vit

    torch.manual_seed(0)
    return Encoder(card_of("dinov2-vitb14", VIT, 16, 32), build_vit(VIT), "random", "untrained")


def randomise(module: torch.nn.Module, seed: int) -> None:
    """Every weight drawn anew with its own spread."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * float(weight.std()))


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """Distance of two maps as shares of their own sums: 0 is the same, 2 is disjoint."""
    return float(np.abs(first / first.sum() - second / second.sum()).sum())


def test_grad_cam_changes_when_the_weights_are_randomised(encoder):
    before = heat_map(encoder, PICTURE, TOWARD).values
    assert np.array_equal(before, heat_map(encoder, PICTURE, TOWARD).values) and before.any()
    moved = []
    for seed in range(4):
        randomise(encoder.module, seed)
        after = heat_map(encoder, PICTURE, TOWARD).values
        moved.append(apart(before, after) if after.any() else 2.0)
    assert np.median(moved) > 0.2, moved


def test_grad_cam_changes_when_only_the_last_stage_is_randomised(encoder):
    from medfm.encoders.explain import last_map

    before = heat_map(encoder, PICTURE, TOWARD).values
    layer = last_map(encoder.module)
    assert layer is not None
    randomise(layer, 3)
    after = heat_map(encoder, PICTURE, TOWARD).values
    assert not np.allclose(before, after)


def test_roll_out_changes_when_the_weights_are_randomised(vit):
    before = heat_map(vit, PICTURE).values
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in vit.module.named_parameters():
            if "qkv" in name and weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator))
    assert apart(before, heat_map(vit, PICTURE).values) > 0.01


def test_the_map_depends_on_the_question_and_the_picture(encoder):
    base = heat_map(encoder, PICTURE, TOWARD).values
    assert not np.allclose(base, heat_map(encoder, PICTURE, -TOWARD).values)
    turned = np.ascontiguousarray(PICTURE[::-1])
    assert not np.allclose(base, heat_map(encoder, turned, TOWARD).values)


def test_towards_a_cosine_the_length_of_the_embedding_counts_for_nothing(encoder):
    """A direction along the embedding itself: its cosine is 1 whatever the picture is, its product is not."""
    own = encoder(encoder.preprocess(PICTURE)[None])[0]
    product = heat_map(encoder, PICTURE, own).values
    cosine = heat_map(encoder, PICTURE, own, cosine=True).values
    assert cosine.max() < 1e-4
    same = heat_map(encoder, PICTURE, TOWARD * 100, cosine=True).values
    np.testing.assert_allclose(same, heat_map(encoder, PICTURE, TOWARD, cosine=True).values, atol=1e-6)
    assert product.shape == cosine.shape


def test_a_map_over_a_smaller_picture_is_the_map_over_the_original_made_small(encoder):
    picture = np.random.default_rng(2).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    heat = heat_map(encoder, picture, TOWARD)
    whole, small = heat.on_original(), heat.on_scaled((24, 32))
    assert small.shape == (24, 32)
    blocks = whole.reshape(24, 4, 32, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(small, blocks, atol=0.05 * float(whole.max()))
    np.testing.assert_array_equal(heat.on_scaled(heat.frame.shape), whole)


def test_what_cannot_be_explained_says_why(encoder, vit):
    assert method_for(encoder) == "grad_cam" and method_for(vit) == "attention_rollout"
    formula = medfm.load_encoder("color-histogram")
    with pytest.raises(CardError, match="fixed formula"):
        method_for(formula)
    with pytest.raises(CardError, match="fixed formula"):
        heat_map(formula, PICTURE)
    signal = Encoder(get_card("merl-tiny"), torch.nn.Linear(2, 2), "random", "untrained")
    with pytest.raises(CardError, match="takes no pictures"):
        method_for(signal)
    plain = Encoder(get_card("imagenet-resnet50"), torch.nn.Conv2d(3, 4, 3), "random", "untrained")
    with pytest.raises(CardError, match="neither a ResNet nor a vision transformer"):
        method_for(plain)
