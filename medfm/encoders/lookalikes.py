"""Guessing what a checkpoint is when it does not fit the encoder asked for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from medfm.core.errors import MedfmError, WeightsError
from medfm.encoders.card import Card
from medfm.encoders.families import family_args, plain_shapes
from medfm.encoders.keymaps import KeyReport, match, plain_state, unnest
from medfm.encoders.registry import scan

POSITION_TABLES = ("visual.positional_embedding", "visual.trunk.pos_embed")
PATCH_KERNELS = ("visual.conv1.weight", "visual.trunk.patch_embed.proj.weight")


def hints(report: KeyReport, checkpoint: Mapping[str, Any], card: Card, where: str) -> KeyReport:
    """`report` with what the checkpoint looks like."""
    found = [*_other_size(report, card), *_known_traps(checkpoint, card, where)]
    alike = [other.id for other in scan()[0].values() if other.id != card.id and _fits(checkpoint, other, where)]
    if alike:
        found.insert(0, "this looks like " + " or ".join(alike))
    return dataclasses.replace(report, hints=tuple(found))


def _other_size(report: KeyReport, card: Card) -> list[str]:
    """Whether a position table of a CLIP image tower belongs to another image size."""
    spec = card.spec.architecture
    args = family_args(spec.family, spec.args, str(card.path))
    size, patch = getattr(args, "image_size", None), getattr(args, "patch", None)
    patch = next((got[-1] for name, got, _ in report.mismatched if name in PATCH_KERNELS), patch)
    for name, got, _ in report.mismatched:
        if size is None or patch is None or name not in POSITION_TABLES:
            continue
        rows = got[-2] - 1
        side = math.isqrt(max(rows, 0))
        if side * side == rows:
            return [
                f"the position table has {got[-2]} rows: {side} x {side} patches and a class token, at {patch} pixels "
                f"per patch an input of {side * patch} pixels; this card takes {size}. Other libraries stretch the table "
                "without a word and give other numbers; here that is refused"
            ]
    return []


def _fits(checkpoint: Mapping[str, Any], card: Card, where: str) -> bool:
    spec = card.spec.architecture
    try:
        # A file without a kernel of as many axes is another network: no need to build this one (and to import MONAI).
        axes = getattr(family_args(spec.family, spec.args, str(card.path)), "kernel_axes", None)
        tensors, _ = unnest(checkpoint, card.spec.weights.key_map.nesting, where)
        if axes is not None and all(tensor.ndim != axes for tensor in tensors.values()):
            return False
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
