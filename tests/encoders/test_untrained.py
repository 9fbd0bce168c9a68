"""Networks before any training: where they are made, who fills them, and that nobody's random state is touched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medfm.core.config import StrictConfig
from medfm.core.errors import ConfigError
from medfm.encoders.untrained import checked_args, untrained


class Sizes(StrictConfig):
    width: int = 3


class Net(nn.Module):
    """A layer, batch norm, and a buffer that no checkpoint holds."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)
        self.register_buffer("places", torch.arange(width), persistent=False)


def fill(module: Net, generator: torch.Generator) -> None:
    module.norm.reset_parameters()
    with torch.no_grad():
        for tensor in module.layer.parameters():
            tensor.uniform_(-1, 1, generator=generator)


def real_places(module: Net) -> None:
    module.register_buffer("places", torch.arange(3), persistent=False)


def test_arguments_are_validated_once() -> None:
    sizes = Sizes(width=5)
    assert checked_args(Sizes, sizes) is sizes
    assert checked_args(Sizes, {"width": 5}) == sizes and checked_args(Sizes, {}).width == 3


@pytest.mark.parametrize(
    ("values", "said"), [({"widht": 5}, "width"), ({"width": "wide"}, "width"), ([("width", 5)], "group of keys")]
)
def test_wrong_arguments_say_where(values: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        checked_args(Sizes, values)  # type: ignore[arg-type]
    assert caught.value.where == "architecture arguments"
    with pytest.raises(ConfigError) as caught:
        checked_args(Sizes, values, where="denoiser arguments")  # type: ignore[arg-type]
    assert caught.value.where == "denoiser arguments"


def test_arguments_of_another_network_are_not_taken() -> None:
    class Others(StrictConfig):
        width: int = 3

    with pytest.raises(ConfigError, match="group of keys"):
        checked_args(Sizes, Others())  # type: ignore[type-var]


def test_weights_are_those_of_the_generator() -> None:
    made = untrained(Net, fill, torch.Generator().manual_seed(4))
    expected = torch.empty(3, 3).uniform_(-1, 1, generator=torch.Generator().manual_seed(4))
    assert torch.equal(made.layer.weight, expected)
    assert made.training and made.layer.weight.requires_grad and made.layer.weight.dtype == torch.float32


def test_without_a_generator_seed_0() -> None:
    one, named = untrained(Net, fill), untrained(Net, fill, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), named.parameters(), strict=True))
    other = untrained(Net, fill, torch.Generator().manual_seed(1))
    assert not torch.equal(one.layer.weight, other.layer.weight)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_global_random_state_is_neither_read_nor_changed(device: str) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = untrained(Net, fill, device=device)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    if device == "cpu":
        assert torch.equal(first.layer.weight, untrained(Net, fill).layer.weight)


def test_a_generator_that_is_handed_in_goes_on() -> None:
    source = torch.Generator().manual_seed(2)
    first, second = untrained(Net, fill, source), untrained(Net, fill, source)
    assert not torch.equal(first.layer.weight, second.layer.weight)


def test_meta_has_shapes_and_is_never_filled() -> None:
    def refuse(module: Net, generator: torch.Generator) -> None:
        raise AssertionError("nothing can be filled on the meta device")

    made = untrained(Net, refuse, device="meta")
    assert all(tensor.is_meta for tensor in (*made.parameters(), *made.buffers()))
    assert made.layer.weight.shape == (3, 3) and made.training


def test_the_constructor_draws_nothing_and_takes_no_memory() -> None:
    seen: list[bool] = []

    def make() -> Net:
        module = Net()
        seen.append(all(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())))
        return module

    untrained(make, fill)
    assert seen == [True]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_buffers_without_a_checkpoint_are_real_everywhere(device: str) -> None:
    made = untrained(Net, fill, device=device, buffers=real_places)
    assert made.places.tolist() == [0, 1, 2] and made.places.device.type == "cpu"
    assert made.layer.weight.device.type == device


def test_buffers_come_after_the_weights() -> None:
    order: list[str] = []
    untrained(Net, lambda m, g: order.append("fill"), buffers=lambda m: order.append("buffers"))
    assert order == ["fill", "buffers"]


def test_filling_a_meta_network_by_assignment_gives_a_whole_one() -> None:
    filled = untrained(Net, fill)
    empty = untrained(Net, fill, device="meta", buffers=real_places)
    empty.load_state_dict(filled.state_dict(), assign=True)
    assert not any(tensor.is_meta for tensor in (*empty.parameters(), *empty.buffers()))
    assert torch.equal(empty.layer.weight, filled.layer.weight)


def test_running_statistics_are_reset() -> None:
    made = untrained(Net, fill)
    assert made.norm.running_mean is not None and made.norm.running_var is not None
    assert not made.norm.running_mean.any() and bool((made.norm.running_var == 1).all())
    assert made.norm.num_batches_tracked is not None and int(made.norm.num_batches_tracked) == 0
