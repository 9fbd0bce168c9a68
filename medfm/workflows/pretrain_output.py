"""From a model card to a model at its start, and from a trained model to weights and a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from medfm.cohorts.cohort import Cohort
from medfm.core.environment import hardware, software
from medfm.core.errors import ConfigError
from medfm.encoders.card import Card
from medfm.encoders.card_schema import TrainingSet
from medfm.encoders.dinov2 import DinoVisionTransformer
from medfm.encoders.published import build as build_network
from medfm.encoders.registry import get_card
from medfm.encoders.save import save_encoder
from medfm.training.config import PretrainConfig
from medfm.training.dinov2 import Dinov2
from medfm.training.log import read_log

if TYPE_CHECKING:
    from medfm.workflows.pretrain import Pretrained


def start_model(config: PretrainConfig, cohort: Cohort) -> tuple[Dinov2, Card]:
    """The untrained model of a recipe and the card of its architecture.

    The backbone equals ``load_encoder(config.encoder, weights="random", seed=config.seed)``.

    Raises:
        ConfigError: The card's architecture, modality or patch does not fit the recipe.
    """
    card = get_card(config.encoder)
    if card.modality != cohort.modality:
        raise ConfigError(
            f"The encoder '{card.id}' takes {card.modality} records; the cohort holds {cohort.modality}.",
            where=f"recipe {config.name}: encoder",
            fix=f"choose a recipe for {cohort.modality} records, or say --modality {card.modality} if the table holds those",
        )
    network = build_network(card, config.seed)
    if not isinstance(network, DinoVisionTransformer):
        raise ConfigError(
            f"The encoder '{card.id}' is not of the DINOv2 family.",
            where=f"recipe {config.name}: encoder",
            expected="a card with architecture family dinov2, such as dinov2-tiny",
        )
    for name in ("global_size", "local_size"):
        size = getattr(config.views, name)
        if size % network.patch:
            raise ConfigError(
                f"{size} pixels are not a multiple of the patch of {network.patch} pixels.",
                where=f"recipe {config.name}: views.{name}",
                expected=f"for example {max(1, size // network.patch) * network.patch}",
            )
    heads = torch.Generator().manual_seed(config.seed + 1)
    return Dinov2(network, network.dim, network.args.shape[1], config, heads), card


def write_encoder(result: Pretrained, model: Dinov2, card: Card, config: PretrainConfig, used: Cohort) -> Card:
    """Write the teacher's backbone and a valid ``card.md`` so that ``medfm.load_encoder(folder)`` works."""
    backbone = model.teacher.backbone
    if not isinstance(backbone, DinoVisionTransformer):
        raise ConfigError("Only networks of the DINOv2 family can be saved as an encoder.")
    return save_encoder(
        result.folder,
        backbone,
        card,
        encoder_id=result.encoder_id,
        title=f"{card.id}, trained with {config.name} on {used.name}",
        summary=f"Trained here without labels on {result.pictures} pictures, {config.steps} steps.",
        prose=_prose(result, card, config, used),
        training_data=[
            TrainingSet(
                name=set_name(used.name),
                title=used.name,
                status="used",
                split=config.split,
                note=f"{result.pictures} records, split '{config.split}', table sha256 {used.digest()}",
            )
        ],
        deviations=[
            "A short demonstration run; the full DINOv2 recipe (sizes, schedules, data) is not what made these weights."
        ],
    )


def set_name(text: str) -> str:
    """A cohort's name as a model card names a training set: lower-case words with hyphens."""
    word = "".join(c if c.isalnum() and c.isascii() else "-" for c in text.lower()).strip("-")
    return word or "cohort"


def _prose(result: Pretrained, card: Card, config: PretrainConfig, used: Cohort) -> str:
    rows = read_log(Path(result.folder) / "log.jsonl")
    minutes = sum(float(row["seconds"]) for row in rows) / 60
    synthetic = "The pictures are synthetic: this encoder has never seen a real cell.\n\n" if used.synthetic else ""
    left_out = f" {len(result.failures)} unreadable records were left out." if result.failures else ""
    return f"""# {result.encoder_id}

Trained with `medfm pretrain` by the recipe `{config.name}` (self-supervised, DINOv2 family), from random
weights (seed {config.seed}) of the architecture `{card.id}`. No label was used.

{synthetic}- Data: {result.pictures} pictures of the cohort `{used.name}`, split `{config.split}`.{left_out}
- Steps: {config.steps} of {config.batch_size} pictures, {minutes:.1f} minutes of computing.
- Loss: {result.first_loss:.3f} at first, {result.last_loss:.3f} at the end (`loss.png`, `log.jsonl`).
- Settings: `config.yaml`, sha256 {config.digest()}.

This is a small network for demonstrations and tests. It is not a foundation model, it was not evaluated
for any clinical use, and its figures do not compare with those of published encoders.

Made with: {json.dumps(software())} on {json.dumps(hardware())}.
"""
