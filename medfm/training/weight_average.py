"""The exponential moving average of a network's trainable weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from medfm.training.sharding import share_like


class WeightAverage:
    """Keeps ``decay * average + (1 - decay) * weight`` of every trainable parameter, in float32.

    Frozen parameters and buffers are not averaged: they do not change by training.

    Args:
        module: Whose parameters; the average begins as their values.
        decay: 0 keeps the weights themselves.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: p.detach().float().clone() for name, p in _trainable(module)}

    @torch.no_grad()
    def update(self, module: nn.Module, times: int = 1, decay: float | None = None) -> None:
        """Move towards the weights of `module`, as `times` updates in a row would; `decay` in place of the usual one."""
        decay = (self.decay if decay is None else decay) ** times
        for name, parameter in _trainable(module):
            self.values[name].lerp_(parameter.detach().float(), 1 - decay)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Inside, `module` has the averaged weights; afterwards its own."""
        own = {name: p.detach().clone() for name, p in _trainable(module)}
        self.copy_to(module)
        try:
            yield
        finally:
            set_trainable(module, own)

    def copy_to(self, module: nn.Module) -> None:
        """Give `module` the averaged weights for good."""
        set_trainable(module, self.values)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by name of the parameter."""
        return self.values

    def load_state_dict(self, values: Mapping[str, Tensor]) -> None:
        """Take over averages that :meth:`state_dict` gave."""
        for name, tensor in self.values.items():
            tensor.copy_(values[name])

    def share(self, module: nn.Module) -> None:
        """Cut the averages as the parameters of `module` are (:mod:`medfm.training.sharding`); collective."""
        self.values = {name: share_like(self.values[name], p) for name, p in _trainable(module)}

    def to(self, device: torch.device) -> None:
        """Move the averages."""
        self.values = {name: tensor.to(device) for name, tensor in self.values.items()}


def _trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in module.named_parameters() if p.requires_grad)


@torch.no_grad()
def set_trainable(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Give the trainable parameters of `module` these values, by name."""
    for name, parameter in _trainable(module):
        parameter.copy_(values[name])
