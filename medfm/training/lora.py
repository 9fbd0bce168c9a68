"""Low-rank updates beside frozen weights, as parametrisations: any matrix or kernel, merged at the end.

W + (alpha / rank) B A (Hu et al., arXiv 2106.09685). A kernel (out, in, ...) is taken as the matrix
(out, in * ...). B starts at 0, so nothing changes at first. Since the update is on the weight itself it
works inside packed attention (``in_proj_weight``) and convolutions of any dimension alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from medfm.core.errors import ConfigError

_ATTENTION = re.compile(r"(?:^|\.)(?:attn|attention|mhsa|cross_attention)\..*weight$|(?:^|\.)(?:to_qkv|to_out)\.")


class LowRank(nn.Module):
    """W -> W + scale * (B @ A), reshaped."""

    def __init__(self, weight: Tensor, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        bound = 1 / math.sqrt(columns)
        first = torch.empty(rank, columns).uniform_(-bound, bound, generator=generator)
        self.a = nn.Parameter(first.to(weight.device))
        self.b = nn.Parameter(torch.zeros(rows, rank, device=weight.device))
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        """The updated weight."""
        return weight + self.scale * (self.b @ self.a).view_as(weight)


def lora_targets(network: nn.Module, names: Iterable[str], targets: str) -> list[str]:
    """The weights among `names` that get an update.

    Args:
        network: The encoder's network.
        names: Parameters that may learn.
        targets: ``auto``, ``attention`` or ``all``.

    Raises:
        ConfigError: There is no such weight.
    """
    parameters = dict(network.named_parameters())
    norms = {n for n, m in network.named_modules() if "norm" in type(m).__name__.lower()}
    matrices = [
        n for n in names if n.endswith("weight") and parameters[n].ndim >= 2 and n.rpartition(".")[0] not in norms
    ]
    attention = [n for n in matrices if _ATTENTION.search(n)]
    # A pooling head's attention alone is not what "attention of the network" means.
    enough = sum(parameters[n].numel() for n in attention) * 10 > sum(parameters[n].numel() for n in matrices)
    found = attention if targets == "attention" or (targets == "auto" and attention and enough) else matrices
    if not found:
        raise ConfigError(
            "The network has no weights of attention.", where="layers.targets", fix="set layers.targets to all"
        )
    return found


def add_lora(
    network: nn.Module, names: Sequence[str], rank: int, alpha: float, generator: torch.Generator
) -> list[str]:
    """Put an update beside every weight in `names`; gives the names of the new parameters.

    Args:
        network: Changed in place; undone by :func:`merge_lora`.
        names: Of weights of at least two dimensions.
        rank: Of the updates, cut down to the size of smaller matrices.
        alpha: Updates are scaled by alpha / rank.
        generator: Source of the first values of A.
    """
    added = []
    for name in names:
        place, _, leaf = name.rpartition(".")
        module = network.get_submodule(place)
        weight = getattr(module, leaf)
        least = min(rank, weight.shape[0], weight[0].numel())
        parametrize.register_parametrization(
            module, leaf, LowRank(weight, least, alpha * least / rank, generator), unsafe=True
        )
        added += [f"{place}.parametrizations.{leaf}.0.{part}".lstrip(".") for part in ("a", "b")]
    return added


def has_lora(network: nn.Module) -> bool:
    """Whether updates of low rank stand beside weights."""
    return any(isinstance(module, LowRank) for module in network.modules())


@torch.no_grad()
def merge_lora(network: nn.Module, keep: bool = True) -> None:
    """Take the updates into the weights (or drop them with `keep` false); tensor names are as before."""
    for module in list(network.modules()):
        if not parametrize.is_parametrized(module):
            continue
        for leaf in list(module.parametrizations):  # type: ignore[arg-type]
            if any(isinstance(part, LowRank) for part in module.parametrizations[leaf]):  # type: ignore[index]
                parametrize.remove_parametrizations(module, leaf, leave_parametrized=keep)
