"""What the losses must keep under permutations, scalings and small changes, and plain numpy versions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from medfm.objectives.centering import Center
from medfm.objectives.dino import cross_entropy, dino_loss
from medfm.objectives.dinov2 import DINOBLOOM, REDDINO, UPSTREAM, combine
from medfm.objectives.ibot import ibot_loss, ibot_masked_loss, mask_weights
from medfm.objectives.koleo import koleo_loss
from medfm.objectives.sinkhorn import sinkhorn_knopp


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shares(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.softmax(normal(*shape, seed=seed), dim=-1)


def softmax64(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_cross_entropy_is_its_formula_in_double_precision(temperature: float) -> None:
    student, teacher = normal(6, 11), shares(6, 11)
    expected = -(teacher.double().numpy() * np.log(softmax64(student.double().numpy() / temperature))).sum(axis=1)
    np.testing.assert_allclose(cross_entropy(student, teacher, temperature).numpy(), expected, rtol=1e-5)


def test_renaming_samples_or_prototypes_changes_no_dino_loss() -> None:
    student, teacher = [normal(6, 9, seed=s) for s in (0, 1, 2)], [shares(6, 9, seed=s) for s in (3, 4)]
    value = dino_loss(student, teacher)
    rows, columns = torch.randperm(6, generator=torch.Generator().manual_seed(5)), torch.arange(8, -1, -1)
    torch.testing.assert_close(dino_loss([s[rows] for s in student], [t[rows] for t in teacher]), value)
    torch.testing.assert_close(dino_loss([s[:, columns] for s in student], [t[:, columns] for t in teacher]), value)
    torch.testing.assert_close(dino_loss(student[::-1], teacher[::-1]), value)


def test_pairing_samples_wrongly_costs_more() -> None:
    """The loss looks at which teacher row belongs to which student row."""
    student = normal(8, 20)
    teacher = torch.softmax(student / 0.1, dim=-1)
    assert dino_loss([student], [teacher]) < dino_loss([student], [teacher.roll(1, dims=0)])


def test_a_constant_added_to_the_logits_of_a_sample_changes_nothing() -> None:
    student, teacher = normal(5, 7), shares(5, 7)
    torch.testing.assert_close(
        cross_entropy(student + 10 * normal(5, 1, seed=3), teacher),
        cross_entropy(student, teacher),
        atol=1e-4,
        rtol=1e-4,
    )


def test_the_gradient_of_the_dino_loss_is_the_difference_of_shares() -> None:
    student = normal(4, 6).requires_grad_()
    teacher = shares(4, 6)
    dino_loss([student], [teacher], 0.1).backward()
    expected = (torch.softmax(student.detach() / 0.1, dim=-1) - teacher) / 0.1 / 4
    torch.testing.assert_close(student.grad, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("samples", "prototypes"), [(4, 16), (16, 4), (30, 30), (1, 5)])
@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_sinkhorn_is_alternating_scaling_in_double_precision(samples: int, prototypes: int, iterations: int) -> None:
    logits = 0.3 * normal(samples, prototypes)
    found = sinkhorn_knopp(logits, 0.07, iterations)
    q = np.exp(logits.double().numpy() / 0.07)
    for _ in range(iterations):
        q = q / q.sum(axis=0, keepdims=True) / prototypes
        q = q / q.sum(axis=1, keepdims=True) / samples
    np.testing.assert_allclose(found.numpy(), q * samples, rtol=2e-4, atol=1e-7)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(samples))
    assert (found >= 0).all()


def test_more_sinkhorn_iterations_make_the_columns_more_equal() -> None:
    logits = 0.3 * normal(40, 8)
    spread = [float((sinkhorn_knopp(logits, 0.07, n).sum(dim=0) - 5).abs().max()) for n in (1, 3, 10, 100)]
    assert spread == sorted(spread, reverse=True)
    assert spread[-1] < 1e-3


def test_sinkhorn_follows_samples_and_prototypes_and_ignores_offsets() -> None:
    logits = 0.3 * normal(10, 6)
    value = sinkhorn_knopp(logits, 0.07)
    rows, columns = torch.randperm(10, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 1, 0, 5, 4, 2])
    torch.testing.assert_close(sinkhorn_knopp(logits[rows], 0.07), value[rows])
    torch.testing.assert_close(sinkhorn_knopp(logits[:, columns], 0.07), value[:, columns])
    # A prototype that all samples like equally more is divided out in the first step.
    offset = 0.2 * normal(1, 6, seed=2)
    torch.testing.assert_close(sinkhorn_knopp(logits + offset, 0.07), value, atol=1e-4, rtol=1e-3)


def test_koleo_is_its_formula_on_the_nearest_neighbours() -> None:
    x = normal(12, 5)
    rows = x.double().numpy()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    distance = np.linalg.norm(rows[:, None] - rows[None], axis=2) + 9 * np.eye(12)
    assert float(koleo_loss(x)) == pytest.approx(-np.log(distance.min(axis=1)).mean(), rel=1e-5)


def test_koleo_gradient_equals_finite_differences() -> None:
    """Central differences of the formula in double precision against the gradient by autograd."""
    x = normal(7, 4, seed=3)
    given = x.clone().requires_grad_()
    koleo_loss(given).backward()

    def value(v: np.ndarray) -> float:
        rows = v / np.linalg.norm(v, axis=1, keepdims=True)
        distance = np.linalg.norm(rows[:, None] - rows[None], axis=2) + 9 * np.eye(len(v))
        return float(-np.log(distance.min(axis=1)).mean())

    base, step = x.double().numpy(), 1e-6
    numeric = np.empty_like(base)
    for place in np.ndindex(*base.shape):
        up, down = base.copy(), base.copy()
        up[place] += step
        down[place] -= step
        numeric[place] = (value(up) - value(down)) / (2 * step)
    np.testing.assert_allclose(given.grad.numpy(), numeric, atol=1e-5)
    # Scale does not matter, so the gradient has no part along a row.
    np.testing.assert_allclose((given.grad * x).sum(dim=1).numpy(), 0, atol=1e-5)


def test_koleo_does_not_see_the_order_or_a_rotation() -> None:
    x = normal(9, 6)
    turn = torch.linalg.qr(normal(6, 6, seed=4)).Q
    value = koleo_loss(x)
    torch.testing.assert_close(koleo_loss(x.flip(0)), value)
    torch.testing.assert_close(koleo_loss(x @ turn), value, atol=1e-5, rtol=1e-5)


def drawn_masks(seed: int = 0, images: int = 5, patches: int = 12) -> torch.Tensor:
    masks = torch.rand(images, patches, generator=torch.Generator().manual_seed(seed)) < 0.4
    masks[1] = False
    masks[2] = True
    return masks


@pytest.mark.parametrize("seed", range(4))
def test_mask_weights_count_every_masked_image_once(seed: int) -> None:
    masks = drawn_masks(seed)
    weights = mask_weights(masks)
    owner = masks.nonzero()[:, 0]
    assert len(weights) == int(masks.sum())
    per_image = torch.zeros(5).index_add(0, owner, weights)
    torch.testing.assert_close(per_image, masks.any(dim=1).float())
    for image in range(5):
        assert len(set(weights[owner == image].tolist())) <= 1


@pytest.mark.parametrize("seed", range(4))
def test_ibot_is_a_mean_within_images_then_over_images(seed: int) -> None:
    masks, student, teacher = drawn_masks(seed), normal(5, 12, 8), shares(5, 12, 8)
    values = []
    for image in range(5):
        hidden = masks[image]
        log = functional.log_softmax(student[image, hidden] / 0.1, dim=-1)
        values.append(float(-(teacher[image, hidden] * log).sum(dim=-1).mean()) if hidden.any() else 0.0)
    expected = pytest.approx(np.mean(values), rel=1e-5)
    assert float(ibot_loss(student, teacher, masks)) == expected
    assert float(ibot_masked_loss(student[masks], teacher[masks], mask_weights(masks), 5)) == expected


def test_ibot_ignores_what_is_visible() -> None:
    masks, student, teacher = drawn_masks(), normal(5, 12, 8), shares(5, 12, 8)
    value = ibot_loss(student, teacher, masks)
    changed = torch.where(masks[..., None], student, normal(5, 12, 8, seed=9))
    torch.testing.assert_close(ibot_loss(changed, teacher, masks), value)


def test_a_centre_at_the_mean_leaves_no_constant_direction() -> None:
    """After updates with one batch for ever the centre is its mean: a common offset is then divided out."""
    logits = normal(16, 6) + 5 * normal(1, 6, seed=7)
    center = Center(6)
    for _ in range(400):
        center.update(logits)
    torch.testing.assert_close(center.center.flatten(), logits.mean(dim=0), atol=1e-4, rtol=1e-4)
    shifted = Center(6)
    for _ in range(400):
        shifted.update(logits + 3)
    torch.testing.assert_close(
        center.probabilities(logits, 0.1), shifted.probabilities(logits + 3, 0.1), atol=1e-3, rtol=1e-2
    )


@pytest.mark.parametrize("rule", [UPSTREAM, DINOBLOOM, REDDINO])
@pytest.mark.parametrize("local_crops", [0, 1, 2, 8])
def test_the_total_is_linear_in_every_term(rule, local_crops: int) -> None:
    names = ("global_ce", "local_ce", "ibot", "koleo")
    one = {n: torch.tensor(1.0 + i) for i, n in enumerate(names)}
    base = combine(rule, local_crops=local_crops, **one)
    assert float(base["total"]) == pytest.approx(sum(float(v) for k, v in base.items() if k != "total"))
    for name in names:
        more = combine(rule, local_crops=local_crops, **{**one, name: one[name] * 3})
        change = float(more["total"] - base["total"])
        part = {"global_ce": "global", "local_ce": "local"}.get(name, name)
        assert change == pytest.approx(2 * float(base[part]), abs=1e-6)
