"""CutMix and MixUp: two records in one, for signals, pictures and volumes alike.

Pure functions of their arguments; :func:`draw_cutmix` and :func:`draw_mixup` are where chance
comes in, from a generator handed down. One permutation (and one box) serves the whole batch.

CutMix: Yun et al., ICCV 2019, arXiv 1905.04899; box rounding as in clovaai/CutMix-PyTorch and
phflot/bpdneo-cxr at 25691162 (``cut_mixup_collate``). MixUp: Zhang et al., ICLR 2018, arXiv 1710.09412.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Box = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Mixed:
    """A mixed batch and how its labels are to be weighted.

    Attributes:
        inputs: float (n, channels, *sides), as given or mixed.
        partner: int64 (n,): the row whose record was mixed into row i.
        weight: Share of the record's own label, in [0, 1]; 1 when nothing was mixed.
    """

    inputs: Tensor
    partner: Tensor
    weight: float

    def loss(self, objective: Callable[[Tensor], Tensor], targets: Tensor) -> Tensor:
        """``weight * objective(targets) + (1 - weight) * objective(targets[partner])``.

        Args:
            objective: Targets -> a scalar loss of the network's answers to :attr:`inputs`.
            targets: (n, ...) labels before mixing.
        """
        own = objective(targets)
        if self.weight == 1.0:
            return own
        return self.weight * own + (1 - self.weight) * objective(targets[self.partner])


def unmixed(inputs: Tensor) -> Mixed:
    """`inputs` with every label its own."""
    return Mixed(inputs, torch.arange(len(inputs), device=inputs.device), 1.0)


def cut_box(sides: Sequence[int], share: float, centre: Sequence[int]) -> Box:
    """The box that CutMix pastes: (first, past the last) along every side.

    A box along d sides that covers 1 - `share` of the volume has (1 - share) ** (1 / d) of each
    side, rounded down; half of that, rounded down, lies either way of the centre, so an odd
    length pastes one less. The box is clipped at the borders.

    Args:
        sides: Lengths of the d sides.
        share: lambda, the share of the first record that stays before clipping, in [0, 1].
        centre: Centre along every side.
    """
    # sqrt, not a power, for pictures: their values are to agree to the bit.
    part = math.sqrt(1.0 - share) if len(sides) == 2 else (1.0 - share) ** (1.0 / len(sides))
    ends = []
    for side, middle in zip(sides, centre, strict=True):
        half = int(side * part) // 2
        ends.append((min(max(middle - half, 0), side), min(max(middle + half, 0), side)))
    return tuple(ends)


def cutmix(inputs: Tensor, partner: Tensor, box: Box) -> Mixed:
    """Paste the box of each record's partner into it.

    Args:
        inputs: float (n, channels, *sides).
        partner: int64 (n,).
        box: As :func:`cut_box` gives it, one pair per side.

    Returns:
        The mixed batch (a copy); the weight is 1 - (volume of the box) / (volume).

    Raises:
        ValueError: The box has another number of sides than the records.
    """
    sides = tuple(inputs.shape[2:])
    if len(box) != len(sides):
        raise ValueError(f"a box of {len(box)} sides for records of {len(sides)}")
    inside = (slice(None), slice(None), *(slice(low, high) for low, high in box))
    mixed = inputs.clone()
    mixed[inside] = inputs[partner][inside]
    volume = math.prod(high - low for low, high in box)
    return Mixed(mixed, partner, 1.0 - volume / math.prod(sides))


def mixup(inputs: Tensor, partner: Tensor, share: float) -> Mixed:
    """``share * inputs + (1 - share) * inputs[partner]``, labels likewise.

    Args:
        inputs: float (n, channels, *sides).
        partner: int64 (n,).
        share: lambda, in [0, 1].
    """
    return Mixed(share * inputs + (1.0 - share) * inputs[partner], partner, float(share))


def draw_cutmix(inputs: Tensor, generator: np.random.Generator, alpha: float = 1.0) -> Mixed:
    """CutMix with lambda from Beta(alpha, alpha), a uniform centre and a uniform permutation."""
    share = float(generator.beta(alpha, alpha))
    centre = [int(generator.integers(side)) for side in inputs.shape[2:]]
    return cutmix(inputs, _permutation(inputs, generator), cut_box(inputs.shape[2:], share, centre))


def draw_mixup(inputs: Tensor, generator: np.random.Generator, alpha: float = 0.2) -> Mixed:
    """MixUp with lambda from Beta(alpha, alpha) and a uniform permutation."""
    share = float(generator.beta(alpha, alpha))
    return mixup(inputs, _permutation(inputs, generator), share)


def _permutation(inputs: Tensor, generator: np.random.Generator) -> Tensor:
    return torch.from_numpy(generator.permutation(len(inputs))).to(inputs.device)
