"""The named preprocessing steps for volumes, in the only order that has a meaning.

``volume_spacing``, ``volume_size``, ``volume_scale``, ``slice_first``; each at most once, and the
size always. What they do is in :mod:`medfm.encoders.preprocessing_volume`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig

Plane = Literal["axial", "coronal", "sagittal", "axial_rows"]


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


class SliceFirst(StrictConfig):
    """Put the axis across the slices first; the two others keep their order.

    ``axial``: the third axis of the file (feet to head in a template's orientation); ``coronal``:
    the second; ``sagittal``: the first, so nothing changes. ``axial_rows``: axial slices as pictures
    are kept, front-back before left-right (the axes of the file in reverse).
    """

    step: Literal["slice_first"] = "slice_first"
    plane: Plane = "axial"


VolumeStep = VolumeSpacing | VolumeSize | VolumeScale | SliceFirst
ON_VOLUME = ("volume_spacing", "volume_size", "volume_scale", "slice_first")


def check_volume_order(names: Sequence[str]) -> None:
    """Refuse an order of volume steps that has no meaning (raises ValueError, for pydantic)."""
    foreign = [name for name in names if name not in ON_VOLUME]
    if foreign:
        raise ValueError(f"steps on volumes and others cannot be mixed: {', '.join(foreign)}")
    if list(names) != [name for name in ON_VOLUME if name in names]:
        raise ValueError(f"steps on volumes come in the order {', '.join(ON_VOLUME)}, each at most once")
    if "volume_size" not in names:
        raise ValueError("steps on volumes must hold volume_size, which gives them one size")
