"""The discriminator of LDAE's stage 1: MONAI's ``PatchDiscriminator``, which has the published tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medfm.core.extras import import_extra
from medfm.encoders.ldae.args import AXES

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
    with torch.device("meta"):
        module: PatchDiscriminator = nets.PatchDiscriminator(
            spatial_dims=AXES, channels=channels, in_channels=1, out_channels=1, num_layers_d=layers
        )
    if device == "meta":
        return module.train()
    module.to_empty(device="cpu")
    source = generator if generator is not None else torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm3d):
                part.reset_parameters()
                part.weight.normal_(1.0, _SPREAD, generator=source)
            elif isinstance(part, nn.Conv3d):
                part.weight.normal_(0.0, _SPREAD, generator=source)
                if part.bias is not None:
                    part.bias.zero_()
    return module.to(device).train()


def scores(module: PatchDiscriminator, volume: Tensor) -> Tensor:
    """The last output (n, 1, i', j', k') for volumes (n, 1, i, j, k): above a half means real."""
    last: Tensor = module(volume.contiguous())[-1]
    return last
