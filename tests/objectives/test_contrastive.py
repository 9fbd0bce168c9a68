"""The paired losses against slow loops, and what must hold for any batch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ConfigError
from medfm.objectives.contrastive import caption_loss, clip_loss, distillation_loss, paired_logits, siglip_loss
from medfm.objectives.convirt import convirt_losses
from medfm.objectives.flair import category_targets, clamp_scale, flair_losses


def pair(n: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(n, 7, generator=generator) for _ in range(2)]
    u, v = (torch.nn.functional.normalize(x, dim=-1) for x in rows)
    return u, v


def log_share(row: np.ndarray, index: int) -> float:
    return float(row[index] - math.log(np.exp(row).sum()))


def test_clip_by_a_loop():
    u, v = pair()
    cosines = (u @ v.T).double().numpy() * 10
    slow = -np.mean([(log_share(cosines[i], i) + log_share(cosines[:, i], i)) / 2 for i in range(5)])
    assert clip_loss(u, v, 10.0).item() == pytest.approx(slow, rel=1e-5)


def test_siglip_by_a_loop():
    u, v = pair()
    logits = (u @ v.T).double().numpy() * 4 - 1
    slow = sum(math.log1p(math.exp(-(1 if i == j else -1) * logits[i, j])) for i in range(5) for j in range(5)) / 5
    assert siglip_loss(u, v, 4.0, -1.0).item() == pytest.approx(slow, rel=1e-5)


def test_convirt_by_a_loop():
    u, v = pair()
    cosines = (u @ v.T).double().numpy() / 0.1
    forward = -np.mean([log_share(cosines[i], i) for i in range(5)])
    backward = -np.mean([log_share(cosines[:, i], i) for i in range(5)])
    losses = convirt_losses(3 * u, 0.2 * v)
    assert losses.total.item() == pytest.approx(0.75 * forward + 0.25 * backward, rel=1e-5)
    assert (losses.image_to_text.item(), losses.text_to_image.item()) == pytest.approx((forward, backward), rel=1e-5)


def test_flair_with_categories_all_different_is_clip():
    u, v = pair()
    losses = flair_losses(u, v, torch.tensor(2.0), category_targets(list("abcde")))
    assert losses.total.item() == pytest.approx(clip_loss(u, v, math.exp(2.0)).item(), rel=1e-5)
    assert convirt_losses(u, v, math.exp(-2.0), 0.5).total.item() == pytest.approx(losses.total.item(), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["", "glaucoma", "drusens", "normal"]), min_size=1, max_size=9))
def test_targets_are_symmetric_and_sum_to_one(categories):
    target = category_targets(categories).numpy()
    np.testing.assert_allclose(target.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(target, target.T)
    for i, one in enumerate(categories):
        for j, other in enumerate(categories):
            assert bool(target[i, j] > 0) is (one == other)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)))
def test_the_order_of_a_batch_does_not_matter(order):
    u, v = pair()
    index = torch.tensor(order)
    categories = ["a", "b", "a", "c", "b"]
    shuffled = [categories[i] for i in order]
    for loss in (
        lambda a, b, c: clip_loss(a, b, 10.0),
        lambda a, b, c: siglip_loss(a, b, 10.0, -5.0),
        lambda a, b, c: convirt_losses(a, b).total,
        lambda a, b, c: flair_losses(a, b, torch.tensor(2.0), category_targets(c)).total,
    ):
        assert loss(u[index], v[index], shuffled).item() == pytest.approx(loss(u, v, categories).item(), rel=1e-4)


def test_perfect_pairs_cost_nothing_and_shuffled_ones_do():
    u = torch.eye(4, 7)
    assert clip_loss(u, u, 100.0).item() < 1e-6
    assert clip_loss(u, u.roll(1, 0), 100.0).item() > 50


def test_padding_is_left_out_of_captions():
    logits = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0]])
    changed = logits.clone()
    changed[0, 2:], changed[1, 1:] = 9.0, -9.0
    assert caption_loss(changed, labels).item() == pytest.approx(caption_loss(logits, labels).item())
    one = torch.tensor([[1, 2, 4, 4], [3, 4, 4, 4]])
    assert caption_loss(logits, one, padding=4).item() == pytest.approx(caption_loss(logits, labels).item())


def test_a_student_equal_to_its_teacher_pays_the_entropy_and_the_teacher_learns_nothing():
    u, v = pair()
    teacher = paired_logits(u, v, 3.0).requires_grad_()
    student = teacher.detach().clone().requires_grad_()
    distillation_loss(student, teacher).backward()
    assert teacher.grad is None and float(student.grad.abs().max()) < 1e-6


def test_the_scale_is_brought_into_its_limits_in_place():
    for start, end in ((9.0, 4.6052), (-3.0, 0.0), (2.5, 2.5)):
        scale = torch.nn.Parameter(torch.tensor(start))
        clamp_scale(scale)
        assert scale.item() == pytest.approx(end) and scale.requires_grad
        scale.exp().backward()
        assert scale.grad is not None and scale.grad.item() > 0


def test_half_precision_is_not_trusted_with_logits():
    u, v = pair()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for loss in (clip_loss(u, v, 100.0), convirt_losses(u, v).total):
            assert loss.dtype == torch.float32
        assert paired_logits(u.bfloat16(), v.bfloat16(), 1.0).dtype == torch.float32


def test_no_samples():
    with pytest.raises(ConfigError, match="no categories"):
        category_targets([])
