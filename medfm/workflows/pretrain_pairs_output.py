"""From a network trained on pairs to weights, tokenizer and a card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from medfm.cohorts.cohort import Cohort
from medfm.core.environment import hardware, software
from medfm.encoders.card import Card
from medfm.encoders.card_schema import TrainingSet
from medfm.encoders.merl import Merl
from medfm.encoders.save import save_encoder
from medfm.training.pairs_config import MerlRecipe
from medfm.workflows.pretrain import Pretrained
from medfm.workflows.pretrain_output import _word as word


def write_pair_encoder(
    result: Pretrained,
    network: Merl,
    card: Card,
    config: MerlRecipe,
    used: Cohort,
    tokenizer: dict[str, bytes],
    epoch: int,
    rows: Sequence[dict[str, Any]],
) -> Card:
    """Write weights, tokenizer and ``card.md`` so that ``medfm.load_encoder(folder)`` works, texts included.

    Args:
        result: Of the run.
        network: As trained, text tower included.
        card: Of the architecture.
        config: The recipe.
        used: Records trained and validated on.
        tokenizer: Files by name.
        epoch: The epoch that was kept, from 1.
        rows: The log.
    """
    chosen = {
        "last": "the last epoch is kept",
        "validation_loss": "the epoch with the lowest validation loss is kept; no label was used",
        "zero_shot_validation": "the epoch with the highest zero-shot AUROC on labelled validation records is kept",
    }[config.selection]
    deviations = ["Trained by a user of this package; not the published MERL weights."]
    if config.selection == "zero_shot_validation":
        deviations.append(
            "Labels of the validation records chose the epoch: zero-shot figures of this encoder are not free of labels."
        )
    return save_encoder(
        result.folder,
        network,
        card,
        encoder_id=result.encoder_id,
        title=f"{card.id}, trained with {config.name} on {used.name}",
        summary=f"Trained here on {result.pictures} pairs of recording and report, {config.epochs} epochs.",
        prose=_prose(result, card, config, used, epoch, chosen, rows),
        training_data=[
            TrainingSet(
                name=word(used.name),
                title=used.name,
                status="used",
                note=f"{result.pictures} pairs, split '{config.split}', table sha256 {used.digest()}",
            )
        ],
        deviations=deviations,
        tokenizer=tokenizer,
    )


def _prose(
    result: Pretrained,
    card: Card,
    config: MerlRecipe,
    used: Cohort,
    epoch: int,
    chosen: str,
    rows: Sequence[dict[str, Any]],
) -> str:
    minutes = sum(float(row["seconds"]) for row in rows) / 60
    synthetic = "The recordings are synthetic: this encoder has never seen a real heart.\n\n" if used.synthetic else ""
    left_out = f" {len(result.failures)} unreadable records were left out." if result.failures else ""
    tower = {"random": "random weights", "pretrained": "published weights"}[config.text.start]
    about_texts = "".join(f"\n- Texts: {note}." for note in result.notes)
    learns = {0: "was frozen", "all": "learned"}.get(
        config.text.trained_layers, f"learned in its last {config.text.trained_layers} layers"
    )
    return f"""# {result.encoder_id}

Trained with `medfm pretrain` by the recipe `{config.name}` (MERL family: recordings against their reports,
recordings against themselves), from random weights (seed {config.seed}) of the architecture `{card.id}`. The
text tower began with {tower} and {learns}.

{synthetic}- Data: {result.pictures} pairs of the cohort `{used.name}`, split `{config.split}`.{left_out}{about_texts}
- {config.epochs} epochs of batches of {config.batch_size}, {minutes:.1f} minutes of computing; epoch {epoch}: {chosen}.
- Loss: {result.first_loss:.3f} at first, {result.last_loss:.3f} at the end (`loss.png`, `log.jsonl`).
- Settings: `config.yaml`, sha256 {config.digest()}. Word pieces: `tokenizer/`.

It was not evaluated for any clinical use, and its figures do not compare with those of published encoders.

Made with: {json.dumps(software())} on {json.dumps(hardware())}.
"""
