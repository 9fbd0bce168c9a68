"""From a volume to the array a network takes; see :mod:`medfm.encoders.preprocessing`.

The functions equal MONAI's ``Spacing``, ``ResizeWithPadOrCrop``, ``ScaleIntensity`` and
``ScaleIntensityRangePercentiles`` (a test compares them) without importing MONAI, which takes seconds in every worker process.

A record of a volume is float32 (i, j, k) in the order of the file, with the fact ``affine``
(4 x 4, voxel index -> mm, RAS) or at least ``spacing_mm`` (three numbers).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import numpy as np

from medfm.core.errors import ReadError
from medfm.encoders.preprocessing_volume_steps import (
    Plane,
    SliceFirst,
    VolumeCropBrain,
    VolumeReorient,
    VolumeRobustScale,
    VolumeScale,
    VolumeSize,
    VolumeSpacing,
    VolumeStep,
)
from medfm.io.volumes.volume import spacing_of, to_axes, to_ras
from medfm.modalities.record import Record
from medfm.modalities.volume_quality import head_mask

_FIRST = {"sagittal": (0, 1, 2), "coronal": (1, 0, 2), "axial": (2, 0, 1), "axial_rows": (2, 1, 0)}
_READ = "read the file with medfm.read_record, which brings every format to this form"


def resample(volume: np.ndarray, affine: np.ndarray, mm: float) -> tuple[np.ndarray, np.ndarray]:
    """A volume with cubic voxels, and its affine.

    Trilinear along the axes of the file, without smoothing; beyond the last voxel its value is
    repeated; the centre of the first voxel stays where it is.

    Args:
        volume: float (i, j, k).
        affine: float (4, 4), voxel index -> mm.
        mm: Wanted side of a voxel.

    Returns:
        float32 array with round((n - 1) * spacing / mm) + 1 voxels per axis, and float64 (4, 4).
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    result = volume
    sizes = [round((n - 1) * side / mm + 1) for n, side in zip(volume.shape, spacing, strict=True)]
    # Axes that shrink come first, so that no array in between is larger than need be.
    for axis in sorted(range(3), key=lambda one: sizes[one] / volume.shape[one]):
        result = _along(result, axis, sizes[axis], mm / spacing[axis])
    changed = np.array(affine, dtype=np.float64)
    changed[:3, :3] *= mm / spacing
    return result.astype(np.float32), changed


def _along(values: np.ndarray, axis: int, size: int, step: float) -> np.ndarray:
    """Linear interpolation at 0, step, 2 step ... along one axis, float64."""
    last = values.shape[axis] - 1
    places = np.minimum(np.arange(size) * step, last)
    low = np.floor(places).astype(np.intp)
    share = (places - low).reshape([-1 if one == axis else 1 for one in range(3)])
    # Made float64 once few voxels are left of many, which gives the same values in less time.
    below = np.take(values, low, axis=axis).astype(np.float64, copy=False)
    above = np.take(values, np.minimum(low + 1, last), axis=axis).astype(np.float64, copy=False)
    above -= below
    above *= share
    above += below
    return above


def fit_size(
    volume: np.ndarray, affine: np.ndarray, size: Sequence[int], padding: str = "line_minimum"
) -> tuple[np.ndarray, np.ndarray]:
    """A volume padded, then cut, about its centre, and its affine; arguments as of :class:`VolumeSize`."""
    lacking = [max(want - have, 0) for want, have in zip(size, volume.shape, strict=True)]
    before = [lack // 2 for lack in lacking]
    pads = [(front, lack - front) for front, lack in zip(before, lacking, strict=True)]
    padded = np.pad(volume, pads, mode="minimum") if padding == "line_minimum" else np.pad(volume, pads)
    starts = [max(have // 2 - want // 2, 0) for want, have in zip(size, padded.shape, strict=True)]
    cut = padded[tuple(slice(start, start + want) for start, want in zip(starts, size, strict=True))]
    changed = np.array(affine, dtype=np.float64)
    changed[:3, 3] += changed[:3, :3] @ (np.asarray(starts) - np.asarray(before))
    return cut, changed


def unit_scale(volume: np.ndarray) -> np.ndarray:
    """The volume from 0 (smallest) to 1 (largest value), float32; a constant one becomes 0."""
    low, high = volume.min(), volume.max()
    if low == high:
        return np.zeros_like(volume, dtype=np.float32)
    scaled: np.ndarray = ((volume - low) / (high - low)).astype(np.float32, copy=False)
    return scaled


def robust_scale(volume: np.ndarray, lower: float, upper: float, of: str = "all") -> np.ndarray:
    """The volume from 0 (percentile `lower`) to 1 (`upper`), float32, cut off at both; see :class:`VolumeRobustScale`.

    Where the two percentiles are equal every voxel becomes 0 or 1.
    """
    counted = volume[volume != 0] if of == "nonzero" else volume
    low, high = np.percentile(counted, (lower, upper)) if counted.size else (0.0, 0.0)
    if low == high:
        return np.asarray(volume > low, dtype=np.float32)
    scaled = np.clip((volume - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return scaled.astype(np.float32, copy=False)


def brain_bounds(mask: np.ndarray, affine: np.ndarray, step: VolumeCropBrain) -> tuple[list[int], list[int]] | None:
    """First voxel and last voxel + 1 along each axis that :class:`VolumeCropBrain` keeps, beyond the volume too.

    Args:
        mask: bool (i, j, k), the brain or the head.
        affine: float (4, 4), voxel index -> mm.
        step: How much is kept about it.

    Returns:
        ``None`` where the mask is empty.
    """
    if not mask.any():
        return None
    sides = spacing_of(affine)
    starts, stops = [], []
    for axis in range(3):
        lines = mask.sum(axis=tuple(one for one in range(3) if one != axis))
        filled = np.flatnonzero(lines)
        if step.size_mm is None:
            margin = math.ceil(step.margin_mm / sides[axis] - 1e-6)
            starts.append(int(filled[0]) - margin)
            stops.append(int(filled[-1]) + 1 + margin)
        else:
            size = max(math.ceil(step.size_mm[axis] / sides[axis] - 1e-6), 1)
            centre = float(np.average(np.arange(len(lines)), weights=lines)) + 0.5
            starts.append(round(centre - size / 2))
            stops.append(starts[-1] + size)
    return starts, stops


def cut(
    volume: np.ndarray, affine: np.ndarray, starts: Sequence[int], stops: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The voxels from `starts` to before `stops` and the affine; beyond the volume its smallest value is repeated."""
    inside = tuple(
        slice(min(max(start, 0), size), max(min(stop, size), 0))
        for start, stop, size in zip(starts, stops, volume.shape, strict=True)
    )
    pads = [
        (max(-start, 0), max(stop - size, 0)) for start, stop, size in zip(starts, stops, volume.shape, strict=True)
    ]
    result = np.pad(volume[inside], pads, constant_values=volume.min())
    changed = np.array(affine, dtype=np.float64)
    changed[:3, 3] += changed[:3, :3] @ np.asarray(starts, np.float64)
    return result, changed


def reoriented(
    volume: np.ndarray, affine: np.ndarray, axes: str, axes_in_file: object, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """The volume in the axes that :class:`VolumeReorient` asks for, and its affine.

    Raises:
        ReadError: The axes of the file are wanted, and the record does not say what they were.
    """
    if axes == "ras":
        return to_ras(volume, affine)
    try:
        return to_axes(volume, affine, str(axes_in_file or ""))
    except ValueError as error:
        raise ReadError(
            "The axes of the file are not known.",
            where=where,
            expected="the fact axes_in_file, such as PSR",
            fix=_READ,
        ) from error


def above_zero_scale(volume: np.ndarray, where: str = "") -> np.ndarray:
    """The volume in deviations from the mean of its voxels above 0, float32; voxels that are 0 stay 0.

    In float64 throughout, the deviation that of the population.

    Raises:
        ReadError: Fewer than two different values lie above 0.
    """
    bright = volume[volume > 0].astype(np.float64)
    spread = float(bright.std()) if bright.size else 0.0
    if spread == 0:
        raise ReadError(
            "The volume has no two different values above 0 where the network looks.",
            where=where,
            expected="an image whose background is 0 or less",
        )
    scaled = (volume.astype(np.float64) - bright.mean()) / spread
    scaled[volume == 0] = 0
    return scaled.astype(np.float32)


def axes_of(plane: Plane) -> tuple[int, int, int]:
    """The axes of the file in the order that puts the slices of `plane` first."""
    return _FIRST[plane]


def axes_back(plane: Plane) -> tuple[int, int, int]:
    """What undoes :func:`axes_of`."""
    first, second, third = (_FIRST[plane].index(axis) for axis in range(3))
    return first, second, third


class VolumeSteps:
    """The steps of a card on a record (i, j, k); the record's array is not changed."""

    def __init__(self, steps: Sequence[VolumeStep]) -> None:
        self.steps = tuple(steps)

    @property
    def plane(self) -> Plane:
        """Which slices come first; sagittal where the order of the file is kept."""
        return next((step.plane for step in self.steps if isinstance(step, SliceFirst)), "sagittal")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (1, ...) of every result."""
        size = next(step.size for step in self.steps if isinstance(step, VolumeSize))
        return (1, *(size[axis] for axis in axes_of(self.plane)))

    def run(self, item: Record | np.ndarray) -> np.ndarray:
        """The preprocessed array, float32 with one channel in front.

        Raises:
            ReadError: Another kind of array, no affine, values that are not finite, or one value throughout.
        """
        volume, _ = self.prepared(item)
        return np.transpose(volume, axes_of(self.plane))[None]

    def prepared(self, item: Record | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The volume before its slices are put first, float32 (i, j, k), and its affine (4, 4)."""
        if not isinstance(item, Record):
            raise ReadError(
                "A bare array was given for a volume: the size of its voxels is not known.",
                expected="a record whose facts hold affine or spacing_mm",
                fix=f"{_READ}; or make one: Record(name, 'brain_mri', array, {{'spacing_mm': [1, 1, 1]}})",
            )
        volume, affine = _checked(item), _affine(item)
        for step in self.steps:
            if isinstance(step, VolumeReorient):
                letters = item.facts.get("axes_in_file")
                volume, affine = reoriented(volume, affine, step.axes, letters, item.record_id)
            elif isinstance(step, VolumeCropBrain):
                bounds = brain_bounds(head_mask(volume, affine), affine, step)
                if bounds is not None:  # an empty volume is refused when it is scaled
                    volume, affine = cut(volume, affine, *bounds)
            elif isinstance(step, VolumeSpacing):
                volume, affine = resample(volume, affine, step.mm)
            elif isinstance(step, VolumeSize):
                volume, affine = fit_size(volume, affine, step.size, step.padding)
            elif isinstance(step, (VolumeScale, VolumeRobustScale)):
                if volume.min() == volume.max():
                    raise ReadError(
                        "The volume has one value throughout where the network looks: there is nothing in it.",
                        where=item.record_id,
                    )
                if isinstance(step, VolumeRobustScale):
                    volume = robust_scale(volume, step.lower, step.upper, step.of)
                elif step.method == "min_max":
                    volume = unit_scale(volume)
                else:
                    volume = above_zero_scale(volume, item.record_id)
        return volume.astype(np.float32, copy=False), affine


def _checked(item: Record) -> np.ndarray:
    array = np.asarray(item.array)
    if array.ndim != 3 or not array.size or array.dtype not in (np.float32, np.float64):
        raise ReadError(
            f"A volume of shape {array.shape} and type {array.dtype} cannot be preprocessed.",
            where=item.record_id,
            expected="float32 with three axes",
            fix=_READ,
        )
    if not np.isfinite(array).all():
        raise ReadError(
            f"The volume holds NaN or infinite values, in {int((~np.isfinite(array)).sum()):,} voxels.",
            where=item.record_id,
            expected="finite values",
            fix="export the volume again; what wrote these values can be wrong elsewhere too",
        )
    return array


def _affine(item: Record) -> np.ndarray:
    given, spacing = item.facts.get("affine"), item.facts.get("spacing_mm")
    affine = np.zeros((0, 0))
    with contextlib.suppress(TypeError, ValueError):  # refused below
        affine = (
            np.diag(np.append(np.asarray(spacing, np.float64), 1.0)) if given is None else np.array(given, np.float64)
        )
    fits = affine.shape == (4, 4) and np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-9
    if given is None and fits:
        fits = bool((np.diag(affine) > 0).all())
    if not fits:
        raise ReadError(
            "The size and orientation of the voxels are not known.",
            where=item.record_id,
            expected="the fact affine (4 x 4, voxel index to mm), or spacing_mm (three numbers above 0)",
            fix=_READ,
        )
    return affine
