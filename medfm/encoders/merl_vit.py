"""MERL's one-dimensional vision transformer; tensor names as published."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from medfm.encoders.merl_args import VITS, MerlArgs

DEPTH = 12
HEAD = 64


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * heads * HEAD)
        self.to_out = nn.Sequential(nn.Linear(heads * HEAD, width))

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        query, key, value = self.to_qkv(x).view(n, tokens, 3, self.heads, HEAD).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.to_out(mixed.transpose(1, 2).reshape(n, tokens, -1))
        return out


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        # The places of the published list that hold no weights are its dropouts (off by default).
        self.net = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Identity(), nn.Linear(hidden, width), nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class _PreNorm(nn.Module):
    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fn(self.norm(x))
        return out


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attn = _PreNorm(width, _Attention(width, heads))
        self.ff = _PreNorm(width, _FeedForward(width, hidden))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        out: Tensor = x + self.ff(x)
        return out


class ViT1d(nn.Module):
    """(n, leads, samples) -> (n, width): tokens of 50 samples without a class token.

    The mean over the tokens is taken first and normalised (LayerNorm) afterwards.
    """

    def __init__(self, args: MerlArgs) -> None:
        super().__init__()
        width, heads, hidden = VITS[args.backbone]
        self.to_patch_embedding = nn.Conv1d(args.leads, width, args.patch, stride=args.patch, bias=False)
        self.pos_embedding = nn.Parameter(torch.zeros(1, args.samples // args.patch, width))
        for index in range(DEPTH):
            self.add_module(f"block{index}", _Block(width, heads, hidden))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """The pooled feature."""
        x = self.to_patch_embedding(x).transpose(1, 2) + self.pos_embedding
        for index in range(DEPTH):
            x = self.get_submodule(f"block{index}")(x)
        out: Tensor = self.norm(x.mean(dim=1))
        return out
