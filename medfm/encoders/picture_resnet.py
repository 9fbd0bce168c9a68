"""torchvision's ResNet as an image tower: pooled features and the map they are the mean of."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

Depth = Literal["resnet18", "resnet34", "resnet50", "resnet101"]


def picture_resnet(depth: Depth) -> Any:
    """An unfilled torchvision ResNet without its classifier, on the current default device."""
    import torchvision
    from torch import nn

    network = getattr(torchvision.models, depth)(weights=None)
    network.fc = nn.Identity()
    return network


def feature_map(network: Any, x: Tensor) -> Tensor:
    """(n, 3, H, W) -> the last stage's map (n, width, H / 32, W / 32)."""
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = stage(x)
    return x


def map_tokens(network: Any, x: Tensor) -> Tensor:
    """The map row by row as tokens (n, H / 32 * W / 32, width); their mean is the pooled feature."""
    return feature_map(network, x).flatten(2).transpose(1, 2)
