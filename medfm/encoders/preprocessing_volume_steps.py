"""The named preprocessing steps for volumes, in the only order that has a meaning.

``volume_reorient``, ``volume_spacing``, ``volume_crop_brain``, ``volume_size``, ``volume_scale`` or
``volume_robust_scale``, ``slice_first``; each at most once, and the size always. What they do is in
:mod:`medfm.encoders.preprocessing_volume`. Slow steps, done once for a cohort, are in
:mod:`medfm.encoders.preparation.steps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig

Plane = Literal["axial", "coronal", "sagittal", "axial_rows"]


class VolumeReorient(StrictConfig):
    """Permute and turn the axes; no value changes, and the affine follows.

    ``ras``: to the right, front and top as nearly as they can (an oblique volume stays oblique); ``file``: as the
    file had them, by the fact ``axes_in_file``.
    """

    step: Literal["volume_reorient"] = "volume_reorient"
    axes: Literal["ras", "file"] = "ras"


class VolumeCropBrain(StrictConfig):
    """Cut (or pad with the smallest value) about the brain; without a mask, about the head.

    ``box``: the box around it and `margin_mm` on every side. ``centre_of_mass``: `size_mm` about its centre of mass.
    In a recipe of preparation the brain is that of ``volume_brain_mask``, and after ``volume_register`` the
    template's, so that all volumes get one grid. Elsewhere it is what exceeds Otsu's threshold, measured in blocks
    of about 4 mm (:func:`medfm.modalities.volume_quality.head_mask`): the brain where the skull was taken off, else
    the head.
    """

    step: Literal["volume_crop_brain"] = "volume_crop_brain"
    about: Literal["box", "centre_of_mass"] = "box"
    margin_mm: float = Field(5.0, ge=0, le=100, description="mm kept around the box on every side")
    size_mm: tuple[float, float, float] | None = Field(None, description="centre_of_mass: mm along the three axes")

    @model_validator(mode="after")
    def _complete(self) -> VolumeCropBrain:
        if (self.size_mm is None) != (self.about == "box"):
            raise ValueError("size_mm is needed with about: centre_of_mass, and goes with nothing else")
        if self.size_mm is not None and min(self.size_mm) <= 0:
            raise ValueError("size_mm must be positive")
        return self


class VolumeSpacing(StrictConfig):
    """Resample to cubic voxels along the axes of the file, trilinear; no reorientation, the first voxel stays."""

    step: Literal["volume_spacing"] = "volume_spacing"
    mm: float = Field(gt=0, description="side of a voxel in mm")


class VolumeSize(StrictConfig):
    """Pad and cut about the centre to one size; the odd voxel is padded at the end.

    ``line_minimum`` pads every line with its own smallest value, one axis after the other, as
    numpy and MONAI mean 'minimum'; ``zero`` pads with 0.
    """

    step: Literal["volume_size"] = "volume_size"
    size: tuple[int, int, int] = Field(description="voxels along the three axes of the file")
    padding: Literal["line_minimum", "zero"] = "line_minimum"

    @model_validator(mode="after")
    def _positive(self) -> VolumeSize:
        if min(self.size) < 1:
            raise ValueError("size must be positive")
        return self


class VolumeScale(StrictConfig):
    """Bring the values of the whole volume, padding included, to one scale.

    ``min_max``: (value - smallest) / (largest - smallest). ``z_score_above_zero``: (value - mean) /
    deviation, both (population) over the voxels above 0; voxels that are exactly 0, the background,
    stay 0 (MedicalNet fills them with standard normal noise, whose mean that is).
    """

    step: Literal["volume_scale"] = "volume_scale"
    method: Literal["min_max", "z_score_above_zero"] = "min_max"


class VolumeRobustScale(StrictConfig):
    """(value - low) / (high - low), cut off at 0 and 1; low and high are two percentiles of the volume.

    Of ``all`` voxels it equals MONAI's ``ScaleIntensityRangePercentiles(lower, upper, 0, 1, clip=True)``; of
    ``nonzero`` ones the background of a volume without its skull does not count. A few bright voxels (vessels,
    spikes) then do not decide how dark all others are, as they do in ``volume_scale``.
    """

    step: Literal["volume_robust_scale"] = "volume_robust_scale"
    lower: float = Field(0.5, ge=0, le=100, description="percentile that becomes 0")
    upper: float = Field(99.5, ge=0, le=100, description="percentile that becomes 1")
    of: Literal["all", "nonzero"] = "all"

    @model_validator(mode="after")
    def _apart(self) -> VolumeRobustScale:
        if self.lower >= self.upper:
            raise ValueError("lower must be below upper")
        return self


class SliceFirst(StrictConfig):
    """Put the axis across the slices first; the two others keep their order.

    ``axial``: the third axis of the file (feet to head in a template's orientation); ``coronal``:
    the second; ``sagittal``: the first, so nothing changes. ``axial_rows``: axial slices as pictures
    are kept, front-back before left-right (the axes of the file in reverse).
    """

    step: Literal["slice_first"] = "slice_first"
    plane: Plane = "axial"


VolumeStep = (
    VolumeReorient | VolumeSpacing | VolumeCropBrain | VolumeSize | VolumeScale | VolumeRobustScale | SliceFirst
)
ON_VOLUME = (
    "volume_reorient",
    "volume_spacing",
    "volume_crop_brain",
    "volume_size",
    "volume_scale",
    "volume_robust_scale",
    "slice_first",
)


def check_volume_order(names: Sequence[str]) -> None:
    """Refuse an order of volume steps that has no meaning (raises ValueError, for pydantic)."""
    foreign = [name for name in names if name not in ON_VOLUME]
    if foreign:
        raise ValueError(f"steps on volumes and others cannot be mixed: {', '.join(foreign)}")
    if list(names) != [name for name in ON_VOLUME if name in names]:
        raise ValueError(f"steps on volumes come in the order {', '.join(ON_VOLUME)}, each at most once")
    if "volume_size" not in names:
        raise ValueError("steps on volumes must hold volume_size, which gives them one size")
    if "volume_scale" in names and "volume_robust_scale" in names:
        raise ValueError("volume_scale and volume_robust_scale exclude each other")
