"""Stand-ins for the classes that a pickled network names, so that its tensors can be read and nothing runs.

Some published files are whole modules instead of dictionaries of tensors. Loading with ``weights_only`` refuses
the classes in them; here each class that the card names is replaced by an empty one of the same name, which
keeps attributes and has no behaviour. The real class is never imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from medfm.core.errors import WeightsError

if TYPE_CHECKING:
    import torch

# What a card may name: layers and networks of these libraries, and one dataclass of settings (BPDneo).
_MODULES = ("torch.nn.modules.", "torchvision.models.", "torchxrayvision.models.")
_NAMES = ("__main__.ModelConfig",)
_DEEPEST = 32


class Inert:
    """Stands where a pickle wanted an object of a class; holds its attributes."""


def may_be_inert(name: str) -> bool:
    """Whether a card may ask for a stand-in for this dotted name."""
    return name in _NAMES or name.startswith(_MODULES)


def stand_in(name: str) -> type[Inert]:
    """An empty class that bears the dotted `name`."""
    module, _, attribute = name.rpartition(".")
    return type(attribute, (Inert,), {"__module__": module, "__qualname__": attribute})


def state_of(module: Inert, where: str) -> dict[str, torch.Tensor]:
    """The state dict of a pickled module, from its stand-in.

    Raises:
        WeightsError: It is no module, or its parts hold each other.
    """
    state: dict[str, torch.Tensor] = {}
    _collect(module, "", state, where, 0)
    if not state:
        raise WeightsError(
            f"The checkpoint holds a {type(module).__name__} without tensors.", where=where, expected="a network"
        )
    return state


def _collect(module: Inert, prefix: str, state: dict[str, torch.Tensor], where: str, depth: int) -> None:
    import torch

    if depth > _DEEPEST:
        raise WeightsError("The parts of the pickled network hold each other.", where=where)
    parts = vars(module)
    for group in ("_parameters", "_buffers", "_modules"):
        members = parts.get(group, {})
        if not isinstance(members, Mapping):
            raise WeightsError(f"The pickled network is damaged: {prefix}{group} is no dictionary.", where=where)
        for name, value in members.items():
            if isinstance(value, torch.Tensor):
                state[f"{prefix}{name}"] = value.detach()
            elif isinstance(value, Inert):
                _collect(value, f"{prefix}{name}.", state, where, depth + 1)
