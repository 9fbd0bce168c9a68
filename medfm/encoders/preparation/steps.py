"""The slow steps on volumes, and the recipe that lists them with the quick ones.

The quick steps are those of a model card (:mod:`medfm.encoders.preprocessing_volume_steps`). Recipes lie in
``configs/preparation/`` and are run by :func:`medfm.encoders.preparation.prepare.prepare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig
from medfm.encoders.preprocessing_volume_steps import (
    VolumeCropBrain,
    VolumeReorient,
    VolumeRobustScale,
    VolumeScale,
    VolumeSize,
    VolumeSpacing,
)

Programs = Literal["hd-bet", "synthstrip"]


class VolumeBiasField(StrictConfig):
    """Divide by the slow change of brightness that coils cause: N4 of SimpleITK (extra ``mri-prep``).

    Tustison and others, N4ITK, IEEE Trans Med Imaging 29 (2010), 1310. The field is found on a copy whose sides are
    `shrink` times coarser, inside the brain mask where one was made before, else inside Otsu's head mask.
    """

    step: Literal["volume_bias_field"] = "volume_bias_field"
    shrink: int = Field(4, ge=1, le=16, description="how many times coarser the copy is that the field is found on")
    iterations: tuple[int, ...] = Field((50, 50, 50, 50), description="most iterations per level, coarse to fine")
    tolerance: float = Field(1e-3, gt=0, description="a level ends when the field changes by less than this")

    @model_validator(mode="after")
    def _positive(self) -> VolumeBiasField:
        if not self.iterations or min(self.iterations) < 1:
            raise ValueError("iterations must be at least 1 on at least one level")
        return self


class VolumeBrainMask(StrictConfig):
    """Find the brain, and set what lies outside to 0.

    ``morphological`` is built in (:mod:`medfm.encoders.preparation.brain_mask`): made for T1, tried on FLAIR.
    ``hd-bet`` (Isensee and others, Hum Brain Mapp 2019) and ``synthstrip`` (Hoopes and others, NeuroImage 2022; the
    program ``mri_synthstrip``) are programs of their own that must be on the PATH; they are more exact.
    """

    step: Literal["volume_brain_mask"] = "volume_brain_mask"
    method: Literal["morphological", "hd-bet", "synthstrip"] = "morphological"
    apply: bool = Field(True, description="false: keep the skull; the mask only serves later steps")
    soft_mm: float = Field(
        0.0, ge=0, le=10, description="deviation in mm of a Gaussian that softens the edge of the mask"
    )
    device: Literal["cpu", "gpu"] = Field("cpu", description="where the program computes")
    timeout_s: float = Field(1800.0, gt=0, description="seconds after which the program is stopped")

    @model_validator(mode="after")
    def _built_in(self) -> VolumeBrainMask:
        if self.method == "morphological" and self.device != "cpu":
            raise ValueError("the built-in mask is found on the cpu")
        if self.soft_mm and not self.apply:
            raise ValueError("soft_mm softens what apply: true does")
        return self


class VolumeRegister(StrictConfig):
    """Bring the volume onto the grid of a template by an affine map: SimpleITK (extra ``mri-prep``).

    Mattes mutual information in and within 8 mm of the template's brain (`bins` bins; a `sampling` share of the
    voxels, four times that on the coarsest level, drawn with `seed`); gradient descent with regular steps, scaled to
    mm. Started by laying the centres of mass on each other; then 7 degrees of freedom with 4 and 2 mm of smoothing
    (shrunk 4 and 2 times), then 12 with 4, 2 and 1 mm (shrunk 4, 2 and 2 times). Resampled once, linearly; 0
    outside. The template is a file that the caller names; none is shipped.
    """

    step: Literal["volume_register"] = "volume_register"
    method: Literal["affine"] = "affine"
    iterations: int = Field(100, ge=1, le=10000, description="most iterations per level")
    bins: int = Field(32, ge=5, le=256, description="bins of the joint histogram")
    sampling: float = Field(0.1, gt=0, le=1, description="share of the voxels that the metric looks at")
    seed: int = Field(0, ge=0, description="which voxels are drawn")
    least_overlap: float = Field(
        0.85, ge=0, le=1, description="least Dice overlap of the two brains; below it registration has failed"
    )


PreparationStep = Annotated[
    VolumeReorient
    | VolumeSpacing
    | VolumeBiasField
    | VolumeBrainMask
    | VolumeRegister
    | VolumeCropBrain
    | VolumeSize
    | VolumeScale
    | VolumeRobustScale,
    Field(discriminator="step"),
]


class PreparationRecipe(StrictConfig):
    """How the volumes of a cohort are made ready, a YAML file in ``configs/preparation/``."""

    id: str = Field(description="name@version")
    title: str = Field(description="what it is, in one line")
    modality: Literal["brain_mri"] = "brain_mri"
    steps: tuple[PreparationStep, ...] = Field(min_length=1, description="steps in order, with their arguments")
    sources: tuple[str, ...] = Field((), description="where the procedure comes from")
    deviations: tuple[str, ...] = Field((), description="how it differs from its source, and what that means")

    @model_validator(mode="after")
    def _orderly(self) -> PreparationRecipe:
        check_preparation_order([step.step for step in self.steps])
        return self

    @property
    def registers(self) -> bool:
        """Whether a template is needed."""
        return any(isinstance(step, VolumeRegister) for step in self.steps)


def check_preparation_order(names: Sequence[str]) -> None:
    """Refuse an order of steps that has no meaning (raises ValueError, for pydantic)."""
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"{doubled[0]} may come once only")
    if "volume_reorient" in names[1:]:
        raise ValueError("volume_reorient must come first")
    if "volume_register" in names:
        before = names[: names.index("volume_register")]
        if "volume_brain_mask" not in before:
            raise ValueError("volume_register needs a volume_brain_mask before it: brains are laid on each other")
        for name in ("volume_crop_brain", "volume_size", "volume_scale", "volume_robust_scale"):
            if name in before:
                raise ValueError(f"{name} must come after volume_register, which gives a new grid")
    scales = [name for name in names if name in ("volume_scale", "volume_robust_scale")]
    if len(scales) > 1 or (scales and names[-1] != scales[0]):
        raise ValueError("one step that scales the values may stand at the end")
