"""Synthetic brains: ellipsoids with the intensities of a skull-stripped T1-weighted scan.

Lengths are mm in a world with x to the right, y to the front, z to the top and the origin in the
middle of the brain. Nothing here is an anatomical model: it has what a test of a longitudinal
brain model needs, ventricles that grow with age and hippocampi that shrink with disease.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SHAPE = (32, 40, 32)
MM = 5.0
GREY, WHITE, FLUID = 0.62, 0.92, 0.2  # relative to the brightest tissue
DIAGNOSES = ("CN", "MCI", "AD")
_BRAIN = (66.0, 82.0, 60.0)  # semi-axes
_VENTRICLE, _VENTRICLE_AT = (6.0, 26.0, 9.0), (7.5, 2.0, 12.0)
# Ventricles grow in width and height; in length by a smaller power. The side towards the other ventricle stays.
_GROWTH, _GAP = (1.0, 0.4, 1.0), 1.5
_HIPPOCAMPUS, _HIPPOCAMPUS_AT = (14.0, 30.0, 14.0), (30.0, -12.0, -28.0)
_CORTEX = 9.0
_FOLDS = 0.2  # mm, of each wave
# Voxels average over their width: edges are blurred by about a quarter of it.
_EDGE = 1.3
# The surface of a brain is softer: fluid and folds share its voxels.
_RIM = 2.5
# Both effects are far larger than in patients, so that they move edges by whole voxels of 5 mm:
# width of the ventricles at the reference age and per year, and per unit of a disease that the
# diagnosis starts with and adds to every year.
_WIDTH_AT_REFERENCE, _REFERENCE_AGE = 0.5, 50.0
_AGEING, _AGEING_HIPPOCAMPI = 0.055, 0.002
_DISEASE = {"CN": (0.0, 0.0), "MCI": (0.5, 0.01), "AD": (1.0, 0.01)}
_DISEASE_VENTRICLES, _DISEASE_HIPPOCAMPI = 0.05, 1.3


@dataclass(frozen=True)
class Brain:
    """What stays the same at every visit of a subject.

    Attributes:
        size: Factor of all lengths.
        ventricles: Factor of the ventricles' volume at the reference age.
        hippocampi: Factor of the hippocampi's volume.
        folds: Seed of the folds of the cortex.
    """

    size: float
    ventricles: float
    hippocampi: float
    folds: tuple[int, ...]


@dataclass(frozen=True)
class Scanner:
    """How a site's pictures look: brightness in stored units, unevenness, noise (shares of white matter)."""

    gain: float
    unevenness: float
    noise: float


@dataclass(frozen=True)
class Anatomy:
    """Volumes of both sides together, in ml, that :func:`draw_brain` draws."""

    ventricles_ml: float
    hippocampi_ml: float


def _ml(semi_axes: tuple[float, ...]) -> float:
    return 2 * 4 / 3 * math.pi * math.prod(semi_axes) / 1000


def anatomy(brain: Brain, age: float, years: float, diagnosis: str) -> Anatomy:
    """How large the changing parts are.

    Args:
        brain: The subject.
        age: At the first visit, in years.
        years: Since the first visit.
        diagnosis: ``CN``, ``MCI`` or ``AD``.
    """
    first, yearly = _DISEASE[diagnosis]
    disease, aged = first + yearly * years, age + years - _REFERENCE_AGE
    width = (_WIDTH_AT_REFERENCE + _AGEING * aged + _DISEASE_VENTRICLES * disease) * brain.ventricles
    grown = width ** sum(_GROWTH)
    left = brain.hippocampi * math.exp(-_AGEING_HIPPOCAMPI * aged - _DISEASE_HIPPOCAMPI * disease)
    cubed = brain.size**3
    return Anatomy(_ml(_VENTRICLE) * grown * cubed, _ml(_HIPPOCAMPUS) * left * cubed)


def grid_affine() -> np.ndarray:
    """float64 (4, 4): voxel index to mm, origin in the middle of the volume."""
    affine = np.diag([MM, MM, MM, 1.0])
    affine[:3, 3] = [-(side - 1) / 2 * MM for side in SHAPE]
    return affine


def draw_brain(brain: Brain, parts: Anatomy, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """One scan, float32 of shape :data:`SHAPE`, 0 outside the brain.

    Args:
        brain: The subject.
        parts: From :func:`anatomy`.
        scanner: Of the site.
        rng: Draws what differs from scan to scan: position, unevenness, noise.
    """
    points = _positioned(rng) / brain.size
    folded = _depth(points, (0.0, 0.0, 0.0), _BRAIN) + _folds(points, brain.folds)
    inside = _soft(folded, _RIM)
    image = GREY + (WHITE - GREY) * _soft(folded + _CORTEX, _RIM)
    cubed = brain.size**3
    wide = (parts.ventricles_ml / cubed / _ml(_VENTRICLE)) ** (1 / sum(_GROWTH))
    axes = tuple(axis * wide**power for axis, power in zip(_VENTRICLE, _GROWTH, strict=True))
    full = (parts.hippocampi_ml / cubed / _ml(_HIPPOCAMPUS)) ** (1 / 3)
    for side in (-1.0, 1.0):
        where = (side * _HIPPOCAMPUS_AT[0], *_HIPPOCAMPUS_AT[1:])
        # The place of a hippocampus stays; what it has lost is fluid.
        image = _over(image, FLUID, _soft(_depth(points, where, _HIPPOCAMPUS)))
        image = _over(image, GREY, _soft(_depth(points, where, tuple(full * a for a in _HIPPOCAMPUS))))
        where = (side * (axes[0] + _GAP), *_VENTRICLE_AT[1:])
        image = _over(image, FLUID, _soft(_depth(points, where, axes)))
    image = image * _unevenness(scanner.unevenness, rng)
    real, imaginary = (rng.normal(0, scanner.noise, SHAPE) for _ in range(2))
    noisy = np.hypot(image * inside + real, imaginary)
    # Skull stripping leaves nothing outside.
    return (scanner.gain * np.where(inside > 0.1, noisy, 0.0)).astype(np.float32)


def ventricle_ml(volume: np.ndarray, mm: float = MM) -> float:
    """Fluid about the middle of a brain in ml, measured on any volume of the geometry drawn here.

    The share of fluid of each voxel follows from its brightness between fluid and white matter
    (partial volumes); white matter is the 90th percentile of the voxels measured.

    Args:
        volume: float (i, j, k) about the middle of the brain, any brightness, fluid darker than tissue.
        mm: Side of a voxel.
    """
    axes = [(np.arange(side) - (side - 1) / 2) * mm for side in volume.shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    region = (np.abs(x) < 36) & (np.abs(y - _VENTRICLE_AT[1]) < 42) & (np.abs(z - _VENTRICLE_AT[2]) < 25)
    values = np.asarray(volume, dtype=np.float64)[region]
    white = float(np.percentile(values, 90))
    dark = white * FLUID / WHITE
    share = np.clip((white - values) / max(white - dark, 1e-9), 0.0, 1.0)
    # Noise of white matter is no fluid.
    return float(np.where(share > 0.2, share, 0.0).sum() * mm**3 / 1000)


def _positioned(rng: np.random.Generator) -> np.ndarray:
    """Points (3, i, j, k) of the grid in the brain's own axes: registration leaves about half a mm and half a degree."""
    axes = [(np.arange(side) - (side - 1) / 2) * MM for side in SHAPE]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    first, second, third = rng.normal(0, math.radians(0.2), 3)
    turn = np.array([[1, -third, second], [third, 1, -first], [-second, first, 1]])
    shifted = points - rng.normal(0, 0.15, 3).reshape(3, 1, 1, 1)
    return np.einsum("ab,bijk->aijk", turn, shifted)


def _depth(points: np.ndarray, centre: tuple[float, ...], semi_axes: tuple[float, ...]) -> np.ndarray:
    """About how far outside an ellipsoid each point is, in mm (negative inside)."""
    away = points - np.reshape(centre, (3, 1, 1, 1))
    level = np.sqrt(((away / np.reshape(semi_axes, (3, 1, 1, 1))) ** 2).sum(axis=0))
    slope = np.sqrt(((away / np.reshape(semi_axes, (3, 1, 1, 1)) ** 2) ** 2).sum(axis=0))
    return (level - 1) * level / np.maximum(slope, 1e-6)


def _soft(depth: np.ndarray, edge: float = _EDGE) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip(depth / edge, -50, 50)))


def _over(image: np.ndarray, value: float, share: np.ndarray) -> np.ndarray:
    return image * (1 - share) + value * share


def _folds(points: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
    """Bumps of the surface in mm: waves of 25 to 50 mm whose directions are the subject's own."""
    rng = np.random.default_rng(seed)
    total = np.zeros(points.shape[1:])
    for _ in range(6):
        direction = rng.normal(size=3)
        wave = direction / np.linalg.norm(direction) * 2 * math.pi / rng.uniform(25, 50)
        total += _FOLDS * np.cos(np.einsum("a,aijk->ijk", wave, points) + rng.uniform(0, 2 * math.pi))
    return total


def _unevenness(strength: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth factor about 1: a plane and a bowl."""
    axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in SHAPE), indexing="ij")
    slopes, bowls = rng.normal(0, strength, 3), rng.normal(0, strength / 2, 3)
    field = sum(s * a + b * (a**2 - 1 / 3) for s, b, a in zip(slopes, bowls, axes, strict=True))
    return np.asarray(np.exp(field))
