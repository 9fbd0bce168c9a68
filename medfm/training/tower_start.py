"""First weights of two-tower networks from published files on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from medfm.core.errors import WeightsError
from medfm.encoders.card import Card
from medfm.encoders.clip import BertTower, Clip
from medfm.encoders.flair import Flair
from medfm.encoders.published import load_published
from medfm.encoders.registry import get_card
from medfm.encoders.resnet import ResNet
from medfm.encoders.weights import find_local, places
from medfm.training.towers_config import Start


def start_network(network: nn.Module, card: Card, rule: Start) -> str:
    """Fill `network`, or its picture tower, in place; where the weights come from, in words.

    A whole network's file is read by the key map of `card` itself (any layout it declares), or of
    the card named by the rule; a picture tower's by that of the card named, ``imagenet-resnet50``
    where none is. Nothing is downloaded.

    Raises:
        WeightsError: The file is absent, or of another architecture.
    """
    if rule.kind == "random":
        return "random weights"
    source = get_card(rule.card or (card.id if rule.kind == "network" else "imagenet-resnet50"))
    if rule.weights is not None:
        file = Path(rule.weights).expanduser()
    else:
        found = find_local(source)
        if found is None:
            known = source.spec.weights.sources
            raise WeightsError(
                f"The weights of '{source.id}' to start from are not on this machine.",
                expected=str(places(source, known[0])[0]) if known else "a file named with start.weights",
                fix="put the file there, name it with --set start.weights=FILE, or --set start.kind=random",
            )
        file = found.path
    reader = source if rule.kind == "picture_tower" or rule.card else card
    given, _ = load_published(reader, file)
    target: Any = network if rule.kind == "network" else picture_tower(network)
    if isinstance(given, ResNet):
        given = given.network
    elif rule.kind == "picture_tower":
        given = picture_tower(given)
    state = given.state_dict()
    wanted = target.state_dict()
    missing = [k for k in wanted if k not in state or state[k].shape != wanted[k].shape]
    if missing:
        raise WeightsError(
            f"The weights of '{source.id}' are of another architecture than '{card.id}': {len(missing)} tensors are "
            f"missing or of another shape, such as {missing[0]}.",
            where=str(file),
        )
    target.load_state_dict({k: state[k] for k in wanted}, strict=True)
    return f"the weights of {source.id} ({'whole network' if rule.kind == 'network' else 'picture tower'})"


def picture_tower(network: Any) -> nn.Module:
    """The backbone without projection."""
    if isinstance(network, Clip):
        tower: nn.Module = network.visual
        return tower
    backbone: nn.Module = network.vision_model.model if isinstance(network, Flair) else network.res_features
    return backbone


def bert_tower(network: Any) -> nn.Module | None:
    """The BERT that `text.start` fills; ``None`` where the text tower is CLIP's own."""
    if isinstance(network, Clip):
        return network.text.transformer if isinstance(network.text, BertTower) else None  # type: ignore[return-value]
    tower: nn.Module = (
        network.text_model.model
        if isinstance(network, Flair)
        else network.bert_model
        if hasattr(network, "bert_model")
        else network.lm_model
    )
    return tower
