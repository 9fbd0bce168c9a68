"""The discriminator of LDAE's stage 1: MONAI's ``PatchDiscriminator``, which has the published tensors."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medfm.core.extras import import_extra
from medfm.encoders.ldae.args import AXES
from medfm.encoders.untrained import untrained

if TYPE_CHECKING:
    from monai.networks.nets import PatchDiscriminator

_SPREAD = 0.02


def build_discriminator(
    channels: int = 64, layers: int = 3, generator: torch.Generator | None = None, device: str = "cpu"
) -> PatchDiscriminator:
    """An untrained discriminator of volumes, float32, in training mode.

    Kernel 4, LeakyReLU 0.2, batch norm; 64 channels and 3 layers as published (11,048,769
    parameters). First weights are normal with deviation 0.02, as in MONAI, but drawn from `generator`
    (seed 0 when absent).

    Raises:
        MissingExtraError: MONAI is not installed.
    """
    nets = import_extra("monai.networks.nets", "mri", "The discriminator of LDAE")
    network = partial(
        nets.PatchDiscriminator,
        spatial_dims=AXES,
        channels=channels,
        in_channels=1,
        out_channels=1,
        num_layers_d=layers,
    )
    module: PatchDiscriminator = untrained(network, _first_weights, generator, device)
    return module


@torch.no_grad()
def _first_weights(module: nn.Module, generator: torch.Generator) -> None:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm3d):
            part.reset_parameters()
            part.weight.normal_(1.0, _SPREAD, generator=generator)
        elif isinstance(part, nn.Conv3d):
            part.weight.normal_(0.0, _SPREAD, generator=generator)
            if part.bias is not None:
                part.bias.zero_()


def scores(module: PatchDiscriminator, volume: Tensor) -> Tensor:
    """The last output (n, 1, i', j', k') for volumes (n, 1, i, j, k): above a half means real."""
    last: Tensor = module(volume.contiguous())[-1]
    return last
