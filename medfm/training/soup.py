"""Model soups: the average of the weights of several fine-tuned models (Wortsman et al., ICML 2022, arXiv 2203.05482).

Only models that started from the same weights lie close enough for that. A *uniform* soup takes all of them; a
*greedy* one goes through them from the best to the worst on validation records and keeps each that does not make
the soup worse. The average of BatchNorm statistics is not the statistics of the averaged network, so those that
differ between the models are measured anew on training records (as for averaged weights in Izmailov et al.,
UAI 2018); where all models have the same, since fine-tuning left them alone, they stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medfm.core.errors import TrainingError
from medfm.training.finetune_batches import Inputs

SoupRule = Literal["uniform", "greedy"]
State = Mapping[str, Tensor]
_BATCH = 64


def average_states(states: Sequence[State]) -> dict[str, Tensor]:
    """The mean of every tensor, summed in float64; whole numbers (counters) are the largest one.

    Raises:
        TrainingError: No states, or names or shapes that differ.
    """
    if not states:
        raise TrainingError("A soup needs at least one model.")
    first = states[0]
    for number, state in enumerate(states[1:], 2):
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in first.items()}:
            raise TrainingError(
                f"The weights of model {number} have other names or shapes than those of the first.",
                expected="fine-tuned models of one encoder",
            )
    mixed = {}
    for key, one in first.items():
        every = [state[key] for state in states]
        if not one.is_floating_point():
            mixed[key] = torch.stack(every).amax(dim=0)
            continue
        total = torch.zeros(one.shape, dtype=torch.float64)
        for tensor in every:
            total += tensor.double()
        mixed[key] = (total / len(every)).to(one.dtype)
    return mixed


def moved_statistics(network: nn.Module, states: Sequence[State]) -> list[str]:
    """Names of the BatchNorm layers of `network` whose statistics are not the same in all `states`."""
    moved = []
    for name, module in network.named_modules():
        if not isinstance(module, _BatchNorm) or module.running_mean is None:
            continue
        keys = [f"{name}.{part}" if name else part for part in ("running_mean", "running_var")]
        if any(not torch.equal(states[0][key], state[key]) for state in states[1:] for key in keys):
            moved.append(name)
    return moved


@torch.no_grad()
def measure_statistics(
    network: nn.Module,
    names: Sequence[str],
    forward: Callable[[Tensor], object],
    inputs: Inputs,
    device: torch.device | str = "cpu",
) -> None:
    """Measure the statistics of the BatchNorm layers `names` anew: mean over batches of 64 of `inputs`, unaugmented.

    All other layers stay in evaluation mode; a last batch of one record is left out, since it has no variance.

    Args:
        network: Changed in place; ends in evaluation mode.
        names: From :func:`moved_statistics`.
        forward: Runs the network on a batch.
        inputs: Preprocessed training records.
        device: Of the network.

    Raises:
        TrainingError: Fewer than two records.
    """
    if len(inputs) < 2:
        raise TrainingError("BatchNorm statistics cannot be measured on fewer than two records.")
    modules = dict(network.named_modules())
    layers = [modules[name] for name in names]
    assert all(isinstance(layer, _BatchNorm) for layer in layers)
    network.eval()
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()  # type: ignore[operator]
        layer.momentum = None  # type: ignore[assignment]  # the plain mean over batches
        layer.training = True
    try:
        for start in range(0, len(inputs), _BATCH):
            rows = range(start, min(start + _BATCH, len(inputs)))
            if len(rows) > 1:
                forward(torch.stack([inputs[i] for i in rows]).to(device))
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
        network.eval()


@dataclass(frozen=True)
class Tasted:
    """One step of a greedy soup: which model was tried, the quality with it, whether it stayed."""

    model: int
    quality: float
    kept: bool


def greedy_choice(alone: Sequence[float], together: Callable[[Sequence[int]], float]) -> tuple[list[int], list[Tasted]]:
    """The models of a greedy soup, and every step.

    Args:
        alone: Quality of each model by itself on validation records, higher is better; NaN counts as the worst.
        together: Quality of the soup of the models of these numbers.

    Returns:
        Numbers of the models that stay, in the order in which they came in.
    """
    values = [float("-inf") if value != value else float(value) for value in alone]
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    kept, best = [order[0]], values[order[0]]
    steps = [Tasted(order[0], best, True)]
    for model in order[1:]:
        found = together([*kept, model])
        stays = found >= best  # as published: no worse is good enough
        steps.append(Tasted(model, found, stays))
        if stays:
            kept, best = [*kept, model], found
    return kept, steps
