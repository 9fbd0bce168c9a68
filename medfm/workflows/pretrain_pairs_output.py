"""From a network trained on pairs to weights, tokenizer and a card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medfm.cohorts.cohort import Cohort
from medfm.core.environment import hardware, software
from medfm.encoders.card import Card
from medfm.encoders.card_schema import TrainingSet
from medfm.encoders.save import save_encoder
from medfm.training.recipes import PairRecipe
from medfm.training.towers_config import FlairText
from medfm.workflows.pretrain import Pretrained
from medfm.workflows.pretrain_output import set_name

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Words:
    """What a family is called, what it learns from, and how."""

    name: str
    record: str
    text: str
    how: str


WORDS = {
    "merl": Words("MERL", "recording", "report", "recordings against their reports, recordings against themselves"),
    "clip": Words("CLIP", "picture", "text", "pictures against their texts"),
    "flair": Words("FLAIR", "picture", "text", "pictures against texts, those of one category belong together"),
    "convirt": Words("ConVIRT", "picture", "text", "pictures against sentences of their reports, two weights"),
}
_SEEN = {"ecg": "heart", "retina": "eye", "histopathology": "tissue", "blood_cell": "blood cell"}


def write_pair_encoder(
    result: Pretrained,
    network: nn.Module,
    card: Card,
    config: PairRecipe,
    used: Cohort,
    tokenizer: dict[str, bytes],
    epoch: int,
    rows: Sequence[dict[str, Any]],
    began: str = "",
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
        began: First weights of a network of two towers, in words.
    """
    words = WORDS[config.family]
    chosen = {
        "last": "the last epoch is kept",
        "validation_loss": "the epoch with the lowest validation loss is kept; no label was used",
        "zero_shot_validation": "the epoch with the highest zero-shot AUROC on labelled validation records is kept",
    }[config.selection]
    deviations = [f"Trained by a user of this package; not the published {words.name} weights."]
    if config.selection == "zero_shot_validation":
        deviations.append(
            "Labels of the validation records chose the epoch: zero-shot figures of this encoder are not free of labels."
        )
    if isinstance(config.text, FlairText) and config.text.categories:
        columns = ", ".join(f"'{entry.column}'" for entry in config.text.categories)
        deviations.append(
            f"LABELS WERE USED: the column {columns} of the training records made the texts or said which texts belong "
            "to which picture (FLAIR trains so). Zero-shot figures on these classes are of classes seen in training."
        )
    return save_encoder(
        result.folder,
        network,
        card,
        encoder_id=result.encoder_id,
        title=f"{card.id}, trained with {config.name} on {used.name}",
        summary=f"Trained here on {result.pictures} pairs of {words.record} and {words.text}, {config.epochs} epochs.",
        prose=_prose(result, card, config, used, epoch, chosen, rows, began, bool(tokenizer)),
        training_data=[
            TrainingSet(
                name=set_name(used.name),
                title=used.name,
                status="used",
                split=config.split,
                note=f"{result.pictures} pairs, split '{config.split}', table sha256 {used.digest()}",
            )
        ],
        deviations=deviations,
        tokenizer=tokenizer,
    )


def _prose(
    result: Pretrained,
    card: Card,
    config: PairRecipe,
    used: Cohort,
    epoch: int,
    chosen: str,
    rows: Sequence[dict[str, Any]],
    began: str,
    tokenizer: bool,
) -> str:
    minutes = sum(float(row["seconds"]) for row in rows) / 60
    words = WORDS[config.family]
    seen = _SEEN.get(used.modality, "record")
    synthetic = (
        f"The {words.record}s are synthetic: this encoder has never seen a real {seen}.\n\n" if used.synthetic else ""
    )
    left_out = f" {len(result.failures)} unreadable records were left out." if result.failures else ""
    tower = {"random": "random weights", "pretrained": "published weights"}[config.text.start]
    if began.endswith("(whole network)"):
        tower = "the same weights"
    about_texts = "".join(f"\n- Texts: {note}." for note in result.notes)
    learns = {0: "was frozen", "all": "learned"}.get(
        config.text.trained_layers, f"learned in its last {config.text.trained_layers} layers"
    )
    pieces = " Word pieces: `tokenizer/`." if tokenizer else ""
    return f"""# {result.encoder_id}

Trained with `medfm pretrain` by the recipe `{config.name}` ({words.name} family: {words.how}),
from {began or "random weights"} (seed {config.seed}) of the architecture `{card.id}`. The
text tower began with {tower} and {learns}.

{synthetic}- Data: {result.pictures} pairs of the cohort `{used.name}`, split `{config.split}`.{left_out}{about_texts}
- {config.epochs} epochs of batches of {config.batch_size}, {minutes:.1f} minutes of computing; epoch {epoch}: {chosen}.
- Loss: {result.first_loss:.3f} at first, {result.last_loss:.3f} at the end (`loss.png`, `log.jsonl`).
- Settings: `config.yaml`, sha256 {config.digest()}.{pieces}

It was not evaluated for any clinical use, and its figures do not compare with those of published encoders.

Made with: {json.dumps(software())} on {json.dumps(hardware())}.
"""
