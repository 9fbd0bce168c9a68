"""The moving average of weights against the formula, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medfm.training.weight_average import WeightAverage


def net() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    module[1].weight.requires_grad_(False)
    return module


def change(module: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(by)


def test_updates_follow_the_formula():
    module = net()
    average = WeightAverage(module, 0.9)
    expected = module[0].weight.detach().clone()
    for step in range(5):
        change(module, 0.1 * (step + 1))
        average.update(module)
        expected = 0.9 * expected + 0.1 * module[0].weight.detach()
    torch.testing.assert_close(average.values["0.weight"], expected)
    # Frozen weights are not averaged.
    assert set(average.values) == {"0.weight", "0.bias", "1.bias"}


@pytest.mark.parametrize("times", [1, 2, 4])
def test_several_updates_at_once_equal_several_updates(times):
    module = net()
    one, many = WeightAverage(module, 0.8), WeightAverage(module, 0.8)
    change(module, 1.0)
    one.update(module, times)
    for _ in range(times):
        many.update(module)
    torch.testing.assert_close(one.values["0.weight"], many.values["0.weight"])


def test_without_decay_it_is_the_weights():
    module = net()
    average = WeightAverage(module, 0.0)
    change(module, 2.0)
    average.update(module)
    torch.testing.assert_close(average.values["0.bias"], module[0].bias.detach())


def test_applied_inside_and_undone_outside_even_after_an_error():
    module = net()
    average = WeightAverage(module, 0.5)
    first = module[0].weight.detach().clone()
    change(module, 1.0)
    with pytest.raises(RuntimeError), average.applied(module):
        assert torch.equal(module[0].weight, first)
        raise RuntimeError
    torch.testing.assert_close(module[0].weight, first + 1)
    average.copy_to(module)
    assert torch.equal(module[0].weight, first)


def test_state_survives():
    module = net()
    average = WeightAverage(module, 0.5)
    change(module, 1.0)
    average.update(module)
    saved = {name: tensor.clone() for name, tensor in average.state_dict().items()}
    other = WeightAverage(module, 0.5)
    other.load_state_dict(saved)
    assert all(torch.equal(other.values[name], tensor) for name, tensor in saved.items())
