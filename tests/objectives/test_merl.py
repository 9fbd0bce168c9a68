"""CMA and UMA: definition, symmetry, gradient; golden figures are in tests/parity."""

import math

import pytest
import torch

from medfm.objectives.merl import TEMPERATURE, cma_loss, merl_losses, paired_loss, retrieval_accuracy, uma_loss


def rows(seed: int, n: int = 6, d: int = 5, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).to(dtype)


def by_hand(left: torch.Tensor, right: torch.Tensor, temperature: float) -> float:
    """The definition, written out with sums."""
    total = 0.0
    for a, b in ((left, right), (right, left)):
        for i in range(len(a)):
            cosines = [float(torch.cosine_similarity(a[i], b[j], dim=0)) / temperature for j in range(len(b))]
            total += (math.log(sum(math.exp(c) for c in cosines)) - cosines[i]) / len(a)
    return total


@pytest.mark.parametrize("temperature", [TEMPERATURE, 0.5, 1.0])
def test_definition(temperature):
    ours = float(paired_loss(rows(1), rows(2), temperature))
    assert ours == pytest.approx(by_hand(rows(1), rows(2), temperature), rel=1e-5)


def test_the_directions_are_added_not_averaged():
    n = 8
    same = torch.ones(n, 4)
    assert float(paired_loss(same, same)) == pytest.approx(2 * math.log(n), rel=1e-6)


def test_both_parts_have_equal_weight():
    losses = merl_losses(rows(1), rows(2), rows(3), rows(4))
    assert torch.equal(losses.cma, cma_loss(rows(1), rows(2)))
    assert torch.equal(losses.uma, uma_loss(rows(3), rows(4)))
    assert torch.equal(losses.total, losses.cma + losses.uma)


def test_length_of_the_rows_does_not_matter():
    assert torch.allclose(cma_loss(rows(1), rows(2)), cma_loss(7 * rows(1), rows(2) / 3), rtol=1e-5)


def test_symmetry_and_common_order():
    assert torch.allclose(cma_loss(rows(1), rows(2)), cma_loss(rows(2), rows(1)))
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    assert torch.allclose(cma_loss(rows(1), rows(2)), cma_loss(rows(1)[order], rows(2)[order]), rtol=1e-6)


def test_gradient_against_differences():
    left = rows(1, 4, 3, torch.float64).requires_grad_()
    right = rows(2, 4, 3, torch.float64)
    cma_loss(left, right, 0.5).backward()
    step = 1e-2
    for i, j in ((0, 0), (2, 1), (3, 2)):
        moved = []
        for sign in (1, -1):
            other = left.detach().clone()
            other[i, j] += sign * step
            moved.append(by_hand(other, right, 0.5))
        assert float(left.grad[i, j]) == pytest.approx((moved[0] - moved[1]) / (2 * step), abs=1e-3)


def test_a_step_downhill_brings_partners_together():
    left, right = rows(1).requires_grad_(), rows(2)
    before = cma_loss(left, right)
    before.backward()
    with torch.no_grad():
        assert cma_loss(left - 0.05 * left.grad, right) < before


def test_half_precision_is_computed_in_float32():
    loss = cma_loss(rows(1, dtype=torch.bfloat16), rows(2, dtype=torch.bfloat16))
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    outside = cma_loss(rows(1), rows(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(cma_loss(rows(1), rows(2)), outside)


def test_one_row_and_zero_rows_of_length_zero():
    assert float(paired_loss(rows(1, 1), rows(2, 1))) == 0
    zero = torch.zeros(3, 4, requires_grad=True)
    loss = paired_loss(zero, rows(1, 3, 4))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(zero.grad).all()


def test_retrieval():
    left = torch.eye(6)
    assert retrieval_accuracy(left, left) == 1
    assert retrieval_accuracy(left, left.roll(1, 0)) == 0
    swapped = left[[1, 0, 2, 3, 4, 5]]
    assert retrieval_accuracy(left, swapped) == pytest.approx(4 / 6)
    assert retrieval_accuracy(rows(1), rows(2), top=6) == 1
    assert retrieval_accuracy(rows(1), rows(2), top=100) == 1


def test_retrieval_is_the_mean_of_both_directions():
    left = torch.tensor([[1.0, 0.0], [0.9, 0.5]])
    right = torch.tensor([[1.0, 0.0], [1.0, 0.05]])
    cosines = torch.nn.functional.normalize(left, dim=1) @ torch.nn.functional.normalize(right, dim=1).T
    forward = (cosines.argmax(1) == torch.arange(2)).float().mean()
    backward = (cosines.argmax(0) == torch.arange(2)).float().mean()
    assert forward != backward or forward == 1
    assert retrieval_accuracy(left, right) == pytest.approx(float((forward + backward) / 2))
