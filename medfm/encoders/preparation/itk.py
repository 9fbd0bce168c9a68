"""SimpleITK, imported where it is used: to and from its images, and the correction of the bias field.

ITK's world is LPS (to the left, to the back, to the top), and its arrays are (k, j, i); here everything is RAS and
(i, j, k). One thread is used throughout: sums over several threads differ in their last digits from run to run.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.core.extras import import_extra
from medfm.encoders.preparation.steps import VolumeBiasField
from medfm.io.volumes.volume import shear, spacing_of
from medfm.modalities.volume_quality import head_mask

EXTRA = "mri-prep"
_LPS = np.diag([-1.0, -1.0, 1.0])
_MOST_SHEAR = 0.1  # degrees; ITK's directions are at right angles


def simple_itk(purpose: str) -> ModuleType:
    """The module SimpleITK, or an error that names the extra; `purpose` begins its sentence."""
    return import_extra("SimpleITK", EXTRA, purpose)


def itk_image(sitk: ModuleType, array: np.ndarray, affine: np.ndarray, where: str) -> Any:
    """An array (i, j, k) with its affine (4 x 4, RAS mm) as an image of SimpleITK, float32.

    Raises:
        ReadError: The axes of the volume are not at right angles.
    """
    if (skew := shear(affine)) > _MOST_SHEAR:
        raise ReadError(
            f"The axes of the volume are {skew:.1f} degrees off a right angle, which ITK cannot hold.",
            where=where,
            fix="resample the volume onto a straight grid first",
        )
    sides = spacing_of(affine)
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.transpose(array.astype(np.float32, copy=False))))
    image.SetSpacing([float(side) for side in sides])
    image.SetOrigin([float(value) for value in _LPS @ affine[:3, 3]])
    # The nearest rotation: ITK refuses directions that are off by rounding.
    left, _, right = np.linalg.svd(_LPS @ affine[:3, :3] / sides)
    image.SetDirection([float(value) for value in (left @ right).ravel()])
    return image


def from_itk(sitk: ModuleType, image: Any) -> tuple[np.ndarray, np.ndarray]:
    """An image of SimpleITK as float32 (i, j, k) and its affine (4 x 4, RAS mm)."""
    array = np.ascontiguousarray(np.transpose(sitk.GetArrayFromImage(image))).astype(np.float32, copy=False)
    affine = np.eye(4)
    affine[:3, :3] = _LPS @ np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = _LPS @ np.asarray(image.GetOrigin())
    return array, affine


def corrected(
    array: np.ndarray, affine: np.ndarray, mask: np.ndarray | None, step: VolumeBiasField, where: str
) -> tuple[np.ndarray, dict[str, Any]]:
    """The volume without its bias field, on the same grid, and facts on the field.

    Args:
        array: float32 (i, j, k), finite.
        affine: float64 (4, 4).
        mask: bool (i, j, k) where the field is measured; ``None``: where the head is.
        step: Settings.
        where: Name of the record for errors.

    Returns:
        float32 array; facts: ``field`` (1st and 99th percentile of the factor inside the mask).

    Raises:
        MissingExtraError: SimpleITK is not installed.
        ReadError: There is nothing bright to measure the field on.
    """
    sitk = simple_itk("Correcting the bias field")
    inside = head_mask(array, affine) if mask is None else mask
    # N4 takes logarithms.
    inside = inside & (array > 0)
    if inside.sum() < 1000:
        raise ReadError(
            "There is no head on which a bias field could be measured.",
            where=where,
            fix="look at the volume with medfm data show",
        )
    image = itk_image(sitk, array, affine, where)
    shape = sitk.Cast(itk_image(sitk, inside, affine, where) > 0.5, sitk.sitkUInt8)
    # A side of few voxels (thick slices) is not made coarser than its spline needs.
    factors = [int(max(min(step.shrink, n // 16), 1)) for n in array.shape]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.SetMaximumNumberOfIterations(list(step.iterations))
    n4.SetConvergenceThreshold(step.tolerance)
    try:
        n4.Execute(sitk.Shrink(image, factors), sitk.Shrink(shape, factors))
        field = np.transpose(sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)))
    except RuntimeError as error:
        raise ReadError(f"N4 failed: {_reason(error)}.", where=where) from error
    factor = np.exp(field.astype(np.float32))
    low, high = np.percentile(factor[inside], (1, 99))
    return np.ascontiguousarray(array / factor), {"field": [round(float(low), 4), round(float(high), 4)]}


def _reason(error: RuntimeError) -> str:
    """The last line of what ITK says, which holds the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".")[-200:] if lines else "no reason given"
