"""Spreading, the head, and the assembly of the terms."""

from __future__ import annotations

import math

import pytest
import torch

from medfm.objectives.dino_head import DinoHead
from medfm.objectives.dinov2 import DINOBLOOM, REDDINO, UPSTREAM, LossRule, combine
from medfm.objectives.koleo import koleo_loss


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def head(seed: int = 0) -> DinoHead:
    return DinoHead(6, 20, hidden=10, bottleneck=4, generator=torch.Generator().manual_seed(seed))


def test_opposite_points_have_the_known_value() -> None:
    rows = torch.tensor([[1.0, 0.0], [-3.0, 0.0]])
    assert float(koleo_loss(rows)) == pytest.approx(-math.log(2), abs=1e-6)


def test_a_step_against_the_gradient_spreads_the_points() -> None:
    rows = (drawn(12, 3) * 0.05 + 1).requires_grad_()
    before = koleo_loss(rows)
    before.backward()
    assert rows.grad is not None
    assert koleo_loss(rows.detach() - 1e-3 * rows.grad) < before.detach()


def test_scale_does_not_matter_and_equal_rows_stay_finite() -> None:
    rows = drawn(6, 4)
    assert float(koleo_loss(rows * 7)) == pytest.approx(float(koleo_loss(rows)), abs=1e-5)
    assert torch.isfinite(koleo_loss(torch.ones(3, 4)))


def test_logits_are_cosines_at_the_start() -> None:
    made = head()
    out = made(drawn(50, 6) * 30)
    assert out.shape == (50, 20)
    assert out.abs().max() <= 1 + 1e-5
    assert torch.allclose(made.last_layer.weight_g, torch.ones(20, 1))


def test_the_generator_decides_the_first_weights() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    for (name, one), other in zip(head(1).state_dict().items(), head(1).state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert not torch.equal(head(1).mlp[0].weight, head(2).mlp[0].weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_any_leading_shape_is_kept() -> None:
    assert head()(drawn(2, 3, 6)).shape == (2, 3, 20)
    assert head()(drawn(0, 6)).shape == (0, 20)


def scalars(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("rule", "local_crops", "expected"),
    [
        (UPSTREAM, 8, {"global": 2 / 18, "local": 1 / 18, "koleo": 0.1}),
        (UPSTREAM, 1, {"global": 0.5, "local": 0.25, "koleo": 0.1}),
        (UPSTREAM, 0, {"global": 2 / 3, "local": 0.0, "koleo": 0.1}),
        (DINOBLOOM, 1, {"global": 0.5, "local": 0.0, "koleo": 0.1}),
        (DINOBLOOM, 2, {"global": 2 / 6, "local": 1 / 6, "koleo": 0.1}),
        (REDDINO, 1, {"global": 0.5, "local": 0.0, "koleo": 0.0}),
    ],
)
def test_effective_weights(rule: LossRule, local_crops: int, expected: dict[str, float]) -> None:
    parts = combine(rule, local_crops=local_crops, **scalars(global_ce=1.0, local_ce=1.0, ibot=1.0, koleo=1.0))
    for name, weight in expected.items():
        assert float(parts[name]) == pytest.approx(weight), name
    assert float(parts["total"]) == pytest.approx(sum(expected.values()) + 1.0)


def test_weights_scale_their_terms() -> None:
    rule = LossRule(dino=2.0, ibot=3.0, koleo=4.0)
    parts = combine(rule, local_crops=1, **scalars(global_ce=1.0, local_ce=1.0, ibot=1.0, koleo=1.0))
    assert [float(parts[n]) for n in ("global", "local", "ibot", "koleo")] == pytest.approx([1.0, 0.5, 3.0, 4.0])
