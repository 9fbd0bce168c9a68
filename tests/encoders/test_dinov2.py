"""The DINOv2 family: shapes, first weights, masks, names."""

import numpy as np
import pytest
import torch

from medfm.core.errors import ConfigError
from medfm.encoders.dinov2 import DinoVisionTransformer, ViTArgs, build_vit, plain_names, published_state

TINY = {"width": 32, "depth": 2, "heads": 2, "patch": 14, "img_size": 56}


@pytest.fixture(scope="module")
def tiny() -> DinoVisionTransformer:
    return build_vit(TINY).eval()


def picture(count: int = 2, side: int = 56, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_features_have_the_shapes_promised(tiny):
    cls, patches = tiny.features(picture(3))
    assert cls.shape == (3, 32) and patches.shape == (3, 16, 32)
    assert torch.equal(tiny(picture(3)), cls)
    cls, patches = tiny.features(picture(1, side=84))
    assert cls.shape == (1, 32) and patches.shape == (1, 36, 32)


def test_oblong_pictures_work(tiny):
    assert tiny.features(torch.zeros(1, 3, 28, 70))[1].shape == (1, 10, 32)


def test_embedding_is_normalised_by_the_last_norm(tiny):
    cls = tiny(picture(4))
    assert torch.allclose(cls.mean(1), torch.zeros(4), atol=1e-5)
    assert torch.allclose(cls.std(1, unbiased=False), torch.ones(4), atol=1e-3)


def test_masks_replace_patches_by_the_mask_token(tiny):
    x = picture(2)
    none = torch.zeros(2, 16, dtype=torch.bool)
    assert torch.equal(tiny.features(x, none)[0], tiny.features(x)[0])
    every = torch.ones(2, 16, dtype=torch.bool)
    hidden = tiny.features(x, every)[0]
    assert torch.allclose(hidden[0], hidden[1], atol=1e-6)  # nothing of the pictures is left
    one = none.clone()
    one[1, 3] = True
    cls = tiny.features(x, one)[0]
    assert torch.equal(cls[0], tiny.features(x)[0][0])
    assert not torch.allclose(cls[1], tiny.features(x)[0][1])


def test_mask_token_receives_a_gradient():
    module = build_vit(TINY)
    masks = torch.zeros(1, 16, dtype=torch.bool)
    masks[0, :4] = True
    module.features(picture(1), masks)[1].square().sum().backward()
    assert module.mask_token.grad is not None


def test_seeded_and_untouched_global_state():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build_vit(TINY, torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    second = build_vit(TINY, torch.Generator().manual_seed(3))
    other = build_vit(TINY, torch.Generator().manual_seed(4))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert not torch.equal(first.vit.pos_embed, other.vit.pos_embed)


def test_first_weights_follow_dinov2():
    module = build_vit(TINY)
    state = module.state_dict()
    assert torch.isfinite(torch.cat([t.flatten() for t in state.values()])).all()
    assert (state["vit.blocks.0.ls1.gamma"] == 1).all()
    assert (state["vit.blocks.1.norm2.weight"] == 1).all()
    assert (state["vit.blocks.1.attn.qkv.bias"] == 0).all()
    assert 0.015 < state["vit.blocks.0.mlp.fc1.weight"].std() < 0.025
    assert state["vit.patch_embed.proj.weight"].abs().max() <= 1 / np.sqrt(3 * 14 * 14)
    assert (state["mask_token"] == 0).all()


@pytest.mark.parametrize(
    ("size", "count", "tensors"),
    [
        ("small", 21_629_184, 175),
        ("base", 85_725_696, 175),
        ("large", 303_228_928, 343),
        ("giant", 1_134_771_200, 567),
    ],
)
def test_published_sizes_on_the_meta_device(size, count, tensors):
    module = build_vit({"size": size}, device="meta")
    assert sum(p.numel() for p in module.parameters()) == count
    assert len(plain_names(module)) == tensors
    assert module.vit.pos_embed.shape == (1, 257, ViTArgs(size=size).dim)


def test_published_names(tiny):
    state = published_state(tiny)
    assert set(state) == {f"backbone.{name}" for name in plain_names(tiny)}
    assert {"backbone.mask_token", "backbone.blocks.1.mlp.fc2.bias", "backbone.norm.weight"} <= set(state)
    assert not any("vit." in name for name in state)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "needs width, depth and heads"),
        ({"width": 30, "depth": 1, "heads": 4}, "multiple of heads"),
        ({"size": "small", "width": 64}, "only for size 'custom'"),
        ({"size": "small", "img_size": 225}, "multiple of patch"),
        ({"size": "smal"}, "size"),
        ({"size": "small", "registers": 4}, "registers"),
    ],
)
def test_wrong_arguments_are_named(args, message):
    with pytest.raises(ConfigError, match=message):
        build_vit(args)
