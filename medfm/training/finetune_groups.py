"""From a stage of a recipe to optimiser groups, and which layer groups learn in an epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from medfm.core.errors import ConfigError
from medfm.training.classifier import Classifier
from medfm.training.finetune_config import Decay, HeadOnly, Lora, Parts, Stage, Whole
from medfm.training.layer_groups import LayerGroup, quarters
from medfm.training.lora import add_lora, lora_targets

HEAD = "head"


@dataclass(frozen=True)
class Plan:
    """How a stage trains an encoder.

    Attributes:
        groups: The layer groups, stem to top (cut into blocks where the stage asks for it).
        optimiser: Groups for AdamW, the head first: ``name, params, peak, weight_decay``.
        wakes: Layer group -> the epoch of the stage from which it learns; groups that never do are absent.
        only: Names of the parameters that may learn; all when ``None``.
    """

    groups: tuple[LayerGroup, ...]
    optimiser: tuple[dict[str, Any], ...]
    wakes: dict[str, int]
    only: frozenset[str] | None = None

    def learning(self, epoch: int) -> set[str]:
        """The layer groups that learn in `epoch` of the stage."""
        return {name for name, first in self.wakes.items() if first <= epoch}


def plan_stage(
    model: Classifier,
    stage: Stage,
    coarse: Sequence[LayerGroup],
    fine: Sequence[LayerGroup],
    generator: torch.Generator,
) -> Plan:
    """The plan of `stage`; updates of low rank are added to the network here.

    Args:
        model: The classifier.
        stage: The settings.
        coarse: Layer groups by stage.
        fine: The same by block.
        generator: For first values of updates of low rank.

    Raises:
        ConfigError: The stage names a part that the network lacks.
    """
    layers, network = stage.layers, model.network
    parameters = dict(network.named_parameters())
    head = {"name": HEAD, "params": list(model.head.parameters()), "peak": stage.head.lr}
    first: list[dict[str, Any]] = [{**head, "weight_decay": stage.head.weight_decay}]
    if isinstance(layers, HeadOnly):
        return Plan(tuple(coarse), tuple(first), {})
    if isinstance(layers, Parts):
        return _parts(layers, stage.epochs, coarse, parameters, first)
    if isinstance(layers, Decay):
        return _decay(layers, fine if layers.blocks else coarse, parameters, first)
    if isinstance(layers, Lora):
        chosen = lora_targets(network, [n for group in coarse for n in group.parameters], layers.targets)
        added = frozenset(add_lora(network, chosen, layers.rank, layers.alpha, generator))
        now = dict(network.named_parameters())
        grown = tuple(_with_updates(group, now, chosen) for group in coarse)
        group = {"name": "low-rank updates", "params": [now[n] for n in sorted(added)], "peak": layers.lr}
        wakes = {g.name: 0 for g in grown if any(n in added for n in g.parameters)}
        return Plan(grown, (*first, {**group, "weight_decay": layers.weight_decay}), wakes, added)
    return _whole(layers, network, coarse, parameters, first)


def _with_updates(group: LayerGroup, parameters: dict[str, nn.Parameter], chosen: Sequence[str]) -> LayerGroup:
    """`group` with the names that its weights have once updates stand beside them."""
    names = []
    for name in group.parameters:
        if name in chosen:
            place, _, leaf = name.rpartition(".")
            stem = f"{place}.parametrizations.{leaf}.".lstrip(".")
            names += [n for n in parameters if n.startswith(stem)]
        else:
            names.append(name)
    return replace(group, parameters=tuple(names))


def _group(
    name: str, names: Sequence[str], parameters: dict[str, nn.Parameter], peak: float, decay: float
) -> dict[str, Any]:
    return {"name": name, "params": [parameters[n] for n in names], "peak": peak, "weight_decay": decay}


def _whole(
    layers: Whole,
    network: nn.Module,
    groups: Sequence[LayerGroup],
    parameters: dict[str, nn.Parameter],
    first: list[dict[str, Any]],
) -> Plan:
    names = [n for group in groups for n in group.parameters]
    only: frozenset[str] | None = None
    if layers.only != "all":
        norms = {n for n, m in network.named_modules() if "norm" in type(m).__name__.lower()}
        wanted = [
            n
            for n in names
            if (layers.only == "biases" and n.rpartition(".")[2] in ("bias", "in_proj_bias"))
            or (layers.only == "norms" and n.rpartition(".")[0] in norms)
        ]
        if not wanted:
            raise ConfigError(f"The network has no {layers.only} to train.", where="layers.only")
        names, only = wanted, frozenset(wanted)
    held = set(names)
    wakes = {group.name: 0 for group in groups if held & set(group.parameters)}
    own = _group("encoder" if only is None else layers.only, names, parameters, layers.lr, layers.weight_decay)
    return Plan(tuple(groups), (*first, own), wakes, only)


def _decay(
    layers: Decay, groups: Sequence[LayerGroup], parameters: dict[str, nn.Parameter], first: list[dict[str, Any]]
) -> Plan:
    shared = layers.top == "with_last_layer" and groups[-1].name == "top" and len(groups) > 1
    optimiser, wakes = list(first), {}
    for below, group in enumerate(reversed(groups)):
        depth = max(below, 1) if shared else below + 1
        peak = layers.lr * layers.factor**depth
        vectors = [n for n in group.parameters if parameters[n].ndim <= 1]
        matrices = [n for n in group.parameters if parameters[n].ndim > 1]
        if layers.decay_vectors:
            optimiser.append(_group(group.name, group.parameters, parameters, peak, layers.weight_decay))
        else:
            if matrices:
                optimiser.append(_group(group.name, matrices, parameters, peak, layers.weight_decay))
            if vectors:
                optimiser.append(_group(f"{group.name} (no decay)", vectors, parameters, peak, 0.0))
        # The head learns alone in the first epoch; then one more layer group per epoch.
        wakes[group.name] = 0 if layers.unfreezing == "none" else depth
    return Plan(tuple(groups), tuple(optimiser), wakes)


def _parts(
    layers: Parts,
    epochs: int,
    groups: Sequence[LayerGroup],
    parameters: dict[str, nn.Parameter],
    first: list[dict[str, Any]],
) -> Plan:
    # The words for quarters win: a ConvNeXt of two stages has a "stage2" of its own.
    known = {**{g.name: [g] for g in groups}, **quarters(list(groups))}
    optimiser, wakes = list(first), {}
    for part in layers.parts:
        if not known.get(part.part):
            if part.part in known and layers.optional:
                continue
            raise ConfigError(
                f"The network has no layers '{part.part}'.",
                where="layers.parts",
                expected=", ".join(name for name, held in known.items() if held),
                fix="this procedure was published for another kind of network; take a recipe that names stages",
            )
        names = [n for group in known[part.part] for n in group.parameters]
        optimiser.append(_group(part.part, names, parameters, part.lr, part.weight_decay))
        for group in known[part.part]:
            if group.name in wakes:
                raise ConfigError(f"The layers '{group.name}' are in two parts.", where="layers.parts")
            # A hundredth of a thousandth: 0.3 x 30 is 9, not 8.999...
            wakes[group.name] = math.floor(part.wakes * epochs + 1e-9)
    return Plan(tuple(groups), tuple(optimiser), wakes)
