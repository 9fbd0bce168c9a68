"""The simplest description of a volume: how much of it is how bright, and roughly where. No network and no weights.

Codes of a trained network should beat it: size of the brain and of the ventricles show in it, and so do scanner and site.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from medfm.encoders.families import Family
from medfm.encoders.volume_args import VolumeStatsArgs


class VolumeStats(nn.Module):
    """``forward`` maps float (n, 1, i, j, k) in 0..1 to (n, bins + cells^3).

    First the shares of voxels per bin (bin b holds values in [b/bins, (b+1)/bins), the last also
    1.0), which sum to 1; then the mean of each of cells x cells x cells boxes, the last axis
    fastest. Where a side is no multiple of `cells` boxes overlap by a voxel.
    """

    def __init__(self, args: VolumeStatsArgs) -> None:
        super().__init__()
        self.args = args
        # Carries the device; a module without parameters has none of its own.
        self.register_buffer("anchor", torch.zeros(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Histogram and thumbnail (n, bins + cells^3)."""
        bins = self.args.bins
        values = x.flatten(1)
        index = (values.clamp(0, 1) * bins).long().clamp_(max=bins - 1)
        # One volume at a time: float32 counts lose ones beyond 2^24 voxels, whole numbers do not.
        counts = torch.stack([torch.bincount(one, minlength=bins) for one in index])
        shares = (counts.double() / values.shape[1]).to(x.dtype)
        cells = nn.functional.adaptive_avg_pool3d(x, self.args.cells)
        return torch.cat([shares, cells.flatten(1)], dim=1)


def _build(args: Any, generator: torch.Generator | None, device: str) -> nn.Module:
    return VolumeStats(args).to(device)


def _no_names(module: Any) -> dict[str, str]:
    return {}


def _embed(module: Any, batch: Tensor) -> Tensor:
    figures: Tensor = module(batch)
    return figures


FAMILY = Family(build=_build, plain_names=_no_names, embed=_embed, tokens=None)
