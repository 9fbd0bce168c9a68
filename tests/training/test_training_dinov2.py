"""The recipe module: targets, loss, teacher, parameter groups."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from medfm.objectives.dino import dino_loss
from medfm.objectives.sinkhorn import sinkhorn_knopp
from medfm.training.batches import Batch, batches
from medfm.training.config import PretrainConfig
from medfm.training.dinov2 import Dinov2
from medfm.training.pictures import Pictures

Recipe = Callable[..., PretrainConfig]
Model = Callable[[PretrainConfig], Dinov2]


def first_batch(config: PretrainConfig, pictures: Pictures) -> Batch:
    return next(iter(batches(config, pictures, 4)))


def test_the_teacher_starts_as_the_student_and_gets_no_gradient(
    recipe: Recipe, model: Model, pictures: Pictures
) -> None:
    made = model(recipe())
    for a, b in zip(made.student.parameters(), made.teacher.parameters(), strict=True):
        assert torch.equal(a, b) and a is not b
    made.loss(first_batch(made.config, pictures), 0.05)["total"].backward()
    assert all(p.grad is None for p in made.teacher.parameters())
    assert all(p.grad is not None for p in made.student.parameters())


def test_targets_swap_the_crops(recipe: Recipe, model: Model, pictures: Pictures) -> None:
    made = model(recipe())
    batch = first_batch(made.config, pictures)
    class_targets, patch_targets = made.targets(batch, 0.05, lambda t: t)
    seen = made.teacher(batch.global_crops, batch.masks, batch.local_crops[:0], False).global_logits
    unswapped = sinkhorn_knopp(seen, 0.05)
    half = len(seen) // 2
    assert torch.allclose(class_targets[:half], unswapped[half:], atol=1e-6)
    assert torch.allclose(class_targets[half:], unswapped[:half], atol=1e-6)
    assert patch_targets.shape == (int(batch.masks.sum()), 16)


def test_the_teacher_sees_hidden_patches_and_the_student_does_not(
    recipe: Recipe, model: Model, pictures: Pictures
) -> None:
    made = model(recipe())
    batch = first_batch(made.config, pictures)
    seen = made.teacher(batch.global_crops, batch.masks, batch.local_crops, False)
    hidden = made.student(batch.global_crops, batch.masks, batch.local_crops, True)
    assert not torch.allclose(seen.patch_logits, hidden.patch_logits, atol=1e-4)
    # Images without a mask are the same to both, since teacher and student are equal at the start.
    whole = ~batch.masks.any(dim=1)
    assert torch.allclose(seen.class_tokens[whole], hidden.class_tokens[whole], atol=1e-6)


def test_local_crops_count_as_the_rule_says(recipe: Recipe, model: Model, pictures: Pictures) -> None:
    config = recipe()
    made = model(config)
    batch = first_batch(config, pictures)
    targets, _ = made.targets(batch, 0.05, lambda t: t)
    local = made.student(batch.global_crops, batch.masks, batch.local_crops, True).local_logits
    expected = dino_loss(local.chunk(2), targets.chunk(2)) / (2 + 4)
    assert float(made.loss(batch, 0.05)["local"].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    strict = model(recipe(objective={"least_local_crops": 3}))
    assert float(strict.loss(batch, 0.05)["local"].detach()) == 0.0


def test_centres_move_only_with_softmax_centring(recipe: Recipe, model: Model, pictures: Pictures) -> None:
    for centering, moves in (("sinkhorn", False), ("softmax", True)):
        made = model(recipe(objective={"centering": centering}))
        made.loss(first_batch(made.config, pictures), 0.05)
        assert bool(made.class_center.center.any()) == moves
        assert bool(made.patch_center.center.any()) == moves


def test_the_teacher_is_a_moving_average(recipe: Recipe, model: Model) -> None:
    made = model(recipe())
    with torch.no_grad():
        for parameter in made.student.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in made.teacher.parameters()]
    made.update_teacher(0.75)
    for old, new in zip(before, made.teacher.parameters(), strict=True):
        assert torch.allclose(new, old + 0.25, atol=1e-6)
    made.update_teacher(1.0)
    for old, new in zip(before, made.teacher.parameters(), strict=True):
        assert torch.allclose(new, old + 0.25, atol=1e-6)


def test_a_batch_without_masks_has_no_patch_loss(recipe: Recipe, model: Model, pictures: Pictures) -> None:
    made = model(recipe(objective={"mask_probability": 0.0}))
    parts = made.loss(first_batch(made.config, pictures), 0.05)
    assert float(parts["ibot"].detach()) == 0.0
    parts["total"].backward()


def test_groups_cover_backbone_and_heads_once(recipe: Recipe, model: Model) -> None:
    for shared in (False, True):
        made = model(recipe(heads={"shared": shared}))
        ids = [id(p) for g in made.param_groups() for p in g["params"]]
        assert sorted(ids) == sorted(id(p) for p in made.student.parameters())
        assert set(made.student.parts()) == ({"backbone", "dino_head"} | (set() if shared else {"ibot_head"}))
