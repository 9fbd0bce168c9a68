"""Architecture families by name; a new one adds a line here and a file beside this one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from medfm.core.config import StrictConfig, build
from medfm.core.errors import ConfigError
from medfm.core.names import unknown_name
from medfm.encoders.card_schema import EncoderSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

# name -> (arguments "module:class", network "module:object"); the first must not import torch.
_FAMILIES = {
    "clip": ("medfm.encoders.clip_args:ClipArgs", "medfm.encoders.clip:FAMILY"),
    "color-histogram": ("medfm.encoders.histogram_args:HistogramArgs", "medfm.encoders.histogram:FAMILY"),
    "convirt": ("medfm.encoders.resnet_args:ConvirtArgs", "medfm.encoders.convirt:FAMILY"),
    "flair": ("medfm.encoders.resnet_args:FlairArgs", "medfm.encoders.flair:FAMILY"),
    "ldae": ("medfm.encoders.ldae.args:LdaeArgs", "medfm.encoders.ldae.semantic:FAMILY"),
    "merl": ("medfm.encoders.merl_args:MerlArgs", "medfm.encoders.merl:FAMILY"),
    "radiograph": ("medfm.encoders.radiograph_args:RadiographArgs", "medfm.encoders.radiograph:FAMILY"),
    "resnet": ("medfm.encoders.resnet_args:ResNetArgs", "medfm.encoders.resnet:FAMILY"),
    "resnet3d": ("medfm.encoders.volume_args:ResNet3dArgs", "medfm.encoders.resnet3d:FAMILY"),
    "swin-unetr": ("medfm.encoders.volume_args:SwinArgs", "medfm.encoders.swin_unetr:FAMILY"),
    "volume-stats": ("medfm.encoders.volume_args:VolumeStatsArgs", "medfm.encoders.volume_stats:FAMILY"),
    "dinov2": ("medfm.encoders.vit_args:ViTArgs", "medfm.encoders.dinov2:FAMILY"),
}


@dataclass(frozen=True)
class Family:
    """What the rest of the package needs to know about an architecture.

    Attributes:
        build: (arguments, CPU generator, device) -> untrained module, float32.
        plain_names: module -> {plain tensor name: key in ``state_dict``}.
        embed: (module, batch) -> (n, d).
        tokens: (module, batch) -> (n, tokens, d) without the class token, or ``None``.
        training_only: plain names, or words between their dots, that no embedding of a record
            depends on (left out of the fingerprint).
        text_names: first words of the plain names of the text tower; empty where the family has
            none. The arguments of a family with a text tower have ``text`` (``None``: built
            without) and ``without_text()``.
        embed_text: (module, token ids, attention mask) -> (n, d), in the space of the records.
        attention: (module, batch) -> (n, steps), where in time a pooling network looks.
        classify: (module, batch) -> logits (n, classes) of the published classifier.
    """

    build: Callable[[Any, torch.Generator | None, str], nn.Module]
    plain_names: Callable[[Any], dict[str, str]]
    embed: Callable[[Any, torch.Tensor], torch.Tensor]
    tokens: Callable[[Any, torch.Tensor], torch.Tensor] | None
    training_only: tuple[str, ...] = ()
    text_names: tuple[str, ...] = ()
    embed_text: Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    attention: Callable[[Any, torch.Tensor], torch.Tensor] | None = None
    classify: Callable[[Any, torch.Tensor], torch.Tensor] | None = None

    def is_text(self, plain: str) -> bool:
        """Whether the tensor with this plain name belongs to the text tower."""
        return plain.split(".", 1)[0] in self.text_names

    def is_training_only(self, plain: str) -> bool:
        """Whether no embedding of a record depends on the tensor with this plain name."""
        return plain in self.training_only or not set(self.training_only).isdisjoint(plain.split("."))


def _load(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def list_families() -> list[str]:
    """Names of the architecture families."""
    return sorted(_FAMILIES)


def family_args(name: str, values: Mapping[str, Any], where: str) -> Any:
    """The validated arguments of family `name`.

    Raises:
        UnknownNameError: No such family.
        ConfigError: Wrong arguments.
    """
    if name not in _FAMILIES:
        raise unknown_name("architecture family", name, _FAMILIES, where=f"{where}: medfm.architecture.family")
    kind: type[StrictConfig] = _load(_FAMILIES[name][0])
    return build(kind, values, where=f"{where}: medfm.architecture.args")


def get_family(name: str) -> Family:
    """The family called `name` (imports torch)."""
    if name not in _FAMILIES:
        raise unknown_name("architecture family", name, _FAMILIES)
    family: Family = _load(_FAMILIES[name][1])
    return family


def check_architecture(spec: EncoderSpec, where: str) -> None:
    """Refuse a card whose architecture contradicts itself or the rest of the card."""
    args = family_args(spec.architecture.family, spec.architecture.args, where)
    if args.dim != spec.embedding.dim:
        raise ConfigError(
            f"The embedding has {spec.embedding.dim} numbers but the architecture gives {args.dim}.",
            where=f"{where}: medfm.embedding.dim",
        )
    if spec.generator is not None:
        _load("medfm.encoders.ldae.generator:check_generator")(spec, where)
    classes = getattr(args, "classes", None)
    if spec.classifier is not None and classes != len(spec.classifier.classes):
        raise ConfigError(
            f"The card names {len(spec.classifier.classes)} classes but the architecture answers {classes or 'none'}.",
            where=f"{where}: medfm.classifier.classes and medfm.architecture.args.classes",
        )
    size = getattr(args, "image_size", None)
    if size is not None and tuple(spec.input.shape[1:]) != (size, size):
        raise ConfigError(
            f"The input is {' x '.join(map(str, spec.input.shape[1:]))} but the architecture takes {size} x {size} pixels.",
            where=f"{where}: medfm.input.shape and medfm.architecture.args.image_size",
        )
    tower = getattr(args, "text", None)
    limit = getattr(tower, "limit", None)
    if spec.text is not None and limit is not None and spec.text.max_tokens > limit:
        raise ConfigError(
            f"Texts may have {spec.text.max_tokens} tokens but the tower takes {limit}.",
            where=f"{where}: medfm.text.max_tokens",
        )


def plain_shapes(spec: EncoderSpec, where: str) -> dict[str, tuple[int, ...]]:
    """Plain tensor name -> shape of the network a card describes, without memory for it."""
    args = family_args(spec.architecture.family, spec.architecture.args, where)
    return dict(_shapes(spec.architecture.family, args))


@lru_cache(maxsize=64)
def _shapes(name: str, args: Any) -> dict[str, tuple[int, ...]]:
    family = get_family(name)
    module = family.build(args, None, "meta")
    state = module.state_dict()
    return {plain: tuple(state[key].shape) for plain, key in family.plain_names(module).items()}
