"""PSPNet (Zhao and others, CVPR 2017) with a ResNet-101 as ChestX-Det's anatomical segmentation has it.

Lian and others, A Structure-Aware Relation Network for Thoracic Diseases Detection and Segmentation (IEEE TMI 2021,
arXiv 2104.10326); names of tensors and geometry as in the published weights that torchxrayvision distributes
(``pspnet_chestxray_best_model_4.pth``). Convolutions have no bias but the two last ones; the branch beside the fourth
stage serves training only: its tensors are loaded and never computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

DEPTHS = (3, 4, 23, 3)
POOLS = (6, 3, 2, 1)


class Unit(nn.Module):
    """Convolution, BatchNorm and, where `name` is ``cbr_unit``, ReLU; the name is that of the published tensors."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, name: str = "cbr_unit"
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
        parts: list[nn.Module] = [convolution, nn.BatchNorm2d(outputs)]
        if name == "cbr_unit":
            parts.append(nn.ReLU(inplace=True))
        self.add_module(name, nn.Sequential(*parts))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""
        for part in self.children():
            x = part(x)
        return x


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (dilated), 1 x 1, and a sum; the first of a stage also brings the shortcut to width and stride."""

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int, dilation: int, first: bool) -> None:
        super().__init__()
        self.cbr1 = Unit(inputs, middle, 1)
        self.cbr2 = Unit(middle, middle, 3, stride if first else 1, dilation)
        self.cb3 = Unit(middle, outputs, 1, name="cb_unit")
        self.cb4 = Unit(inputs, outputs, 1, stride, name="cb_unit") if first else None

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""
        shortcut = x if self.cb4 is None else self.cb4(x)
        return functional.relu(self.cb3(self.cbr2(self.cbr1(x))) + shortcut)


class Stage(nn.Module):
    """One stage of bottlenecks."""

    def __init__(self, depth: int, inputs: int, middle: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = middle * 4
        self.layers = nn.Sequential(
            *(Bottleneck(outputs if i else inputs, middle, outputs, stride, dilation, i == 0) for i in range(depth))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, 4 middle, h / stride, w / stride)."""
        out: Tensor = self.layers(x)
        return out


class PyramidPooling(nn.Module):
    """Means over 6 x 6 to 1 x 1 fields, each narrowed to a quarter of the channels, beside the input."""

    def __init__(self, inputs: int, pools: Sequence[int] = POOLS) -> None:
        super().__init__()
        self.pools = tuple(pools)
        self.path_module_list = nn.ModuleList(Unit(inputs, inputs // len(self.pools), 1) for _ in self.pools)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, 2 c, h, w). Fields have whole sides; what is left over at the end is not pooled."""
        rows, columns = x.shape[2:]
        parts = [x]
        for pool, narrow in zip(self.pools, self.path_module_list, strict=True):
            small = narrow(functional.avg_pool2d(x, (rows // pool, columns // pool)))
            parts.append(functional.interpolate(small, (rows, columns), mode="bilinear", align_corners=False))
        return torch.cat(parts, 1)


class PSPNet(nn.Module):
    """The whole network.

    Args:
        classes: Channels of the output.
        width: Channels of the first convolution; 64 as published, every other width follows from it.
        depths: Bottlenecks per stage.
    """

    def __init__(self, classes: int, width: int = 64, depths: Sequence[int] = DEPTHS) -> None:
        super().__init__()
        self.convbnrelu1_1 = Unit(3, width, 3, 2)
        self.convbnrelu1_2 = Unit(width, width, 3)
        self.convbnrelu1_3 = Unit(width, 2 * width, 3)
        self.res_block2 = Stage(depths[0], 2 * width, width, 1, 1)
        self.res_block3 = Stage(depths[1], 4 * width, 2 * width, 2, 1)
        self.res_block4 = Stage(depths[2], 8 * width, 4 * width, 1, 2)
        self.res_block5 = Stage(depths[3], 16 * width, 8 * width, 1, 4)
        self.pyramid_pooling = PyramidPooling(32 * width)
        self.cbr_final = Unit(64 * width, 8 * width, 3)
        self.classification = nn.Conv2d(8 * width, classes, 1)
        self.convbnrelu4_aux = Unit(16 * width, 4 * width, 3)
        self.aux_cls = nn.Conv2d(4 * width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) in [0, 1], ImageNet statistics taken off -> logits (n, classes, h, w); h, w of 48 and more."""
        size = x.shape[2:]
        x = self.convbnrelu1_3(self.convbnrelu1_2(self.convbnrelu1_1(x)))
        x = functional.max_pool2d(x, 3, 2, 1)
        x = self.res_block5(self.res_block4(self.res_block3(self.res_block2(x))))
        x = self.classification(self.cbr_final(self.pyramid_pooling(x)))
        return functional.interpolate(x, size, mode="bilinear", align_corners=False)
