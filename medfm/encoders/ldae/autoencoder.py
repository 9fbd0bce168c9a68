"""Stage 1 of LDAE: MONAI's ``AutoencoderKL``, from volumes to latents of an eighth of each side and back.

MONAI's network reproduces the published one bit for bit; only the names of the convolutions behind
the upsampling differ (``decoder.blocks.{3,6,9}.conv.conv`` in published files, ``postconv.conv`` here).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medfm.core.errors import ConfigError
from medfm.core.extras import import_extra
from medfm.encoders.first_weights import draw
from medfm.encoders.ldae.args import AXES, AutoencoderArgs
from medfm.encoders.untrained import checked_args, untrained

if TYPE_CHECKING:
    from monai.networks.nets import AutoencoderKL


def build_autoencoder(
    args: AutoencoderArgs | Mapping[str, Any], generator: torch.Generator | None = None, device: str = "cpu"
) -> AutoencoderKL:
    """An untrained autoencoder, float32, in training mode.

    Args:
        args: Sizes (a mapping is validated).
        generator: CPU generator the first weights are drawn from; seed 0 when absent. Global
            random state is neither read nor changed.
        device: ``"cpu"``, ``"cuda"``..., or ``"meta"`` for shapes without memory.

    Raises:
        MissingExtraError: MONAI is not installed.
    """
    checked = checked_args(AutoencoderArgs, args, where="autoencoder arguments")
    nets = import_extra("monai.networks.nets", "mri", "The compression autoencoder of LDAE")
    network = partial(
        nets.AutoencoderKL,
        spatial_dims=AXES,
        in_channels=1,
        out_channels=1,
        channels=checked.channels,
        num_res_blocks=checked.blocks,
        attention_levels=[False] * len(checked.channels),
        latent_channels=checked.latent_channels,
        norm_num_groups=checked.groups,
        norm_eps=1e-6,
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
    )
    module: AutoencoderKL = untrained(network, draw, generator, device)
    # MONAI keeps only some of its arguments; a file of a trained one needs them all.
    module.args = checked  # type: ignore[assignment]
    return module


def shrink_factor(module: AutoencoderKL) -> int:
    """How many times smaller each side of the latent is than that of the volume."""
    from monai.networks.nets.autoencoderkl import AEKLDownsample

    return int(2 ** sum(isinstance(part, AEKLDownsample) for part in module.encoder.modules()))


def encode(module: AutoencoderKL, volume: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latent, each (n, latent channels, i/f, j/f, k/f), not scaled.

    Args:
        module: The autoencoder.
        volume: float (n, 1, i, j, k) in 0..1, axes as stored in the file (not slice first); every
            side a multiple of f (8 as published).

    Raises:
        ConfigError: The volume is of another shape.
    """
    factor = shrink_factor(module)
    sides = tuple(volume.shape[2:])
    if volume.ndim != AXES + 2 or volume.shape[1] != 1 or any(side == 0 or side % factor for side in sides):
        raise ConfigError(
            f"A volume of shape {tuple(volume.shape)} cannot be compressed.",
            expected=f"(n, 1, i, j, k), every side a multiple of {factor}",
            fix="encoder.preprocess(record) gives volumes of the right size; undo its slice order first",
        )
    mean, sigma = module.encode(volume)
    return mean, sigma


def draw_latent(mean: Tensor, sigma: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """mean + sigma * noise, the noise from `generator` (seed 0 when absent), drawn on the generator's device."""
    source = generator if generator is not None else torch.Generator().manual_seed(0)
    noise = torch.randn(mean.shape, generator=source, device=source.device, dtype=torch.float32)
    return mean + sigma * noise.to(mean.device, mean.dtype)


def decode(module: AutoencoderKL, latent: Tensor) -> Tensor:
    """The volume (n, 1, i, j, k) of an unscaled latent (n, latent channels, i/f, j/f, k/f); not clamped to 0..1."""
    volume: Tensor = module.decode(latent)
    return volume


def kl_divergence(mean: Tensor, sigma: Tensor) -> Tensor:
    """Divergence from the standard normal: *summed* over the elements of a latent, averaged over the batch.

    As published, so the weight 1e-7 of the loss belongs to 15,360 elements.
    """
    mean, sigma = mean.float(), sigma.float()
    each = mean.square() + sigma.square() - sigma.square().log() - 1
    return 0.5 * each.flatten(1).sum(dim=1).mean()
