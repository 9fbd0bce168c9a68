"""Arithmetic on codes: interpolation of semantic and stochastic codes, and moving along a direction.

As LDAE (arXiv 2504.08635) publishes it; pure functions of tensors.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medfm.core.errors import ConfigError

# Below this sine the arc between two codes is taken as a straight line.
_STRAIGHT = 1e-6


def lerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """(1 - share) * first + share * second: how semantic codes are interpolated. Any share, 0 and 1 exact."""
    _same(first, second)
    if share in (0, 1):
        return (second if share else first).clone()
    return (1 - share) * first + share * second


def angle(first: Tensor, second: Tensor) -> float:
    """Angle in radians between two codes of any equal shape, each flattened as a whole (batch included).

    Raises:
        ConfigError: Another shape, or a code of zeros, which has no direction.
    """
    _same(first, second)
    left, right = first.flatten().double(), second.flatten().double()
    norms = float(left.norm() * right.norm())
    if norms == 0 or not math.isfinite(norms):
        raise ConfigError("A code of zeros (or one that is not finite) has no direction.", expected="finite codes")
    left, right = left / left.norm(), right / right.norm()
    # Not the arc cosine of the product, which loses half of the digits where the codes are nearly parallel.
    return 2 * math.atan2(float((left - right).norm()), float((left + right).norm()))


def slerp(first: Tensor, second: Tensor, share: float, *, each: bool = False) -> Tensor:
    """Along the arc between two codes: how stochastic codes are interpolated.

    ``sin((1 - share) a) / sin(a) * first + sin(share a) / sin(a) * second``. Lengths are not made
    equal. Parallel codes are interpolated linearly, which is the limit (the published code divides
    by zero).

    Args:
        first: float, any shape.
        second: The same shape.
        share: 0 to 1; both ends are exact.
        each: Take the angle of every item of the first axis by itself. As published there is ONE
            angle for the whole tensor, so a batch of several items mixes their angles.

    Raises:
        ConfigError: Another shape, a code of zeros, a share outside 0..1, or opposite codes,
            between which no arc is shorter than the others.
    """
    _same(first, second)
    if not 0 <= share <= 1:
        raise ConfigError(f"The share is {share:g}.", expected="0 to 1")
    if each:
        return torch.stack([slerp(one, other, share) for one, other in zip(first, second, strict=True)])
    between = angle(first, second)
    if share in (0, 1):
        return (second if share else first).clone()
    if math.sin(between) < _STRAIGHT:
        if between > 1:
            raise ConfigError("The codes are opposite: there is no shortest arc between them.")
        return lerp(first, second, share)
    left, right = math.sin((1 - share) * between), math.sin(share * between)
    return (left * first + right * second) / math.sin(between)


def standardise(codes: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(codes - mean) / std; codes (n, d), mean and std (d,).

    Raises:
        ConfigError: Other shapes, or a standard deviation that is not positive.
    """
    if codes.ndim != 2 or mean.shape != codes.shape[1:] or std.shape != codes.shape[1:]:
        raise ConfigError(
            f"Codes {tuple(codes.shape)}, mean {tuple(mean.shape)} and deviation {tuple(std.shape)} do not fit.",
            expected="(n, d), (d,) and (d,)",
        )
    if not bool((std > 0).all()):
        raise ConfigError("A number of the codes has no positive standard deviation.", fix="leave constant numbers out")
    return (codes - mean) / std


def manipulate(codes: Tensor, direction: Tensor, mean: Tensor, std: Tensor, strength: float) -> Tensor:
    """Codes moved along a direction in standardised space: what changes one attribute of a brain.

    ``n = (codes - mean) / std``, ``n + strength * sqrt(d) * direction / |direction|``, and back.

    Args:
        codes: Semantic codes (n, d).
        direction: Weight (d,) or (1, d) of a linear probe on standardised codes; its positive side
            is the probe's positive class (for the published one: cognitively normal).
        mean: Mean of the codes (d,) that the probe was trained with.
        std: Their standard deviation (d,).
        strength: How far; 2.5 in the published example.

    Returns:
        New codes (n, d). They are to be sampled from the stochastic code of the original.

    Raises:
        ConfigError: Shapes that do not fit, or a direction of zeros.
    """
    flat = direction.flatten()
    length = flat.norm()
    if codes.ndim != 2 or flat.shape != codes.shape[1:] or not float(length) > 0:
        raise ConfigError(
            f"A direction of shape {tuple(direction.shape)} cannot move codes of shape {tuple(codes.shape)}.",
            expected="as many numbers as a code has, not all of them 0",
        )
    moved = standardise(codes, mean, std) + strength * math.sqrt(codes.shape[1]) * flat / length
    return moved * std + mean


def _same(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape or not first.numel():
        raise ConfigError(
            f"Codes of shapes {tuple(first.shape)} and {tuple(second.shape)} cannot be interpolated.",
            expected="two codes of one shape",
        )
