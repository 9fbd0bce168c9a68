"""What a stage of LDAE's training leaves: its networks, those it started from, and a card that loads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from medfm.cohorts.cohort import Cohort
from medfm.core.config import build
from medfm.core.environment import hardware, software
from medfm.core.hashing import sha256_file
from medfm.encoders.card import Card, write_card
from medfm.encoders.card_schema import CardHeader, Generator, Part, TrainingSet, Weights
from medfm.encoders.ldae.load import PartName, generator_of, save_part
from medfm.encoders.save import CARD_FILE, save_encoder
from medfm.training.ldae_config import LdaeRecipe, SemanticRecipe

if TYPE_CHECKING:
    from medfm.workflows.pretrain import Pretrained

_STAGES = {
    "autoencoder": "the compression autoencoder (stage 1 of 3); the other networks are not there yet",
    "latent": "the denoiser of latents (stage 2 of 3) on the compression autoencoder it started from; no encoder yet",
    "semantic": "the semantic encoder and the denoiser it steers (stage 3 of 3)",
}


@dataclass
class Trained:
    """The networks of a stage: those it trained and those it started from."""

    autoencoder: nn.Module | None = None
    prior: nn.Module | None = None
    denoiser: nn.Module | None = None
    encoder: nn.Module | None = None


def write_stage(
    result: Pretrained,
    trained: Trained,
    card: Card,
    config: LdaeRecipe,
    used: Cohort,
    scale: float,
    epoch: int,
    rows: Sequence[dict[str, Any]],
) -> Card:
    """Write all networks and ``card.md``: the next stage starts from the folder, and ``load_system`` reads it.

    Until stage 3 the card names no weights of an encoder: ``load_encoder`` says that there are none.

    Args:
        result: Of the run.
        trained: The networks as kept.
        card: Of the architecture.
        config: The recipe.
        used: Records trained and validated on.
        scale: What latents are multiplied by.
        epoch: The epoch that was kept, from 1.
        rows: The log.
    """
    stage = str(getattr(config, "stage", ""))
    base = generator_of(card)
    names: tuple[PartName, ...] = ("autoencoder", "prior", "denoiser")
    parts = {}
    for name in names:
        module = getattr(trained, name)
        absent = Part(args=getattr(base, name).args)
        parts[name] = save_part(result.folder, name, module) if module is not None else absent
    generator = Generator(**(base.model_dump() | parts | {"latent_scale": scale, "head": ()}))
    sets = [
        TrainingSet(
            name="".join(c if c.isalnum() and c.isascii() else "-" for c in used.name.lower()).strip("-") or "cohort",
            title=used.name,
            status="used",
            note=f"{result.pictures} volumes, split '{config.split}', table sha256 {used.digest()}",
        )
    ]
    deviations = ["Trained by a user of this package; not the published LDAE weights."]
    if isinstance(config, SemanticRecipe) and trained.prior is None:
        deviations.append("The frozen half of the denoiser has RANDOM weights: stage 2 was left out (published flaw).")
    words: dict[str, Any] = {
        "title": f"{card.id}, trained with {config.name} on {used.name}",
        "summary": f"Trained here without labels on {result.pictures} volumes: {_STAGES[stage].split(' (')[0]}.",
    }
    prose = _prose(result, config, used, scale, epoch, rows)
    if trained.encoder is not None:
        return save_encoder(
            result.folder,
            trained.encoder,
            card,
            encoder_id=result.encoder_id,
            prose=prose,
            training_data=sets,
            deviations=deviations,
            generator=generator,
            **words,
        )
    spec = card.spec.to_dict() | words
    spec |= {
        "id": result.encoder_id,
        "weights": Weights().to_dict(),
        "gated": False,
        "licence_note": "Weights trained by the user of this package.",
        "citation": "",
        "training_data": [entry.to_dict() for entry in sets],
        "results": [],
        "generator": generator.to_dict(),
        "deviations": deviations,
    }
    values = card.header.to_dict() | {
        "license": "other",
        "license_name": "decided by whoever trained it",
        "license_link": None,
        "datasets": [],
        "model_index": [],
        "medfm": spec,
    }
    target = Path(result.folder) / CARD_FILE
    return write_card(target, build(CardHeader, values, where=f"the card of '{result.encoder_id}'"), prose)


def _prose(
    result: Pretrained, config: LdaeRecipe, used: Cohort, scale: float, epoch: int, rows: Sequence[dict[str, Any]]
) -> str:
    stage = str(getattr(config, "stage", ""))
    minutes = sum(float(row["seconds"]) for row in rows) / 60
    synthetic = "The volumes are synthetic: these networks have never seen a real brain.\n\n" if used.synthetic else ""
    left_out = f" {len(result.failures)} unreadable records were left out." if result.failures else ""
    first = f"random (seed {config.seed})"
    if config.first_weights is not None:
        first = "of trained networks that were given (fine-tuning)"
    folder = Path(result.folder)
    sums = [f"`{file.name}` sha256 {sha256_file(file)}" for file in sorted(folder.glob("*.safetensors"))]
    return f"""# {result.encoder_id}

Trained with `medfm pretrain` by the recipe `{config.name}`: {_STAGES[stage]}. Architecture `{config.encoder}`, first
weights {first} but for what an earlier stage trained.

{synthetic}- Data: {result.pictures} volumes of the cohort `{used.name}`, split `{config.split}`.{left_out}
- {rows[-1]["epoch"]} epochs, {len(rows)} steps of {config.batch_size * config.accumulate} volumes, {minutes:.1f} minutes
  of computing; epoch {epoch} is kept (selection: {getattr(config, "selection", "last")}).
- Loss: {result.first_loss:.4f} at first, {result.last_loss:.4f} at the end (`loss.png`, `log.jsonl`).
- Latents are multiplied by {scale:.6g} before diffusion.
- Files: {"; ".join(sums)}.
- Settings: `config.yaml`, sha256 {config.digest()}.

It was not evaluated for any clinical use, and its figures do not compare with published ones.

Made with: {json.dumps(software())} on {json.dumps(hardware())}.
"""
