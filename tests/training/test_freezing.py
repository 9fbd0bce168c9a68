"""The three switches of freezing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medfm.encoders.published import build
from medfm.encoders.registry import get_card
from medfm.training.freezing import PUBLISHED, Freezing, learning_counts, set_frozen
from medfm.training.layer_groups import LayerGroup, layer_groups, unused_by


@pytest.fixture(scope="module")
def network() -> tuple[nn.Module, list[LayerGroup]]:
    card = get_card("merl-tiny")
    module = build(card)
    return module, layer_groups(module, unused_by(module, card))


def means(module: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items() if k.endswith("running_mean")}


def moved(module: nn.Module) -> set[str]:
    """The layers whose BatchNorm statistics move in one training step."""
    before = means(module)
    module(torch.randn(4, 12, 1000, generator=torch.Generator().manual_seed(0)))
    return {k.split(".")[1] for k, v in means(module).items() if not torch.equal(v, before[k])}


def test_a_frozen_group_does_not_drift_by_default(network: tuple[nn.Module, list[LayerGroup]]) -> None:
    module, groups = network
    set_frozen(module, groups, {"layer4", "top"}, Freezing())
    assert moved(module) == {"layer4"}
    learning = {n.split(".")[1] for n, p in module.named_parameters() if p.requires_grad and n.startswith("ecg")}
    assert learning == {"layer4"}
    set_frozen(module, groups, set(), Freezing())
    assert moved(module) == set() and not any(p.requires_grad for p in module.parameters())


def test_as_published_every_statistic_drifts_from_the_start(network: tuple[nn.Module, list[LayerGroup]]) -> None:
    module, groups = network
    set_frozen(module, groups, set(), PUBLISHED)
    assert moved(module) == {"bn1", "layer1", "layer2", "layer3", "layer4"}
    assert not any(p.requires_grad for p in module.parameters())


def test_statistics_of_learning_groups_can_be_kept(network: tuple[nn.Module, list[LayerGroup]]) -> None:
    module, groups = network
    set_frozen(module, groups, {g.name for g in groups}, Freezing(trained_batchnorm="eval"))
    assert moved(module) == set()
    bn = module.get_submodule("ecg_encoder.bn1")
    assert not bn.training and all(p.requires_grad for p in bn.parameters())  # its scale still learns


def test_unused_parameters_never_learn(network: tuple[nn.Module, list[LayerGroup]]) -> None:
    module, groups = network
    set_frozen(module, groups, {g.name for g in groups}, Freezing())
    frozen = {n.split(".")[0] for n, p in module.named_parameters() if not p.requires_grad}
    assert {"linear1", "linear2"} <= frozen and "ecg_encoder" not in frozen


def small() -> tuple[nn.Module, list[LayerGroup]]:
    module = nn.Sequential(
        nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)), nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    )
    return module, layer_groups(module)


@pytest.mark.parametrize(("rule", "first"), [(Freezing(), False), (Freezing(frozen_dropout=True), True)])
def test_dropout_of_frozen_groups(rule: Freezing, first: bool) -> None:
    module, groups = small()
    set_frozen(module, groups, {"1"}, rule)
    assert module[0][1].training is first and module[1][1].training is True


def test_only_named_parameters_learn_and_are_counted() -> None:
    module, groups = small()
    biases = {n for n, _ in module.named_parameters() if n.endswith("bias")}
    set_frozen(module, groups, {"0", "1"}, Freezing(), only=biases)
    assert learning_counts(module, groups) == {"0": 4, "1": 4}
    set_frozen(module, groups, {"1"}, Freezing())
    assert learning_counts(module, groups) == {"0": 0, "1": 20}


def test_unfreezing_keeps_the_optimiser_and_frozen_parameters_get_neither_step_nor_decay() -> None:
    module, groups = small()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, weight_decay=0.5)
    start = {n: p.detach().clone() for n, p in module.named_parameters()}
    for learning in ({"1"}, {"0", "1"}):
        set_frozen(module, groups, learning, Freezing())
        optimizer.zero_grad()
        module(torch.ones(3, 4)).sum().backward()
        optimizer.step()
        changed = {n for n, p in module.named_parameters() if not torch.equal(p, start[n])}
        assert ({n.split(".")[0] for n in changed}) == learning
    states = {n: optimizer.state[p]["step"].item() for n, p in module.named_parameters()}
    assert states["1.0.weight"] == 2 and states["0.0.weight"] == 1
