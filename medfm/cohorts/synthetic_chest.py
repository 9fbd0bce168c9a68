"""Drawn chest radiographs: a thorax with lungs, heart, ribs and collar bones, and what disease adds to it.

Everything is a sum of smooth shapes on a grid that runs from -1 to 1 down the picture. Dense is bright, as after
MONOCHROME1 has been turned over. Brightness alone does not tell the disease: exposure, inflation of the lungs and the
width of the body vary more between patients than an opacity changes the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

SEVERITIES = ("none", "mild", "moderate", "severe")
_LETTERS = {
    "R": ("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"),
    "L": ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
}
_LUNG_X, _LUNG_Y = 0.40, -0.02  # centre of a lung, from the middle of the picture


@dataclass(frozen=True)
class Thorax:
    """What a patient brings along, the same in every picture: sizes as shares of the usual ones.

    Attributes:
        width: Of the body.
        inflation: Height of the lungs.
        lung: Density of the lungs, about 0.2 (soft tissue has 0.55).
        heart: Width of the heart; 1.3 and more is too large.
        ribs: Contrast of the ribs.
    """

    width: float
    inflation: float
    lung: float
    heart: float
    ribs: float


@dataclass(frozen=True)
class Detector:
    """What a site's machine makes of it.

    Attributes:
        aspect: Width of the picture as a share of its height.
        gamma: Exponent of the grey scale.
        blur: Pixels, at a height of 192.
        noise: Standard deviation, as a share of the range.
        marker: ``"R"`` or ``"L"``.
        place: Where the marker lies: right or left of the patient from the outer edge, and from above, as shares.
        border: Dark edge of the collimator, as a share of the height.
    """

    aspect: float
    gamma: float
    blur: float
    noise: float
    marker: str
    place: tuple[float, float]
    border: float = 0.0


@dataclass(frozen=True)
class Opacity:
    """One patch in a lung: centre and radii on the grid, density added."""

    x: float
    y: float
    radius: tuple[float, float]
    density: float


def draw_opacities(severity: str, rng: np.random.Generator) -> tuple[Opacity, ...]:
    """Patches of a disease of this severity: more, larger and denser ones; none for ``"none"``."""
    grade = SEVERITIES.index(severity)
    if grade == 0:
        return ()
    patches = []
    for _ in range(grade + int(rng.integers(0, 2))):
        side = int(rng.choice((-1, 1)))
        x, y = side * (_LUNG_X + rng.uniform(-0.10, 0.10)), _LUNG_Y + rng.uniform(-0.30, 0.38)
        radius = (float(rng.uniform(0.06, 0.10 + 0.02 * grade)), float(rng.uniform(0.06, 0.11 + 0.03 * grade)))
        patches.append(Opacity(float(x), float(y), radius, float(rng.uniform(0.13, 0.18 + 0.04 * grade))))
    return tuple(patches)


def draw_thorax(
    body: Thorax,
    opacities: tuple[Opacity, ...],
    effusion: float,
    height: int,
    width: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Density float64 (height, width), 0 (air) to about 1; the patient's right is at the left of the picture.

    Args:
        body: The patient.
        opacities: Patches in the lungs.
        effusion: Height of fluid at the foot of a lung, 0 (none) to 1; negative at the left of the picture.
        height: Pixels.
        width: Pixels.
        rng: For the texture of the lungs and the small shifts of a new exposure.
    """
    # A new exposure: turned and shifted a little, in another phase of breathing.
    tilt, shift_x, shift_y = rng.normal(0, 0.02), rng.normal(0, 0.02), rng.normal(0, 0.02)
    breath = body.inflation * (1 + rng.normal(0, 0.02))
    rows, columns = np.mgrid[0:height, 0:width]
    x0 = (2 * columns + 1 - width) / height - shift_x
    y0 = (2 * rows + 1 - height) / height - shift_y
    x, y = (x0 + tilt * y0) / body.width, y0 - tilt * x0
    trunk = _inside((0.36 + 0.52 / (1 + np.exp(-(y + 0.74) / 0.05)) - np.abs(x)) / 0.03)
    lungs = sum((_lung(x, y, side, breath) for side in (-1, 1)), np.zeros_like(x))
    density = trunk * (0.55 - (0.55 - body.lung) * lungs)
    density += trunk * lungs * 0.03 * _texture((height, width), rng, height / 40)
    # The hila: vessels fan out from them.
    for side in (-1, 1):
        density += 0.14 * np.exp(-(((x - side * 0.20) / 0.09) ** 2) - ((y + 0.02) / 0.16) ** 2) * lungs
    ribs = _ribs(x, y) * _inside((0.78 - np.abs(x)) / 0.03) * _inside((0.62 - np.abs(y)) / 0.05)
    density += trunk * body.ribs * 0.12 * ribs
    collar = np.exp(-(((y + 0.66 + 0.16 * (np.abs(x) - 0.2)) / 0.03) ** 2)) * _inside((np.abs(x) - 0.08) / 0.02)
    density += trunk * 0.13 * collar * _inside((0.72 - np.abs(x)) / 0.03)
    spine = np.exp(-((x / 0.075) ** 2)) * (0.85 + 0.15 * np.cos(2 * np.pi * y / 0.17))
    density += trunk * (0.16 * spine + 0.13 * np.exp(-((x / 0.15) ** 2)) * _inside((0.45 - y) / 0.1))
    # The heart leans to the patient's left, at the right of the picture.
    u, v = (x - 0.12) * 0.94 + (y - 0.26) * 0.34, (y - 0.26) * 0.94 - (x - 0.12) * 0.34
    heart = _inside((1 - (u / (0.29 * body.heart)) ** 2 - (v / 0.24) ** 2) / 0.25)
    density = np.maximum(density, trunk * (0.60 * heart + 0.10 * spine * heart))
    lungs = lungs * (1 - heart)
    for patch in opacities:
        away = ((x - patch.x) / patch.radius[0]) ** 2 + ((y - patch.y) / patch.radius[1]) ** 2
        rough = 1 + 0.35 * _texture((height, width), rng, height / 60)
        density += patch.density * rough * np.exp(-away) * lungs
    if effusion:
        side = -1 if effusion < 0 else 1
        # Fluid stands higher at the side than in the middle: a meniscus.
        level = 0.60 - 0.34 * abs(effusion) - 0.30 * np.clip(side * x - 0.40, 0, 0.3)
        fluid = _inside((y - level) / 0.02) * _inside((0.70 - side * x) / 0.02) * (side * x > 0.08)
        outline = _lung(x, y, side, breath)
        density = np.maximum(density, 0.57 * fluid * outline + density * (1 - outline))
    return np.asarray(density)


def exposed(density: np.ndarray, detector: Detector, rng: np.random.Generator) -> np.ndarray:
    """The picture of a site: exposure, grey scale, blur, noise, marker, collimator; float64 in [0, 1]."""
    height, width = density.shape
    scaled = np.clip((density * rng.uniform(0.88, 1.12) + rng.uniform(-0.05, 0.05)) / 0.95, 0, 1)
    picture = gaussian_filter(scaled, detector.blur * height / 192) ** (detector.gamma * rng.uniform(0.92, 1.08))
    picture = picture + rng.normal(0, detector.noise, picture.shape)
    block = max(height // 96, 1)
    letter = np.kron(
        np.array([[mark == "#" for mark in line] for line in _LETTERS[detector.marker]]), np.ones((block, block))
    )
    across, down = (round(share * side) for share, side in zip(detector.place, (width, height), strict=True))
    # The patient's right is at the left of the picture.
    left = across if detector.marker == "R" else width - across - letter.shape[1]
    spot = picture[down : down + letter.shape[0], left : left + letter.shape[1]]
    spot[letter[: spot.shape[0], : spot.shape[1]] > 0] = 0.97
    edge = round(detector.border * height)
    if edge:
        inner = picture[edge:-edge, edge:-edge].copy()
        picture[:] = 0.0
        picture[edge:-edge, edge:-edge] = inner
    return np.asarray(np.clip(picture, 0, 1))


def _inside(distance: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(4 * distance, -60, 60))))


def _lung(x: np.ndarray, y: np.ndarray, side: int, breath: float) -> np.ndarray:
    outline = (np.abs(x - side * _LUNG_X) / 0.29) ** 2.6 + (np.abs(y - _LUNG_Y) / (0.66 * breath)) ** 2.6
    # The right dome of the diaphragm, at the left of the picture, stands higher.
    floor = 0.60 * breath - (0.17 if side < 0 else 0.12) * np.exp(-(((x - side * 0.36) / 0.24) ** 2))
    return _inside((1 - outline) / 0.10) * _inside((floor - y) / 0.02)


def _ribs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Nine pairs: back parts that fall to the side, front parts that fall to the middle."""
    ribs = np.zeros_like(x)
    for k in range(9):
        top = -0.72 + 0.145 * k
        ribs += np.exp(-(((y - top - 0.10 * np.abs(x) - 0.22 * x**2) / 0.022) ** 2))
        ribs += 0.7 * np.exp(-(((y - top - 0.30 + 0.42 * np.abs(x)) / 0.020) ** 2)) * (np.abs(x) > 0.28)
    return ribs


def _texture(shape: tuple[int, int], rng: np.random.Generator, scale: float) -> np.ndarray:
    """Smooth noise of unit deviation."""
    noise = gaussian_filter(rng.normal(size=shape), max(scale / 3, 0.6))
    return np.asarray(noise / max(float(noise.std()), 1e-9))
