"""What a file's neighbours and its name say about a checkpoint that its tensors do not.

A CLIP checkpoint fits networks of either activation. The files that hubs put beside it say which
one was meant; a card that says otherwise is refused, never silently preferred.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medfm.core.errors import WeightsError
from medfm.encoders.card import Card
from medfm.encoders.families import family_args
from medfm.encoders.registry import scan
from medfm.encoders.weights import GENERIC_NAMES

_OPEN_CLIP = "open_clip_config.json"
_TRANSFORMERS = "config.json"
_MAX_BYTES = 1_000_000


def check_beside(card: Card, file: Path) -> None:
    """Refuse a checkpoint that its neighbours or its name say belongs to another activation or image size.

    Only for cards whose architecture states an activation; files without neighbours pass.

    Raises:
        WeightsError: The configuration beside the file, or the published name of the file,
            contradicts the card.
    """
    args = family_args(card.spec.architecture.family, card.spec.architecture.args, str(card.path))
    activation = getattr(args, "activation", None)
    if activation is None:
        return
    wanted = {"activation": activation, "image size": args.image_size}
    config = file.parent / (_OPEN_CLIP if file.name.startswith("open_clip") else _TRANSFORMERS)
    for what, value in _said(config):
        if value != wanted[what]:
            raise WeightsError(
                f"The checkpoint's own configuration says {what} {value}, the card of '{card.id}' says {wanted[what]}. "
                "The tensors would load under either, and every number would be slightly wrong.",
                where=f"{file} beside {config.name}",
                fix=f"pass architecture={{{_key(what)!r}: {value!r}}} to load_encoder to follow the file, "
                "or move the checkpoint away from that configuration to follow the card",
            )
    _check_name(card, file, activation)


def _key(what: str) -> str:
    return what.replace(" ", "_")


def _said(config: Path) -> Iterator[tuple[str, Any]]:
    """(what, value) of every fact the configuration states; nothing for one that cannot be read."""
    try:
        if config.stat().st_size > _MAX_BYTES:
            return
        values = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    yield from _open_clip(values) if config.name == _OPEN_CLIP else _transformers(values)


def _open_clip(values: Any) -> Iterator[tuple[str, Any]]:
    model = _part(_part(values).get("model_cfg"))
    vision, text = _part(model.get("vision_cfg")), _part(model.get("text_cfg"))
    if vision and not vision.get("timm_model_name") and not (text.get("hf_model_name")):
        # open_clip takes an absent key for false.
        yield "activation", "quick_gelu" if model.get("quick_gelu") else "gelu"
    if isinstance(vision.get("image_size"), int):
        yield "image size", vision["image_size"]


def _transformers(values: Any) -> Iterator[tuple[str, Any]]:
    model = _part(values)
    if model.get("model_type") != "clip":
        return
    for part in ("vision_config", "text_config"):
        # transformers takes an absent key for quick_gelu.
        yield "activation", _part(model.get(part)).get("hidden_act", "quick_gelu")
    size = _part(model.get("vision_config")).get("image_size", 224)
    if isinstance(size, int):
        yield "image size", size


def _part(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _check_name(card: Card, file: Path, activation: str) -> None:
    own = {Path(source.filename).name for source in card.spec.weights.sources}
    if file.name in own or file.name in GENERIC_NAMES:
        return
    for other in scan()[0].values():
        names = {Path(source.filename).name for source in other.spec.weights.sources}
        theirs = other.spec.architecture.args.get("activation")
        if file.name in names and theirs is not None and theirs != activation:
            raise WeightsError(
                f"The file is named like the published checkpoint of '{other.id}', whose activation is {theirs}; "
                f"'{card.id}' computes with {activation}, and the tensors would load under either.",
                where=str(file),
                fix=f"load it as '{other.id}'; if it really is another file, give it another name",
            )
