"""Freezing is three switches per layer group: gradients, BatchNorm statistics, dropout.

A group that does not learn should also not drift: its BatchNorm uses and keeps the statistics of
its pretraining and its dropout is off. Published code often forgets the last two, since
``model.train()`` puts the whole network in training mode; :data:`PUBLISHED` does the same on purpose.
Nothing here touches optimiser or schedule: a group that wakes up later is in them from the start.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from pydantic import Field
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medfm.core.config import StrictConfig
from medfm.training.layer_groups import LayerGroup

Mode = Literal["eval", "train"]


class Freezing(StrictConfig):
    """What frozen and learning groups do besides learning or not."""

    frozen_batchnorm: Mode = Field(
        "eval", description="BatchNorm of frozen groups: eval keeps its statistics, train lets them drift"
    )
    trained_batchnorm: Mode = Field(
        "train",
        description="BatchNorm of learning groups: train, or eval (small batches: statistics stay as they were)",
    )
    frozen_dropout: bool = Field(False, description="dropout and stochastic depth of frozen groups while training")


PUBLISHED = Freezing(frozen_batchnorm="train", trained_batchnorm="train", frozen_dropout=True)


def set_frozen(
    network: nn.Module,
    groups: Sequence[LayerGroup],
    learning: Collection[str],
    rule: Freezing,
    only: Collection[str] | None = None,
) -> None:
    """Put every group of `network` into its state for the next steps of training.

    Parameters in no group (a text tower) are frozen, their modules in evaluation mode.

    Args:
        network: The encoder's network, changed in place.
        groups: Its layer groups.
        learning: Names of the groups that learn.
        rule: The other two switches.
        only: Names of the parameters that may learn (biases, norms, adapters); all when ``None``.
    """
    network.train(False)
    parts = dict(network.named_modules())
    wanted = {
        name for group in groups if group.name in learning for name in group.parameters if only is None or name in only
    }
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in wanted)
    for group in groups:
        learns = group.name in learning
        batchnorm = (rule.trained_batchnorm if learns else rule.frozen_batchnorm) == "train"
        other = learns or rule.frozen_dropout
        for name in group.modules:
            # Not .train(), which would reach into modules of other groups.
            parts[name].training = batchnorm if isinstance(parts[name], _BatchNorm) else other


def learning_counts(network: nn.Module, groups: Sequence[LayerGroup]) -> dict[str, int]:
    """Number of parameters that learn now, by group."""
    parameters = dict(network.named_parameters())
    return {
        group.name: sum(parameters[name].numel() for name in group.parameters if parameters[name].requires_grad)
        for group in groups
    }
