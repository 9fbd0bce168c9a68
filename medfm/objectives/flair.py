"""FLAIR's objective: samples of one category are partners of each other, not only of themselves.

Silva-Rodriguez et al. (Medical Image Analysis 99 (2025) 103357, arXiv 2308.07898).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medfm.core.errors import ConfigError
from medfm.objectives.contrastive import paired_logits

LIMITS = (0.0, 4.6052)  # of the logarithm of the multiplier: 1 to 100


@dataclass(frozen=True)
class FlairLosses:
    """Their mean and the two directions, each a scalar with gradient."""

    total: Tensor
    text: Tensor
    image: Tensor


def category_targets(categories: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
    """Which texts belong to which picture: float32 (n, n), rows sum to 1.

    Entry (i, j) is 1 / (number of samples of i's category) where both have the same category, by
    the very string. Samples without a category (``""``) are partners of each other, as published.

    Raises:
        ConfigError: There are no samples.
    """
    if not len(categories):
        raise ConfigError("There are no categories to make targets from.")
    names = {name: index for index, name in enumerate(dict.fromkeys(categories))}
    index = torch.tensor([names[name] for name in categories], device=device)
    same = (index[:, None] == index[None, :]).float()
    return same / same.sum(dim=1, keepdim=True)


@torch.no_grad()
def clamp_scale(log_scale: Tensor) -> None:
    """Bring the learned logarithm of the multiplier into its limits, in place, before it is used.

    In place, so that a gradient still flows at the limits, as published.
    """
    log_scale.clamp_(*LIMITS)


def flair_losses(image: Tensor, text: Tensor, log_scale: Tensor, target: Tensor) -> FlairLosses:
    """Cross-entropy against `target` over rows of texts and over rows of pictures, averaged.

    Args:
        image: (n, d), rows of length 1.
        text: (n, d), rows of length 1.
        log_scale: Logarithm of the multiplier, a scalar within its limits (:func:`clamp_scale`).
        target: (n, n) of :func:`category_targets`; the same for both directions.
    """
    logits = paired_logits(image, text, log_scale.exp())
    by_text = -(target * logits.T.log_softmax(1)).sum(1).mean()
    by_image = -(target * logits.log_softmax(1)).sum(1).mean()
    return FlairLosses((by_text + by_image) / 2, by_text, by_image)
