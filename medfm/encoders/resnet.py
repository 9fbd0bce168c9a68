"""torchvision's ResNets as plain image encoders: the baselines that medical encoders are measured against."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medfm.encoders.families import Family
from medfm.encoders.first_weights import draw
from medfm.encoders.picture_resnet import map_tokens, picture_resnet, plain_names
from medfm.encoders.resnet_args import ResNetArgs
from medfm.encoders.untrained import checked_args, untrained


class ResNet(nn.Module):
    """(n, 3, H, W) -> the pooled feature (n, width) before the classifier, which is not built."""

    def __init__(self, args: ResNetArgs) -> None:
        super().__init__()
        self.args = args
        self.network = picture_resnet(args.backbone)

    def forward(self, x: Tensor) -> Tensor:
        """Mean of the last map over its places."""
        out: Tensor = self.network(x)
        return out

    def tokens(self, x: Tensor) -> Tensor:
        """The places of the last map (n, places, width)."""
        return map_tokens(self.network, x)


def build_resnet(
    args: ResNetArgs | Mapping[str, Any], generator: torch.Generator | None = None, device: str = "cpu"
) -> ResNet:
    """An untrained network; arguments as for :func:`medfm.encoders.clip.build_clip`."""
    return untrained(partial(ResNet, checked_args(ResNetArgs, args)), draw, generator, device)


FAMILY = Family(
    build=build_resnet,
    plain_names=plain_names,
    embed=ResNet.forward,
    tokens=ResNet.tokens,
    training_only=("num_batches_tracked",),
)
