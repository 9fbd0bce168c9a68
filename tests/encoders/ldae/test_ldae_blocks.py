"""Blocks of the U-Net against their formulas, written out naively."""

import math

import pytest
import torch
from torch.nn import functional

from medfm.encoders.ldae.blocks import Attention, Resample, ResidualBlock, Sequence, time_features


def test_time_features_one_by_one():
    t = torch.tensor([0, 1, 500, 999])
    ours = time_features(t, 8)
    for row, step in zip(ours, t.tolist(), strict=True):
        rates = [10_000 ** (-i / 4) for i in range(4)]
        expected = [math.cos(step * rate) for rate in rates] + [math.sin(step * rate) for rate in rates]
        assert row.tolist() == pytest.approx(expected, abs=2e-4)  # float32 of angles near 1000
    assert ours.dtype == torch.float32


def test_resampling_leaves_the_first_axis_alone():
    h = torch.arange(2 * 3 * 2 * 4 * 6, dtype=torch.float32).reshape(2, 3, 2, 4, 6)
    down = Resample("down")(h)
    assert down.shape == (2, 3, 2, 2, 3)
    assert down[1, 2, 1, 0, 2] == h[1, 2, 1, 0:2, 4:6].mean()
    up = Resample("up")(h)
    assert up.shape == (2, 3, 2, 8, 12)
    assert torch.equal(up[..., ::2, ::2], h) and torch.equal(up[..., 1::2, 1::2], h)
    assert Resample("none")(h) is h


def block(change="none", with_code=False, channels=4, out=6) -> ResidualBlock:
    torch.manual_seed(0)
    made = ResidualBlock(channels, out, 10, groups=2, dropout=0.5, with_code=with_code, change=change)
    return made.eval()


@pytest.mark.parametrize("with_code", [False, True])
def test_a_residual_block_as_its_formula(with_code):
    made = block(with_code=with_code)
    x, time, code = torch.randn(2, 4, 2, 4, 4), torch.randn(2, 10), torch.randn(2, 10)
    h = made.in_layers[2](functional.silu(made.in_layers[0](x)))
    scale, shift = (part[..., None, None, None] for part in made.emb_layers[1](functional.silu(time)).chunk(2, 1))
    h = functional.group_norm(h, 2, made.out_layers[0].weight, made.out_layers[0].bias, 1e-5) * (1 + scale) + shift
    if with_code:
        scale, shift = (part[..., None, None, None] for part in made.emb_z_layers[1](functional.silu(code)).chunk(2, 1))
        h = (1 + scale) * h + shift
    expected = made.skip_connection(x) + made.out_layers[3](functional.silu(h))
    torch.testing.assert_close(made(x, time, code if with_code else None), expected)


@pytest.mark.parametrize(("change", "shape"), [("down", (2, 2, 2)), ("up", (2, 8, 8)), ("none", (2, 4, 4))])
def test_both_branches_of_a_block_are_resampled(change, shape):
    made = block(change, out=4)
    x = torch.randn(1, 4, 2, 4, 4)
    out = made(x, torch.zeros(1, 10))
    assert out.shape == (1, 4, *shape)
    torch.nn.init.zeros_(made.out_layers[3].weight)
    torch.nn.init.zeros_(made.out_layers[3].bias)
    assert torch.equal(made(x, torch.zeros(1, 10)), Resample(change)(x))


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_voxel_by_voxel(heads):
    torch.manual_seed(1)
    made = Attention(4, heads, 2)
    x = torch.randn(2, 4, 1, 2, 3)
    flat = x.flatten(2)
    qkv = made.qkv(made.norm(flat))
    width = 4 // heads
    found = torch.zeros_like(flat)
    for n in range(2):
        for head in range(heads):
            query, key, value = qkv[n, 3 * width * head : 3 * width * (head + 1)].split(width)
            for voxel in range(6):
                scores = torch.stack([(query[:, voxel] * width**-0.25) @ (key[:, o] * width**-0.25) for o in range(6)])
                found[n, width * head : width * (head + 1), voxel] = value @ scores.softmax(0)
    expected = (flat + made.proj_out(found)).reshape(x.shape)
    torch.testing.assert_close(made(x), expected, atol=1e-5, rtol=1e-5)


def test_attention_does_not_depend_on_where_a_voxel_lies():
    torch.manual_seed(2)
    made = Attention(4, 1, 2)
    x = torch.randn(1, 4, 2, 2, 2)
    order = torch.randperm(8)
    mixed = x.flatten(2)[..., order].reshape(x.shape)
    torch.testing.assert_close(made(mixed).flatten(2), made(x).flatten(2)[..., order])


def test_a_sequence_hands_time_to_those_who_take_it():
    made = Sequence(torch.nn.Conv3d(2, 4, 1), block(out=4), Attention(4, 1, 2))
    x, time = torch.randn(1, 2, 1, 2, 2), torch.randn(1, 10)
    assert torch.equal(made(x, time), made[2](made[1](made[0](x), time)))
