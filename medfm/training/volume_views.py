"""Random changes of volumes: named steps on float (1, i, j, k) tensors, beside those of :mod:`finetune_views`.

A volume of the head is moved as a whole, never bent: atrophy is a matter of shape. Sizes stay as they are unless a
zoom is asked for, since millilitres of a hippocampus are often what is predicted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from medfm.core.config import StrictConfig

# What slice_first makes of the record's axes (right, front, top): the place of the first one, behind the channel.
_LEFT_RIGHT = {"sagittal": 1, "coronal": 2, "axial": 2, "axial_rows": 3}


class Affine(StrictConfig):
    """A volume turned, moved and zoomed about its centre in one trilinear step; beyond the border its last voxel is repeated."""

    step: Literal["affine"] = "affine"
    degrees: float = Field(5.0, ge=0, le=180, description="largest angle either way, about each axis")
    shift: float = Field(0.02, ge=0, lt=1, description="largest shift either way, as a share of each side")
    zoom: tuple[float, float] = Field((1.0, 1.0), description="factor of all sides; other than 1 it changes sizes")

    @field_validator("zoom")
    @classmethod
    def _rising(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not (0 < value[0] <= value[1] and math.isfinite(value[1])):
            raise ValueError("zoom is a smallest and a largest factor, both above 0")
        return value


class Mirror(StrictConfig):
    """A left-right flip of a volume. Hemispheres differ, so it must be asked for by name."""

    step: Literal["mirror"] = "mirror"
    probability: float = Field(0.5, ge=0, le=1)
    axis: Literal[1, 2, 3] | None = Field(
        None,
        description="axis of the tensor (1, i, j, k) that runs from left to right; as the card orders it by default",
    )


class BiasField(StrictConfig):
    """Values times a smooth field, as coils of a scanner leave it: exp of a polynomial in the three coordinates."""

    step: Literal["bias_field"] = "bias_field"
    size: float = Field(0.2, ge=0, le=5, description="largest logarithm of the field either way; 0.2 is -18 % to +22 %")
    order: int = Field(3, ge=1, le=6, description="degree of the polynomial")


class Gamma(StrictConfig):
    """Values between the record's smallest and largest one bent by a power; both ends stay."""

    step: Literal["gamma"] = "gamma"
    powers: tuple[float, float] = Field((0.8, 1.25), description="drawn on a logarithmic scale")

    @field_validator("powers")
    @classmethod
    def _rising(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not (0 < value[0] <= value[1] and math.isfinite(value[1])):
            raise ValueError("powers are a smallest and a largest one, both above 0")
        return value


VOLUMES = ("affine", "mirror", "bias_field")


def left_right(steps: Sequence[Any]) -> int | None:
    """The axis of a preprocessed volume (1, i, j, k) that runs between left and right.

    Args:
        steps: Of the card's preprocessing. Records are read with the first axis to the right.

    Returns:
        1, 2 or 3; ``None`` where the card goes back to the order of the file, which differs from file to file.
    """
    for step in steps:
        if step.step == "volume_reorient" and step.axes == "file":
            return None
    planes = [step.plane for step in steps if step.step == "slice_first"]
    return _LEFT_RIGHT[planes[0]] if planes else 1


def turning(angles: Sequence[float]) -> np.ndarray:
    """float64 (3, 3): the rotation by `angles` (radians) about the first, then the second, then the third axis."""
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [other for other in range(3) if other != axis]
        one = np.eye(3)
        one[a, a] = one[b, b] = math.cos(angle)
        one[b, a] = math.sin(angle) * (-1 if axis == 1 else 1)
        one[a, b] = -one[b, a]
        result = one @ result
    return result


def resampled(x: Tensor, matrix: np.ndarray, shift: Sequence[float]) -> Tensor:
    """The volume whose voxel p has the value of `x` at ``matrix @ (p - centre) + centre + shift``.

    Args:
        x: float (channels, i, j, k).
        matrix: (3, 3), in voxels along i, j, k.
        shift: Three numbers of voxels.
    """
    sides = x.shape[1:]
    away = [
        (torch.arange(n, dtype=x.dtype) - (n - 1) / 2).view([n if a == b else 1 for b in range(3)])
        for a, n in enumerate(sides)
    ]
    places = [
        sum((float(matrix[a, b]) * away[b] for b in range(3)), torch.full(sides, float(shift[a]))) for a in range(3)
    ]
    # grid_sample counts from -1 (first voxel) to 1 (last) and names the last axis first.
    grid = torch.stack([places[a] / (max(sides[a] - 1, 1) / 2) for a in (2, 1, 0)], dim=-1)[None]
    moved: Tensor = torch.nn.functional.grid_sample(
        x[None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return moved[0]


def affine(x: Tensor, step: Affine, source: np.random.Generator) -> Tensor:
    """See :class:`Affine`."""
    angles = np.radians(source.uniform(-step.degrees, step.degrees, 3))
    shift = source.uniform(-step.shift, step.shift, 3) * np.array(x.shape[1:])
    zoom = math.exp(source.uniform(math.log(step.zoom[0]), math.log(step.zoom[1])))
    return resampled(x, turning(angles.tolist()) / zoom, shift)


def mirror(x: Tensor, step: Mirror, source: np.random.Generator) -> Tensor:
    """See :class:`Mirror`; the axis has been filled in."""
    return x.flip(1 if step.axis is None else step.axis) if source.random() < step.probability else x


def log_field(sides: Sequence[int], order: int, source: np.random.Generator) -> np.ndarray:
    """float32 (i, j, k): a polynomial of degree `order` without constant term, its largest size 1 (0 for a single voxel)."""
    powers = [np.linspace(-1, 1, side)[None, :] ** np.arange(order + 1)[:, None] for side in sides]
    weights = source.standard_normal((order + 1,) * 3)
    degree = np.add.outer(np.add.outer(np.arange(order + 1), np.arange(order + 1)), np.arange(order + 1))
    weights[(degree == 0) | (degree > order)] = 0
    # One axis after the other: the whole sum at once would hold (order + 1)^3 volumes' worth of products.
    partial = np.tensordot(weights, powers[2], axes=(2, 0))  # (a, b, k)
    partial = np.einsum("abk,bj->ajk", partial, powers[1])
    field = np.einsum("ajk,ai->ijk", partial, powers[0], optimize=True)
    largest = float(np.abs(field).max())
    return (field / largest if largest > 0 else field).astype(np.float32)


def bias_field(x: Tensor, step: BiasField, source: np.random.Generator) -> Tensor:
    """See :class:`BiasField`."""
    field = log_field(tuple(x.shape[1:]), step.order, source) * np.float32(source.uniform(0, step.size))
    return x * torch.from_numpy(np.exp(field)).to(x.dtype)


def gamma(x: Tensor, step: Gamma, source: np.random.Generator) -> Tensor:
    """See :class:`Gamma`."""
    power = math.exp(source.uniform(math.log(step.powers[0]), math.log(step.powers[1])))
    low, high = x.min(), x.max()
    if not bool(high > low):
        return x
    return ((x - low) / (high - low)).clamp(0, 1) ** power * (high - low) + low


APPLY: dict[str, Any] = {"affine": affine, "mirror": mirror, "bias_field": bias_field, "gamma": gamma}
