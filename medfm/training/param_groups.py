"""Learning-rate and weight-decay multipliers of every parameter, and optimiser groups from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import nn

_FIRST_LAYER = ("pos_embed", "patch_embed", "mask_token", "cls_token", "register_tokens")
_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")


class Multipliers(NamedTuple):
    """What one parameter's learning rate and weight decay are multiplied by."""

    lr: float
    weight_decay: float
    last_layer: bool


def _layer(name: str, blocks: int) -> int:
    """0 for the embedding, i + 1 for block i, blocks + 1 for what follows."""
    if any(part in name for part in _FIRST_LAYER):
        return 0
    found = _BLOCK.search(name)
    return int(found.group(1)) + 1 if found else blocks + 1


def multipliers(
    names: Iterable[str], *, blocks: int = 0, layer_decay: float = 1.0, patch_embed_lr: float = 1.0
) -> dict[str, Multipliers]:
    """The multipliers of each parameter name.

    No weight decay for biases, norms and LayerScale (``gamma``); position embedding, class and
    mask token do get it. A layer k steps below the output learns at ``layer_decay ** k``.

    Args:
        names: Parameter names with the published DINOv2 keys.
        blocks: Number of transformer blocks (0 for a head).
        layer_decay: Factor per layer, in (0, 1].
        patch_embed_lr: Additional factor of the patch embedding.

    Source: DINOv2 (arXiv 2304.07193), appendix B, and its public code.
    """
    result = {}
    for name in names:
        rate = 1.0 if blocks == 0 else layer_decay ** (blocks + 1 - _layer(name, blocks))
        if "patch_embed" in name:
            rate *= patch_embed_lr
        decays = not (name.endswith(".bias") or "norm" in name or "gamma" in name)
        result[name] = Multipliers(rate, 1.0 if decays else 0.0, "last_layer" in name)
    return result


def param_groups(
    module: nn.Module, *, blocks: int = 0, layer_decay: float = 1.0, patch_embed_lr: float = 1.0
) -> list[dict[str, Any]]:
    """Optimiser groups of the trainable parameters of `module`, one per set of multipliers.

    Each group holds ``params``, ``lr_multiplier``, ``wd_multiplier``, ``is_last_layer``; the
    order follows the parameters, so that an optimiser state fits again after a resume.
    """
    found = {name: p for name, p in module.named_parameters() if p.requires_grad}
    groups: dict[Multipliers, dict[str, Any]] = {}
    rules = multipliers(found, blocks=blocks, layer_decay=layer_decay, patch_embed_lr=patch_embed_lr)
    for name, rule in rules.items():
        group = groups.setdefault(
            rule,
            {
                "params": [],
                "lr_multiplier": rule.lr,
                "wd_multiplier": rule.weight_decay,
                "is_last_layer": rule.last_layer,
            },
        )
        group["params"].append(found[name])
    return list(groups.values())
