"""CutMix and MixUp on signals, pictures and volumes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.objectives.mixing import Mixed, cut_box, cutmix, draw_cutmix, draw_mixup, mixup, unmixed

SIDES = [(40,), (12, 10), (6, 8, 5)]


def batch(sides: tuple[int, ...], count: int = 4, channels: int = 2) -> torch.Tensor:
    size = count * channels * math.prod(sides)
    return torch.arange(size, dtype=torch.float32).reshape(count, channels, *sides)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), sides=st.sampled_from(SIDES), share=st.floats(0, 1))
def test_a_box_lies_inside_and_weighs_what_it_covers(data, sides: tuple[int, ...], share: float) -> None:
    centre = [data.draw(st.integers(0, side - 1)) for side in sides]
    box = cut_box(sides, share, centre)
    assert all(0 <= low <= high <= side for (low, high), side in zip(box, sides, strict=True))
    x = batch(sides)
    mixed = cutmix(x, torch.tensor([1, 2, 3, 0]), box)
    # Counted, not computed: every value tells which record it came from.
    foreign = (mixed.inputs != x).sum() / x.numel()
    assert mixed.weight == pytest.approx(1 - float(foreign), abs=1e-6)
    assert set(mixed.inputs.flatten().tolist()) <= set(x.flatten().tolist())


@pytest.mark.parametrize("sides", SIDES, ids=["signal", "picture", "volume"])
def test_the_box_has_the_share_that_was_drawn_whatever_the_number_of_sides(sides: tuple[int, ...]) -> None:
    large = tuple(100 * side for side in sides)
    box = cut_box(large, 0.6, [side // 2 for side in large])
    volume = math.prod(high - low for low, high in box) / math.prod(large)
    assert volume == pytest.approx(0.4, abs=0.01)


def test_an_odd_cut_pastes_one_less_and_a_border_clips() -> None:
    # 21 * sqrt(1 - 0.5) = 14.8 -> 14 long; 21 * sqrt(0.49) = 14.7; an odd one: 21 * sqrt(0.36) = 12.6 -> 12.
    assert cut_box((10, 10), 1 - 0.25, (5, 5)) == ((3, 7), (3, 7))  # 5 long, 4 pasted
    assert cut_box((10, 10), 1 - 0.16, (0, 9)) == ((0, 2), (7, 10))
    assert cut_box((10, 10), 1.0, (5, 5)) == ((5, 5), (5, 5))
    assert cut_box((10,), 0.0, (5,)) == ((0, 10),)


def test_a_box_of_other_sides_is_refused() -> None:
    with pytest.raises(ValueError, match="2 sides"):
        cutmix(batch((40,)), torch.arange(4), ((0, 1), (0, 1)))


def test_mixup_blends_records_and_labels_alike() -> None:
    x = batch((5,), count=2)
    mixed = mixup(x, torch.tensor([1, 0]), 0.25)
    assert torch.allclose(mixed.inputs[0], 0.25 * x[0] + 0.75 * x[1])
    loss = mixed.loss(lambda y: (y * torch.tensor([1.0, 10.0])).sum(), torch.tensor([1.0, 0.0]))
    assert float(loss) == pytest.approx(0.25 * 1 + 0.75 * 10)


def test_nothing_mixed_asks_for_one_loss_only() -> None:
    calls: list[torch.Tensor] = []

    def objective(y: torch.Tensor) -> torch.Tensor:
        calls.append(y)
        return y.sum()

    mixed = unmixed(batch((5,)))
    assert isinstance(mixed, Mixed) and float(mixed.loss(objective, torch.ones(4))) == 4 and len(calls) == 1


@pytest.mark.parametrize("draw", [draw_cutmix, draw_mixup], ids=["cutmix", "mixup"])
@pytest.mark.parametrize("sides", SIDES, ids=["signal", "picture", "volume"])
def test_draws_depend_on_the_generator_alone(draw, sides: tuple[int, ...]) -> None:
    x = batch(sides)
    first, again, other = (draw(x, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.inputs, again.inputs) and first.weight == again.weight
    assert torch.equal(first.partner, again.partner)
    assert not torch.equal(first.inputs, other.inputs)
    assert sorted(first.partner.tolist()) == [0, 1, 2, 3] and 0 <= first.weight <= 1


def test_lambda_of_cutmix_is_uniform_for_alpha_one() -> None:
    x = torch.zeros(2, 1, 1000)
    weights = [draw_cutmix(x, np.random.default_rng(seed)).weight for seed in range(300)]
    # Clipping makes boxes smaller, so weights are larger than lambda on average.
    assert 0.5 < float(np.mean(weights)) < 0.75 and min(weights) < 0.2
