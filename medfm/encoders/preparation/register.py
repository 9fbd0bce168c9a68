"""Affine registration of a brain to a template, and how well it went."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from medfm.core.errors import ConfigError, MedfmError, ReadError
from medfm.core.hashing import sha256_file
from medfm.encoders.preparation.brain_mask import brain_mask, grown
from medfm.encoders.preparation.itk import from_itk, itk_image, simple_itk
from medfm.encoders.preparation.steps import VolumeRegister
from medfm.io.volumes.detect import read_volume
from medfm.io.volumes.volume import spacing_of

# Above 0 in more than this many litres: the template has a skull and a face. That of an average brain takes 1.9.
_BRAIN_LITRES = 2.4
# Shrink factor, smoothing in mm, how many times the share of voxels that the step asks for.
_LEVELS = ((4, 4.0, 4.0), (2, 2.0, 1.0), (2, 1.0, 1.0))
_NEAR = 8.0  # mm around the template's brain that the metric looks at: its edge must be in it
_LEAST_STEP, _RELAXATION = 1e-3, 0.6
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])  # LPS to RAS and back
_SCALES = (0.5, 2.0)  # what the volume of a head may be multiplied with


@dataclass(frozen=True)
class Template:
    """A template on its own grid.

    Attributes:
        array: float32 (i, j, k), 0 outside the brain.
        affine: float64 (4, 4), voxel index -> mm.
        mask: bool (i, j, k), its brain.
        digest: SHA-256 of its file.
    """

    array: np.ndarray
    affine: np.ndarray
    mask: np.ndarray
    digest: str

    @classmethod
    def load(cls, path: str | Path) -> Template:
        """Read a template, with or without its skull.

        Raises:
            ConfigError: It cannot be read, or holds no brain.
        """
        file = Path(path)
        try:
            volume = read_volume(file, {}, file.name)
            array = np.ascontiguousarray(volume.array)
            if not np.isfinite(array).all():
                raise ReadError("It holds NaN or infinite values.")
            mask = array > 0
            litres = float(mask.sum() * np.prod(spacing_of(volume.affine))) / 1e6
            if litres > _BRAIN_LITRES:
                mask = brain_mask(array, volume.affine, file.name)
        except MedfmError as error:
            raise ConfigError(
                f"The template cannot be used: {error.what}",
                where=str(file),
                expected="a T1 volume of an average head, such as that of ICBM 152, as NIfTI",
                fix=error.fix,
            ) from error
        if not mask.any():
            raise ConfigError("The template is empty.", where=str(file), expected="a T1 volume of an average head")
        return cls(np.where(mask, array, np.float32(0)), volume.affine, mask, sha256_file(file))

    @cached_property
    def spacing(self) -> list[float]:
        """Sides of a voxel, mm."""
        return [round(float(side), 4) for side in spacing_of(self.affine)]


@dataclass(frozen=True)
class Registered:
    """A volume on the grid of the template.

    Attributes:
        array: float32, resampled linearly; 0 where the volume does not reach.
        mask: bool, its brain.
        facts: ``matrix`` (4 x 4: RAS mm of the template -> RAS mm of the volume), ``volume_factor`` (its
            determinant), ``overlap`` (Dice of the two brains) and ``correlation`` (of the values inside the
            template's brain), each before and after; before is where the file put the head.
    """

    array: np.ndarray
    mask: np.ndarray
    facts: dict[str, Any]


def register(
    array: np.ndarray, affine: np.ndarray, mask: np.ndarray, template: Template, step: VolumeRegister, where: str
) -> Registered:
    """Bring a volume onto the grid of `template`; see :class:`VolumeRegister`.

    Args:
        array: float32 (i, j, k), with or without its skull; what lies outside `mask` does not count.
        affine: float64 (4, 4).
        mask: bool (i, j, k), its brain.
        template: Where to.
        step: Settings.
        where: Name of the record for errors.

    Raises:
        MissingExtraError: SimpleITK is not installed.
        ReadError: The brains do not lie on each other afterwards, or the map is none of a head.
    """
    sitk = simple_itk("Registering to a template")
    fixed = itk_image(sitk, template.array, template.affine, where)
    whole = itk_image(sitk, array, affine, where)
    shape = itk_image(sitk, mask, affine, where)
    moving = whole if not array[~mask].any() else itk_image(sitk, np.where(mask, array, 0), affine, where)
    try:
        near = itk_image(sitk, grown(template.mask, _NEAR, spacing_of(template.affine)), template.affine, where)
        found = _affine(sitk, fixed, sitk.Cast(near > 0.5, sitk.sitkUInt8), moving, step)
    except RuntimeError as error:
        raise _failed("the optimiser gave up", where) from error
    matrix = _matrix(found)
    factor = float(np.linalg.det(matrix[:3, :3]))

    def laid(image: Any, map_: Any) -> np.ndarray:
        return from_itk(sitk, sitk.Resample(image, fixed, map_, sitk.sitkLinear, 0.0, sitk.sitkFloat32))[0]

    facts: dict[str, Any] = {"matrix": [[round(float(v), 6) for v in row] for row in matrix]}
    facts["volume_factor"] = round(factor, 4)
    now, brain = laid(whole, found), laid(shape, found) >= 0.5
    for when, values, inside in (
        ("before", laid(moving, sitk.Transform(3, sitk.sitkIdentity)), laid(shape, sitk.Transform(3, sitk.sitkIdentity)) >= 0.5),
        ("after", laid(moving, found), brain),
    ):  # fmt: skip
        facts[f"overlap_{when}"] = round(dice(inside, template.mask), 4)
        facts[f"correlation_{when}"] = round(correlation(values[template.mask], template.array[template.mask]), 4)
    if not _SCALES[0] <= factor <= _SCALES[1]:
        raise _failed(f"it multiplies the volume of the head by {factor:.2f}", where)
    if facts["overlap_after"] < step.least_overlap:
        raise _failed(
            f"the brains overlap by {facts['overlap_after']:.2f} (Dice), not by {step.least_overlap:g} or more", where
        )
    return Registered(now, brain, facts)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice overlap of two masks, 0 to 1; 0 where both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 0.0


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of two sets of values (normalised cross-correlation), -1 to 1; 0 where one is constant."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / spread if spread > 0 else 0.0


def _affine(sitk: ModuleType, fixed: Any, near: Any, moving: Any, step: VolumeRegister) -> Any:
    """The map from points of `fixed` to points of `moving`: centres of mass, similarity, then affine."""
    begun = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Similarity3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    similar = _optimised(sitk, fixed, near, moving, begun, step, _LEVELS[:2])
    affine = sitk.AffineTransform(3)
    affine.SetCenter(similar.GetCenter())
    affine.SetMatrix(similar.GetMatrix())
    affine.SetTranslation(similar.GetTranslation())
    return _optimised(sitk, fixed, near, moving, affine, step, _LEVELS)


def _optimised(
    sitk: ModuleType, fixed: Any, near: Any, moving: Any, start: Any, step: VolumeRegister, levels: Any
) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=step.bins)
    method.SetMetricSamplingStrategy(method.RANDOM)
    shares = [min(step.sampling * times, 1.0) for _, _, times in levels]
    method.SetMetricSamplingPercentagePerLevel(shares, seed=step.seed + 1)  # 0 means the clock there
    method.SetMetricFixedMask(near)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0,
        minStep=_LEAST_STEP,
        numberOfIterations=step.iterations,
        relaxationFactor=_RELAXATION,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([shrink for shrink, _, _ in levels])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma, _ in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=False)
    result = method.Execute(fixed, moving)
    # A composite of one; what is inside keeps its kind.
    inner = result.GetNthTransform(0) if result.GetName() == "CompositeTransform" else result
    return inner.Downcast()


def _matrix(found: Any) -> np.ndarray:
    """The map as 4 x 4 numbers in RAS mm."""
    zero = np.asarray(found.TransformPoint((0.0, 0.0, 0.0)))
    result = np.eye(4)
    for axis in range(3):
        point = [0.0, 0.0, 0.0]
        point[axis] = 1.0
        result[:3, axis] = np.asarray(found.TransformPoint(point)) - zero
    result[:3, 3] = zero
    return np.asarray(_FLIP @ result @ _FLIP)


def _failed(why: str, where: str) -> ReadError:
    return ReadError(
        f"Registration to the template failed: {why}.",
        where=where,
        fix="look at the volume and at its mask (medfm data show); is its orientation right, is it a whole head?",
    )
