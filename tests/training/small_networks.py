"""Networks of a few numbers with the tensor names of the families, for tests of groups, freezing and plans."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from medfm.training.classifier import Classifier, LinearHead


def named(**parts: nn.Module) -> nn.Sequential:
    """A sequence whose children have names."""
    return nn.Sequential(OrderedDict(parts))


def resnet() -> nn.Module:
    def block() -> nn.Module:
        return named(conv1=nn.Conv1d(2, 2, 1, bias=False), bn1=nn.BatchNorm1d(2))

    layers = {f"layer{n}": nn.Sequential(block(), block()) for n in range(1, 5)}
    return named(conv1=nn.Conv1d(2, 2, 1, bias=False), bn1=nn.BatchNorm1d(2), **layers)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(2, 6), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(self.qkv(x)[..., 4:])
        return out


class Transformer(nn.Module):
    def __init__(self, blocks: int = 6) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 2))
        self.pos_embed = nn.Parameter(torch.zeros(1, 3, 2))
        self.patch_embed = named(proj=nn.Linear(2, 2))
        self.blocks = nn.Sequential(*(named(norm1=nn.LayerNorm(2), attn=Attention()) for _ in range(blocks)))
        self.norm = nn.LayerNorm(2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.blocks(self.patch_embed(x) + self.pos_embed + self.cls_token))
        return out


def densenet() -> nn.Module:
    def layer() -> nn.Module:
        return named(norm1=nn.BatchNorm1d(2), conv1=nn.Conv1d(2, 2, 1, bias=False))

    inner = named(
        conv0=nn.Conv1d(2, 2, 1, bias=False), norm0=nn.BatchNorm1d(2),
        denseblock1=named(denselayer1=layer()), transition1=named(norm=nn.BatchNorm1d(2)),
        denseblock2=named(denselayer1=layer()), norm5=nn.BatchNorm1d(2),
    )  # fmt: skip
    return named(features=inner)


def convnext() -> nn.Module:
    def block() -> nn.Module:
        return named(norm=nn.LayerNorm(2), linear=nn.Linear(2, 2))

    stem, down = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 2))
    return named(features=nn.Sequential(stem, nn.Sequential(block(), block()), down, nn.Sequential(block())))


def swin() -> nn.Module:
    def stage() -> nn.Module:
        blocks = nn.Sequential(named(norm1=nn.LayerNorm(2), attn=Attention()), named(norm1=nn.LayerNorm(2)))
        return nn.Sequential(named(blocks=blocks, downsample=named(reduction=nn.Linear(2, 2))))

    return named(patch_embed=named(proj=nn.Linear(2, 2)), **{f"layers{n}": stage() for n in range(1, 5)})


NETWORKS = {"resnet": resnet, "vit": Transformer, "densenet": densenet, "convnext": convnext, "swin": swin}


def classifier(network: nn.Module) -> Classifier:
    return Classifier(network, lambda module, x: module(x).mean(dim=1), LinearHead(2, 1))
