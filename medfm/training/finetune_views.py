"""Random changes of training records: named steps, applied to the tensor the network would see.

Every draw comes from a generator handed down. Pictures are float (channels, height, width), signals
(leads, samples), volumes (1, depth, height, width), all as the card's preprocessing leaves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medfm.core.config import StrictConfig
from medfm.core.errors import ConfigError
from medfm.training import volume_views
from medfm.training.volume_views import Affine, BiasField, Gamma, Mirror

Range = tuple[float, float]


class Rotate(StrictConfig):
    """A rotation about the centre, bilinear; corners are filled with 0."""

    step: Literal["rotate"] = "rotate"
    degrees: float = Field(5.0, gt=0, le=180, description="largest angle either way")


class Flip(StrictConfig):
    """A left-right flip. Where anatomy has a left and a right it must be asked for by name."""

    step: Literal["flip"] = "flip"
    probability: float = Field(0.5, ge=0, le=1)


class Turn(StrictConfig):
    """Up-down flips and quarter turns: for cells and tissue, which have no upper side."""

    step: Literal["turn"] = "turn"
    probability: float = Field(0.5, ge=0, le=1)


class ResizedCrop(StrictConfig):
    """A crop of random area and aspect, resized back; the whole picture after ten draws that do not fit."""

    step: Literal["resized_crop"] = "resized_crop"
    scale: Range = Field((0.8, 1.0), description="area of the crop as a share; above 1 a draw may not fit")
    aspect: Range = Field((0.75, 4 / 3), description="width over height, drawn on a logarithmic scale")


class Blur(StrictConfig):
    """A Gaussian blur."""

    step: Literal["blur"] = "blur"
    probability: float = Field(0.5, ge=0, le=1)
    kernel: int = Field(9, ge=3, description="pixels, odd")
    sigma: Range = Field((0.05, 2.0), description="pixels")


class Mask(StrictConfig):
    """Single pixels or samples set to 0, each by chance; all channels or leads alike."""

    step: Literal["mask"] = "mask"
    probability: float = Field(0.1, ge=0, le=1)
    share: float = Field(0.25, ge=0, le=1, description="of the pixels")


class Scale(StrictConfig):
    """All values times one factor: the gain of a signal, the contrast of a picture about 0."""

    step: Literal["scale"] = "scale"
    factors: Range = (0.9, 1.1)


class Offset(StrictConfig):
    """One number added to all values, in units of the preprocessed record."""

    step: Literal["offset"] = "offset"
    size: float = Field(0.1, ge=0, description="largest size either way")


class Noise(StrictConfig):
    """Independent Gaussian noise."""

    step: Literal["noise"] = "noise"
    deviation: float = Field(0.02, ge=0, description="as a share of the record's own standard deviation")


class TimeShift(StrictConfig):
    """A signal moved in time; what moves out is lost, the gap holds 0."""

    step: Literal["time_shift"] = "time_shift"
    share: float = Field(0.05, ge=0, lt=1, description="largest shift as a share of the length")


Step = Annotated[
    Rotate
    | Flip
    | Turn
    | ResizedCrop
    | Blur
    | Mask
    | Scale
    | Offset
    | Noise
    | TimeShift
    | Affine
    | Mirror
    | BiasField
    | Gamma,
    Field(discriminator="step"),
]
# Kind of records -> axes of their tensors, and the steps that are for them alone.
_AXES: dict[str, tuple[int, tuple[str, ...]]] = {
    "signals": (2, ("time_shift",)),
    "pictures": (3, ("rotate", "flip", "turn", "resized_crop", "blur")),
    "volumes": (4, volume_views.VOLUMES),
}
_ANY = ("mask", "scale", "offset", "noise", "gamma")

# What leaves the finding as it is. No left-right flip where a side means something (heart, optic disc,
# hemispheres), no colour change of stained cells, no change in time of an ECG beyond where it starts, no zoom of
# a brain, whose sizes are measured.
SOUND: dict[str, tuple[Any, ...]] = {
    "chest_xray": (Rotate(degrees=5), ResizedCrop(scale=(0.9, 1.0), aspect=(0.95, 1.05)), Scale()),
    "retina": (Rotate(degrees=10), ResizedCrop(scale=(0.85, 1.0), aspect=(0.95, 1.05)), Scale()),
    "blood_cell": (Flip(), Turn(), ResizedCrop(scale=(0.85, 1.0), aspect=(0.95, 1.05))),
    "histopathology": (Flip(), Turn(), ResizedCrop(scale=(0.8, 1.0), aspect=(0.95, 1.05))),
    "ecg": (TimeShift(), Scale(), Noise()),
    "brain_mri": (Affine(), BiasField(), Scale(), Offset(size=0.05), Noise()),
}
# A mirrored record shows something that a body hardly has, or an organ of the other side.
SIDED = ("chest_xray", "retina", "brain_mri", "ecg")


def steps_for(choice: Any, modality: str, shape: tuple[int, ...], preprocessing: Sequence[Any] = ()) -> tuple[Any, ...]:
    """The steps of a recipe for records of `shape`.

    Args:
        choice: ``"auto"``, ``"none"`` or steps.
        modality: Of the records.
        shape: Of one preprocessed record.
        preprocessing: Steps of the card, which say where left and right of a volume are.

    Raises:
        ConfigError: A step does not fit the records.
    """
    if choice == "none":
        return ()
    steps: tuple[Any, ...] = SOUND.get(modality, ()) if choice == "auto" else tuple(choice)
    for step in steps:
        kinds = [name for name, axes in _AXES.items() if step.step in axes[1] and len(shape) != axes[0]]
        if kinds:
            own = [name for count, names in _AXES.values() if count == len(shape) for name in names]
            raise ConfigError(
                f"The augmentation '{step.step}' is for {kinds[0]}; it does not fit {modality} records of shape {shape}.",
                where="augmentation",
                expected=", ".join([*own, *_ANY]),
                fix="--set augmentation=auto, or =none",
            )
    return tuple(_sided(step, preprocessing) for step in steps)


def _sided(step: Any, preprocessing: Sequence[Any]) -> Any:
    """A step on volumes that knows which axis runs from left to right."""
    if step.step != "mirror" or step.axis is not None:
        return step
    axis = volume_views.left_right(preprocessing)
    if axis is None:
        raise ConfigError(
            "The encoder takes volumes in the order of their files, so it is not known where left and right are.",
            where="augmentation: mirror",
            expected="axis: 1, 2 or 3, the axis of the tensor (1, i, j, k) from left to right",
            fix="--set 'augmentation=[{step: mirror, axis: 1}]', if all files have that order",
        )
    return step.model_copy(update={"axis": axis})


def mirrored(steps: tuple[Any, ...], modality: str) -> bool:
    """Whether `steps` mirror records in which left and right mean something."""
    return modality in SIDED and any(step.step in ("flip", "mirror") and step.probability > 0 for step in steps)


def view(x: Tensor, steps: tuple[Any, ...], source: np.random.Generator) -> Tensor:
    """A changed copy of one record, same shape and dtype."""
    for step in steps:
        x = _APPLY[step.step](x, step, source)
    return x


def _rotate(x: Tensor, step: Rotate, source: np.random.Generator) -> Tensor:
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as tv

    angle = source.uniform(-step.degrees, step.degrees)
    return tv.rotate(x, angle, interpolation=InterpolationMode.BILINEAR, fill=[0.0])


def _flip(x: Tensor, step: Flip, source: np.random.Generator) -> Tensor:
    return x.flip(2) if source.random() < step.probability else x


def _turn(x: Tensor, step: Turn, source: np.random.Generator) -> Tensor:
    if source.random() < step.probability:
        x = x.flip(1)
    if source.random() < step.probability:
        x = x.rot90(1, (1, 2)) if x.shape[1] == x.shape[2] else x.rot90(2, (1, 2))
    return x


def _resized_crop(x: Tensor, step: ResizedCrop, source: np.random.Generator) -> Tensor:
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as tv

    height, width = int(x.shape[1]), int(x.shape[2])
    low, high = np.log(step.aspect[0]), np.log(step.aspect[1])
    for _ in range(10):
        area = height * width * source.uniform(*step.scale)
        aspect = float(np.exp(source.uniform(low, high)))
        w, h = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(source.integers(height - h + 1)), int(source.integers(width - w + 1))
            return tv.resized_crop(
                x, top, left, h, w, [height, width], interpolation=InterpolationMode.BILINEAR, antialias=True
            )
    return x


def _blur(x: Tensor, step: Blur, source: np.random.Generator) -> Tensor:
    from torchvision.transforms.v2 import functional as tv

    if source.random() >= step.probability:
        return x
    sigma = source.uniform(*step.sigma)
    return tv.gaussian_blur(x, [step.kernel, step.kernel], [sigma, sigma])


def _mask(x: Tensor, step: Mask, source: np.random.Generator) -> Tensor:
    if source.random() >= step.probability:
        return x
    kept = torch.from_numpy(source.random(tuple(x.shape[1:])) >= step.share)
    return x * kept.to(x.dtype)


def _scale(x: Tensor, step: Scale, source: np.random.Generator) -> Tensor:
    return x * float(source.uniform(*step.factors))


def _offset(x: Tensor, step: Offset, source: np.random.Generator) -> Tensor:
    return x + float(source.uniform(-step.size, step.size))


def _noise(x: Tensor, step: Noise, source: np.random.Generator) -> Tensor:
    drawn = torch.from_numpy(source.standard_normal(tuple(x.shape), dtype=np.float32))
    return x + drawn.to(x.dtype) * (step.deviation * float(x.std()))


def _time_shift(x: Tensor, step: TimeShift, source: np.random.Generator) -> Tensor:
    most = int(step.share * x.shape[1])
    shift = int(source.integers(-most, most + 1))
    moved = torch.roll(x, shift, dims=1)
    if shift > 0:
        moved[:, :shift] = 0
    elif shift < 0:
        moved[:, shift:] = 0
    return moved


_APPLY: dict[str, Any] = {
    "rotate": _rotate,
    "flip": _flip,
    "turn": _turn,
    "resized_crop": _resized_crop,
    "blur": _blur,
    "mask": _mask,
    "scale": _scale,
    "offset": _offset,
    "noise": _noise,
    "time_shift": _time_shift,
    **volume_views.APPLY,
}
