"""Guessing what a checkpoint is when it does not fit the encoder asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from medfm.core.errors import MedfmError, WeightsError
from medfm.encoders.card import Card
from medfm.encoders.families import plain_shapes
from medfm.encoders.keymaps import KeyReport, match, plain_state, unnest
from medfm.encoders.registry import scan


def hints(report: KeyReport, checkpoint: Mapping[str, Any], card: Card, where: str) -> KeyReport:
    """`report` with what the checkpoint looks like."""
    found = _known_traps(checkpoint, card, where)
    alike = [other.id for other in scan()[0].values() if other.id != card.id and _fits(checkpoint, other, where)]
    if alike:
        found.insert(0, "this looks like " + " or ".join(alike))
    return dataclasses.replace(report, hints=tuple(found))


def _fits(checkpoint: Mapping[str, Any], card: Card, where: str) -> bool:
    try:
        wanted = plain_shapes(card.spec, str(card.path))
        return match(checkpoint, wanted, card.spec.weights.key_map, where)[1].ok
    except MedfmError:
        return False


def _known_traps(checkpoint: Mapping[str, Any], card: Card, where: str) -> list[str]:
    try:
        key_map = card.spec.weights.key_map
        plain, _, _ = plain_state(unnest(checkpoint, key_map.nesting, where)[0], key_map, where)
    except WeightsError:
        return []
    found = []
    table = plain.get("pos_embed")
    if table is not None and table.ndim == 3 and table.shape[1] == 1370:
        found.append(
            "a position table of 1370 rows belongs to 518-pixel input: this is an original DINOv2 model, "
            "or one built without img_size=224"
        )
    if "register_tokens" in plain or "reg_token" in plain:
        found.append("the file has register tokens: a DINOv2 'reg4' model, another architecture")
    if any(name.startswith("blocks.") for name in plain) and not any(name.endswith(".gamma") for name in plain):
        found.append("the file has no LayerScale (gamma): a ViT of another family, or one saved without it")
    return found
