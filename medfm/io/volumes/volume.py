"""The one form of a volume: float32 (i, j, k) with an affine in RAS millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.core.memory import available_bytes

# A volume may take this share of the free memory: preprocessing needs room beside it.
SHARE = 0.6
_LETTERS = ("RL", "AP", "SI")


@dataclass(frozen=True)
class Volume:
    """A volume in the order of its file.

    Attributes:
        array: float32 (i, j, k), scaled as the file says.
        affine: float64 (4, 4), voxel index -> mm; x to the right, y to the front, z to the top.
        facts: Facts of the file in numbers and fixed words, never its text.
    """

    array: np.ndarray
    affine: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Side of a voxel along each array axis, mm, float64 (3,)."""
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def nearest_axes(affine: np.ndarray) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Array axes nearest to right-left, front-back and top-bottom, and +1 or -1 where they run with it.

    Of the six assignments the one with the largest sum of absolute direction cosines is taken, so the
    result is a permutation however oblique the axes are.
    """
    cosines = affine[:3, :3] / spacing_of(affine)
    best = max(permutations(range(3)), key=lambda axes: sum(abs(cosines[world, axes[world]]) for world in range(3)))
    signs = [1 if cosines[world, best[world]] >= 0 else -1 for world in range(3)]
    return (best[0], best[1], best[2]), (signs[0], signs[1], signs[2])


def axis_letters(affine: np.ndarray) -> str:
    """Where each array axis leads, such as ``"PSR"``."""
    axes, signs = nearest_axes(affine)
    named = {axes[world]: _LETTERS[world][0 if signs[world] > 0 else 1] for world in range(3)}
    return "".join(named[axis] for axis in range(3))


def to_ras(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The volume with its axes permuted and turned to the nearest of right, front and top; no value changes.

    An oblique volume stays oblique: the rest of the rotation is in the affine.

    Returns:
        A view of `array`, and its affine.
    """
    axes, signs = nearest_axes(affine)
    turned = np.transpose(array, axes)
    changed = np.array(affine, dtype=np.float64)
    changed[:3, :3] = affine[:3, axes] * np.asarray(signs)
    for world in range(3):
        if signs[world] < 0:
            changed[:3, 3] += affine[:3, axes[world]] * (turned.shape[world] - 1)
    return turned[tuple(slice(None, None, sign) for sign in signs)], changed


def to_axes(array: np.ndarray, affine: np.ndarray, letters: str) -> tuple[np.ndarray, np.ndarray]:
    """The volume with its axes permuted and turned to lead where `letters` say, such as ``"PSR"``; no value changes.

    Returns:
        A view of `array`, and its affine.

    Raises:
        ValueError: The letters do not name right-left, front-back and top-bottom once each.
    """
    worlds = [next((world for world, pair in enumerate(_LETTERS) if letter in pair), -1) for letter in letters]
    if sorted(worlds) != [0, 1, 2]:
        raise ValueError(f"{letters!r} does not name the three axes of a volume")
    array, affine = to_ras(array, affine)
    turned = np.transpose(array, worlds)
    changed = np.array(affine, dtype=np.float64)
    changed[:3, :3] = affine[:3, worlds]
    for axis, (world, letter) in enumerate(zip(worlds, letters, strict=True)):
        if letter == _LETTERS[world][1]:
            changed[:3, 3] += changed[:3, axis] * (turned.shape[axis] - 1)
            changed[:3, axis] *= -1
            turned = np.flip(turned, axis)
    return turned, changed


def obliqueness(affine: np.ndarray) -> float:
    """Largest angle in degrees between an array axis and the nearest anatomical one."""
    cosines = np.abs(affine[:3, :3] / spacing_of(affine))
    axes, _ = nearest_axes(affine)
    return float(np.degrees(np.arccos(np.clip(min(cosines[world, axes[world]] for world in range(3)), 0.0, 1.0))))


def shear(affine: np.ndarray) -> float:
    """Largest deviation in degrees of two array axes from a right angle."""
    cosines = affine[:3, :3] / spacing_of(affine)
    products = np.abs(cosines.T @ cosines - np.eye(3)).max()
    return float(np.degrees(np.arcsin(np.clip(products, 0.0, 1.0))))


def sound_affine(affine: np.ndarray) -> bool:
    """Whether an affine is finite and spans a volume."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        return False
    sides = spacing_of(affine)
    return bool((sides > 0).all() and abs(np.linalg.det(affine[:3, :3] / sides)) > 1e-3)


def check_grid(shape: Sequence[int], where: str) -> tuple[int, int, int]:
    """The three sizes of a volume that fits into memory; axes of one voxel at the end are dropped.

    Raises:
        ReadError: A 4D file, a single slice, nothing at all, or more than fits.
    """
    sizes = [int(n) for n in shape]
    if any(n < 1 for n in sizes):
        raise ReadError("The file says that it holds no voxels.", where=where)
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) > 3:
        raise ReadError(
            f"The file holds {int(np.prod(sizes[3:], dtype=object))} volumes (its sizes are {_times(sizes)}), not one.",
            where=where,
            expected="one volume with three axes",
            fix="extract the volume that is meant, or a mean over time, into a file of its own",
        )
    if len(sizes) < 3 or min(sizes) < 2:
        raise ReadError(
            f"The file holds a single slice (its sizes are {_times(sizes)}).",
            where=where,
            expected="a volume with at least 2 voxels along each axis",
        )
    fits_memory(sizes, where)
    return sizes[0], sizes[1], sizes[2]


def fits_memory(sizes: Sequence[int], where: str) -> None:
    """Refuse a volume before it is read whose float32 array takes more than :data:`SHARE` of the free memory."""
    voxels = 1
    for size in sizes:
        voxels *= int(size)
    free = available_bytes()
    if free is not None and 4 * voxels > SHARE * free:
        raise ReadError(
            f"The volume of {_times(sizes)} voxels takes {4 * voxels / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free.",
            where=where,
            expected=f"at most {SHARE:.0%} of the free memory for the volume alone",
            fix=f"read it on a machine with at least {4 * voxels / SHARE / 1e9:.0f} GB free, or cut or resample it first",
        )


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
