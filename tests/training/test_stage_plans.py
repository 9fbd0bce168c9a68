"""Every shipped recipe on a small network of every family: who is in which group, who learns when, at which peak."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import nn

from medfm.training.finetune_config import Decay, FinetuneRecipe, HeadRate, Lora, Part, Parts, Stage
from medfm.training.finetune_groups import Plan, plan_stage
from medfm.training.freezing import Freezing, learning_counts, set_frozen
from medfm.training.layer_groups import layer_groups
from medfm.training.lora import merge_lora
from medfm.workflows.finetune import finetune_recipes, load_finetune_recipe
from tests.training.small_networks import NETWORKS, classifier

RECIPES = finetune_recipes()


@cache
def recipe(name: str) -> FinetuneRecipe:
    return load_finetune_recipe(name)


def planned(network: nn.Module, stage: Stage) -> Plan:
    coarse, fine = layer_groups(network), layer_groups(network, blocks=True)
    return plan_stage(classifier(network), stage, coarse, fine, torch.Generator().manual_seed(0))


def where_planned(plan: Plan) -> list[int]:
    return [id(p) for group in plan.optimiser for p in group["params"]]


CASES = [
    (name, family)
    for name in RECIPES
    for family in NETWORKS
    if family == "resnet" or not name.endswith("@1") or "full" in name
]


@pytest.mark.parametrize(("name", "family"), CASES)
def test_what_learns_is_in_exactly_one_group_of_the_optimiser(name: str, family: str) -> None:
    for stage in recipe(name).stages:
        network = NETWORKS[family]()
        plan = planned(network, stage)
        held = where_planned(plan)
        assert len(held) == len(set(held))
        last = set()
        for epoch in range(stage.epochs):
            set_frozen(network, plan.groups, plan.learning(epoch), stage.freezing, plan.only)
            learning = {id(p) for p in network.parameters() if p.requires_grad}
            assert learning <= set(held)
            assert last <= learning  # nothing falls asleep again
            last = learning
        asleep = {n for n, first in plan.wakes.items() if first >= stage.epochs}
        late = {n for group in plan.groups if group.name in asleep for n in group.parameters}
        own = {id(p) for n, p in network.named_parameters() if n not in late}
        assert last == set(held) & own  # and who is in the optimiser does wake, but for layers that come too late


@pytest.mark.parametrize("family", NETWORKS)
@pytest.mark.parametrize("blocks", [False, True], ids=["stages", "blocks"])
def test_groups_hold_every_parameter_and_every_module_once(family: str, blocks: bool) -> None:
    network = NETWORKS[family]()
    groups = layer_groups(network, blocks=blocks)
    assert sorted(p for g in groups for p in g.parameters) == sorted(n for n, _ in network.named_parameters())
    modules = [m for g in groups for m in g.modules]
    assert len(modules) == len(set(modules))
    own = {n for n, m in network.named_modules() if list(m.parameters(recurse=False))}
    assert own - {""} <= set(modules)  # who has weights is switched with them
    for group in groups:
        held = set(group.modules)
        assert all(p.rpartition(".")[0] in held | {""} for p in group.parameters), group.name


@pytest.mark.parametrize(
    ("family", "coarse", "fine"),
    [
        ("resnet", 5, 9), ("vit", 8, 8), ("densenet", 4, 4), ("convnext", 3, 5), ("swin", 5, 13),
    ],
)  # fmt: skip
def test_how_many_groups_there_are(family: str, coarse: int, fine: int) -> None:
    assert len(layer_groups(NETWORKS[family]())) == coarse
    assert len(layer_groups(NETWORKS[family](), blocks=True)) == fine


@pytest.mark.parametrize("family", NETWORKS)
@pytest.mark.parametrize("top", ["with_last_layer", "own_layer"])
@pytest.mark.parametrize("blocks", [False, True], ids=["stages", "blocks"])
def test_rates_fall_by_powers_from_the_top(family: str, top: str, blocks: bool) -> None:
    network = NETWORKS[family]()
    layers = Decay(lr=2.0, factor=0.5, top=top, blocks=blocks, decay_vectors=True)  # type: ignore[arg-type]
    plan = planned(network, Stage(name="tune", epochs=2, layers=layers, head=HeadRate(lr=3.0)))
    names = [group.name for group in layer_groups(network, blocks=blocks)][::-1]
    has_top = names[0] == "top"
    powers = {name: place + 1 for place, name in enumerate(names)}
    if has_top and top == "with_last_layer":
        powers = {name: max(place, 1) for place, name in enumerate(names)}
    peaks = {group["name"]: group["peak"] for group in plan.optimiser}
    assert peaks.pop("head") == 3.0
    assert peaks == {name: 2.0 * 0.5**power for name, power in powers.items()}
    assert set(plan.wakes.values()) == {0}


def test_biases_and_norms_get_no_decay_unless_asked_for() -> None:
    for asked in (False, True):
        network = NETWORKS["vit"]()
        layers = Decay(lr=1.0, factor=0.9, weight_decay=0.05, decay_vectors=asked)
        plan = planned(network, Stage(name="tune", epochs=1, layers=layers))
        vectors = {id(p) for p in network.parameters() if p.ndim <= 1}
        for group in plan.optimiser[1:]:
            for parameter in group["params"]:
                assert group["weight_decay"] == (0.05 if asked or id(parameter) not in vectors else 0.0)


@pytest.mark.parametrize("family", NETWORKS)
def test_gradual_unfreezing_wakes_one_depth_per_epoch_after_the_head(family: str) -> None:
    layers = Decay(lr=1.0, factor=0.5, blocks=False, top="own_layer", unfreezing="one_per_epoch")
    plan = planned(NETWORKS[family](), Stage(name="tune", epochs=3, layers=layers))
    order = [group.name for group in plan.groups][::-1]
    for epoch in range(len(order) + 2):
        assert plan.learning(epoch) == set(order[:epoch])


@pytest.mark.parametrize("epochs", range(1, 41))
def test_a_part_wakes_at_the_floor_of_its_share(epochs: int) -> None:
    tenths = {"stage4": 1, "stage3": 3, "stage2": 6, "stage1": 9}
    parts = tuple(Part(part=name, lr=1e-3, wakes=share / 10) for name, share in tenths.items())
    plan = planned(NETWORKS["resnet"](), Stage(name="tune", epochs=epochs, layers=Parts(parts=parts)))
    exact = {name.replace("stage", "layer"): share * epochs // 10 for name, share in tenths.items()}  # whole numbers
    assert plan.wakes == exact


@pytest.mark.parametrize("family", NETWORKS)
def test_updates_of_low_rank_are_all_that_learns_in_the_encoder(family: str) -> None:
    network = NETWORKS[family]()
    names = [n for n, _ in network.named_parameters()]
    plan = planned(network, Stage(name="tune", epochs=1, layers=Lora(rank=1, lr=1e-3, targets="all")))
    set_frozen(network, plan.groups, plan.learning(0), Freezing(), plan.only)
    learning = {n for n, p in network.named_parameters() if p.requires_grad}
    assert learning == plan.only and learning and all(n.endswith((".0.a", ".0.b")) for n in learning)
    counted = learning_counts(network, plan.groups)
    assert sum(counted.values()) == sum(p.numel() for p in network.parameters() if p.requires_grad)
    merge_lora(network)
    assert sorted(n for n, _ in network.named_parameters()) == sorted(names)


def test_the_published_awakening_needs_no_tolerance() -> None:
    assert [math.floor(share * 20) for share in (0.1, 0.3, 0.6)] == [2, 6, 12]
    stage = recipe("bpd-progressive@1").stages[-1]
    assert planned(NETWORKS["resnet"](), stage).wakes == {"layer4": 2, "layer3": 6, "layer2": 12}
