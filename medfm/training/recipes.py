"""Families of pretraining recipes: the key ``family`` of a recipe says which settings it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfm.core.config import StrictConfig
from medfm.core.errors import ConfigError
from medfm.core.names import unknown_name
from medfm.training.config import PretrainConfig
from medfm.training.ldae_config import LdaeRecipe, stage_kind
from medfm.training.pairs_config import MerlRecipe
from medfm.training.towers_config import ClipRecipe, ConvirtRecipe, FlairRecipe

PairRecipe = MerlRecipe | ClipRecipe | FlairRecipe | ConvirtRecipe
Recipe = PretrainConfig | PairRecipe | LdaeRecipe
# family -> settings. A recipe without the key is of the first.
FAMILIES: dict[str, type[StrictConfig]] = {
    "dinov2": PretrainConfig,
    "merl": MerlRecipe,
    "clip": ClipRecipe,
    "flair": FlairRecipe,
    "convirt": ConvirtRecipe,
    "ldae": LdaeRecipe,
}


def recipe_kind(values: Any, where: str) -> type[StrictConfig]:
    """The settings class of a recipe, from its key ``family`` (and ``stage``, where it has stages).

    Raises:
        UnknownNameError: No such family.
        ConfigError: The recipe is not a mapping.
    """
    if not isinstance(values, Mapping):
        raise ConfigError("A recipe is a mapping of settings.", where=where, expected="name: ..., family: ...")
    family = values.get("family", "dinov2")
    if not isinstance(family, str) or family not in FAMILIES:
        raise unknown_name("recipe family", str(family), FAMILIES, where=f"{where}: family")
    return stage_kind(values, where) if family == "ldae" else FAMILIES[family]
