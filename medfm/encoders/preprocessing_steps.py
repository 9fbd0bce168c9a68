"""The named preprocessing steps a model card may list, with their arguments.

Those on signals are in :mod:`medfm.encoders.preprocessing_signal_steps`. For pictures the
order is fixed by meaning: steps on the picture (``to_rgb``, ``resize``, ``center_crop``,
``channel_order``) come first, then ``to_unit_range``, then at most one ``normalise``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from medfm.core.config import StrictConfig
from medfm.encoders.preprocessing_signal_steps import (
    ON_SIGNAL,
    CropSamples,
    LeadOrder,
    MinMax,
    PadSamples,
    Quantise,
    RepairMissing,
    Resample,
    check_signal_order,
)

Resampler = Literal["bilinear_pil", "bicubic_pil", "lanczos_pil"]
Triple = tuple[float, float, float]


class ToRGB(StrictConfig):
    """Grey pictures get three equal channels; colour pictures stay as they are."""

    step: Literal["to_rgb"] = "to_rgb"


class Resize(StrictConfig):
    """Resize with one of Pillow's filters, all of which smooth when they shrink (antialias).

    ``bilinear_pil`` is also what torchvision's ``Resize`` does to a picture.
    """

    step: Literal["resize"] = "resize"
    size: tuple[int, int] = Field(description="height and width in pixels; for shorter_side both the same")
    resampler: Resampler = "bilinear_pil"
    mode: Literal["squash", "shorter_side"] = Field(
        "squash", description="squash: exactly size, proportions not kept; shorter_side: proportions kept"
    )

    @model_validator(mode="after")
    def _sizes(self) -> Resize:
        if min(self.size) < 1:
            raise ValueError("size must be positive")
        if self.mode == "shorter_side" and self.size[0] != self.size[1]:
            raise ValueError("shorter_side needs two equal numbers")
        return self


class CenterCrop(StrictConfig):
    """Cut the middle; a picture that is too small is padded with black, as torchvision does."""

    step: Literal["center_crop"] = "center_crop"
    size: tuple[int, int] = Field(description="height and width in pixels")


class ChannelOrder(StrictConfig):
    """Order in which the network sees the colours; ``bgr`` reverses them."""

    step: Literal["channel_order"] = "channel_order"
    order: Literal["rgb", "bgr"] = "rgb"


class ToUnitRange(StrictConfig):
    """8-bit values divided by 255."""

    step: Literal["to_unit_range"] = "to_unit_range"


class Normalise(StrictConfig):
    """(value - mean) / std, channel by channel in the order the network sees them."""

    step: Literal["normalise"] = "normalise"
    mean: Triple
    std: Triple

    @model_validator(mode="after")
    def _positive(self) -> Normalise:
        if min(self.std) <= 0:
            raise ValueError("std must be positive")
        return self


PictureStep = ToRGB | Resize | CenterCrop | ChannelOrder | ToUnitRange | Normalise
Step = Annotated[
    ToRGB
    | Resize
    | CenterCrop
    | ChannelOrder
    | ToUnitRange
    | Normalise
    | RepairMissing
    | Resample
    | CropSamples
    | PadSamples
    | MinMax
    | Quantise
    | LeadOrder,
    Field(discriminator="step"),
]
STEPS: TypeAdapter[tuple[Step, ...]] = TypeAdapter(tuple[Step, ...])

_ON_PICTURE = ("to_rgb", "resize", "center_crop", "channel_order")


def on_signals(steps: tuple[Step, ...]) -> bool:
    """Whether these are steps on signals."""
    return any(step.step in ON_SIGNAL for step in steps)


def check_order(steps: tuple[Step, ...]) -> None:
    """Refuse an order of steps that has no meaning (raises ValueError, for pydantic)."""
    names = [step.step for step in steps]
    if on_signals(steps):
        check_signal_order(names)
        return
    if names.count("to_unit_range") != 1:
        raise ValueError("the steps must hold to_unit_range exactly once")
    at = names.index("to_unit_range")
    if any(name not in _ON_PICTURE for name in names[:at]):
        raise ValueError("normalise must come after to_unit_range")
    if names[at + 1 :] not in ([], ["normalise"]):
        raise ValueError("only one normalise may follow to_unit_range")
    if not any(name in ("resize", "center_crop") for name in names):
        raise ValueError("a resize or center_crop must give the pictures one size")
