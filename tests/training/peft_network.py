"""A network with every kind of layer that PEFT has updates for, its weights by formula; a golden of PEFT is about it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.training.small_networks import named


class Small(nn.Module):
    """A matrix, kernels of one to three dimensions and packed attention, each on an input of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 5)
        self.one = named(kernel=nn.Conv1d(2, 3, 3, stride=2, padding=1))
        self.two = nn.Conv2d(2, 4, 1, bias=False)
        self.three = nn.Conv3d(1, 2, 3, padding=1)
        self.attn = nn.MultiheadAttention(4, 2, batch_first=True)
        self.kernel = nn.Linear(4, 2)  # no target, though its name ends like one
        with torch.no_grad():
            for number, weight in enumerate(self.parameters()):
                weight.copy_(torch.sin(torch.arange(weight.numel()) * 0.7 + number).view_as(weight) * 0.5)

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        t = x["attn"]
        return {
            "linear": self.linear(x["linear"]),
            "one": self.one(x["one"]),
            "two": self.two(x["two"]),
            "three": self.three(x["three"]),
            "attn": self.attn(t, t, t, need_weights=False)[0],
            "kernel": self.kernel(x["linear"]),
        }


def given() -> dict[str, Tensor]:
    """One input per layer."""
    shapes = {"linear": (2, 4), "one": (1, 2, 6), "two": (1, 2, 2, 3), "three": (1, 1, 2, 3, 2), "attn": (1, 3, 4)}
    return {
        name: torch.cos(torch.arange(torch.Size(shape).numel()) * 0.9).view(shape) for name, shape in shapes.items()
    }
