"""Drawing synthetic H&E patches with NumPy: for demos, tests and dry runs only.

A patch is two maps, how much haematoxylin and how much eosin lies where; a site's own stain vectors and light
make a picture of them, as dye absorbs light. Lengths are in micrometres. Nothing here models disease closely
enough to train anything that is meant for patients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class Stain:
    """How a laboratory stains and a scanner sees: optical densities (natural logarithm) in R, G, B per unit of dye.

    Attributes:
        haematoxylin: Density of one unit of haematoxylin.
        eosin: Density of one unit of eosin.
        light: Brightness of empty glass per channel, 0 to 1.
        blur: Standard deviation of the optics' blur in micrometres.
        noise: Standard deviation of the camera noise in grey levels.
    """

    haematoxylin: tuple[float, float, float]
    eosin: tuple[float, float, float]
    light: tuple[float, float, float]
    blur: float
    noise: float


@dataclass
class Section:
    """A patch being drawn: amounts of both dyes, float32 (size, size), and coordinates in micrometres."""

    size: int
    mpp: float
    rng: np.random.Generator
    blue: np.ndarray = field(init=False)
    pink: np.ndarray = field(init=False)
    x: np.ndarray = field(init=False)
    y: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rows, columns = np.mgrid[0 : self.size, 0 : self.size].astype(np.float32)
        self.x, self.y = columns * np.float32(self.mpp), rows * np.float32(self.mpp)
        self.blue, self.pink = np.zeros_like(self.x), np.zeros_like(self.x)

    @property
    def width(self) -> float:
        """Side of the patch in micrometres."""
        return self.size * self.mpp

    def noise(self, grain: float) -> np.ndarray:
        """Noise (size, size) of mean 0 and standard deviation 1 with details of about `grain` micrometres."""
        sigma = grain / self.mpp / 2
        step = max(int(sigma), 1)
        wide = self.size // step + 3
        small = gaussian_filter(self.rng.standard_normal((wide, wide)), max(sigma / step, 0.5))
        small = ((small - small.mean()) / (small.std() + 1e-9)).astype(np.float32)
        return np.asarray(Image.fromarray(small).resize((self.size, self.size), Image.Resampling.BICUBIC))

    def spots(self, spacing: float, jitter: float) -> np.ndarray:
        """Places (n, 2) in micrometres, also outside the patch: a hexagonal grid, turned and jittered."""
        reach = np.arange(-int(self.width / spacing) - 3, int(self.width / spacing) + 4)
        i, j = np.meshgrid(reach, reach)
        grid = np.stack([i + 0.5 * (j % 2), j * np.sqrt(3) / 2], axis=-1).reshape(-1, 2) * spacing
        turn = self.rng.uniform(0, np.pi)
        turned = grid @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        places = turned + self.rng.normal(0, jitter * spacing, turned.shape) + self.rng.uniform(0, self.width, 2)
        near = ((places > -30) & (places < self.width + 30)).all(axis=1)
        return np.asarray(places[near])

    def nucleus(
        self, x: float, y: float, radius: float, *, long: float = 1.0, turn: float = 0.0, dark: float = 1.0
    ) -> None:
        """A nucleus: an ellipse with a darker border and clumped chromatin; only its neighbourhood is touched."""
        half = int(radius * long / self.mpp) + 3
        column, row = int(x / self.mpp), int(y / self.mpp)
        window = (slice(max(row - half, 0), max(row + half, 0)), slice(max(column - half, 0), max(column + half, 0)))
        if self.blue[window].size == 0:
            return
        dx, dy = self.x[window] - np.float32(x), self.y[window] - np.float32(y)
        u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        away = np.hypot(u / long, v)
        inside = soft(radius - away, 0.35)
        clumps = (
            1 + 0.22 * self.rng.standard_normal(inside.shape) + 0.25 * np.exp(-(((away - 0.85 * radius) / 0.6) ** 2))
        )
        self.blue[window] = self.blue[window] * (1 - inside) + inside * (dark * clumps)
        self.pink[window] *= 1 - 0.5 * inside


def soft(distance: np.ndarray, width: float) -> np.ndarray:
    """1 well inside (positive distance, micrometres), 0 well outside."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / np.float32(2 * width)))


def draw_adipose(section: Section) -> None:
    """Fat: large empty cells between thin membranes, a flat nucleus here and there."""
    rng = section.rng
    centres = section.spots(rng.uniform(32, 42), 0.13)
    warp = 2.0 * section.noise(20), 2.0 * section.noise(20)
    places = np.stack([section.x + warp[0], section.y + warp[1]], axis=-1).reshape(-1, 2)
    away, _ = cKDTree(centres).query(places, k=2)
    gap = (away[:, 1] - away[:, 0]).reshape(section.size, section.size).astype(np.float32)
    wall = soft(rng.uniform(3.2, 4.6) - gap, 0.45)
    section.pink += wall * (0.62 + 0.12 * section.noise(4)) + 0.03
    section.blue += 0.12 * wall
    rows, columns = np.nonzero(wall > 0.95)
    for k in rng.choice(len(rows), min(int(rng.integers(4, 9)), len(rows)), replace=False):
        x, y = columns[k] * section.mpp, rows[k] * section.mpp
        section.nucleus(x, y, 1.6, long=2.2, turn=rng.uniform(0, np.pi), dark=1.2)


def draw_lymphocytes(section: Section) -> None:
    """Lymphoid tissue: small round dark nuclei, closely packed, with hardly any cytoplasm."""
    rng = section.rng
    section.pink += 0.28 + 0.06 * section.noise(6)
    section.blue += 0.16 + 0.05 * section.noise(10)
    thin = section.noise(30)
    for x, y in section.spots(rng.uniform(7.0, 8.2), 0.12):
        row, column = int(y / section.mpp), int(x / section.mpp)
        if 0 <= row < section.size and 0 <= column < section.size and thin[row, column] > 1.6:
            continue
        radius = rng.uniform(2.7, 3.5)
        section.nucleus(x, y, radius, long=rng.uniform(1.0, 1.15), turn=rng.uniform(0, 3.1), dark=rng.uniform(1.1, 1.6))


def draw_stroma(section: Section) -> None:
    """Cancer-associated stroma: wavy bundles of collagen, spindle-shaped nuclei along them, some lymphocytes."""
    turn = _fibres(section, 1.0)
    rng = section.rng
    for x, y in section.spots(rng.uniform(15, 21), 0.3):
        section.nucleus(
            x, y, rng.uniform(1.3, 2.0), long=rng.uniform(2.4, 4.0), turn=turn(x, y), dark=rng.uniform(0.9, 1.4)
        )
    for _ in range(int(rng.integers(2, 9))):
        section.nucleus(rng.uniform(0, section.width), rng.uniform(0, section.width), 2.8, dark=1.3)


def _fibres(section: Section, amount: float) -> Callable[[float, float], float]:
    """Lay wavy eosin fibres; the function gives their direction (radians) at a place in micrometres."""
    rng, n = section.rng, section.size
    base, wave = rng.uniform(0, np.pi), rng.uniform(40, 90)
    phase, bend = rng.uniform(0, 6), rng.uniform(2.0, 5.0)
    along = section.x * np.cos(base) + section.y * np.sin(base)
    across = section.y * np.cos(base) - section.x * np.sin(base)
    swayed = across - bend * np.sin(2 * np.pi * along / wave + phase) + 2.5 * section.noise(45)
    grain = gaussian_filter(rng.standard_normal((2 * n, 2 * n)), (0.7 / section.mpp, 14 / section.mpp), mode="wrap")
    grain /= grain.std()
    places = np.stack([swayed, along]) / section.mpp + n / 2
    lines = map_coordinates(grain.astype(np.float32), places, order=1, mode="grid-wrap")
    cracks = soft(-lines - 1.5, 0.12)
    section.pink += (
        amount
        * np.clip(0.62 + 0.20 * lines + 0.08 * section.noise(15) + 0.09 * section.noise(1.2), 0.05, None)
        * (1 - 0.9 * cracks)
    )
    section.blue += amount * (0.10 + 0.03 * section.noise(12)) * (1 - cracks)

    def direction(x: float, y: float) -> float:
        at = x * np.cos(base) + y * np.sin(base)
        return float(base + np.arctan(bend * 2 * np.pi / wave * np.cos(2 * np.pi * at / wave + phase)))

    return direction


def draw_tumour(section: Section) -> None:
    """Adenocarcinoma: irregular, crowded glands of stacked dark nuclei, debris in their lumina, little stroma."""
    rng = section.rng
    _fibres(section, 0.8)
    for x, y in section.spots(rng.uniform(46, 58), 0.12):
        radius = rng.uniform(20, 29)
        shape = [(k, rng.normal(0, 0.22 / k), rng.uniform(0, 6)) for k in (2, 3, 4, 5)]
        _gland(section, x, y, radius, shape, lumen=rng.uniform(0.15, 0.45), layers=3, goblets=0.0)


def draw_mucosa(section: Section) -> None:
    """Normal colon mucosa: round crypts side by side, one row of basal nuclei, goblet cells, loose tissue between."""
    rng = section.rng
    section.pink += 0.38 + 0.10 * section.noise(5) + 0.06 * section.noise(1.2)
    section.blue += 0.10 + 0.04 * section.noise(7)
    for x, y in section.spots(9.5, 0.3):
        section.nucleus(
            x,
            y,
            rng.uniform(2.0, 2.9),
            long=rng.uniform(1.0, 1.6),
            turn=rng.uniform(0, 3.1),
            dark=rng.uniform(0.9, 1.3),
        )
    for x, y in section.spots(rng.uniform(52, 58), 0.03):
        shape = [(2, rng.normal(0, 0.04), rng.uniform(0, 6))]
        _gland(section, x, y, rng.uniform(20, 23), shape, lumen=rng.uniform(0.08, 0.16), layers=1, goblets=0.5)


def _gland(
    section: Section,
    x: float,
    y: float,
    radius: float,
    shape: list[tuple[int, float, float]],
    *,
    lumen: float,
    layers: int,
    goblets: float,
) -> None:
    """One gland with its outline ``radius * (1 + sum a cos(k angle + phase))``, lumen, goblet cells and nuclei."""
    rng = section.rng
    dx, dy = section.x - np.float32(x), section.y - np.float32(y)
    if np.hypot(dx, dy).min() > 1.5 * radius:
        return
    angle = np.arctan2(dy, dx)
    outline = radius * (1 + sum(a * np.cos(k * angle + p) for k, a, p in shape))
    away = np.hypot(dx, dy) / outline  # 1 on the outline
    inside, hole = soft((1 - away) * radius, 0.4), soft((lumen - away) * radius, 0.5)
    texture = section.noise(3)
    section.pink += inside * (0.50 + 0.07 * texture - section.pink)
    section.blue += inside * (0.22 + 0.05 * texture + 0.06 * (layers > 1) - section.blue)
    debris = np.clip(section.noise(2.5) - 0.8, 0, None) if layers > 1 else np.zeros_like(away)
    section.pink += hole * (0.35 * debris + 0.02 - section.pink)
    section.blue += hole * (0.30 * debris + 0.01 - section.blue)
    step = 6.2 if layers > 1 else 5.4
    for turn in np.arange(0, 2 * np.pi, 2 * np.pi / max(int(2 * np.pi * radius / step), 8)) + rng.uniform(0, 1):
        edge = radius * (1 + sum(a * np.cos(k * turn + p) for k, a, p in shape))
        if rng.random() < goblets:
            middle = edge * rng.uniform(0.45, 0.60)
            _vacuole(section, x + middle * np.cos(turn), y + middle * np.sin(turn), rng.uniform(2.6, 3.8), turn)
        for layer in range(layers):
            depth = edge * (0.88 - layer * (0.80 - lumen) / 3.4) + rng.normal(0, 0.8 * (layers > 1))
            spot = x + depth * np.cos(turn), y + depth * np.sin(turn)
            big = rng.uniform(1.7, 2.6) if layers > 1 else rng.uniform(1.7, 2.1)
            lean = turn + (rng.normal(0, 0.35) if layers > 1 else np.pi / 2)
            section.nucleus(
                *spot, big, long=rng.uniform(1.15, 1.7) if layers > 1 else 1.2, turn=lean, dark=rng.uniform(0.9, 1.5)
            )
            turn = turn + rng.normal(0, 0.05)


def _vacuole(section: Section, x: float, y: float, radius: float, turn: float) -> None:
    """The pale, faintly blue mucin of a goblet cell; only its neighbourhood is touched."""
    half = int(radius * 1.4 / section.mpp) + 3
    column, row = int(x / section.mpp), int(y / section.mpp)
    window = (slice(max(row - half, 0), max(row + half, 0)), slice(max(column - half, 0), max(column + half, 0)))
    if section.blue[window].size == 0:
        return
    dx, dy = section.x[window] - np.float32(x), section.y[window] - np.float32(y)
    u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    inside = soft(radius - np.hypot(u / 1.3, v), 0.4)
    section.pink[window] += inside * (0.04 - section.pink[window])
    section.blue[window] += inside * (0.13 - section.blue[window])


# The names that the label sets nct-crc-quilt and nct-crc-pathgen of the knowledge base have.
TISSUES: dict[str, Callable[[Section], None]] = {
    "ADI": draw_adipose,
    "LYM": draw_lymphocytes,
    "NORM": draw_mucosa,
    "STR": draw_stroma,
    "TUM": draw_tumour,
}


def patch(
    kind: str, size: int, mpp: float, stain: Stain, strength: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """One patch of a tissue class: RGB uint8 (size, size, 3).

    Args:
        kind: Key of :data:`TISSUES`.
        size: Height and width in pixels.
        mpp: Micrometres per pixel.
        stain: The site's.
        strength: Factors on both dyes, of the slide.
        rng: Source of everything drawn.
    """
    section = Section(size, mpp, rng)
    TISSUES[kind](section)
    blue = np.clip(section.blue * strength[0], 0, 2.2)[..., None] * np.array(stain.haematoxylin, np.float32)
    pink = np.clip(section.pink * strength[1], 0, 2.0)[..., None] * np.array(stain.eosin, np.float32)
    image = np.array(stain.light, np.float32) * np.exp(-(blue + pink))
    image = gaussian_filter(image, (stain.blur / mpp, stain.blur / mpp, 0), truncate=3.0)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(stain.noise)
    return np.clip(np.rint(image * 255 + noise), 0, 255).astype(np.uint8)
