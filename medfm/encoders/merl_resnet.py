"""MERL's one-dimensional ResNet and the attention pool behind it; tensor names as published."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medfm.encoders.merl_args import RESNETS, MerlArgs


class ResidualBlock(nn.Module):
    """Two 3-wide convolutions (expansion 1), or 1-3-1 with a four times wider end (expansion 4).

    The stride is at the first 3-wide convolution. Input (n, channels, time).
    """

    def __init__(self, channels: int, width: int, expansion: int, stride: int) -> None:
        super().__init__()
        out = width * expansion
        self.conv3: nn.Conv1d | None
        if expansion == 1:
            self.conv1 = _conv(channels, width, 3, stride)
            self.bn1 = nn.BatchNorm1d(width)
            self.conv2 = _conv(width, width, 3)
            self.bn2 = nn.BatchNorm1d(width)
            self.conv3 = None
        else:
            self.conv1 = _conv(channels, width, 1)
            self.bn1 = nn.BatchNorm1d(width)
            self.conv2 = _conv(width, width, 3, stride)
            self.bn2 = nn.BatchNorm1d(width)
            self.conv3 = _conv(width, out, 1)
            self.bn3 = nn.BatchNorm1d(out)
        changes = stride != 1 or channels != out
        self.shortcut = nn.Sequential(*([_conv(channels, out, 1, stride), nn.BatchNorm1d(out)] if changes else []))

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, time) -> (n, width * expansion, time / stride)."""
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.conv3 is not None:
            y = self.bn3(self.conv3(y.relu()))
        return torch.relu(y + self.shortcut(x))


def _conv(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Conv1d:
    return nn.Conv1d(channels, out, kernel, stride=stride, padding=kernel // 2, bias=False)


class ResNet1d(nn.Module):
    """(n, leads, samples) -> (n, width, samples / 16); no pooling after the stem."""

    def __init__(self, args: MerlArgs) -> None:
        super().__init__()
        counts, expansion = RESNETS[args.backbone]
        self.conv1 = _conv(args.leads, args.stem, 7, 2)
        self.bn1 = nn.BatchNorm1d(args.stem)
        channels = args.stem
        for stage, count in enumerate(counts):
            width = args.stem << stage
            blocks = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(ResidualBlock(channels, width, expansion, stride))
                channels = width * expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        """The map of the last stage."""
        x = self.bn1(self.conv1(x)).relu()
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x


class AttentionPool(nn.Module):
    """One learned query attends over the time steps.

    As published, the position row of the query is added twice: once when the query is put in
    front of the sequence and once more with the whole table.
    """

    def __init__(self, width: int, steps: int, heads: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(1, steps + 1, width))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mhsa = nn.MultiheadAttention(width, heads, batch_first=True)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """Pool (n, width, steps) to (n, width).

        Args:
            x: The map.
            weights: Whether to return also the attention (n, steps), averaged over the heads;
                the share that the query gives itself is left out, so rows sum to less than 1.
        """
        query = (self.cls_token + self.positional_embedding[:, :1]).expand(len(x), -1, -1)
        sequence = torch.cat([query, x.transpose(1, 2)], dim=1) + self.positional_embedding
        pooled, attention = self.mhsa(sequence[:, :1], sequence, sequence, need_weights=weights)
        out: Tensor = self.c_proj(pooled[:, 0])
        return out, None if attention is None else attention[:, 0, 1:]
