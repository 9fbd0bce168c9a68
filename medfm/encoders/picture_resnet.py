"""torchvision's ResNet as an image tower: pooled features and the map they are the mean of."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

Depth = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet18-narrow"]
_NARROW = 4  # the channels of every stage are divided by this


def picture_resnet(depth: Depth) -> Any:
    """An unfilled torchvision ResNet without its classifier, on the current default device."""
    import torchvision

    network = _narrow() if depth == "resnet18-narrow" else getattr(torchvision.models, depth)(weights=None)
    network.fc = nn.Identity()
    return network


def _narrow() -> Any:
    """torchvision's ResNet-18 with a quarter of the channels: never published, for the tiny recipes."""
    from torchvision.models.resnet import BasicBlock, ResNet

    class Narrow(ResNet):
        def _make_layer(self, block: Any, planes: int, *args: Any, **options: Any) -> nn.Sequential:
            if planes == 64:
                self.inplanes = 64 // _NARROW
            return super()._make_layer(block, planes // _NARROW, *args, **options)

    network = Narrow(BasicBlock, [2, 2, 2, 2])
    first = 64 // _NARROW
    network.conv1, network.bn1 = nn.Conv2d(3, first, 7, 2, 3, bias=False), nn.BatchNorm2d(first)
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


def plain_names(module: nn.Module) -> dict[str, str]:
    """Plain name of every tensor of ``module.network`` (torchvision's, as published) -> its key in the state dict."""
    return {key.removeprefix("network."): key for key in module.state_dict()}
