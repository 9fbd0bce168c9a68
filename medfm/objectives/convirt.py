"""ConVIRT's objective: two directions of different weight at a fixed temperature.

Zhang et al., Contrastive Learning of Medical Visual Representations from Paired Images and Text
(arXiv 2010.00747), as in the public port edreisMD/ConVIRT-pytorch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

TEMPERATURE = 0.1
IMAGE_TO_TEXT = 0.75


@dataclass(frozen=True)
class ConvirtLosses:
    """The weighted sum and its two directions before weighting, each a scalar with gradient."""

    total: Tensor
    image_to_text: Tensor
    text_to_image: Tensor


def convirt_losses(
    image: Tensor, text: Tensor, temperature: float = TEMPERATURE, weight: float = IMAGE_TO_TEXT
) -> ConvirtLosses:
    """weight * (image finds its text) + (1 - weight) * (text finds its image), means over n.

    Args:
        image: (n, d); rows need not have length 1. Computed in float32.
        text: (n, d); row i belongs to row i of `image`.
        temperature: Divides the cosines; not learned.
        weight: Share of the direction from image to text, 0 to 1.
    """
    with torch.autocast(image.device.type, enabled=False):
        rows, columns = (functional.normalize(x.float(), dim=-1) for x in (image, text))
        logits = rows @ columns.T / temperature
    target = torch.arange(len(logits), device=logits.device)
    forward, backward = functional.cross_entropy(logits, target), functional.cross_entropy(logits.T, target)
    return ConvirtLosses(weight * forward + (1 - weight) * backward, forward, backward)
