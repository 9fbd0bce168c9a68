"""Orthogonal slices of volumes on one grid, in radiological convention, and their signed differences as colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from medfm.io.volumes.volume import spacing_of, to_ras
from medfm.modalities.volume_quality import body_centre

# Panels: name, axis of the slice, axis along a row, axis along a column; letters at the sides. Both run backwards.
PLANES = (
    ("sagittal", 0, 1, 2, "AP"),  # the nose to the left
    ("coronal", 1, 0, 2, "RL"),
    ("axial", 2, 0, 1, "RL"),
)
UPWARDS = {"sagittal": "SI", "coronal": "SI", "axial": "AP"}
# Blue, white and vermilion: the ends differ for people with any common colour blindness, and in grey the middle is light.
_ENDS = ((8, 48, 107), (33, 113, 181), (158, 202, 225), (255, 255, 255), (253, 190, 145), (217, 72, 1), (110, 30, 0))


@dataclass(frozen=True)
class Slice:
    """One slice of a volume.

    Attributes:
        name: ``sagittal``, ``coronal`` or ``axial``.
        values: (rows, columns), float64 as the volume has them, or uint8 grey values; the first row on top, the
            patient's right at the left.
        size: Width and height, mm of the head.
        sides: Letters at the left and the right; ``??`` where left and right are not known.
        ends: Letters on top and below.
        at: The slice, counted from 0, and how many there are.
    """

    name: str
    values: np.ndarray
    size: tuple[float, float]
    sides: str
    ends: str
    at: tuple[int, int]


def slices(
    array: np.ndarray, affine: np.ndarray, centre: tuple[int, int, int] | None = None, *, sides_known: bool = True
) -> tuple[Slice, Slice, Slice]:
    """Sagittal, coronal and axial slice of a volume.

    Args:
        array: (i, j, k) in any order of axes.
        affine: (4, 4), voxel index -> mm, RAS.
        centre: Voxel in the volume turned to RAS through which they run; the middle of the head when absent.
        sides_known: Whether left and right may be named.
    """
    turned, to_mm = to_ras(array, np.asarray(affine, np.float64))
    sides = spacing_of(to_mm)
    at = centre_of(array, affine) if centre is None else centre
    made = []
    for name, through, across, up, letters in PLANES:
        plane = np.take(turned, at[through], axis=through)  # (across, up), since across < up always
        size = (float(turned.shape[across] * sides[across]), float(turned.shape[up] * sides[up]))
        letters = letters if sides_known or "R" not in letters else "??"
        shown = plane.T[::-1, ::-1].astype(np.float64)
        made.append(Slice(name, shown, size, letters, UPWARDS[name], (at[through], turned.shape[through])))
    return made[0], made[1], made[2]


def centre_of(array: np.ndarray, affine: np.ndarray) -> tuple[int, int, int]:
    """The voxel in the middle of the head, in the volume turned to RAS."""
    turned, affine = to_ras(array, np.asarray(affine, np.float64))
    sides = spacing_of(affine)
    return body_centre(turned, (float(sides[0]), float(sides[1]), float(sides[2])))


def grey(values: np.ndarray, dark: float = 0.0, bright: float = 1.0) -> np.ndarray:
    """uint8 (rows, columns, 3) of values from `dark` (black) to `bright` (white)."""
    shown = np.nan_to_num(values.astype(np.float64), nan=dark, posinf=bright, neginf=dark)
    level = np.rint(np.clip((shown - dark) / (bright - dark), 0.0, 1.0) * 255).astype(np.uint8)
    return np.repeat(level[:, :, None], 3, axis=2)


def diverging(values: np.ndarray, reach: float) -> np.ndarray:
    """uint8 (..., 3): blue at -`reach` and below, white at 0, vermilion at `reach` and above."""
    share = np.clip(np.nan_to_num(values) / (2 * reach) + 0.5, 0.0, 1.0)
    stops = np.linspace(0.0, 1.0, len(_ENDS))
    ends = np.array(_ENDS, dtype=np.float64)
    return np.stack([np.rint(np.interp(share, stops, ends[:, c])) for c in range(3)], axis=-1).astype(np.uint8)


def reach_of(*differences: np.ndarray) -> float:
    """A round end of the scale (1, 2 or 5 times a power of ten) that 99.5 % of the differences stay within."""
    values = np.abs(np.concatenate([np.ravel(d) for d in differences])) if differences else np.zeros(1)
    values = values[np.isfinite(values)]
    top = float(np.quantile(values, 0.995)) if len(values) else 0.0
    if top <= 1e-6:
        return 0.01
    power = 10.0 ** math.floor(math.log10(top))
    return next(float(f"{step * power:.6g}") for step in (1, 2, 5, 10) if step * power >= top * (1 - 1e-9))
