"""Cross-entropies of class and patch tokens."""

from __future__ import annotations

import pytest
import torch

from medfm.objectives.dino import cross_entropy, dino_loss
from medfm.objectives.ibot import ibot_loss, ibot_masked_loss, mask_weights


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_cross_entropy_equals_the_library_for_certain_teachers() -> None:
    student, labels = drawn(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    found = cross_entropy(student, torch.nn.functional.one_hot(labels, 5).float(), 0.5)
    expected = torch.nn.functional.cross_entropy(student / 0.5, labels, reduction="none")
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_least_value_is_the_entropy_of_the_teacher() -> None:
    teacher = torch.softmax(drawn(4, 7), dim=1)
    entropy = -(teacher * teacher.log()).sum(dim=1)
    assert torch.allclose(cross_entropy(teacher.log() * 0.1, teacher, 0.1), entropy, atol=1e-5)
    assert (cross_entropy(drawn(4, 7, seed=1), teacher, 0.1) >= entropy).all()


def test_every_pair_counts_once() -> None:
    students = [drawn(3, 4, seed=i) for i in range(3)]
    teachers = [torch.softmax(drawn(3, 4, seed=9 + i), dim=1) for i in range(2)]
    pairs = [cross_entropy(s, t).mean() for s in students for t in teachers]
    assert float(dino_loss(students, teachers)) == pytest.approx(float(sum(pairs)), rel=1e-6)
    assert float(dino_loss([], teachers)) == 0.0


def test_half_precision_logits_are_computed_in_float32() -> None:
    teacher = torch.softmax(drawn(3, 4), dim=1)
    assert cross_entropy(drawn(3, 4).bfloat16(), teacher).dtype == torch.float32


def test_weights_of_one_image_sum_to_one() -> None:
    masks = torch.tensor([[True, True, False, True], [False] * 4, [False, True, False, False]])
    weights = mask_weights(masks)
    assert weights.tolist() == pytest.approx([1 / 3] * 3 + [1.0])
    assert mask_weights(torch.zeros(2, 4, dtype=torch.bool)).shape == (0,)


def test_masked_and_full_grid_forms_agree() -> None:
    masks = torch.rand(5, 9, generator=torch.Generator().manual_seed(3)) > 0.5
    masks[1] = False
    student, teacher = drawn(5, 9, 6), torch.softmax(drawn(5, 9, 6, seed=4), dim=-1)
    gathered = ibot_masked_loss(student[masks], teacher[masks], mask_weights(masks), 5)
    assert float(gathered) == pytest.approx(float(ibot_loss(student, teacher, masks)), rel=1e-5)


def test_nothing_masked_is_zero_and_differentiable() -> None:
    student = drawn(2, 3, 4).requires_grad_()
    none = torch.zeros(2, 3, dtype=torch.bool)
    loss = ibot_masked_loss(student[none], torch.zeros(0, 4), mask_weights(none), 2)
    loss.backward()
    assert loss.item() == 0.0 and student.grad is not None and not student.grad.any()


def test_hidden_patches_alone_get_a_gradient() -> None:
    student = drawn(2, 3, 4).requires_grad_()
    masks = torch.tensor([[True, False, False], [False, False, True]])
    teacher = torch.softmax(drawn(2, 3, 4, seed=2), dim=-1)
    ibot_loss(student, teacher, masks).backward()
    assert student.grad is not None
    assert torch.equal(student.grad.abs().sum(dim=-1) > 0, masks)
