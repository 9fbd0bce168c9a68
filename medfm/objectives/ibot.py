"""The iBOT loss: the student names the teacher's assignment of the patches it cannot see."""

from __future__ import annotations

from torch import Tensor

from medfm.objectives.dino import cross_entropy


def mask_weights(masks: Tensor) -> Tensor:
    """1 / (masked patches of the image) for every masked patch, in row-major order.

    Args:
        masks: bool (n, patches), True = masked.

    Returns:
        float32 (number of masked patches,); the weights of one image sum to 1.
    """
    per_image = 1.0 / masks.sum(dim=-1, keepdim=True).clamp(min=1)
    return per_image.expand(masks.shape)[masks]


def ibot_masked_loss(
    student_logits: Tensor,
    teacher_probabilities: Tensor,
    weights: Tensor,
    images: int,
    student_temperature: float = 0.1,
) -> Tensor:
    """Weighted cross-entropy of the masked patches, divided by the number of images.

    Args:
        student_logits: (m, K), masked patches of all images in row-major order.
        teacher_probabilities: (m, K), the same patches seen by the teacher.
        weights: (m,), see :func:`mask_weights`.
        images: Number of images, the unmasked ones included.
        student_temperature: Above 0.

    Returns:
        Scalar; 0 where nothing is masked.

    Source: Zhou et al., iBOT (arXiv 2111.07832), equation 3; DINOv2 (arXiv 2304.07193), section 4.
    """
    return (cross_entropy(student_logits, teacher_probabilities, student_temperature) * weights).sum() / images


def ibot_loss(
    student_logits: Tensor, teacher_probabilities: Tensor, masks: Tensor, student_temperature: float = 0.1
) -> Tensor:
    """The same loss on full grids: mean over the masked patches of an image, then over images.

    Args:
        student_logits: (n, patches, K).
        teacher_probabilities: (n, patches, K).
        masks: bool (n, patches).
        student_temperature: Above 0.

    Returns:
        Scalar; an image without masked patches counts as 0.
    """
    per_patch = cross_entropy(student_logits, teacher_probabilities, student_temperature) * masks
    return (per_patch.sum(dim=-1) / masks.sum(dim=-1).clamp(min=1)).mean()
