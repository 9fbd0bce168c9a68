"""The built-in brain mask: thresholds and morphology on a copy with voxels of about 2 mm.

1. The head is found (Otsu, blocks of 4 mm); the middle of the brain lies 72 mm below its top.
2. An ellipsoid about that middle holds brain alone; the median of its voxels is the typical brightness of brain.
3. Tissue is what lies between 0.45 and 1.35 times that, not lower than 140 mm below the top of the head. Air, bone
   and most fluid are darker, fat under the scalp of a T1 is brighter.
4. Tissue is eroded by 4 mm, which cuts what ties the brain to eyes, muscles and scalp; the part that holds most of
   the ellipsoid is grown back by 5 mm within the tissue.
5. Closed by 8 mm (sulci), holes filled (ventricles), grown by 2 mm (the fluid around the brain).

All lengths are those of an adult. The factors were chosen on five of the IXI scans of ``../shared/data/mri``;
docs/preparation.md says how well it does on the others, and where it fails.
"""

from __future__ import annotations

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.volumes.volume import nearest_axes, spacing_of, to_ras
from medfm.modalities.volume_quality import blocks, head_box, otsu

_MM = 2.0  # of the copy
_BELOW_TOP, _TAIL = 72.0, 140.0  # mm below the top of the head: middle of the brain, lowest part of it
_CORE = (45.0, 55.0, 35.0)  # half axes in mm of the ellipsoid that holds brain alone
_DARK, _BRIGHT = 0.45, 1.35  # of the median of brain
_OPEN, _GROW, _CLOSE, _RIM = 4.0, 5.0, 8.0, 2.0  # mm
_LITRES = (0.6, 2.4)  # what a human brain with its fluid may measure


def brain_mask(array: np.ndarray, affine: np.ndarray, where: str) -> np.ndarray:
    """The brain in a volume of the head.

    Args:
        array: float32 (i, j, k), finite, in any order of the axes.
        affine: float64 (4, 4), voxel index -> mm.
        where: Name of the record for errors.

    Returns:
        bool (i, j, k).

    Raises:
        ReadError: Nothing like a brain is found: no head, or less than 0.6 or more than 2.4 litres.
    """
    turned, changed = to_ras(array, affine)
    sides = spacing_of(changed)
    clipped = np.clip(turned, 0.0, max(float(np.percentile(turned, 99.5)), 0.0))
    coarse, coarse_sides = blocks(clipped, (float(sides[0]), float(sides[1]), float(sides[2])), _MM)
    found = _found(coarse, coarse_sides, where)
    litres = float(found.sum() * np.prod(coarse_sides)) / 1e6
    if not _LITRES[0] <= litres <= _LITRES[1]:
        raise ReadError(
            f"No brain was found: what was taken for it measures {litres:.2f} litres.",
            where=where,
            expected=f"{_LITRES[0]} to {_LITRES[1]} litres",
            fix="look at the volume (medfm data show); for other contrasts and children use method: synthstrip or hd-bet",
        )
    whole = _refined(found, coarse_sides, turned.shape, sides)
    axes, signs = nearest_axes(affine)
    back: np.ndarray = whole[tuple(slice(None, None, sign) for sign in signs)]
    return np.ascontiguousarray(np.transpose(back, np.argsort(axes)))


def _found(values: np.ndarray, sides: np.ndarray, where: str) -> np.ndarray:
    from scipy import ndimage

    box = head_box(values, (float(sides[0]), float(sides[1]), float(sides[2])))
    if box is None or values.max() <= 0:
        raise ReadError("There is no head in the volume.", where=where, fix="look at it with medfm data show")
    low, high = box
    top = high[2]
    centre = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, top - _BELOW_TOP]
    grids = np.ogrid[tuple(slice(0, n) for n in values.shape)]
    places = [(grid + 0.5) * side for grid, side in zip(grids, sides, strict=True)]
    core = sum(((p - c) / r) ** 2 for p, c, r in zip(places, centre, _CORE, strict=True)) < 1
    inner = values[core & (values > otsu(values) / 2)]
    if inner.size < 100:
        raise ReadError(
            "There is no brain where it should be, 72 mm below the top of the head.",
            where=where,
            fix="look at the volume (medfm data show): is it a whole head, and is its orientation right?",
        )
    typical = float(np.median(inner))
    tissue = (values > _DARK * typical) & (values < _BRIGHT * typical) & (places[2] > top - _TAIL)
    labels, number = ndimage.label(eroded(tissue, _OPEN, sides))
    if not number:
        return np.zeros(values.shape, bool)
    held = np.bincount(labels[core], minlength=number + 1)
    held[0] = 0
    brain = grown(labels == held.argmax(), _GROW, sides) & tissue
    # Room around, so that the closing does not take the border of the volume for the outside of the brain.
    room = [int(_CLOSE / side) + 2 for side in sides]
    padded = np.pad(brain, [(n, n) for n in room])
    padded = ndimage.binary_fill_holes(eroded(grown(padded, _CLOSE, sides), _CLOSE, sides))
    closed = padded[tuple(slice(n, -n) for n in room)]
    return np.asarray(ndimage.binary_fill_holes(grown(closed, _RIM, sides)))


def eroded(mask: np.ndarray, mm: float, sides: np.ndarray) -> np.ndarray:
    """What is left of a mask when everything nearer than `mm` to its outside is taken away, bool (i, j, k)."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(mask, sampling=sides) > mm)


def grown(mask: np.ndarray, mm: float, sides: np.ndarray) -> np.ndarray:
    """A mask with everything that lies within `mm` of it, bool (i, j, k); an empty one stays empty."""
    from scipy import ndimage

    if not mask.any():
        return np.zeros(mask.shape, bool)
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=sides) <= mm)


def _refined(coarse: np.ndarray, coarse_sides: np.ndarray, shape: tuple[int, ...], sides: np.ndarray) -> np.ndarray:
    """The mask on the voxels of the volume: trilinear between the middles of the blocks, from one half on."""
    if coarse.shape == shape:
        return coarse
    result = coarse.astype(np.float32)
    for axis in range(3):
        places = (np.arange(shape[axis]) + 0.5) * sides[axis] / coarse_sides[axis] - 0.5
        low = np.clip(np.floor(places).astype(np.intp), 0, coarse.shape[axis] - 1)
        high = np.minimum(low + 1, coarse.shape[axis] - 1)
        share = np.clip(places - low, 0.0, 1.0).astype(np.float32)
        share = share.reshape([-1 if one == axis else 1 for one in range(3)])
        result = np.take(result, low, axis=axis) * (1 - share) + np.take(result, high, axis=axis) * share
    return result >= 0.5  # without holes, as the coarse one is


def softened(mask: np.ndarray, sides: np.ndarray, mm: float) -> np.ndarray:
    """A mask as float32 from 0 to 1 whose edge is a Gaussian step of deviation `mm`; 0 and 1 where `mm` is 0."""
    from scipy import ndimage

    values = mask.astype(np.float32)
    return values if mm == 0 else np.asarray(ndimage.gaussian_filter(values, mm / sides, mode="nearest"))
