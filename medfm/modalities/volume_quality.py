"""What the deep checks need to know of a volume of the head, measured on a copy with voxels of about 4 mm.

Nothing here reads anatomy: the measures are those of a bright body in air, its size, its mirror symmetry and the noise
around it. docs/brain_mri.md says what they found on real scans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_MM = 4.0  # of the copy
_BELOW_TOP = 72.0  # mm from the top of the head down to the basal ganglia of an adult
_MOST = 192  # voxels along each axis within which noise is measured
_TOP = 99.5  # percentile that counts as the brightest value
# Share of voxels that says that whole numbers overflowed; of the largest whole number, what is bright beside them.
WRAPPED, _BRIGHT = 1e-5, 0.6


@dataclass(frozen=True)
class VolumeQuality:
    """Measurements of one volume.

    Attributes:
        spacing: mm along i, j, k.
        left_right: Whether the file tells left from right.
        mirrored_forms: Whether the two geometries of a NIfTI header have opposite hands.
        apart_mm: How far the two geometries of a NIfTI header with one code put a corner apart, mm.
        not_finite: Voxels that are NaN or infinite.
        constant: Whether there is one value throughout.
        wrapped: Share of the voxels that are negative between bright ones in a file of signed whole numbers.
        clipped: Share of the voxels that have the largest value, where many have.
        extent: Size of the body above the background, mm along right, front, top.
        filled: Its share of the box around it.
        cut_top: Share of the topmost plane that the body fills.
        cut_sides: Largest share of the left, right, front or back border plane that it fills.
        symmetry: Correlation with the mirror image along right, front, top, each shifted to fit best.
        snr: Median of the body over the standard deviation of the noise within it; ``None`` where there is none.
        streaks: How much brighter air is in the middle of a border than in the quietest corner, in standard
            deviations of the noise there; ``None`` where the scanner or a program has set air to 0.
    """

    spacing: tuple[float, float, float]
    left_right: bool
    mirrored_forms: bool
    apart_mm: float
    not_finite: int
    constant: bool
    wrapped: float
    clipped: float
    extent: tuple[float, float, float]
    filled: float
    cut_top: float
    cut_sides: float
    symmetry: tuple[float, float, float]
    snr: float | None
    streaks: float | None


def measure(array: np.ndarray, facts: Mapping[str, Any]) -> VolumeQuality:
    """Measure a volume float32 (i, j, k) in right, front, top."""
    spacing = tuple(float(side) for side in facts["spacing_mm"])
    not_finite = int(facts.get("not_finite", 0))
    values = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0) if not_finite else array
    low, high = float(values.min()), float(values.max())
    about: dict[str, Any] = {
        "spacing": spacing,
        "left_right": facts.get("left_right") == "known",
        "mirrored_forms": bool(facts.get("sform_mirrors_qform")),
        "apart_mm": float(facts.get("sform_against_qform_mm", 0.0)) if facts.get("same_codes") else 0.0,
        "not_finite": not_finite,
    }
    if low == high:
        zeros = (0.0, 0.0, 0.0)
        return VolumeQuality(
            **about, constant=True, wrapped=0.0, clipped=0.0, extent=zeros, filled=0.0, cut_top=0.0, cut_sides=0.0,
            symmetry=zeros, snr=None, streaks=None,
        )  # fmt: skip
    coarse, sides = _coarse(values, spacing)
    top = float(np.percentile(coarse, _TOP))
    body = _body(coarse)
    box = [np.flatnonzero(body.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    extent = tuple(float((b[-1] - b[0] + 1) * side) if len(b) else 0.0 for b, side in zip(box, sides, strict=True))
    volume = float(np.prod([len(b) and b[-1] - b[0] + 1 for b in box]))
    edges = [float(body[0].mean()), float(body[-1].mean()), float(body[:, 0].mean()), float(body[:, -1].mean())]
    return VolumeQuality(
        **about,
        constant=False,
        wrapped=_wrapped(values, facts) if low < 0 else 0.0,
        clipped=_clipped(values, high),
        extent=(extent[0], extent[1], extent[2]),
        filled=float(body.sum() / volume) if volume else 0.0,
        cut_top=float(body[:, :, -1].mean()),
        cut_sides=max(edges),
        symmetry=_symmetry(np.clip(coarse, 0.0, top) if low >= 0 else coarse, body),
        snr=_noise(values, body, spacing),
        streaks=_streaks(values, body) if low >= 0 else None,
    )


def body_centre(array: np.ndarray, spacing: tuple[float, float, float]) -> tuple[int, int, int]:
    """The voxel in the middle of the box around the head, or of the volume where there is none.

    Of a scan that reaches down into the neck the middle of the brain is taken, 72 mm below the top of the head.
    """
    values = array if np.isfinite(array).all() else np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)
    coarse, sides = _coarse(values, spacing)
    body = _body(coarse)
    middle = []
    for axis in range(3):
        filled = np.flatnonzero(body.any(axis=tuple(a for a in range(3) if a != axis)))
        blocks = (filled[0] + filled[-1] + 1) / 2 if len(filled) else body.shape[axis] / 2
        if axis == 2 and len(filled):
            blocks = max(blocks, filled[-1] + 1 - _BELOW_TOP / sides[2])
        middle.append(min(int(blocks * sides[axis] / spacing[axis]), array.shape[axis] - 1))
    return middle[0], middle[1], middle[2]


def head_mask(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Where the head is (the brain, of a volume without its skull): bool (i, j, k), in blocks of about 4 mm.

    Args:
        array: float (i, j, k), finite, in any order of the axes.
        affine: float (4, 4), voxel index -> mm; only the sides of a voxel count.
    """
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    coarse, _ = _coarse(array, tuple(float(side) for side in sides))
    whole = _full(_body(coarse), array.shape)
    # The last voxels, which fill no block, are like the last block.
    return np.pad(whole, [(0, n - m) for n, m in zip(array.shape, whole.shape, strict=True)], mode="edge")


def head_box(array: np.ndarray, spacing: tuple[float, float, float]) -> tuple[list[float], list[float]] | None:
    """The box around the head, mm from the outer corner of the first voxel: its ends low and high along each axis.

    ``None`` where nothing stands out from the background.
    """
    coarse, sides = _coarse(array, spacing)
    body = _body(coarse)
    if not body.any():
        return None
    filled = [np.flatnonzero(body.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    low = [float(f[0] * side) for f, side in zip(filled, sides, strict=True)]
    return low, [float((f[-1] + 1) * side) for f, side in zip(filled, sides, strict=True)]


def _coarse(values: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    return blocks(values, spacing, _MM)


def blocks(values: np.ndarray, spacing: tuple[float, ...], mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Means of whole blocks of about `mm`, and the sides of a block; voxels that fill no block are left out."""
    factors = [max(round(mm / side), 1) for side in spacing]
    factors = [min(f, n) for f, n in zip(factors, values.shape, strict=True)]
    sizes = [n // f for n, f in zip(values.shape, factors, strict=True)]
    cut = values[tuple(slice(0, n * f) for n, f in zip(sizes, factors, strict=True))]
    blocks = cut.reshape(sizes[0], factors[0], sizes[1], factors[1], sizes[2], factors[2])
    return blocks.mean(axis=(1, 3, 5), dtype=np.float64), np.array(factors) * np.array(spacing)


def _body(coarse: np.ndarray) -> np.ndarray:
    """The largest connected part above Otsu's threshold, holes filled."""
    from scipy import ndimage

    limit = otsu(coarse)
    # Fat and vessels are far brighter than brain; the second split, among what is darker, keeps brain in the body.
    below = coarse[coarse <= limit]
    if len(below) and (coarse > limit).mean() < 0.15:
        limit = otsu(below)
    labels, number = ndimage.label(coarse > limit)
    if not number:
        return np.zeros(coarse.shape, bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(labels == sizes.argmax()))


def otsu(values: np.ndarray) -> float:
    """The threshold that parts a histogram into the two most even classes."""
    low, high = (float(v) for v in np.percentile(values, (0.0, _TOP)))
    if low == high:
        return low
    counts, edges = np.histogram(values, 128, (low, high))
    middles = (edges[1:] + edges[:-1]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1:][int(np.nanargmax(between))])


def _symmetry(coarse: np.ndarray, body: np.ndarray) -> tuple[float, float, float]:
    return tuple(_mirrored(coarse, body, axis) for axis in range(3))  # type: ignore[return-value]


def _mirrored(coarse: np.ndarray, body: np.ndarray, axis: int) -> float:
    """Largest correlation of a volume with its mirror image about a plane near the middle of its body."""
    filled = np.flatnonzero(body.any(axis=tuple(a for a in range(3) if a != axis)))
    if len(filled) < 4:
        return 0.0
    best = -1.0
    lines = np.moveaxis(coarse, axis, 0)
    for twice in range(filled[0] + filled[-1] - 4, filled[0] + filled[-1] + 5):
        # Plane n meets plane twice - n.
        first, last = max(twice - len(lines) + 1, 0), min(twice, len(lines) - 1)
        part = lines[first : last + 1]
        if len(part) < 4:
            continue
        one, other = part.ravel(), part[::-1].ravel()
        spread = one.std()
        best = max(best, float(((one - one.mean()) * (other - other.mean())).mean() / spread**2) if spread else 0.0)
    return best


def _full(body: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The body on the grid of the volume, as far as whole blocks go."""
    for axis in range(3):
        body = np.repeat(body, max(shape[axis] // body.shape[axis], 1), axis)
    return body


def _noise(values: np.ndarray, body: np.ndarray, spacing: tuple[float, ...]) -> float | None:
    """Median of the body over the noise within it.

    The noise is Immerkaer's (1996): what a mask that takes away planes and ramps along the two finer axes leaves, its
    median absolute value instead of the mean, since edges are few. Structure as fine as a voxel counts as noise.
    """
    inside = _full(body, values.shape)
    if not inside.any():
        return None
    # The middle of the body is enough, and keeps a scan of half a gigabyte from being copied several times.
    middles = [
        int(np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis))).mean()) for axis in range(3)
    ]
    box = tuple(slice(max(m - _MOST // 2, 0), m + _MOST // 2) for m in middles)
    part = values[tuple(slice(0, n) for n in inside.shape)][box]
    inside = inside[box]
    if not inside.any():
        return None
    signal = float(np.median(part[inside]))
    thick = int(np.argmax(spacing))
    for axis in range(3):
        if axis != thick:
            part = np.diff(part, 2, axis)
            inside = np.take(inside, range(1, inside.shape[axis] - 1), axis)
    if not inside.any():
        return None
    noise = 1.4826 * float(np.median(np.abs(part[inside]))) / 6.0
    return signal / noise if noise > 0 else None


def _streaks(values: np.ndarray, body: np.ndarray) -> float | None:
    """How much the brightest border of air exceeds the quietest corner, in deviations of the noise there."""
    from scipy import ndimage

    corners = [
        values[tuple(slice(0, max(n // 10, 2)) if side == 0 else slice(-max(n // 10, 2), None) for n, side in zip(values.shape, at, strict=True))]
        for at in np.ndindex(2, 2, 2)
    ]  # fmt: skip
    noisy = [float(corner.mean()) for corner in corners if (corner == 0).mean() < 0.5 and corner.std() > 0]
    if not noisy or min(noisy) <= 0:
        return None
    # Air in a magnitude image is Rayleigh distributed: its mean is 1.2533 times the deviation of each channel.
    deviation = min(noisy) / 1.2533
    # Ghosts repeat the head along the phase axis, so they reach the middle of a border, but never a corner.
    free = ~_full(ndimage.binary_dilation(body, iterations=2), values.shape)
    values = values[tuple(slice(0, n) for n in free.shape)]
    brightest = None
    for axis in (0, 1):
        for end in (slice(0, max(values.shape[axis] // 16, 2)), slice(-max(values.shape[axis] // 16, 2), None)):
            middle = [slice(n // 3, n - n // 3) for n in values.shape]
            middle[axis] = end
            air = values[tuple(middle)][free[tuple(middle)]]
            if air.size > 100:
                excess = (float(np.median(air)) - min(noisy)) / deviation
                brightest = excess if brightest is None else max(brightest, excess)
    return brightest


def overflowed(array: np.ndarray, facts: Mapping[str, Any]) -> bool:
    """Whether whole numbers seem to have overflowed when the file was written.

    Args:
        array: float (i, j, k) as read.
        facts: ``stored``, ``scaled`` and ``range`` of the volume.
    """
    low, high = facts["range"]
    # Nearly all volumes end here, without a pass over the voxels.
    if low >= 0 or not _signed(facts) or high <= _BRIGHT * np.iinfo(str(facts["stored"])).max:
        return False
    return _wrapped(array, facts) > WRAPPED


def _signed(facts: Mapping[str, Any]) -> bool:
    return facts.get("stored") in ("int8", "int16", "int32") and not facts.get("scaled")


def _wrapped(values: np.ndarray, facts: Mapping[str, Any]) -> float:
    """Share of voxels below zero with a neighbour near the top of the range: what an overflow of int16 leaves."""
    if not _signed(facts):
        return 0.0
    top = float(np.iinfo(str(facts["stored"])).max)
    below = values < 0
    beside = np.zeros(values.shape, bool)
    for axis in range(3):
        lines, marks = np.moveaxis(values, axis, 0), np.moveaxis(beside, axis, 0)
        marks[1:] |= lines[:-1] > _BRIGHT * top
        marks[:-1] |= lines[1:] > _BRIGHT * top
    return float((below & beside).mean())


def _clipped(values: np.ndarray, high: float) -> float:
    """Share of voxels at the largest value, where the next values below are rare against it."""
    at_top = int((values == high).sum())
    just_below = int(((values < high) & (values > 0.98 * high)).sum())
    return at_top / values.size if at_top > max(just_below, 10) and high > 0 else 0.0
