"""The layers of an encoder in order, stem to top, whatever its family.

Every parameter that an embedding depends on is in exactly one group; so is every module, so that
BatchNorm and dropout can be switched with the weights they belong to. The order is decided by
tensor names, once per kind of trunk:

=====================  =============================================================
ResNets (1-D to 3-D)   ``stem`` (conv1, bn1), ``layer1`` .. ``layer4``, ``top``
vision transformers    ``stem`` (patches, positions), ``block0`` .., ``top`` (norm, projection)
ConvNeXt               ``stem``, ``stage1`` .. ``stage4`` (each with its downsampling), ``top``
DenseNet               ``stem``, ``denseblock1`` .. (each with its transition), ``top``
MONAI's Swin           ``stem``, ``layers1`` .. ``layers4`` (each with its downsampling)
anything else          its children in order
=====================  =============================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn

from medfm.core.errors import ConfigError
from medfm.encoders.card import Card

STEM, TOP = "stem", "top"
_STEM_NAMES = (
    "conv1|bn1|conv0|norm0|patch_embed|to_patch_embedding|cls_token|reg_token|register_tokens|mask_token|pos_embed"
    "|pos_embedding|class_embedding|positional_embedding|ln_pre|norm_pre|patch_drop|pos_drop|patch_dropout"
)


@dataclass(frozen=True)
class _Trunk:
    """How the layers of one kind of trunk are named.

    Attributes:
        layer: Matches a name inside a layer; group 1 is what stands before the trunk's own names, group 2 the layer.
        name: Number of the layer -> name of its group.
        number: Text of group 2 -> number of the layer.
        finer: Matches the block within a layer, right behind it.
    """

    layer: re.Pattern[str]
    name: Callable[[int], str]
    number: Callable[[str], int] = int
    finer: re.Pattern[str] | None = None


def _convnext_stage(text: str) -> int:
    # features.0 is the stem, then stage, downsampling, stage ...; a downsampling belongs to what follows.
    return int(text) // 2 + 1


_TRUNKS = (
    _Trunk(re.compile(r"^(.*?)layer([1-9])\."), lambda n: f"layer{n}", finer=re.compile(r"(\d+)\.")),
    _Trunk(re.compile(r"^(.*?)(?:transformer\.)?(?:res)?blocks\.(\d+)\."), lambda n: f"block{n}"),
    _Trunk(re.compile(r"^(.*?)block(\d+)\."), lambda n: f"block{n}"),
    _Trunk(re.compile(r"^(.*?)(?:denseblock|transition)(\d)\."), lambda n: f"denseblock{n}"),
    _Trunk(
        re.compile(r"^(.*?)features\.([1-9])\.\d+\."),
        lambda n: f"stage{n}",
        _convnext_stage,
        finer=re.compile(r"(\d+)\."),
    ),
    _Trunk(
        re.compile(r"^(.*?)layers([1-4])\."),
        lambda n: f"layers{n}",
        finer=re.compile(r"\d+\.(?:blocks\.(\d+)|downsample)\."),
    ),
)


@dataclass(frozen=True)
class LayerGroup:
    """Some layers that are frozen, unfrozen and given a rate together.

    Attributes:
        name: Such as ``"layer3"``.
        parameters: Their names in the network.
        modules: Names of the modules whose mode belongs to the group.
    """

    name: str
    parameters: tuple[str, ...]
    modules: tuple[str, ...]


def layer_groups(
    module: nn.Module, unused: Callable[[str], bool] | None = None, *, blocks: bool = False
) -> list[LayerGroup]:
    """The groups of `module` from stem to top.

    Args:
        module: A network; on the meta device too.
        unused: Name of a parameter or module -> whether no embedding depends on it (a text tower).
        blocks: Whether the stages of ResNets and ConvNeXts are cut into their blocks (``layer3.0``, ``layer3.1`` ...).

    Raises:
        ConfigError: The network has no parameters.
    """
    skip = unused if unused is not None else _nothing
    names = [name for name, _ in module.named_parameters() if not skip(name)]
    if not names:
        raise ConfigError(
            "This encoder is a fixed formula; it has no weights to train.",
            fix="choose another encoder (medfm encoders), or use medfm probe",
        )
    place = _placer(names, blocks)
    parameters: dict[tuple[float, ...], list[str]] = {}
    for name in names:
        parameters.setdefault(place(name), []).append(name)
    modules: dict[tuple[float, ...], list[str]] = {}
    for name, _ in module.named_modules():
        if not skip(name):
            modules.setdefault(place(f"{name}."), []).append(name)
    titles = _titles(names, blocks)
    return [LayerGroup(titles(key), tuple(parameters[key]), tuple(modules.pop(key, ()))) for key in sorted(parameters)]


def unused_by(module: nn.Module, card: Card) -> Callable[[str], bool]:
    """Which parameters and modules of a card's network no embedding of a record depends on.

    Args:
        module: The network.
        card: Its model card.
    """
    from medfm.encoders.published import family_of

    family = family_of(card)[0]
    plain = {key: name for name, key in family.plain_names(module).items()}
    idle = {key for key, name in plain.items() if family.is_text(name) or family.is_training_only(name)}
    used = set(plain) - idle
    # A module all of whose tensors are idle is idle; one without tensors (dropout) by the modules around it.
    roots = _outermost(idle, used)
    return lambda name: name.rstrip(".") in idle or any(name == root or name.startswith(f"{root}.") for root in roots)


def _outermost(idle: Iterable[str], used: Iterable[str]) -> list[str]:
    """The shortest prefixes that hold idle names and no used one."""
    kept = {".".join(parts[:i]) for name in used for parts in [name.split(".")] for i in range(len(parts) + 1)}
    roots = set()
    for name in idle:
        parts = name.split(".")
        roots.update(next([p] for i in range(1, len(parts) + 1) if (p := ".".join(parts[:i])) not in kept))
    return sorted(roots)


def _nothing(_: str) -> bool:
    return False


def _trunk_of(names: list[str]) -> tuple[_Trunk, str] | None:
    """The kind of trunk and what stands before its names; the one with most parameters in layers."""
    best: tuple[int, _Trunk, str] | None = None
    for trunk in _TRUNKS:
        counts: dict[str, int] = {}
        for name in names:
            found = trunk.layer.match(name)
            if found:
                counts[found.group(1)] = counts.get(found.group(1), 0) + 1
        for prefix, count in counts.items():
            if best is None or count > best[0]:
                best = (count, trunk, prefix)
    return None if best is None else best[1:]


def _placer(names: list[str], blocks: bool) -> Callable[[str], tuple[float, ...]]:
    """Name -> sort key of its group: (-1,) stem, (layer[, block]), (inf,) top."""
    found = _trunk_of(names)
    if found is None:
        return _children(names)
    trunk, prefix = found
    # The stem's names are those of the trunk itself: the "cls_token" of a pooling head is not among them.
    stem = re.compile(rf"^{re.escape(prefix)}(?:features\.)?(?:(?:{_STEM_NAMES})(?:\.|$))")

    def place(name: str) -> tuple[float, ...]:
        inside = trunk.layer.match(name)
        if inside and inside.group(1) == prefix:
            number = trunk.number(inside.group(2))
            block = trunk.finer.match(name, inside.end(2) + 1) if blocks and trunk.finer else None
            return (number,) if block is None else (number, _block(inside.group(2), block.group(1), trunk))
        features = re.match(rf"^{re.escape(prefix)}features\.0\.", name) if trunk.number is _convnext_stage else None
        return (-1.0,) if features or stem.match(name) else (float("inf"),)

    return place


def _block(layer: str, block: str | None, trunk: _Trunk) -> float:
    if block is None:  # a Swin's downsampling comes after the blocks of its stage
        return float("inf")
    # A ConvNeXt's downsampling (an even place) comes before the blocks of its stage.
    return -1.0 if trunk.number is _convnext_stage and int(layer) % 2 == 0 else float(block)


def _titles(names: list[str], blocks: bool) -> Callable[[tuple[float, ...]], str]:
    found = _trunk_of(names)
    if found is None:
        order = _child_names(names)
        return lambda key: order[int(key[0])]
    trunk, _ = found

    def title(key: tuple[float, ...]) -> str:
        if key[0] < 0:
            return STEM
        if key[0] == float("inf"):
            return TOP
        base = trunk.name(int(key[0]))
        return base if len(key) == 1 else f"{base}.{int(key[1]) if 0 <= key[1] < float('inf') else 'down'}"

    return title


def _child_names(names: list[str]) -> list[str]:
    """The children (or own parameters) at the first level that has several, in order of first appearance."""
    prefix = ""
    while True:
        rest = [name[len(prefix) :] for name in names]
        children = list(dict.fromkeys(r.split(".")[0] for r in rest))
        if len(children) > 1 or all("." not in r for r in rest):
            return [prefix + child for child in children]
        prefix += children[0] + "."


def _children(names: list[str]) -> Callable[[str], tuple[float, ...]]:
    order = _child_names(names)

    def place(name: str) -> tuple[float, ...]:
        # What lies outside every child (the wrappers around them) goes with the last.
        for number, child in enumerate(order):
            if name == child or name.startswith(f"{child}."):
                return (float(number),)
        return (float(len(order) - 1),)

    return place


def quarters(groups: list[LayerGroup]) -> dict[str, list[LayerGroup]]:
    """The groups as ``stem``, ``stage1`` .. ``stage4`` and ``top``, the words of recipes for any network.

    The layers between stem and top are cut into four parts of equal number (as near as can be; the later
    ones are longer): layer1 .. layer4 of a ResNet one by one, three blocks each of a ViT with twelve.
    With fewer than four layers the lower stages are empty.
    """
    ends = {STEM, TOP}
    body = [group for group in groups if group.name not in ends]
    parts: dict[str, list[LayerGroup]] = {STEM: [g for g in groups if g.name == STEM]}
    for part in range(4):
        low, high = (len(body) * i // 4 for i in (part, part + 1))
        parts[f"stage{part + 1}"] = body[low:high]
    return {**parts, TOP: [g for g in groups if g.name == TOP]}
