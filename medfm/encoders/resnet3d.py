"""3D ResNets under the names of MedicalNet, with its dilated stages or with MONAI's strided ones.

MedicalNet was trained for segmentation and keeps its third and fourth stage at an eighth of the
resolution, dilated by 2 and 4 (Chen, Ma, Zheng: Med3D, arXiv 1904.00625; Tencent/MedicalNet,
models/resnet.py). MONAI loads the same tensors into a network that halves the resolution there,
without a word: the embeddings differ. A test compares the strided form with MONAI's network. It is
written here because MONAI has no dilated one, and so that the baseline needs no extra.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medfm.core.errors import ConfigError
from medfm.encoders.families import Family
from medfm.encoders.untrained import checked_args, untrained
from medfm.encoders.volume_args import ResNet3dArgs

_AXES = 5


class Padded(nn.Module):
    """The shortcut without weights: every `stride`-th voxel, the channels that lack filled with zeros."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, i, j, k) -> (n, channels, i / stride ...), rounded up."""
        step = slice(None, None, self.stride)
        kept = x[:, :, step, step, step]
        return nn.functional.pad(kept, (0, 0, 0, 0, 0, 0, 0, self.channels - kept.shape[1]))


class Block(nn.Module):
    """Two 3x3x3 convolutions, or 1, 3 and 1 with four times the channels, and the shortcut around them."""

    def __init__(self, args: ResNet3dArgs, channels: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        out = 4 * width if args.bottleneck else width
        if args.bottleneck:
            self.conv1 = nn.Conv3d(channels, width, 1, bias=False)
            self.conv2 = _conv3(width, width, stride, dilation)
            self.conv3 = nn.Conv3d(width, out, 1, bias=False)
            self.bn3 = nn.BatchNorm3d(out)
        else:
            self.conv1 = _conv3(channels, width, stride, dilation)
            self.conv2 = _conv3(width, width, 1, dilation)
        self.bn1, self.bn2 = nn.BatchNorm3d(width), nn.BatchNorm3d(width)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            convolved = nn.Sequential(nn.Conv3d(channels, out, 1, stride, bias=False), nn.BatchNorm3d(out))
            self.downsample = Padded(out, stride) if args.padded_shortcut else convolved
        self.bottleneck = args.bottleneck

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, i, j, k) -> (n, out, ...)."""
        h = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu_()))
        if self.bottleneck:
            h = self.bn3(self.conv3(h.relu_()))
        h += x if self.downsample is None else self.downsample(x)
        return h.relu_()  # type: ignore[no-any-return]


class ResNet3d(nn.Module):
    """``forward`` maps float (n, 1, slices, rows, columns) to the mean of the last map, (n, dim)."""

    def __init__(self, args: ResNet3dArgs) -> None:
        super().__init__()
        self.args = args
        self.conv1 = nn.Conv3d(1, args.width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm3d(args.width)
        channels = args.width
        for stage, count in enumerate(args.blocks):
            keeps = args.dilated and stage >= 2
            stride, dilation = (1 if stage == 0 or keeps else 2), (2 ** (stage - 1) if keeps else 1)
            width = args.width * 2**stage
            blocks = []
            for number in range(count):
                blocks.append(Block(args, channels, width, stride if number == 0 else 1, dilation))
                channels = 4 * width if args.bottleneck else width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def feature_map(self, x: Tensor) -> Tensor:
        """The last map (n, dim, i, j, k): an eighth of every side, or a 32nd where stages stride; rounded up."""
        if x.ndim != _AXES or x.shape[1] != 1:
            raise ConfigError(
                f"Volumes of shape {tuple(x.shape)} cannot be encoded.", expected="(n, 1, slices, rows, columns)"
            )
        x = nn.functional.max_pool3d(self.bn1(self.conv1(x)).relu_(), 3, 2, 1)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """The embeddings (n, dim)."""
        return self.feature_map(x).mean(dim=(2, 3, 4))


def _conv3(channels: int, out: int, stride: int, dilation: int) -> nn.Conv3d:
    return nn.Conv3d(channels, out, 3, stride, dilation, dilation, bias=False)


def build_resnet3d(
    args: ResNet3dArgs | Mapping[str, Any], generator: torch.Generator | None = None, device: str = "cpu"
) -> ResNet3d:
    """An untrained network, float32, in training mode.

    Args:
        args: Sizes (a mapping is validated).
        generator: CPU generator the first weights are drawn from (Kaiming normal, fan-out, as
            MedicalNet); seed 0 when absent. Global random state is neither read nor changed.
        device: ``"cpu"``, ``"cuda"``..., or ``"meta"`` for shapes without memory.
    """
    return untrained(partial(ResNet3d, checked_args(ResNet3dArgs, args)), _first_weights, generator, device)


@torch.no_grad()
def _first_weights(module: ResNet3d, generator: torch.Generator) -> None:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm3d):
            part.reset_parameters()
        elif isinstance(part, nn.Conv3d):
            fan_out = part.out_channels * math.prod(part.kernel_size)
            part.weight.normal_(std=math.sqrt(2 / fan_out), generator=generator)


def plain_names(module: nn.Module) -> dict[str, str]:
    """Plain name (MedicalNet's) of every tensor but the counters of batches, which no checkpoint need hold."""
    return {key: key for key in module.state_dict() if not key.endswith("num_batches_tracked")}


FAMILY = Family(build=build_resnet3d, plain_names=plain_names, embed=ResNet3d.forward, tokens=None)
