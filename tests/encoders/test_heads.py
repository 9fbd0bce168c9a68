"""Heads row by row: the same numbers, the same last bits in any company, gradients as usual."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medfm.encoders.clip import Clip, build_clip
from medfm.encoders.heads import row_by_row

IMAGE = {"kind": "open_clip", "patch": 8, "width": 64, "layers": 2, "heads": 2}
ARGS = {"image_size": 32, "activation": "gelu", "projection": 64, "image": IMAGE}


def features(n: int, width: int = 768) -> torch.Tensor:
    return torch.randn((n, width), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("n", [0, 1, 2, 7, 33])
def test_each_row_has_the_bits_it_gets_alone(n: int) -> None:
    head = nn.Linear(768, 512)
    rows = features(n)
    with torch.inference_mode():
        together = row_by_row(head, rows)
        assert together.shape == (n, 512)
        for place in range(n):
            assert torch.equal(together[place], head(rows[place : place + 1])[0])
        torch.testing.assert_close(together, head(rows), rtol=1e-4, atol=1e-4)


def test_with_gradients_it_is_the_head_itself() -> None:
    calls = []
    head = nn.Linear(8, 4)
    head.register_forward_hook(lambda module, given, out: calls.append(len(given[0])))
    rows = features(5, 8).requires_grad_()
    row_by_row(head, rows).sum().backward()
    assert calls == [5] and rows.grad is not None and head.weight.grad is not None


@pytest.mark.parametrize("kind", ["open_clip", "timm"])
@pytest.mark.parametrize("output", ["projected", "pooled"])
def test_a_clip_picture_has_the_same_bits_in_any_batch(kind: str, output: str) -> None:
    image = {**IMAGE, "kind": kind}
    network = build_clip({**ARGS, "image": image, "output": output}).eval()
    pictures = torch.randn((8, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            plain: torch.Tensor = network.visual(pictures)
            together = network(pictures)
            alone = torch.cat([network(picture[None]) for picture in pictures])
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(together, plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert together.shape == (8, network.args.dim)


def test_the_tower_itself_is_left_as_it_is() -> None:
    network: Clip = build_clip(ARGS).eval()
    before = dict(network.state_dict())
    with torch.inference_mode():
        first = network(torch.ones(2, 3, 32, 32))
        with torch.no_grad():
            network.visual.proj.mul_(2.0)
        second = network(torch.ones(2, 3, 32, 32))
    assert list(network.state_dict()) == list(before) and network.visual.proj is not None
    torch.testing.assert_close(second, 2 * first)


def test_gradients_reach_the_projection() -> None:
    network = build_clip(ARGS)
    network(torch.ones(2, 3, 32, 32)).sum().backward()
    assert network.visual.proj.grad is not None and network.visual.conv1.weight.grad is not None
