"""Who learns when and at which rate: the published procedure's numbers, timm's layer decay, ULMFiT."""

from __future__ import annotations

from itertools import pairwise

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from medfm.core.errors import ConfigError
from medfm.encoders.published import build, family_of
from medfm.encoders.registry import get_card
from medfm.training.classifier import Classifier, LinearHead
from medfm.training.finetune_config import Decay, FinetuneRecipe, HeadOnly, Lora, Part, Parts, Stage, Whole
from medfm.training.finetune_groups import Plan, plan_stage
from medfm.training.layer_groups import layer_groups, unused_by
from medfm.training.rates import OneCycle
from medfm.workflows.finetune import load_finetune_recipe


def plan(name: str, stage: Stage) -> tuple[Classifier, Plan]:
    card = get_card(name)
    module = build(card, device="meta" if not isinstance(stage.layers, Lora) else "cpu")
    unused = unused_by(module, card)
    coarse, fine = layer_groups(module, unused), layer_groups(module, unused, blocks=True)
    model = Classifier(module, family_of(card)[0].embed, LinearHead(card.embedding_dim, 1))
    return model, plan_stage(model, stage, coarse, fine, torch.Generator().manual_seed(0))


def recipe(name: str) -> FinetuneRecipe:
    return load_finetune_recipe(name)


def layers_of(model: Classifier, group: dict) -> set[str]:
    names = {id(p): n for n, p in model.network.named_parameters()}
    return {names[id(p)].split(".")[1] for p in group["params"]}


def test_the_published_groups_peaks_and_decay_in_their_order() -> None:
    stage = recipe("bpd-progressive@1").stages[1]
    model, found = plan("imagenet-resnet50", stage)
    rows = [(g["name"], g["peak"], g["weight_decay"]) for g in found.optimiser]
    assert rows == [
        ("head", 1e-3, 1e-5), ("layer3", 2.5e-4, 1e-4), ("layer4", 5e-4, 1e-4), ("layer2", 1e-4, 1e-4)
    ]  # fmt: skip
    assert [layers_of(model, g) for g in found.optimiser[1:]] == [{"layer3"}, {"layer4"}, {"layer2"}]
    # conv1, bn1 and layer1 are in no group: never trained.
    assert set(found.wakes) == {"layer2", "layer3", "layer4"} and isinstance(stage.schedule, OneCycle)
    parameters = sum(p.numel() for g in found.optimiser[1:] for p in g["params"])
    everything = sum(p.numel() for p in model.network.parameters())
    never = sum(p.numel() for n, p in model.network.named_parameters() if n.split(".")[1] in ("conv1", "bn1", "layer1"))
    assert parameters == everything - never and everything == 23_508_032  # torchvision's ResNet-50 without fc


@pytest.mark.parametrize(
    ("name", "epochs", "expected"),
    [
        ("bpd-progressive@1", 20, {"layer4": 2, "layer3": 6, "layer2": 12}),
        ("bpd-progressive-40-epochs@1", 30, {"layer4": 3, "layer3": 9, "layer2": 18}),
        ("bpd-progressive-no-probe@1", 30, {"layer4": 3, "layer3": 9, "layer2": 18}),
    ],
)
def test_the_published_awakening(name: str, epochs: int, expected: dict[str, int]) -> None:
    stage = recipe(name).stages[-1]
    assert stage.epochs == epochs
    _, found = plan("imagenet-resnet50", stage)
    assert found.wakes == expected
    assert found.learning(0) == set() and found.learning(expected["layer3"]) == {"layer4", "layer3"}
    assert found.learning(expected["layer3"] - 1) == {"layer4"}


def test_the_published_full_rows_have_two_groups() -> None:
    model, found = plan("imagenet-resnet50", recipe("bpd-full@1").stages[0])
    assert [(g["name"], g["peak"]) for g in found.optimiser] == [("head", 1e-3), ("encoder", 2.5e-4)]
    assert len(found.optimiser[1]["params"]) == len(list(model.network.parameters()))
    assert set(found.wakes.values()) == {0}


def test_the_sound_variant_goes_on_any_network() -> None:
    stage = recipe("bpd-progressive").stages[1]
    for name, wakes in (
        ("imagenet-resnet50", {"layer2": 12, "layer3": 6, "layer4": 2}),
        ("dinov2-tiny", {"block1": 12, "block2": 6, "block3": 2, "top": 2}),
        ("merl-tiny", {"layer2": 12, "layer3": 6, "layer4": 2, "top": 2}),
        ("ldae-tiny", {"stage1": 12, "stage2": 2, "top": 2}),
    ):
        assert plan(name, stage)[1].wakes == wakes, name


def test_a_published_recipe_on_another_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="no layers 'layer3'") as found:
        plan("dinov2-tiny", recipe("bpd-progressive@1").stages[1])
    assert "stage3" in (found.value.expected or "")


def test_layers_in_two_parts_are_refused() -> None:
    two = Parts(parts=(Part(part="stage4", lr=1e-3), Part(part="layer4", lr=1e-3)))
    with pytest.raises(ConfigError, match="in two parts"):
        plan("imagenet-resnet50", Stage(name="tune", epochs=3, layers=two))


@pytest.mark.parametrize(("name", "groups"), [("vit_tiny_patch16_224", 28), ("resnet50", 36)])
def test_layer_decay_is_that_of_timm(name: str, groups: int) -> None:
    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False)
    reference = param_groups_layer_decay(network, weight_decay=0.05, layer_decay=0.75)
    names = {id(p): n for n, p in network.named_parameters()}
    wanted = {names[id(p)]: (g["lr_scale"], g["weight_decay"]) for g in reference for p in g["params"]}
    assert len(reference) == groups

    head = "head" if name.startswith("vit") else "fc"
    fine = layer_groups(network, lambda n: n.split(".")[0] == head, blocks=True)
    model = Classifier(network, nn.Module.forward, LinearHead(4, 1))  # type: ignore[arg-type]
    stage = Stage(name="tune", epochs=1, layers=Decay(lr=1.0, factor=0.75, weight_decay=0.05))
    found = plan_stage(model, stage, fine, fine, torch.Generator())
    ours = {names[id(p)]: (g["peak"], g["weight_decay"]) for g in found.optimiser[1:] for p in g["params"]}
    assert set(ours) == {n for n in wanted if n.split(".")[0] != head}
    for parameter, (scale, decay) in ours.items():
        assert scale == pytest.approx(wanted[parameter][0]) and decay == wanted[parameter][1], parameter
    assert min(scale for scale, _ in ours.values()) == pytest.approx(0.75 ** (groups // 2 - 1))


def test_ulmfit_falls_by_2_6_and_wakes_one_layer_per_epoch() -> None:
    stage = recipe("ulmfit").stages[0]
    _, found = plan("merl-tiny", stage)
    order = ["top", "layer4", "layer3", "layer2", "layer1", "stem"]
    assert [g["name"] for g in found.optimiser] == ["head", *order]
    rates = [g["peak"] for g in found.optimiser]
    assert [a / b for a, b in pairwise(rates)] == pytest.approx([2.6] * 6)
    assert [found.wakes[name] for name in order] == [1, 2, 3, 4, 5, 6]
    assert found.learning(0) == set() and found.learning(2) == {"top", "layer4"}


@pytest.mark.parametrize("only", ["norms", "biases"])
def test_only_norms_or_biases_learn(only: str) -> None:
    model, found = plan("dinov2-tiny", Stage(name="tune", epochs=1, layers=Whole(only=only, lr=1e-3)))  # type: ignore[arg-type]
    assert found.only
    for name in found.only:
        assert (".norm" in name) if only == "norms" else name.endswith("bias")
    norms = {n for n, m in model.network.named_modules() if isinstance(m, nn.LayerNorm)}
    expected = {
        n for n, _ in model.network.named_parameters()
        if (n.rpartition(".")[0] in norms if only == "norms" else n.endswith(".bias"))
    }  # fmt: skip
    assert found.only == expected and len(found.optimiser[1]["params"]) == len(expected)


def test_lora_trains_updates_and_head_alone() -> None:
    model, found = plan("dinov2-tiny", Stage(name="tune", epochs=1, layers=Lora(rank=2, lr=1e-3)))
    assert found.only and len(found.only) == 16  # qkv and proj of four blocks, two matrices each
    parameters = dict(model.network.named_parameters())
    assert sum(parameters[n].numel() for n in found.only) == sum(p.numel() for p in found.optimiser[1]["params"])
    assert set(found.wakes) == {"block0", "block1", "block2", "block3"}
    placed = [n for g in found.groups for n in g.parameters]
    assert len(placed) == len(set(placed)) and found.only <= set(placed)


def test_the_head_alone() -> None:
    model, found = plan("merl-tiny", Stage(name="probe", epochs=1, layers=HeadOnly()))
    assert len(found.optimiser) == 1 and found.wakes == {}
    assert {id(p) for p in found.optimiser[0]["params"]} == {id(p) for p in model.head.parameters()}
