"""Blocks of the LDAE U-Net: guided diffusion's (Dhariwal and Nichol 2021, arXiv 2105.05233) in three dimensions.

MONAI's ``DiffusionModelUNet`` has other blocks (time added rather than scale and shift, other
epsilon, strided convolutions), so it cannot hold the published tensors. The way the semantic code
enters follows PDAE (Zhang et al. 2022, arXiv 2212.12990). Tensor names are the published ones.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

_LONGEST_PERIOD = 10_000
# The first spatial axis (left-right) keeps its size at every level.
_SCALE = (1, 2, 2)


def time_features(t: Tensor, width: int) -> Tensor:
    """Sinusoids (n, width) of timesteps (n,): cosines first, then sines, float32.

    Frequency i of width/2 is 10000 ** (-i / (width/2)); t is in 0..999, not rescaled.
    """
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * torch.exp(-math.log(_LONGEST_PERIOD) / half * steps)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class Conv3d(nn.Conv3d):
    """A convolution that does not fall back to PyTorch's slow one for single small volumes on a CPU.

    PyTorch leaves oneDNN aside where a batch of one has few voxels (here: latents of about 8 x 8 x 8), although a step
    of the denoiser then takes nearly twice as long. Without gradients it is called by name; the values differ in the
    last bits.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As usual."""
        if (
            torch.is_grad_enabled()
            or isinstance(self.padding, str)
            or len(x) != 1
            or x.device.type != "cpu"
            or not x.dtype == self.weight.dtype == torch.float32
            or torch.is_autocast_enabled("cpu")
            or not torch.backends.mkldnn.is_available()
        ):
            return super().forward(x)
        found: torch.Tensor = torch.mkldnn_convolution(
            x, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )
        return found


class Resample(nn.Module):
    """The last two axes halved by averages, doubled by repetition, or left alone; no parameters."""

    def __init__(self, change: Literal["down", "up", "none"]) -> None:
        super().__init__()
        self.change = change

    def forward(self, h: Tensor) -> Tensor:
        """(n, C, i, j, k) -> (n, C, i, j/2, k/2), (n, C, i, 2j, 2k) or `h` itself."""
        if self.change == "down":
            return functional.avg_pool3d(h, kernel_size=_SCALE, stride=_SCALE)
        if self.change == "up":
            return functional.interpolate(h, scale_factor=tuple(map(float, _SCALE)), mode="nearest")
        return h


class ResidualBlock(nn.Module):
    """Two convolutions; the second norm is scaled and shifted by time, and by a code where there is one.

    ``h = norm(h) * (1 + scale) + shift`` from time; with a code then also
    ``h = (1 + zscale) * h + zshift``.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        embedding: int,
        *,
        groups: int,
        dropout: float,
        with_code: bool = False,
        change: Literal["down", "up", "none"] = "none",
    ) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(groups, channels), nn.SiLU(), Conv3d(channels, out_channels, 3, padding=1)
        )
        self.resample = Resample(change)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * out_channels))
        if with_code:
            self.emb_z_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * out_channels))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, out_channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            Conv3d(out_channels, out_channels, 3, padding=1),
        )
        same = channels == out_channels
        self.skip_connection: nn.Module = nn.Identity() if same else Conv3d(channels, out_channels, 1)

    def forward(self, x: Tensor, time: Tensor, code: Tensor | None = None) -> Tensor:
        """x (n, C, i, j, k), time and code (n, embedding) -> (n, C', i, j', k')."""
        h = self.in_layers[2](self.resample(self.in_layers[1](self.in_layers[0](x))))
        scale, shift = _for_voxels(self.emb_layers(time))
        h = self.out_layers[0](h) * (1 + scale) + shift
        if code is not None:
            scale, shift = _for_voxels(self.emb_z_layers(code))
            h = (1 + scale) * h + shift
        out: Tensor = self.skip_connection(self.resample(x)) + self.out_layers[1:](h)
        return out


def _for_voxels(values: Tensor) -> tuple[Tensor, Tensor]:
    scale, shift = values[..., None, None, None].chunk(2, dim=1)
    return scale, shift


class Attention(nn.Module):
    """Self-attention over all voxels, added to its input; query, key and value lie head by head."""

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, i, j, k) -> the same shape."""
        flat = x.flatten(2)
        n, channels, voxels = flat.shape
        qkv = self.qkv(self.norm(flat)).reshape(n, self.heads, 3 * channels // self.heads, voxels)
        query, key, value = (part.transpose(2, 3) for part in qkv.chunk(3, dim=2))
        # Scaled by 1 / sqrt(channels per head), as published (there the root is split over both).
        found = functional.scaled_dot_product_attention(query, key, value)
        found = found.transpose(2, 3).reshape(n, channels, voxels)
        out: Tensor = flat + self.proj_out(found)
        return out.reshape(x.shape)


class Sequence(nn.Sequential):
    """Layers of which some also take the time and the code."""

    def forward(self, h: Tensor, time: Tensor, code: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Each layer in turn; shapes as of the layers."""
        for layer in self:
            h = layer(h, time, code) if isinstance(layer, ResidualBlock) else layer(h)
        return h
