"""Families of recipes on pairs: which model and which loss belong to a recipe."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from medfm.core.errors import ConfigError
from medfm.encoders.clip import Clip
from medfm.encoders.convirt import Convirt
from medfm.encoders.flair import Flair
from medfm.encoders.merl import Merl
from medfm.training import merl
from medfm.training.pair_model import Collect, PairModel
from medfm.training.pairs_config import MerlRecipe, PairsRecipe
from medfm.training.towers import TowerPairs, tower_loss
from medfm.training.towers_config import TowersRecipe

# family of the recipe -> network
NETWORKS: dict[str, type[nn.Module]] = {"merl": Merl, "clip": Clip, "flair": Flair, "convirt": Convirt}


def pair_model(network: nn.Module, config: PairsRecipe) -> PairModel:
    """`network` as the recipe trains it.

    Raises:
        ConfigError: It is of another family, or has no text tower.
    """
    family = str(getattr(config, "family", ""))
    args: Any = network.args
    if not isinstance(network, NETWORKS[family]) or args.text is None:
        examples = {"merl": "merl-tiny or merl-resnet18", "clip": "quiltnet-tiny or quiltnet-b-32"}
        raise ConfigError(
            f"The encoder '{config.encoder}' is not of the {family.upper()} family with a text tower.",
            where=f"recipe {config.name}: encoder",
            expected=f"a card such as {examples.get(family, f'{family}-tiny or {family}-resnet50')}",
        )
    if isinstance(config, MerlRecipe):
        assert isinstance(network, Merl)
        return merl.MerlPairs(network, config.text)
    assert isinstance(config, TowersRecipe)
    return TowerPairs(network, config)  # type: ignore[arg-type]


def pair_loss(
    outputs: Any, config: PairsRecipe, gather: Collect | None = None, groups: Tensor | None = None
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Loss terms, with ``total`` first, and what else is logged, of a batch; see the families' own."""
    if isinstance(config, MerlRecipe):
        return merl.pair_loss(outputs, config, gather)
    assert isinstance(config, TowersRecipe)
    return tower_loss(outputs, config, gather, groups)
