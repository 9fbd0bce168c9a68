"""Matching a checkpoint's tensor names to a network's, as the card says; with a grouped report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medfm.core.errors import WeightsError
from medfm.encoders.card_schema import FLAT, KeyMap
from medfm.encoders.layouts import translate

if TYPE_CHECKING:
    import torch

_SHOWN = 8


@dataclass(frozen=True)
class KeyReport:
    """What happened to every tensor of a checkpoint.

    Attributes:
        layout: How the checkpoint was nested and prefixed, in words.
        loaded: Plain names that were found.
        dropped: Names in the file that the card declares not needed.
        absent: Plain names that the card allows to be absent, and that are.
        missing: Plain names that the network needs and the file lacks.
        unexpected: Names in the file that nothing accounts for.
        mismatched: (plain name, shape in the file, shape needed).
        hints: What the checkpoint might be instead.
        assumed: What no checkpoint shows and was taken from the card.
    """

    layout: str
    loaded: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    hints: tuple[str, ...] = field(default=())
    assumed: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether everything in the file and in the network is accounted for."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        groups: list[tuple[str, list[str]]] = [
            ("loaded", list(self.loaded)),
            ("dropped as the card declares", list(self.dropped)),
            ("absent as the card allows", list(self.absent)),
            ("missing", list(self.missing)),
            ("unexpected", list(self.unexpected)),
            ("wrong shape", [f"{name} has {got}, needs {want}" for name, got, want in self.mismatched]),
        ]
        lines = [f"layout: {self.layout}"]
        for title, names in groups:
            if not names:
                continue
            quiet = title in ("loaded", "dropped as the card declares")
            shown = "" if quiet else ": " + ", ".join(names[:_SHOWN])
            more = f" and {len(names) - _SHOWN} more" if not quiet and len(names) > _SHOWN else ""
            lines.append(f"{title} ({len(names)}){shown}{more}")
        lines += [f"assumed, as no checkpoint shows it: {fact}" for fact in self.assumed]
        return "\n".join(lines + [f"hint: {hint}" for hint in self.hints])


def unnest(checkpoint: Mapping[str, Any], nesting: tuple[str, ...], where: str) -> tuple[dict[str, Any], str]:
    """The tensors of a checkpoint and where they lay.

    Args:
        checkpoint: What the file held.
        nesting: Keys to look under, first match wins; ``flat`` means the checkpoint itself.
        where: The file, for messages.

    Raises:
        WeightsError: Nothing there is a dictionary of tensors.
    """
    import torch

    for name in nesting:
        inner = checkpoint if name == FLAT else checkpoint.get(name)
        if not isinstance(inner, Mapping) or not inner:
            continue
        if all(isinstance(value, torch.Tensor) for value in inner.values()):
            return {str(key): value for key, value in inner.items()}, FLAT if name == FLAT else f"under '{name}'"
    keys = ", ".join(repr(str(key)) for key in list(checkpoint)[:_SHOWN]) or "nothing"
    raise WeightsError(
        "No dictionary of tensors was found in the checkpoint.",
        where=where,
        expected="tensors " + " or ".join("at the top" if n == FLAT else f"under '{n}'" for n in nesting),
        fix=f"the file holds {keys}; add the right name to weights.key_map.nesting of a card of your own",
    )


def one_network(
    tensors: Mapping[str, torch.Tensor], within: tuple[str, ...]
) -> tuple[dict[str, torch.Tensor], list[str], str]:
    """The tensors of one network of a file that holds several, the names of all others, and the beginning found."""
    for start in within:
        if any(name.startswith(start) for name in tensors):
            own = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
            return own, [name for name in tensors if not name.startswith(start)], start
    return dict(tensors), [], ""


def plain_state(
    tensors: Mapping[str, torch.Tensor], key_map: KeyMap, where: str
) -> tuple[dict[str, torch.Tensor], list[str], str]:
    """Tensors under plain names, the names that were dropped, and the prefixes found.

    Raises:
        WeightsError: Two tensors would get one plain name.
    """
    plain: dict[str, torch.Tensor] = {}
    dropped: list[str] = []
    prefixes: dict[str, None] = {}
    drop = set(key_map.drop)
    for name, tensor in tensors.items():
        if drop.intersection(name.split(".")):
            dropped.append(name)
            continue
        short = name
        for prefix in key_map.prefixes:
            if short.startswith(prefix):
                short = short.removeprefix(prefix)
                prefixes[prefix] = None
        short = _renamed(_restarted(short, key_map.starts), key_map.renames)
        if drop.intersection(short.split(".")):
            dropped.append(name)
            continue
        if short in plain:
            raise WeightsError(f"Two tensors of the checkpoint are both '{short}'.", where=f"{where}: {name}")
        plain[short] = tensor
    return plain, dropped, "".join(prefixes)


def _restarted(name: str, starts: Mapping[str, str]) -> str:
    for old, new in starts.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _renamed(name: str, renames: Mapping[str, str]) -> str:
    dotted = f".{name}."
    for old, new in renames.items():
        dotted = dotted.replace(f".{old}.", f".{new}.")
    return dotted[1:-1]


def _first(name: str) -> str:
    return name.split(".", 1)[0]


def match(
    checkpoint: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]], key_map: KeyMap, where: str
) -> tuple[dict[str, torch.Tensor], KeyReport]:
    """Match a checkpoint with the tensors a network needs.

    Args:
        checkpoint: What the file held, nested or flat.
        wanted: Plain name -> shape.
        key_map: The card's key map.
        where: The file, for messages.

    Returns:
        The tensors under plain names (only those wanted, of the right shape) and the report;
        the caller decides whether a report that is not ``ok`` stops the run.
    """
    tensors, nested = unnest(checkpoint, key_map.nesting, where)
    tensors, elsewhere, start = one_network(tensors, key_map.within)
    if start:
        nested += f", the network '{start}' of several"
    tensors, layout = translate(tensors, key_map.layouts, key_map.prefixes)
    if layout:
        nested += f", layout {layout}"
    plain, dropped, prefix = plain_state(tensors, key_map, where)
    good: dict[str, torch.Tensor] = {}
    wrong: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for name, shape in wanted.items():
        if name not in plain:
            continue
        got = tuple(plain[name].shape)
        if got == tuple(shape):
            good[name] = plain[name]
        else:
            wrong.append((name, got, tuple(shape)))
    lacking = [name for name in wanted if name not in plain]
    # A checkpoint without a single tensor of the group lacks it on purpose; one with some is damaged.
    group = () if any(_first(name) in key_map.absent_together for name in plain) else key_map.absent_together
    may_lack = [name for name in lacking if name in key_map.optional or _first(name) in group]
    report = KeyReport(
        layout=nested + (f", names begin with '{prefix}'" if prefix else ", bare names"),
        loaded=tuple(good),
        dropped=(*elsewhere, *dropped),
        absent=tuple(may_lack),
        missing=tuple(name for name in lacking if name not in may_lack),
        unexpected=tuple(name for name in plain if name not in wanted),
        mismatched=tuple(wrong),
    )
    return good, report
