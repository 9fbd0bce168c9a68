"""Losses between two sets of paired embeddings: CLIP, SigLIP, CoCa's caption part, distillation.

Sources: Radford et al. (ICML 2021); Zhai et al., Sigmoid Loss for Language Image Pre-Training
(ICCV 2023); Yu et al., CoCa (TMLR 2022). One process; gathering over processes is the caller's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def paired_logits(image: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    """scale * image @ text^T, shape (n, n), in float32.

    Args:
        image: (n, d), rows of length 1.
        text: (n, d), rows of length 1; row i belongs to row i of `image`.
        scale: Multiplier of the cosines (the exponential of CLIP's logit_scale).
    """
    with torch.autocast(image.device.type, enabled=False):
        return scale * image.float() @ text.float().T


def clip_loss(image: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    """Mean of the two cross-entropies of finding the partner; arguments of :func:`paired_logits`."""
    logits = paired_logits(image, text, scale)
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def siglip_loss(image: Tensor, text: Tensor, scale: Tensor | float, bias: Tensor | float) -> Tensor:
    """Every pair of the batch on its own: -log sigmoid(+-(logit + bias)), summed, over n.

    Args:
        image: (n, d), rows of length 1.
        text: (n, d), rows of length 1.
        scale: Multiplier of the cosines.
        bias: Added to every logit (-10 at first, as published).
    """
    logits = paired_logits(image, text, scale) + bias
    sign = 2 * torch.eye(len(logits), device=logits.device) - 1
    return -functional.logsigmoid(sign * logits).sum() / len(logits)


def caption_loss(logits: Tensor, labels: Tensor, padding: int = 0) -> Tensor:
    """Cross-entropy of the next token, mean over all tokens of the batch that are not padding.

    Args:
        logits: (n, length, vocabulary).
        labels: int64 (n, length).
        padding: Label that is left out.
    """
    return functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=padding)


def coca_loss(
    image: Tensor,
    text: Tensor,
    scale: Tensor | float,
    logits: Tensor,
    labels: Tensor,
    weights: tuple[float, float] = (1.0, 2.0),
    padding: int = 0,
) -> tuple[Tensor, Tensor]:
    """The two parts of CoCa, each with its weight: contrastive, caption; their sum is the loss."""
    return weights[0] * clip_loss(image, text, scale), weights[1] * caption_loss(logits, labels, padding)


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of the student's logits (n, n) against the teacher's softmax, both directions averaged.

    Args:
        student: Logits image by text; the other direction is their transpose.
        teacher: The same pairs by the teacher; no gradient flows into it.
    """
    fixed = teacher.detach()
    return (_soft_cross_entropy(student, fixed.softmax(1)) + _soft_cross_entropy(student.T, fixed.T.softmax(1))) / 2


def _soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return -(target * logits.log_softmax(1)).sum(1).mean()
