"""Haematoxylin and eosin as numbers: optical density, the two stains of a patch, normalisation, jitter.

Absorbance follows Beer and Lambert: a pixel's optical density is the sum of the stains' own colours times how much
of each there is. Estimation and normalisation after Macenko et al. (ISBI 2009), colour transfer after Reinhard et
al. (IEEE CG&A 21 (2001) 34) in the space of Ruderman et al. (JOSA A 15 (1998) 2036), fixed stain vectors after
Ruifrok and Johnston (Anal Quant Cytol Histol 23 (2001) 291). Nothing here draws a random number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LIGHT = 240.0
"""Brightness of empty glass in grey levels, as Macenko's code takes it."""
BETA = 0.15
"""Optical density (natural logarithm) below which a channel counts as empty glass."""
_FEWEST = 64
# A second stain must explain this share of what the first explains, as a ratio of eigenvalues.
_FLATTEST = 1e-3
# Stains less than 15 degrees apart are shades of one; the reference has 22, real patches up to 45.
_NEAREST = float(np.cos(np.radians(15.0)))


@dataclass(frozen=True)
class Stains:
    """The stains of a picture.

    Attributes:
        matrix: float64 (2, 3): optical density of haematoxylin and of eosin in R, G, B, each of length 1.
        strongest: float64 (2,): 99th percentile of the amount of each over the tissue.
    """

    matrix: np.ndarray
    strongest: np.ndarray


# Macenko's reference, as given with the published MATLAB code; columns there, rows here.
REFERENCE = Stains(
    np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]]),
    np.array([1.9705, 1.0308]),
)
# Haematoxylin, eosin and DAB (Ruifrok and Johnston), each of length 1.
RUIFROK = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
RUIFROK = RUIFROK / np.linalg.norm(RUIFROK, axis=1, keepdims=True)


def optical_density(rgb: np.ndarray, light: float = LIGHT) -> np.ndarray:
    """Natural-logarithm optical density, float64 of the shape of `rgb` (uint8 or numbers 0 to 255).

    ``-log((value + 1) / light)``, as Macenko's code has it; the 1 keeps black finite. Glass brighter than
    `light` gets slightly negative values.
    """
    return -np.log((np.asarray(rgb, dtype=np.float64) + 1.0) / light)


def tissue(rgb: np.ndarray, light: float = LIGHT, beta: float = BETA) -> np.ndarray:
    """Boolean (h, w): pixels whose every channel absorbs at least `beta`."""
    return np.asarray((optical_density(rgb, light) >= beta).all(axis=-1))


def estimate(rgb: np.ndarray, light: float = LIGHT, beta: float = BETA, alpha: float = 1.0) -> Stains | None:
    """The two stains of a picture.

    Args:
        rgb: uint8 (h, w, 3).
        light: Brightness of empty glass.
        beta: Pixels with a channel below this optical density are left out.
        alpha: Percentile of the angles that counts as an extreme.

    Returns:
        Haematoxylin first (the one that absorbs more red); ``None`` where there is too little tissue or only
        one stain: the two cannot be told apart there, and made-up vectors would invent colours.
    """
    density = optical_density(rgb, light).reshape(-1, 3)
    kept = density[(density >= beta).all(axis=1)]
    if len(kept) < _FEWEST:
        return None
    values, vectors = np.linalg.eigh(np.cov(kept, rowvar=False))
    if not np.isfinite(values).all() or values[1] < max(_FLATTEST * values[2], 1e-9):
        return None
    # Both axes are turned to point to more absorbance, so that the angles do not wrap.
    plane = vectors[:, [2, 1]] * np.where(vectors[:, [2, 1]].sum(axis=0) < 0, -1.0, 1.0)
    angles = np.arctan2(*(kept @ plane).T[::-1])
    low, high = np.percentile(angles, [alpha, 100 - alpha])
    ends = np.stack([plane @ (np.cos(angle), np.sin(angle)) for angle in (low, high)])
    matrix = ends[::-1] if ends[0, 0] < ends[1, 0] else ends
    if float(matrix[0] @ matrix[1]) > _NEAREST:
        return None
    strongest = np.percentile(amounts(density, matrix), 99, axis=0)
    if (strongest <= 1e-6).any() or not np.isfinite(matrix).all():
        return None
    return Stains(matrix, strongest)


def amounts(density: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """How much of each stain, (n, stains), by least squares from (n, 3) and the stains' (stains, 3)."""
    found: np.ndarray = np.asarray(density) @ np.linalg.pinv(matrix)
    return found


def macenko(rgb: np.ndarray, target: Stains = REFERENCE, light: float = LIGHT) -> np.ndarray:
    """`rgb`, uint8 (h, w, 3), with the colours and the strength of the `target`'s stains; a new uint8 array.

    A picture whose stains cannot be told (:func:`estimate`) comes back as it is.
    """
    own = estimate(rgb, light)
    if own is None:
        return rgb.copy()
    share = amounts(optical_density(rgb, light).reshape(-1, 3), own.matrix) / own.strongest
    density = (share * target.strongest) @ target.matrix
    return _bytes(light * np.exp(-density) - 1.0).reshape(rgb.shape)


# Linear RGB to the cones' LMS, and log LMS to l, alpha, beta (Reinhard et al. 2001, equations 4 and 6).
_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_OPPONENT = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array([[1.0, 1, 1], [1, 1, -2], [1, -1, 0]])


def opponent(rgb: np.ndarray) -> np.ndarray:
    """Ruderman's l, alpha, beta (logarithm to base 10), float64 of the shape of `rgb`; black counts as 1/255."""
    cones = np.maximum(np.asarray(rgb, dtype=np.float64), 1.0) / 255.0 @ _LMS.T
    turned: np.ndarray = np.log10(cones) @ _OPPONENT.T
    return turned


def from_opponent(values: np.ndarray) -> np.ndarray:
    """The inverse of :func:`opponent`, as numbers 0 to 255, not rounded."""
    cones = 10.0 ** (np.asarray(values, dtype=np.float64) @ np.linalg.inv(_OPPONENT).T)
    back: np.ndarray = cones @ np.linalg.inv(_LMS).T * 255.0
    return back


@dataclass(frozen=True)
class ColourStatistics:
    """Mean and standard deviation of l, alpha and beta over the tissue of a picture, float64 (3,) each."""

    mean: np.ndarray
    std: np.ndarray


def colour_statistics(rgb: np.ndarray) -> ColourStatistics | None:
    """Of the tissue of `rgb`, uint8 (h, w, 3); ``None`` where there is too little, or one colour only."""
    values = opponent(rgb)[tissue(rgb)]
    if len(values) < _FEWEST:
        return None
    mean, std = values.mean(axis=0), values.std(axis=0)
    return None if (std < 1e-6).any() else ColourStatistics(mean, std)


def reinhard(rgb: np.ndarray, target: ColourStatistics) -> np.ndarray:
    """`rgb`, uint8 (h, w, 3), with the `target`'s colour statistics in its tissue; empty glass stays as it is.

    Between an optical density of :data:`BETA` and three times that the old colour passes over into the new one, so
    that no edge appears where there was none. A picture without tissue, or of one colour, comes back as it is.
    """
    own = colour_statistics(rgb)
    if own is None:
        return rgb.copy()
    moved = (opponent(rgb) - own.mean) / own.std * target.std + target.mean
    new = from_opponent(moved).clip(0, 255)
    weight = ((optical_density(rgb).min(axis=-1, keepdims=True) - BETA) / (2 * BETA)).clip(0, 1)
    return _bytes(weight * new + (1 - weight) * rgb)


def jitter(rgb: np.ndarray, factors: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Other amounts of haematoxylin, eosin and the rest: amount * factor + shift (Tellez et al., TMI 37 (2018) 2126).

    Args:
        rgb: Numbers (h, w, 3) in 0 to 1.
        factors: (3,), 1 for no change; of the stains of :data:`RUIFROK`.
        shifts: (3,), 0 for no change, in optical density to base e.

    Returns:
        float64 (h, w, 3) in 0 to 1.
    """
    floor = 1.0 / 255.0
    density = -np.log(np.maximum(np.asarray(rgb, dtype=np.float64), floor))
    share = density @ np.linalg.inv(RUIFROK)
    changed: np.ndarray = np.exp(-((share * factors + shifts) @ RUIFROK))
    return changed.clip(0.0, 1.0)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(values.clip(0, 255)).astype(np.uint8)
