"""Fine-tuning of LDAE: a stage whose own networks begin as given ones, from a folder or a checkpoint file."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from torch import nn

from medfm.core.errors import ConfigError, MedfmError, TrainingError
from medfm.encoders.card import Card, read_card
from medfm.encoders.ldae.generator import check_same_diffusion
from medfm.encoders.ldae.load import PartName, find_part, generator_of, load_part, part_args
from medfm.encoders.load import load_encoder
from medfm.encoders.published import build as build_network
from medfm.encoders.published import load_published
from medfm.encoders.save import CARD_FILE
from medfm.training.ldae_config import LdaeRecipe

_OWN = {"autoencoder": ("autoencoder",), "latent": ("prior",), "semantic": ("encoder", "denoiser")}


def given_networks(config: LdaeRecipe, card: Card) -> dict[str, nn.Module]:
    """The networks that a stage trains, as ``first_weights`` gives them; empty where the recipe names none.

    A folder is one that a run of this stage or a later one wrote; a file is a checkpoint in a layout
    that the card's own weights may have, published ones included. The stage ``semantic`` needs its
    encoder and its denoiser in one file.

    Returns:
        ``autoencoder``, ``prior``, or ``encoder`` and ``denoiser``: float32, on the CPU, in training mode.

    Raises:
        TrainingError: Nothing is there, or the networks of this stage are not in the folder.
        ConfigError: The networks in the folder have other sizes than the card's.
        WeightsError: A file is damaged, unsafe or of another network.
    """
    if config.first_weights is None:
        return {}
    names = _OWN[str(getattr(config, "stage", ""))]
    place = Path(config.first_weights).expanduser()
    if place.is_dir():
        found = {name: _from_folder(place, name, config, card) for name in names}
    elif place.is_file():
        found = {name: _from_file(place, name, card) for name in names}
    else:
        raise TrainingError(
            "There is nothing to begin with.",
            where=str(place),
            expected="a folder that medfm pretrain wrote, or a checkpoint file",
            fix="correct --set first_weights=..., or leave it out to begin with random weights",
        )
    return {name: module.train().requires_grad_(True) for name, module in found.items()}


def _from_file(file: Path, name: str, card: Card) -> nn.Module:
    if name == "encoder":
        return load_published(card, file)[0]
    return load_part(card, cast(PartName, name), file)[0]


def _from_folder(folder: Path, name: str, config: LdaeRecipe, card: Card) -> nn.Module:
    if not (folder / CARD_FILE).is_file():
        raise TrainingError(
            "This folder holds no trained networks.",
            where=str(folder),
            expected=f"{CARD_FILE} and the files beside it, as medfm pretrain writes them at the end of a run",
        )
    given = read_card(folder / CARD_FILE)
    generator_of(given)
    same = (
        given.spec.architecture == card.spec.architecture
        if name == "encoder"
        else part_args(given, cast(PartName, name)) == part_args(card, cast(PartName, name))
    )
    if not same:
        raise ConfigError(
            f"The {name} to begin with has other sizes than that of '{card.id}'.",
            where=str(folder),
            fix=f"name networks trained with recipes of {config.encoder}, or train with their card: --set encoder=CARD",
        )
    if name in ("prior", "denoiser"):
        check_same_diffusion(generator_of(given), generator_of(card), str(folder))
    try:
        if name == "encoder":
            module = build_network(card)
            module.load_state_dict(load_encoder(folder, device="cpu").module.state_dict())
            return module
        return load_part(given, cast(PartName, name), find_part(given, cast(PartName, name)).path)[0]
    except MedfmError as error:
        raise TrainingError(
            f"The network '{name}' to begin with is not in this folder, or damaged: {error.what}",
            where=str(folder),
            fix="name the folder of this stage or of a later one with --set first_weights=FOLDER",
        ) from error
