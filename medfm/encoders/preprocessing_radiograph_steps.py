"""The named preprocessing steps on radiographs that a model card may list, with their arguments.

They act on real numbers from the beginning: a radiograph has 10 to 16 bits, and rounding it to 8 would lose most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig


class RadiographScale(StrictConfig):
    """Stretch 0..1 (black .. the largest storable value) to low..high; TorchXRayVision takes -1024..1024."""

    step: Literal["radiograph_scale"] = "radiograph_scale"
    low: float = -1024.0
    high: float = 1024.0

    @model_validator(mode="after")
    def _range(self) -> RadiographScale:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        return self


class RadiographSquare(StrictConfig):
    """Cut the middle square, its side the shorter one of the radiograph."""

    step: Literal["radiograph_square"] = "radiograph_square"


class RadiographSize(StrictConfig):
    """Resize bilinearly, smoothed where it shrinks (antialias), proportions not kept."""

    step: Literal["radiograph_size"] = "radiograph_size"
    size: tuple[int, int] = Field(description="height and width in pixels")

    @model_validator(mode="after")
    def _sizes(self) -> RadiographSize:
        if min(self.size) < 1:
            raise ValueError("size must be positive")
        return self


RadiographStep = RadiographScale | RadiographSquare | RadiographSize
ON_RADIOGRAPH = ("radiograph_scale", "radiograph_square", "radiograph_size")


def check_radiograph_order(names: Sequence[str]) -> None:
    """Refuse an order of steps that has no meaning (raises ValueError, for pydantic)."""
    foreign = [name for name in names if name not in ON_RADIOGRAPH]
    if foreign:
        raise ValueError(f"{foreign[0]} cannot stand beside steps on radiographs")
    if names.count("radiograph_size") != 1:
        raise ValueError("a radiograph_size must give the radiographs one size, exactly once")
    if len(set(names)) != len(names):
        raise ValueError("each step on radiographs may stand once")
    if "radiograph_square" in names and names.index("radiograph_square") > names.index("radiograph_size"):
        raise ValueError("radiograph_square must come before radiograph_size")
