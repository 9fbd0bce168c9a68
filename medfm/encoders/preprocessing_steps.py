"""The named preprocessing steps a model card may list, with their arguments.

Those on signals are in :mod:`medfm.encoders.preprocessing_signal_steps`, those on volumes in
:mod:`medfm.encoders.preprocessing_volume_steps`, those on radiographs in
:mod:`medfm.encoders.preprocessing_radiograph_steps`. For pictures the order is fixed by meaning: steps on the picture
(``to_rgb``, ``crop_foreground``, ``crop_field_of_view``, ``normalise_stain``, ``resize``, ``center_crop``,
``channel_order``) come first, then ``to_unit_range``, then steps on real numbers
(``resize_float``, ``canvas``), then at most one ``normalise``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from medfm.core.config import StrictConfig
from medfm.encoders.preprocessing_radiograph_steps import (
    ON_RADIOGRAPH,
    RadiographScale,
    RadiographSize,
    RadiographSquare,
    check_radiograph_order,
)
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
from medfm.encoders.preprocessing_volume_steps import (
    ON_VOLUME,
    SliceFirst,
    VolumeCropBrain,
    VolumeReorient,
    VolumeRobustScale,
    VolumeScale,
    VolumeSize,
    VolumeSpacing,
    check_volume_order,
)

Resampler = Literal["bilinear_pil", "bicubic_pil", "lanczos_pil"]
Triple = tuple[float, float, float]


class ToRGB(StrictConfig):
    """Grey pictures get three equal channels; colour pictures stay as they are."""

    step: Literal["to_rgb"] = "to_rgb"


class CropForeground(StrictConfig):
    """Cut to the bounding box of the largest bright part of the red channel, without a mask.

    See :mod:`medfm.encoders.foreground`.
    """

    step: Literal["crop_foreground"] = "crop_foreground"
    threshold: Literal["li"] = "li"


class CropFieldOfView(StrictConfig):
    """Cut a fundus photograph to the circle of its field of view; one without a circle stays whole.

    See :mod:`medfm.modalities.fundus_field`. Of `surround` ``black`` the corners outside the circle become 0, so that
    no text or tab in them is seen; ``kept`` cuts to the box alone.
    """

    step: Literal["crop_field_of_view"] = "crop_field_of_view"
    surround: Literal["black", "kept"] = "black"


class NormaliseStain(StrictConfig):
    """Bring the stains of a tissue patch to a target; see :mod:`medfm.modalities.stain`.

    ``macenko``: without further arguments to Macenko's own reference. ``reinhard`` needs `mean` and `std`, the
    colour statistics (l, alpha, beta) of the picture to look like. Patches without enough tissue stay as they are.
    """

    step: Literal["normalise_stain"] = "normalise_stain"
    method: Literal["macenko", "reinhard"]
    mean: Triple | None = Field(None, description="reinhard: mean of l, alpha, beta")
    std: Triple | None = Field(None, description="reinhard: standard deviation of l, alpha, beta")

    @model_validator(mode="after")
    def _complete(self) -> NormaliseStain:
        given = self.mean is not None and self.std is not None
        if self.method == "reinhard" and not given:
            raise ValueError("reinhard needs mean and std: the statistics of the picture to look like")
        if self.method == "macenko" and (self.mean is not None or self.std is not None):
            raise ValueError("mean and std are for reinhard")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be positive")
        return self


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


class ResizeFloat(StrictConfig):
    """Resize real numbers bilinearly, as torchvision does to a tensor, proportions kept.

    The longer side becomes `size`, the other one is cut off to a whole pixel.
    """

    step: Literal["resize_float"] = "resize_float"
    size: int = Field(ge=1, description="longer side in pixels")
    mode: Literal["longer_side"] = "longer_side"
    antialias: bool = Field(description="whether to smooth when shrinking; torchvision's default changed in 0.17")


class Canvas(StrictConfig):
    """Lay the picture on a larger canvas of zeros; one that does not fit is an error."""

    step: Literal["canvas"] = "canvas"
    size: tuple[int, int] = Field(description="height and width in pixels")
    place: Literal["top_left"] = Field("top_left", description="zeros are to the right and below")

    @model_validator(mode="after")
    def _sizes(self) -> Canvas:
        if min(self.size) < 1:
            raise ValueError("size must be positive")
        return self


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


PictureStep = (
    ToRGB
    | CropForeground
    | CropFieldOfView
    | NormaliseStain
    | Resize
    | CenterCrop
    | ChannelOrder
    | ToUnitRange
    | ResizeFloat
    | Canvas
    | Normalise
)
Step = Annotated[
    PictureStep
    | RepairMissing
    | Resample
    | CropSamples
    | PadSamples
    | MinMax
    | Quantise
    | LeadOrder
    | VolumeReorient
    | VolumeSpacing
    | VolumeCropBrain
    | VolumeSize
    | VolumeScale
    | VolumeRobustScale
    | SliceFirst
    | RadiographScale
    | RadiographSquare
    | RadiographSize,
    Field(discriminator="step"),
]
STEPS: TypeAdapter[tuple[Step, ...]] = TypeAdapter(tuple[Step, ...])

_ON_PICTURE = (
    "to_rgb",
    "crop_foreground",
    "crop_field_of_view",
    "normalise_stain",
    "resize",
    "center_crop",
    "channel_order",
)
_ON_NUMBERS = ("resize_float", "canvas")


def on_signals(steps: tuple[Step, ...]) -> bool:
    """Whether these are steps on signals."""
    return any(step.step in ON_SIGNAL for step in steps)


def on_volumes(steps: tuple[Step, ...]) -> bool:
    """Whether these are steps on volumes."""
    return any(step.step in ON_VOLUME for step in steps)


def on_radiographs(steps: tuple[Step, ...]) -> bool:
    """Whether these are steps on radiographs, real numbers from the beginning."""
    return any(step.step in ON_RADIOGRAPH for step in steps)


def check_order(steps: tuple[Step, ...]) -> None:
    """Refuse an order of steps that has no meaning (raises ValueError, for pydantic)."""
    names = [step.step for step in steps]
    if on_signals(steps):
        check_signal_order(names)
        return
    if on_volumes(steps):
        check_volume_order(names)
        return
    if on_radiographs(steps):
        check_radiograph_order(names)
        return
    if names.count("to_unit_range") != 1:
        raise ValueError("the steps must hold to_unit_range exactly once")
    at = names.index("to_unit_range")
    early = [name for name in names[:at] if name not in _ON_PICTURE]
    if early:
        raise ValueError(f"{early[0]} must come after to_unit_range")
    after = names[at + 1 :]
    numbers = [name for name in after if name in _ON_NUMBERS]
    if after not in ([*numbers], [*numbers, "normalise"]):
        raise ValueError("only one normalise may follow to_unit_range, behind resize_float and canvas if there are any")
    if numbers not in ([], ["canvas"], ["resize_float", "canvas"]):
        raise ValueError("resize_float must be followed by canvas, each at most once")
    if not any(name in ("resize", "center_crop", "canvas") for name in names):
        raise ValueError("a resize, center_crop or canvas must give the pictures one size")
