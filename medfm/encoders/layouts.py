"""Layouts of checkpoints that differ by more than names: tensors joined or turned.

A key map names the layouts a card accepts; each function here recognises its layout and gives the
tensors under plain names, or gives them back untouched.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from medfm.core.errors import WeightsError

if TYPE_CHECKING:
    import torch

Layout = Literal["transformers-clip", "ldae-twice", "bpdneo-twice"]
_log = logging.getLogger(__name__)

_BLOCK = re.compile(r"(vision_model|text_model)\.encoder\.layers\.(\d+)\.(.+)")
_PART = re.compile(r"self_attn\.([qkv])_proj\.(weight|bias)")
_TOWERS = {"vision_model": "visual", "text_model": "text"}
_INNER = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_OUTER = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    # The misspelling is transformers' own.
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
    "text_model.final_layer_norm.weight": "text.ln_final.weight",
    "text_model.final_layer_norm.bias": "text.ln_final.bias",
}
# transformers keeps matrices of linear layers, CLIP keeps what is multiplied from the right.
_TURNED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text.text_projection"}


def from_transformers_clip(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """The ``CLIPModel`` of transformers as open_clip's towers; ``None`` for another layout.

    Query, key and value matrices are joined; the two projections are turned. A matrix whose
    partners are absent keeps its name, so that the key report shows it.
    """
    import torch

    if not any(name.startswith("vision_model.encoder.layers.") for name in tensors):
        return None
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        block = _BLOCK.fullmatch(name)
        if name in _OUTER:
            found[_OUTER[name]] = tensor
        elif name in _TURNED and tensor.ndim == 2:
            found[_TURNED[name]] = tensor.T
        elif block is None:
            found[name] = tensor
        elif part := _PART.fullmatch(block[3]):
            base = name[: -len(block[3])]
            three = [tensors.get(f"{base}self_attn.{one}_proj.{part[2]}") for one in "qkv"]
            if any(one is None for one in three):
                found[name] = tensor
            elif part[1] == "q":
                joined = torch.cat([one for one in three if one is not None])
                found[f"{_TOWERS[block[1]]}.transformer.resblocks.{block[2]}.attn.in_proj_{part[2]}"] = joined
        else:
            inner, _, leaf = block[3].rpartition(".")
            plain = f"{_TOWERS[block[1]]}.transformer.resblocks.{block[2]}.{_INNER.get(inner, inner)}.{leaf}"
            found[plain if inner in _INNER else name] = tensor
    return found


# LDAE's encoder stores its slice network twice; the published code reads the first of these last, so it wins.
_SLICE_NETWORKS = ("slice_distributed.module.backbone.", "backbone.backbone.")


def from_ldae_twice(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """LDAE's semantic encoder with its slice network once, under ``backbone.``; ``None`` for another layout.

    Either copy is enough. Where both are there and differ, a warning says so.
    """
    import torch

    if not any(name.startswith(_SLICE_NETWORKS) for name in tensors):
        return None
    found: dict[str, torch.Tensor] = {}
    different: list[str] = []
    for start in _SLICE_NETWORKS:
        for name, tensor in tensors.items():
            if not name.startswith(start):
                continue
            plain = f"backbone.{name.removeprefix(start)}"
            if plain not in found:
                found[plain] = tensor
            elif found[plain].shape != tensor.shape or not (tensor.is_meta or torch.equal(found[plain], tensor)):
                different.append(name)
    if different:
        _log.warning(
            "the two copies of the slice network differ in %d tensors, such as %s; %s* is used",
            len(different),
            different[0],
            _SLICE_NETWORKS[0],
        )
    return found | {name: tensor for name, tensor in tensors.items() if not name.startswith(_SLICE_NETWORKS)}


# BPDneo registers its trunk under two names, of which loading takes the first here; the second is that of a
# TorchXRayVision trunk, the third that of a torchvision one.
_TRUNKS = ("inner_model.", "base_model.model.", "base_model.")


def from_bpdneo_twice(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """BPDneo with its trunk once, under torchvision's names; ``None`` for another layout.

    Raises:
        WeightsError: The two copies differ, which the published code cannot write.
    """
    import torch

    if not any(name.startswith(_TRUNKS) for name in tensors):
        return None
    found: dict[str, torch.Tensor] = {}
    for name in sorted(tensors, key=lambda name: not name.startswith(_TRUNKS[0])):
        tensor = tensors[name]
        start = next((start for start in _TRUNKS if name.startswith(start)), "")
        plain = name.removeprefix(start)
        if plain not in found:
            found[plain] = tensor
        elif found[plain].shape != tensor.shape or not (tensor.is_meta or torch.equal(found[plain], tensor)):
            raise WeightsError(
                f"The two copies of '{plain}' differ: the file was changed after it was written.",
                where=name,
                expected="equal values under inner_model.* and base_model.*",
                fix="get the published file again",
            )
    return found


LAYOUTS: dict[str, Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor] | None]] = {
    "transformers-clip": from_transformers_clip,
    "ldae-twice": from_ldae_twice,
    "bpdneo-twice": from_bpdneo_twice,
}


def translate(
    tensors: Mapping[str, torch.Tensor], layouts: tuple[str, ...], prefixes: tuple[str, ...]
) -> tuple[dict[str, torch.Tensor], str]:
    """`tensors` in the first of `layouts` that recognises them, and its name; else as they are and ``""``.

    `prefixes` are taken off first, as for any layout.
    """
    for layout in layouts:
        bare: dict[str, torch.Tensor] = {}
        for name, tensor in tensors.items():
            short = name
            for prefix in prefixes:
                short = short.removeprefix(prefix)
            # Of two tensors with one bare name none may vanish: the caller reports both.
            bare[name if short in bare else short] = tensor
        found = LAYOUTS[layout](bare)
        if found is not None:
            return found, layout
    return dict(tensors), ""
