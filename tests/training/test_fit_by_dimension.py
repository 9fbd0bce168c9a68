"""Every recipe on signals, pictures and volumes: which parameters move, whose statistics stay, rates by group."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medfm.encoders.encoder import Encoder
from medfm.encoders.load import load_encoder
from medfm.training.finetune import FineTuned, fit
from medfm.training.finetune_batches import Labelled
from medfm.training.finetune_config import FinetuneRecipe
from medfm.training.finetune_labels import Labels
from medfm.training.layer_groups import layer_groups, unused_by
from medfm.workflows.finetune import changed, load_finetune_recipe
from tests.tiny_volume_cards import SMALL, small_volume_encoder
from tests.training.tuning_parts import BINARY, signal_encoder

# Encoder -> its layer groups from stem to top, and the quarter of each.
RESNET = ["stem", "layer1", "layer2", "layer3", "layer4"]
GROUPS = {
    "merl-tiny": [*RESNET, "top"],
    "convirt-tiny": [*RESNET, "top"],
    "dinov2-tiny": ["stem", "block0", "block1", "block2", "block3", "top"],
    "medicalnet-resnet18-3d": RESNET,
    "swinunetr-encoder": ["stem", "layers1", "layers2", "layers3", "layers4"],
    "ldae-tiny": ["stem", "stage1", "stage2", "top"],
}
RECIPES = [
    "linear-probe",
    "lp-ft",
    "bpd-progressive",
    "ulmfit",
    "layer-decay",
    "lora",
    "norm-only",
    "bias-only",
    "full",
]
COUNT = 6
# What differs by family is looked at in all of them, the rest in one of each dimension.
FAMILIES = ("bpd-progressive", "ulmfit", "layer-decay", "lora")
EACH = ("merl-tiny", "convirt-tiny", "medicalnet-resnet18-3d")


@cache
def encoder_of(name: str) -> Encoder:
    if name == "merl-tiny":
        return signal_encoder()
    if name in SMALL:
        return small_volume_encoder(name)
    return load_encoder(name, weights="random", device="cpu")


@cache
def inputs_of(name: str) -> torch.Tensor:
    """float32 (6, ...): records of odd number are brighter on one side."""
    # The networks of pictures take any side (a multiple of the patch); small ones are quicker.
    shape = {"convirt-tiny": (3, 32, 32), "dinov2-tiny": (3, 28, 28)}.get(
        name, tuple(encoder_of(name).preprocess.shape)
    )
    x = torch.rand(COUNT, *shape, generator=torch.Generator().manual_seed(1))
    x[1::2, ..., : shape[-1] // 2] += 0.5
    return x


def records(name: str, targets: torch.Tensor | None = None) -> Labelled:
    return Labelled(inputs_of(name), (torch.arange(COUNT) % 2).float() if targets is None else targets)


def quick(name: str, *more: str) -> FinetuneRecipe:
    """The shipped recipe with two epochs in the last stage and one before, two steps each, the last epoch kept."""
    recipe = load_finetune_recipe(name)
    epochs = [f"stages.{s.name}.epochs={2 if s is recipe.stages[-1] else 1}" for s in recipe.stages]
    kept = ["selection.keep=last", "selection.patience=0", "selection.threshold=half", "validation.source=none"]
    return changed(recipe, [*epochs, *kept, "batch_size=3", *more])


def tuned(name: str, recipe: FinetuneRecipe, data: Labelled | None = None, labels: Labels = BINARY) -> FineTuned:
    return fit(encoder_of(name), recipe, records(name) if data is None else data, None, labels)


@cache
def by_recipe(name: str, recipe: str) -> FineTuned:
    return tuned(name, quick(recipe))


def states(name: str, found: FineTuned) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    return encoder_of(name).module.state_dict(), found.model.network.state_dict()


def expected_groups(recipe: str, name: str) -> list[set[str]]:
    """Which layer groups learn in each of the epochs, written out by what the recipes say."""
    groups = GROUPS[name]
    body = [g for g in groups if g not in ("stem", "top")]
    top = {"top"} & set(groups)
    if recipe == "linear-probe":
        return [set(), set()]
    if recipe == "lp-ft":
        return [set(), set(groups), set(groups)]
    if recipe == "bpd-progressive":  # of two epochs: 10 % and 30 % are the first, 60 % the second
        cut = [len(body) * i // 4 for i in range(5)]
        two, three, four = (set(body[cut[i] : cut[i + 1]]) for i in (1, 2, 3))
        return [set(), three | four | top, two | three | four | top]
    if recipe == "ulmfit":  # the head alone, then one group from the top
        return [set(), {groups[-1]}]
    return [set(groups), set(groups)]


CASES = [(recipe, name) for recipe in RECIPES for name in GROUPS if name in EACH or recipe in (*FAMILIES, "norm-only")]


@pytest.mark.parametrize(("recipe", "name"), CASES, ids=[f"{r} {n}" for r, n in CASES])
def test_what_should_learn_moves_and_nothing_else_does(recipe: str, name: str) -> None:
    found = by_recipe(name, recipe)
    before, after = states(name, found)
    network = encoder_of(name).module
    assert before.keys() == after.keys()  # updates of low rank are merged: the folder loads as any other
    moved = {n for n, _ in network.named_parameters() if not torch.equal(before[n], after[n])}
    place = {p: g.name for g in layer_groups(network, unused_by(network, encoder_of(name).card)) for p in g.parameters}
    # Statistics of BatchNorm, counters and tables stay as they were, in layers that learn too.
    parameters = {n for n, _ in network.named_parameters()}
    assert all(torch.equal(before[n], after[n]) for n in before.keys() - parameters)
    assert moved <= set(place)  # a text tower, a generator's head: never
    learning = [{g.split(".")[0] for g, n in row["trainable"].items() if n} - {"head"} for row in found.rows]
    expected = expected_groups(recipe, name)
    norms = {n for n, m in network.named_modules() if isinstance(m, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm))}
    if recipe == "norm-only":
        allowed = {
            n for n in place if n.rpartition(".")[0] in norms or "norm" in n.rpartition(".")[0].rpartition(".")[2]
        }
    elif recipe == "bias-only":
        allowed = {n for n in place if n.endswith("bias")}
    elif recipe == "lora":
        allowed = {n for n in place if before[n].ndim >= 2}
        attention = [n for n in moved if ".attn." in n]
        assert attention == [] or len(attention) == len(moved)  # transformers: attention alone
        assert bool(attention) == (name in ("dinov2-tiny", "swinunetr-encoder"))
    else:
        allowed = set(place)
        assert learning == expected
    assert moved <= allowed
    assert {place[n] for n in moved} == learning[-1]
    assert bool(moved) == (recipe != "linear-probe")
    for row in found.rows:
        assert row["trainable_total"] == sum(row["trainable"].values()) and np.isfinite(row["loss"])


@pytest.mark.parametrize("name", GROUPS)
def test_rates_fall_from_the_head_by_each_recipes_own_rule(name: str) -> None:
    rows = {recipe: by_recipe(name, recipe).rows[-1]["rates"] for recipe in ("ulmfit", "layer-decay")}
    groups = GROUPS[name][::-1]
    assert list(rows["ulmfit"]) == ["head", *groups]
    for place, group in enumerate(groups, start=1):
        assert rows["ulmfit"][group] / rows["ulmfit"]["head"] == pytest.approx(2.6**-place)
    ratios = [rate / rows["layer-decay"]["head"] for g, rate in rows["layer-decay"].items() if "no decay" not in g]
    assert ratios[0] == 1 and ratios[1:] == sorted(ratios[1:], reverse=True)
    powers = np.log(ratios[1:]) / np.log(0.75)
    np.testing.assert_allclose(powers, np.round(powers), atol=1e-6)  # whole powers of 0.75


NAN = float("nan")
CLASSES = Labels("multiclass", "multiclass", ("a", "b", "c"), "x")
GRADES = Labels("multiclass", "ordinal", ("0", "1", "2"), "x")
LABELS = Labels("multilabel", "multilabel", ("a", "b"), "x")
YEARS = Labels("regression", "regression", (), "age", 60.0, 10.0)
THREE = torch.tensor([0, 1, 2, 0, 0, 0])
MANY = torch.tensor([[1.0, NAN], [0.0, 1.0], [NAN, 0.0], [0.0, NAN], [1.0, 1.0], [NAN, 0.0]])
OBJECTIVES: dict[str, tuple[Labels, torch.Tensor, tuple[str, ...]]] = {
    "sampler": (CLASSES, THREE, ("objective.balance=sampler",)),
    "weights": (CLASSES, THREE, ("objective.balance=loss", "objective.smoothing=0.1")),
    "mixup": (CLASSES, THREE, ("stages.tune.mixing.kind=mixup", "stages.tune.mixing.probability=1")),
    "cutmix": (GRADES, THREE, ("stages.tune.mixing.kind=cutmix", "stages.tune.mixing.probability=1")),
    "early learning": (CLASSES, THREE, ("objective.early_learning.weight=3",)),
    "grades": (GRADES, THREE, ("objective.ordinal=true", "objective.balance=sampler")),
    "labels": (LABELS, MANY, ("objective.balance=loss", "stages.tune.mixing.kind=cutmix")),
    "measurement": (YEARS, torch.linspace(-1, 1, COUNT), ("stages.tune.mixing.kind=mixup",)),
}
# Of signals: test_finetune_fit.py. Pictures differ from volumes in the box of CutMix alone.
TRAINED = [(o, "medicalnet-resnet18-3d") for o in OBJECTIVES] + [(o, "convirt-tiny") for o in ("cutmix", "labels")]


@pytest.mark.parametrize(("objective", "name"), TRAINED, ids=[f"{o} {n}" for o, n in TRAINED])
def test_every_objective_trains_on_pictures_and_volumes(objective: str, name: str) -> None:
    labels, targets, settings = OBJECTIVES[objective]
    recipe = quick("lp-ft", "stages.tune.epochs=1", "augmentation=none", *settings)
    held = records(name, targets)
    found = tuned(name, recipe, held, labels)
    assert all(np.isfinite(row["loss"]) and np.isfinite(row["gradient"]) for row in found.rows)
    assert all(bool(torch.isfinite(p).all()) for p in found.model.parameters())
    before, after = states(name, found)
    assert any(not torch.equal(before[n], after[n]) for n, _ in encoder_of(name).module.named_parameters())
    with torch.no_grad():
        scores = labels.scores(found.model(inputs_of(name)))
    assert scores.shape == (COUNT, max(1, len(labels.classes))) and bool(np.isfinite(scores).all())
    if labels.task == "multiclass":
        np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-6)


def test_an_unknown_label_teaches_nothing_on_volumes() -> None:
    """Whatever stands in a record whose label is unknown, the second output's own loss does not see it."""
    name = "medicalnet-resnet18-3d"
    recipe = quick("linear-probe", "head.dropout=0", "head.standardise=false", "batch_size=6")
    unknown = torch.tensor([[1.0, NAN]] * 3 + [[0.0, NAN]] * 3)
    found = tuned(name, changed(recipe, ["stages.probe.head.weight_decay=0"]), records(name, unknown), LABELS)
    fresh: Any = tuned(name, changed(recipe, ["stages.probe.head.lr=1e-12"]), records(name, unknown), LABELS)
    weight, start = found.model.head.linear.weight, fresh.model.head.linear.weight
    assert torch.allclose(weight[1], start[1], atol=1e-7) and not torch.allclose(weight[0], start[0], atol=1e-4)
