"""The DINO loss: cross-entropy between teacher and student assignments of class tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def cross_entropy(student_logits: Tensor, teacher_probabilities: Tensor, student_temperature: float = 0.1) -> Tensor:
    """``-sum(p_teacher * log_softmax(student / temperature))`` over the last axis, per row.

    Args:
        student_logits: (..., K).
        teacher_probabilities: (..., K), rows sum to 1, no gradient.
        student_temperature: Above 0.

    Returns:
        (...), each at least the entropy of the teacher's row.
    """
    log_student = torch.log_softmax(student_logits.float() / student_temperature, dim=-1)
    return -(teacher_probabilities * log_student).sum(dim=-1)


def dino_loss(
    student_crops: Sequence[Tensor], teacher_crops: Sequence[Tensor], student_temperature: float = 0.1
) -> Tensor:
    """Sum of the mean cross-entropies over every (student crop, teacher crop) pair.

    Args:
        student_crops: Logits (n, K), one tensor per student crop.
        teacher_crops: Probabilities (n, K), one tensor per teacher crop. Every pair counts:
            leaving out pairs of equal crops, or swapping crops, is the caller's part.
        student_temperature: Above 0.

    Returns:
        Scalar; 0 where there is no student crop.

    Source: DINO (arXiv 2104.14294), equation 3; DINOv2 (arXiv 2304.07193), section 4.
    """
    total = torch.zeros((), device=teacher_crops[0].device)
    for student in student_crops:
        for teacher in teacher_crops:
            total = total + cross_entropy(student, teacher, student_temperature).mean()
    return total
