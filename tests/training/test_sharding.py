"""Cutting networks, optimisers and averages into shares and putting them together, in a group of one process."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from tiny_ldae import AUTOENCODER, DENOISER, ENCODER
from torch import nn

import medfm.training.sharding as sharding
from medfm.core.errors import TrainingError
from medfm.encoders.ldae.autoencoder import build_autoencoder
from medfm.encoders.ldae.semantic import build_ldae
from medfm.encoders.ldae.unet import build_shift_unet, build_unet
from medfm.training.sharding import (
    ShardedStrategy,
    check_fsdp,
    is_sharded,
    is_sharding,
    layers_of,
    sharded_copy,
    share_like,
    whole,
)
from medfm.training.weight_average import WeightAverage


class Net(nn.Module):
    """A list of layers and something beside it, called by a method that is not forward."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)])
        self.last = nn.Linear(3, 2)
        self.register_buffer("count", torch.tensor(3.0))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        out: torch.Tensor = self.last(x)
        return out


class Loss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net.encode(x).square().mean()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A Fabric whose group has one process."""
    file, hook = tmp_path_factory.mktemp("group") / "store", sys.excepthook
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    yield fabric
    torch.distributed.destroy_process_group()
    sys.excepthook = hook  # that of the group names the rank


def loss_and_adam(seed: int = 0) -> tuple[Loss, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    module = Loss()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=0.01)
    return module, optimizer


def learn(module: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        module(torch.randn(4, 3, generator=torch.Generator().manual_seed(step))).backward()
        optimizer.step()
        optimizer.zero_grad()


def test_a_copy_in_shares_learns_like_the_whole(alone):
    """The optimiser's state, half-way through, goes over to the shares; the whole module stays as it was."""
    module, optimizer = loss_and_adam()
    learn(module, optimizer, 3)
    other, its_optimizer = loss_and_adam()
    learn(other, its_optimizer, 2)
    before = {name: p.detach().clone() for name, p in other.named_parameters()}
    live = sharded_copy(other, ("net",), its_optimizer, alone)
    assert is_sharded(live) and not is_sharded(other)
    for group in its_optimizer.param_groups:
        assert {id(p) for p in group["params"]} == {id(p) for p in live.parameters()}
    third = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    live(third).backward()
    its_optimizer.step()
    gathered = whole(live.state_dict())
    assert list(gathered) == list(module.state_dict())
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(gathered[name], tensor)
    assert all(torch.equal(p, before[name]) for name, p in other.named_parameters())
    moments = whole(its_optimizer.state_dict())
    for number, entry in optimizer.state_dict()["state"].items():
        assert entry["step"] == moments["state"][number]["step"]
        torch.testing.assert_close(moments["state"][number]["exp_avg_sq"], entry["exp_avg_sq"])


def test_frozen_parameters_stay_frozen(alone):
    module, _ = loss_and_adam()
    module.net.layers[0].requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad])
    live = sharded_copy(module, ("net",), optimizer, alone)
    assert [p.requires_grad for p in live.parameters()] == [p.requires_grad for p in module.parameters()]
    live(torch.ones(2, 3)).backward()
    optimizer.step()
    assert torch.equal(whole(live.state_dict())["net.layers.0.weight"], module.net.layers[0].weight)
    assert not torch.equal(whole(live.state_dict())["net.last.weight"], module.net.last.weight)


def test_averages_follow_the_shares(alone):
    module, optimizer = loss_and_adam()
    average, expected = WeightAverage(module, 0.5), WeightAverage(module, 0.5)
    live = sharded_copy(module, ("net",), optimizer, alone)
    average.share(live)
    with torch.no_grad():
        for parameter in [*live.parameters(), *module.parameters()]:
            parameter.add_(1.0)
    average.update(live)
    expected.update(module)
    found = whole(average.state_dict())
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(found[name], tensor)

    def now() -> dict[str, torch.Tensor]:
        # In a group of one process what is put together is the share itself.
        return {name: whole(p).clone() for name, p in live.named_parameters()}

    own = now()
    with average.applied(live):
        inside = now()
    after = now()
    assert all(torch.equal(inside[name], found[name]) and torch.equal(after[name], own[name]) for name in own)


def test_putting_together_leaves_other_things_alone(alone):
    module, optimizer = loss_and_adam()
    live = sharded_copy(module, ("net",), optimizer, alone)
    share = live.net.last.weight
    plain = torch.arange(3)
    tree = {"a": [share, plain, 3], "b": {"c": share, "d": None, "e": "text"}, "f": (1.5, share)}
    found = whole(tree)
    assert found["a"][1] is plain and found["a"][2] == 3 and found["b"]["d"] is None and found["b"]["e"] == "text"
    assert type(found["f"]) is tuple and type(found["a"][0]) is torch.Tensor and not found["a"][0].requires_grad
    assert torch.equal(found["b"]["c"], module.net.last.weight)
    only = whole(tree, keep=False)
    assert only["a"][0] is None and only["b"]["c"] is None and only["a"][1] is plain and only["f"] == (1.5, None)


def test_only_tensors_of_the_shape_are_cut(alone):
    module, optimizer = loss_and_adam()
    share = sharded_copy(module, ("net",), optimizer, alone).net.last.weight
    whole_one, step = torch.randn(2, 3), torch.tensor(4.0)
    assert share_like(step, share) is step and share_like("text", share) == "text"
    assert share_like(whole_one, module.net.last.weight) is whole_one
    cut = share_like(whole_one, share)
    assert cut.placements == share.placements and torch.equal(cut.full_tensor(), whole_one)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 99))
def test_any_tensor_survives_cutting_and_putting_together(alone, shape, seed):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    value = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    like = distribute_tensor(torch.zeros(shape), init_device_mesh("cpu", (1,)), [Shard(0)])
    assert torch.equal(whole(share_like(value, like)), value)


def test_layers_of_the_networks():
    """Nearly all parameters are in layers that are gathered one at a time, each in one of them."""
    networks = {
        "autoencoder": build_autoencoder(AUTOENCODER, device="meta"),
        "unet": build_unet(DENOISER, device="meta"),
        "denoiser": build_shift_unet(DENOISER, device="meta"),
        "encoder": build_ldae(ENCODER, device="meta"),
    }
    for name, network in networks.items():
        layers = list(layers_of(network))
        inside = [id(p) for layer in layers for p in layer.parameters()]
        assert len(inside) == len(set(inside)) and all(any(True for _ in layer.parameters()) for layer in layers)
        assert len(layers) >= 4, name
    assert not list(layers_of(nn.Linear(2, 2)))
    assert len(list(layers_of(Loss()))) == 2  # Not the activation.


def test_published_sizes_are_cut_finely():
    """No layer of the large denoiser holds more than a fifth of it; of the frozen and the steered one a sixth."""
    from medfm.encoders.ldae.args import DenoiserArgs

    for build, count, most in ((build_unet, 486_927_363, 1 / 5), (build_shift_unet, 865_339_142, 1 / 6)):
        network = build(DenoiserArgs(), device="meta")
        sizes = [sum(p.numel() for p in layer.parameters()) for layer in layers_of(network)]
        total = sum(p.numel() for p in network.parameters())
        assert total == count and max(sizes) < most * total and total - sum(sizes) < most * total


class Recorder:
    """DDP's control of gradients, which notes what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def no_backward_sync(self, module: nn.Module, enabled: bool) -> object:
        self.asked += 1
        return "of DDP"


def test_gradients_of_shares_are_always_summed(alone):
    strategy, recorder = ShardedStrategy(), Recorder()
    strategy._backward_sync_control.of_whole = recorder
    module, optimizer = loss_and_adam()
    live = sharded_copy(module, ("net",), optimizer, alone)
    with strategy._backward_sync_control.no_backward_sync(live, True):
        assert recorder.asked == 0
    assert strategy._backward_sync_control.no_backward_sync(module, True) == "of DDP" and recorder.asked == 1
    assert strategy.setup_module(live) is live
    strategy.module_to_device(live)  # Stays where it is, without a device being known.


def test_the_norm_of_shares_is_that_of_the_whole_gradient(alone):
    module, optimizer = loss_and_adam()
    strategy = ShardedStrategy()
    x = torch.ones(2, 3)
    module(x).backward()
    expected = math.sqrt(sum(float(p.grad.square().sum()) for p in module.parameters()))
    for parameter in module.parameters():
        parameter.grad = None
    live = sharded_copy(module, ("net",), optimizer, alone)
    live(x).backward()
    norm = strategy.clip_gradients_norm(live, optimizer, max_norm=expected / 2)
    assert type(norm) is torch.Tensor and float(norm) == pytest.approx(expected, rel=1e-5)
    left = math.sqrt(sum(float(whole(p.grad).square().sum()) for p in live.parameters()))
    assert left == pytest.approx(expected / 2, rel=1e-3)


def test_a_torch_without_it_is_refused(monkeypatch):
    import torch.distributed.fsdp as fsdp

    check_fsdp()
    monkeypatch.delattr(fsdp, "fully_shard")
    with pytest.raises(TrainingError, match=r"needs torch 2\.6") as error:
        check_fsdp()
    assert "machine.strategy=ddp" in str(error.value)


def test_one_process_is_not_sharding(alone):
    assert not is_sharding(alone) and not is_sharded(nn.Linear(1, 1)) and sharding._STAGES == "features"
