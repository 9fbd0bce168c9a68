"""Drawing synthetic fundus photographs with NumPy and Pillow: for demos, tests and dry runs only.

Lengths are in radii of the field of view (45 degrees across), x to the right and y downwards in a right eye,
with the centre of the field at 0, 0; a left eye is the mirror image. The proportions are textbook ones: the disc
about 15 degrees nasal of the fovea, 1.5 to 1.8 mm across. Nothing here models disease closely enough to train
anything that is meant for patients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

FOVEA = (-0.10, 0.03)
DISC = (0.55, 0.0)
_DISC_RADIUS = 0.115
_OVERSAMPLED = 2  # vessels are drawn on a finer grid and averaged

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Camera:
    """How a site's camera shows a fundus.

    Attributes:
        tint: Factors on red, green and blue.
        radius: Radius of the field as a share of the picture's height; above 0.5 it is cut at top and bottom.
        aspect: Width over height of the picture.
        falloff: Share of light lost towards the edge of the field.
        blur: Standard deviation of the optics' blur in thousandths of the field's radius.
        noise: Standard deviation of the camera noise in grey levels.
    """

    tint: tuple[float, float, float]
    radius: float
    aspect: float
    falloff: float
    blur: float
    noise: float


@dataclass(frozen=True)
class Eye:
    """What stays the same in all photographs of one eye.

    Attributes:
        side: ``"R"`` or ``"L"``.
        seed: Seeds of the vessel tree and of the choroid.
        pigment: Darkness of the fundus, around 1.
        cup: Vertical cup-to-disc ratio, 0 to 1.
    """

    side: str
    seed: tuple[int, ...]
    pigment: float
    cup: float


@dataclass
class Fundus:
    """A photograph being drawn: reflectance float32 (height, width, 3) and coordinates in field radii.

    ``x`` is mirrored for a left eye, so that all drawing is done as in a right eye.
    """

    eye: Eye
    height: int
    width: int
    radius: float
    shift: tuple[float, float]
    colour: np.ndarray = field(init=False)
    x: np.ndarray = field(init=False)
    y: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rows, columns = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)
        mirror = 1 if self.eye.side == "R" else -1
        self.x = mirror * (columns - np.float32((self.width - 1) / 2)) / np.float32(self.radius)
        self.y = (rows - np.float32((self.height - 1) / 2)) / np.float32(self.radius)
        self.colour = np.empty((self.height, self.width, 3), np.float32)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Column and row of a place of the retina, which the gaze shifts in the field."""
        mirror = 1 if self.eye.side == "R" else -1
        column = (self.width - 1) / 2 + mirror * (x + self.shift[0]) * self.radius
        return column, (self.height - 1) / 2 + (y + self.shift[1]) * self.radius

    def distance(self, place: tuple[float, float], squash: float = 1.0) -> np.ndarray:
        """Distance (h, w) of every pixel from a place of the retina, in field radii."""
        dx, dy = self.x - np.float32(place[0] + self.shift[0]), self.y - np.float32(place[1] + self.shift[1])
        return np.asarray(np.hypot(dx, dy / np.float32(squash)))

    def absorb(self, mask: np.ndarray, density: tuple[float, float, float]) -> None:
        """Darken by a dye of `density` per channel (natural logarithm) where `mask` (h, w; 0 to 1) is."""
        self.colour *= np.exp(-mask[..., None] * np.array(density, np.float32))

    def cover(self, mask: np.ndarray, colour: tuple[float, float, float]) -> None:
        """Lay an opaque colour (0 to 1) where `mask` (h, w; 0 to 1) is."""
        self.colour += mask[..., None].astype(np.float32) * (np.array(colour, np.float32) - self.colour)

    def strokes(self, lines: list[tuple[Points, float]]) -> np.ndarray:
        """Mask (h, w; 0 to 1) of lines through places of the retina, each with its width in field radii."""
        canvas = Image.new("L", (self.width * _OVERSAMPLED, self.height * _OVERSAMPLED))
        draw = ImageDraw.Draw(canvas)
        (left, top), step = self.pixel(0.0, 0.0), self.radius * _OVERSAMPLED
        across = step if self.eye.side == "R" else -step
        left, top = (left + 0.5) * _OVERSAMPLED, (top + 0.5) * _OVERSAMPLED
        for points, width in lines:
            pixels = [(left + across * x, top + step * y) for x, y in points]
            wide = width * step
            # Lines thinner than a fine pixel are drawn paler instead.
            draw.line(pixels, fill=round(255 * min(wide, 1.0)), width=max(round(wide), 1), joint="curve")
        small = canvas.resize((self.width, self.height), Image.Resampling.BOX)
        return np.asarray(small, np.float32) / 255


def soft(distance: np.ndarray, width: float) -> np.ndarray:
    """1 well inside (positive distance), 0 well outside."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / np.float32(2 * width)))


def smooth_noise(shape: tuple[int, int], grain: float, rng: np.random.Generator) -> np.ndarray:
    """Noise (h, w) of mean 0 and standard deviation 1 with details of about `grain` pixels."""
    step = max(int(grain / 2), 1)
    small = gaussian_filter(rng.standard_normal((shape[0] // step + 2, shape[1] // step + 2)), max(grain / step, 0.5))
    small = (small - small.mean()) / (small.std() + 1e-9)
    picture = Image.fromarray(small.astype(np.float32)).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def draw_retina(fundus: Fundus, *, beading: float = 0.0) -> None:
    """The fundus without lesions: choroid, macula, disc with its cup, arteries and veins.

    Args:
        fundus: What is drawn on.
        beading: Strength of the widening and narrowing of veins, 0 to 1.
    """
    rng = np.random.default_rng([*fundus.eye.seed, 0])
    shape = (fundus.height, fundus.width)
    fundus.colour[:] = (0.80, 0.40, 0.17)
    fundus.absorb(np.full(shape, fundus.eye.pigment, np.float32), (0.10, 0.26, 0.36))
    fine, broad = smooth_noise(shape, 0.07 * fundus.radius, rng), smooth_noise(shape, 0.25 * fundus.radius, rng)
    # Broad patches tell eyes apart, also for the search for copies of a picture.
    fundus.absorb(0.7 * fine + 2.0 * broad, (0.03, 0.05, 0.06))
    fundus.absorb(smooth_noise(shape, 0.012 * fundus.radius, rng), (0.008, 0.02, 0.02))
    away = fundus.distance(FOVEA)
    fundus.absorb(np.exp(-((away / 0.26) ** 2)), (0.10, 0.30, 0.30))
    fundus.absorb(np.exp(-((away / 0.07) ** 2)), (0.08, 0.28, 0.25))
    _disc(fundus)
    trees = np.random.default_rng([*fundus.eye.seed, 1])
    veins, arteries = list(_tree(trees, 0.030, 0.0, beading)), list(_tree(trees, 0.022, 0.07, 0.0))
    fundus.absorb(fundus.strokes(veins), (0.34, 0.75, 0.55))
    fundus.absorb(fundus.strokes(arteries), (0.18, 0.55, 0.48))
    reflex = [(points, width * 0.3) for points, width in arteries if width > 0.012]
    fundus.cover(0.35 * fundus.strokes(reflex), (0.90, 0.50, 0.30))
    glint = np.exp(-((fundus.distance((FOVEA[0] + 0.008, FOVEA[1] - 0.006)) / 0.012) ** 2))
    fundus.cover(0.35 * glint, (0.95, 0.75, 0.45))


def _disc(fundus: Fundus) -> None:
    """The optic disc: sharp rim, pale cup of the eye's size, a brighter temporal half."""
    rim = fundus.distance(DISC, 1.1)
    fundus.cover(0.35 * np.exp(-((rim / 0.17) ** 2)), (0.90, 0.58, 0.30))
    fundus.cover(0.95 * soft(_DISC_RADIUS - rim, 0.005), (0.97, 0.72, 0.45))
    cup = fundus.distance((DISC[0] - 0.008, DISC[1]), 1.1)
    fundus.cover(0.85 * soft(_DISC_RADIUS * fundus.eye.cup - cup, 0.006), (1.0, 0.91, 0.74))


def _tree(rng: np.random.Generator, width: float, offset: float, beading: float) -> Iterator[tuple[Points, float]]:
    """Lines of arteries or veins: two arcades around the macula, two nasal trunks, their branches."""
    for upward in (-1.0, 1.0):
        bow = rng.uniform(0.44, 0.66) - offset
        arcade = [
            DISC,
            (DISC[0] + rng.uniform(-0.03, 0.05), upward * 0.38),
            (FOVEA[0] + rng.uniform(0.15, 0.35), upward * (bow + 0.12)),
            (FOVEA[0] - 0.75, upward * bow * rng.uniform(0.55, 0.95)),
        ]
        yield from _vessel(_bezier(arcade, rng), width, 2, rng, beading)
        nasal = [
            DISC,
            (DISC[0] + 0.05, upward * 0.15),
            (DISC[0] + 0.25, upward * (0.30 + offset)),
            (DISC[0] + 0.55, upward * rng.uniform(0.35, 0.75)),
        ]
        yield from _vessel(_bezier(nasal, rng), 0.7 * width, 1, rng, beading)


def _bezier(control: Points, rng: np.random.Generator, steps: int = 40) -> Points:
    """A cubic curve through four control points, made slightly tortuous."""
    t = np.linspace(0, 1, steps)[:, None]
    a, b, c, d = (np.array(point) for point in control)
    line = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
    sway = gaussian_filter(rng.standard_normal((steps, 2)), (3, 0)) * 0.02
    return [(float(x), float(y)) for x, y in line + sway * np.minimum(t * 6, 1)]


def _vessel(
    points: Points, width: float, depth: int, rng: np.random.Generator, beading: float
) -> Iterator[tuple[Points, float]]:
    """A vessel as short lines that become thinner, and its branches."""
    phase = rng.uniform(0, 6)
    for i in range(len(points) - 2):
        taper = width * (1 - 0.6 * i / len(points))
        yield points[i : i + 3], taper * (1 + 0.45 * beading * float(np.sin(phase + 1.3 * i)))
    if depth == 0 or width < 0.004:
        return
    sign = float(rng.choice([-1, 1]))
    for start in range(5 + int(rng.integers(0, 3)), len(points) - 4, int(rng.integers(4, 7))):
        (ax, ay), (bx, by) = points[start - 1], points[start + 1]
        turn = float(np.arctan2(by - ay, bx - ax)) + sign * rng.uniform(0.5, 1.0)
        sign = -sign
        thin = 0.55 * width * (1 - 0.6 * start / len(points))
        branch = _walk(points[start], turn, int(rng.integers(14, 30)), rng)
        yield from _vessel(branch, thin, depth - 1, rng, 0.0)


def _walk(start: tuple[float, float], turn: float, steps: int, rng: np.random.Generator) -> Points:
    """A gently bending way that ends before the avascular zone around the fovea."""
    (x, y), bend, points = start, rng.normal(0, 0.03), [start]
    for _ in range(steps):
        turn += bend + rng.normal(0, 0.06)
        x, y = x + 0.022 * float(np.cos(turn)), y + 0.022 * float(np.sin(turn))
        if np.hypot(x - FOVEA[0], y - FOVEA[1]) < 0.12:
            break
        points.append((x, y))
    return points


def expose(fundus: Fundus, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """The photograph by a camera: RGB uint8 (h, w, 3), black outside the round field."""
    away = np.hypot(fundus.x, fundus.y)
    image = fundus.colour * np.array(camera.tint, np.float32) * np.float32(rng.uniform(0.92, 1.06))
    turn = rng.uniform(0, 2 * np.pi)
    slope = fundus.x * np.float32(np.cos(turn)) + fundus.y * np.float32(np.sin(turn))
    image *= (1 - camera.falloff * away**2 + rng.uniform(0.05, 0.18) * slope)[..., None]
    blur = camera.blur * fundus.radius / 1000
    image = gaussian_filter(image, (blur, blur, 0), truncate=3.0)
    image *= soft(1 - away, 0.004)[..., None]
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(camera.noise)
    noise *= (away < 1)[..., None]
    surround = 2 + np.abs(rng.standard_normal(image.shape[:2], dtype=np.float32))[..., None] * (away >= 1)[..., None]
    return np.clip(np.rint(image * 255 + noise + surround), 0, 255).astype(np.uint8)
