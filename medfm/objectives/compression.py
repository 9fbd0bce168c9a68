"""Losses of LDAE's stage 1: a compression autoencoder against a discriminator.

As published (GabrieleLozupone/LDAE, src/ldae/ae_kl.py with config/aekl.yaml): the KL term is a
sum over the latent, and the adversarial weight also multiplies the discriminator's own loss. The
least-squares term is MONAI's ``PatchAdversarialLoss``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from medfm.core.extras import import_extra
from medfm.encoders.ldae.autoencoder import kl_divergence


@dataclass(frozen=True)
class CompressionWeights:
    """How much each part counts; the defaults are the published ones."""

    kl: float = 1e-7
    perceptual: float = 1e-3
    adversarial: float = 0.025
    l1: float = 1.0
    l2: float = 0.0


@dataclass(frozen=True)
class CompressionLosses:
    """The parts (unweighted) and their weighted sum, each a scalar; parts left out are 0."""

    total: Tensor
    l1: Tensor
    kl: Tensor
    perceptual: Tensor
    adversarial: Tensor
    l2: Tensor


PUBLISHED = CompressionWeights()


def compression_losses(
    drawn: Tensor,
    volume: Tensor,
    mean: Tensor,
    sigma: Tensor,
    scores: Tensor | None = None,
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
    weights: CompressionWeights = PUBLISHED,
) -> CompressionLosses:
    """What the autoencoder minimises: L1 + kl * KL + perceptual * P + adversarial * A (and l2 * L2, not published).

    Args:
        drawn: What the decoder made of a drawn latent, float (n, 1, i, j, k).
        volume: What it should be, the same shape.
        mean: Of the latent, (n, channels, ...).
        sigma: Its standard deviation, positive.
        scores: The discriminator's last output for `drawn`; without it the adversarial part is 0.
            Keep the discriminator's parameters from gathering gradients here: the published program
            does not, so its discriminator also learnt from this term.
        perceptual: A distance of two volumes, such as MONAI's ``PerceptualLoss`` (which needs
            downloaded weights); without it that part is 0.
        weights: Weights of the parts.
    """
    zero = torch.zeros((), device=drawn.device)
    difference = drawn.float() - volume.float()
    l1, l2 = difference.abs().mean(), difference.square().mean()
    kl = kl_divergence(mean, sigma)
    seen = zero if perceptual is None else perceptual(drawn.float(), volume.float())
    fooled = zero if scores is None else _least_squares(scores, real=True, discriminator=False)
    total = weights.l1 * l1 + weights.kl * kl + weights.perceptual * seen + weights.adversarial * fooled
    return CompressionLosses(total + weights.l2 * l2, l1, kl, seen, fooled, l2)


def discriminator_loss(of_drawn: Tensor, of_real: Tensor, weights: CompressionWeights = PUBLISHED) -> Tensor:
    """What the discriminator minimises: adversarial * (mean(of_drawn ** 2) + mean((of_real - 1) ** 2)) / 2.

    Args:
        of_drawn: Its last output for decoded volumes, which must not carry the autoencoder's gradient.
        of_real: Its last output for real ones.
        weights: Only ``adversarial`` is used.
    """
    both = _least_squares(of_drawn, real=False, discriminator=True) + _least_squares(
        of_real, real=True, discriminator=True
    )
    return weights.adversarial * 0.5 * both


def _least_squares(scores: Tensor, *, real: bool, discriminator: bool) -> Tensor:
    losses = import_extra("monai.losses", "mri", "The adversarial loss of LDAE")
    loss: Tensor = losses.PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)(
        scores.float(), target_is_real=real, for_discriminator=discriminator
    )
    return loss
