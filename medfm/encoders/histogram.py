"""The colour-histogram baseline: no network and no weights, yet an encoder like any other.

A useful encoder should beat it. Because it runs through the same pipeline, protocols and
paired comparisons, the baseline of a report is measured, never quoted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from medfm.encoders.families import Family
from medfm.encoders.histogram_args import HistogramArgs


class ColorHistogram(nn.Module):
    """Shares of pixels per bin, one histogram for each of R, G, B, H, S, V.

    ``forward`` maps float (n, 3, H, W) in 0..1, red-green-blue, to (n, 6 * bins); each histogram
    sums to 1. Bin b of a channel holds values in [b/bins, (b+1)/bins), the last also 1.0.
    """

    def __init__(self, args: HistogramArgs) -> None:
        super().__init__()
        self.args = args
        # Carries the device; a module without parameters has none of its own.
        self.register_buffer("anchor", torch.zeros(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The histograms (n, 6 * bins), channels in the order R, G, B, H, S, V."""
        channels = torch.cat([x, hsv(x)], dim=1).clamp(0, 1)
        bins = self.args.bins
        index = (channels * bins).long().clamp_(max=bins - 1).flatten(2)
        counts = torch.zeros(*index.shape[:2], bins, device=x.device, dtype=x.dtype)
        counts.scatter_add_(2, index, torch.ones_like(index, dtype=x.dtype))
        return (counts / index.shape[2]).flatten(1)


def hsv(x: torch.Tensor) -> torch.Tensor:
    """Hue, saturation and value in 0..1 of RGB in 0..1, shape (n, 3, H, W) (Smith 1978; grey has hue 0)."""
    red, green, blue = x.unbind(1)
    value, _ = x.max(dim=1)
    spread = value - x.min(dim=1).values
    safe = spread.where(spread > 0, torch.ones_like(spread))
    hue = torch.where(
        value == red,
        ((green - blue) / safe) % 6,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = torch.where(spread > 0, hue / 6, torch.zeros_like(hue))
    saturation = spread / value.where(value > 0, torch.ones_like(value))
    return torch.stack([hue, saturation, value], dim=1)


def _build(args: Any, generator: torch.Generator | None, device: str) -> nn.Module:
    return ColorHistogram(args).to(device)


def _no_names(module: Any) -> dict[str, str]:
    return {}


def _embed(module: Any, batch: torch.Tensor) -> torch.Tensor:
    histograms: torch.Tensor = module(batch)
    return histograms


FAMILY = Family(build=_build, plain_names=_no_names, embed=_embed, tokens=None)
