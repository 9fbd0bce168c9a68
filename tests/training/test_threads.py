"""The number of threads of a training run is the recipe's inside, and nobody's business outside."""

from __future__ import annotations

import pytest
import torch

from medfm.core.errors import ConfigError
from medfm.training.threads import processor_threads
from medfm.workflows.pretrain import load_recipe


@pytest.fixture(autouse=True)
def two_before():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_inside_and_afterwards() -> None:
    with processor_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_zero_leaves_the_choice() -> None:
    with processor_threads(0):
        assert torch.get_num_threads() == 2
        torch.set_num_threads(3)
    assert torch.get_num_threads() == 3


def test_an_error_inside_leaves_nothing_behind() -> None:
    with pytest.raises(ZeroDivisionError), processor_threads(1):
        _ = 1 / 0
    assert torch.get_num_threads() == 2


def test_the_measured_recipe_fixes_it_and_others_do_not() -> None:
    assert load_recipe("merl-tiny").machine.threads == 1
    assert load_recipe("dinov2-tiny").machine.threads == 0
    assert load_recipe("merl-tiny", ["machine.threads=2"]).machine.threads == 2
    with pytest.raises(ConfigError, match="threads"):
        load_recipe("merl-tiny", ["machine.threads=-1"])


def test_it_is_no_part_of_the_procedure() -> None:
    one, two = load_recipe("merl-tiny"), load_recipe("merl-tiny", ["machine.threads=2"])
    assert one.procedure() == two.procedure()
