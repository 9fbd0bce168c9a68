"""Drawing synthetic stained blood cells with NumPy: for demos, tests and dry runs only.

Cells are soft-edged shapes in optical density, as dye absorbs light, so stains and
illumination of a site act on them as they would on a slide. Nothing here models real
morphology closely enough to train anything that is meant for patients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.special import ndtri

CLASSES = ("eosinophil", "erythroblast", "lymphocyte", "monocyte", "neutrophil")

# Optical density per channel (R, G, B) of what is drawn: eosin stains pink, azure blue to violet.
_NUCLEUS = np.array([0.78, 1.12, 0.42])
_PINK = np.array([0.10, 0.34, 0.22])
_BLUE = np.array([0.36, 0.30, 0.10])
_ORANGE = np.array([0.12, 0.52, 0.62])
_RED_CELL = np.array([0.10, 0.38, 0.34])


@dataclass(frozen=True)
class Look:
    """How a site's slides look: stain strengths, light and optics.

    Attributes:
        stain: Factors on the optical density of the three channels.
        light: Brightness of the empty field per channel, 0 to 1.
        falloff: Share of light lost from one corner to the other.
        blur: Standard deviation of the optics' blur in pixels.
        noise: Standard deviation of the camera noise in grey levels.
    """

    stain: tuple[float, float, float]
    light: tuple[float, float, float]
    falloff: float
    blur: float
    noise: float


SITES: dict[str, Look] = {
    "north": Look((1.0, 1.0, 1.0), (0.95, 0.93, 0.94), 0.03, 0.5, 1.5),
    "south": Look((0.85, 1.10, 1.25), (0.97, 0.93, 0.86), 0.10, 0.9, 2.5),
    "west": Look((1.25, 0.95, 0.80), (0.88, 0.90, 0.97), 0.06, 0.6, 4.0),
}


@dataclass
class Canvas:
    """Optical density of a field, float32 (height, width, 3), with its pixel coordinates."""

    height: int
    width: int
    density: np.ndarray = field(init=False)
    y: np.ndarray = field(init=False)
    x: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.density = np.full((self.height, self.width, 3), 0.02, dtype=np.float32)
        self.y, self.x = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)

    def stain(self, mask: np.ndarray, density: np.ndarray, *, cover: float = 1.0) -> None:
        """Lay `density` (3,) or (h, w, 3) where `mask` (h, w; 0 to 1) is, over `cover` of what lies below."""
        weight = mask[..., None].astype(np.float32)
        self.density = self.density * (1 - cover * weight) + weight * density.astype(np.float32)


def blob(
    canvas: Canvas, cx: float, cy: float, radius: float, rng: np.random.Generator, *, wobble: float, squash: float = 1.0
) -> np.ndarray:
    """A soft-edged closed shape (h, w; 0 to 1): a circle with `wobble` and `squash`, turned at random."""
    dx, dy = canvas.x - cx, canvas.y - cy
    turn = rng.uniform(0, np.pi)
    u, v = dx * np.cos(turn) + dy * np.sin(turn), (dy * np.cos(turn) - dx * np.sin(turn)) / squash
    distance = np.sqrt(u * u + v * v) + 1e-6
    # cos(k * angle + phase) without arc tangents: the k-th power of a unit vector, turned by the phase.
    unit = (u + 1j * v) / distance
    power, wave = unit, np.zeros_like(unit)
    for k in range(2, 6):
        power = power * unit
        wave += power * np.complex64(rng.normal(0, wobble / k) * np.exp(1j * rng.uniform(0, 2 * np.pi)))
    return _soft(radius * (1 + wave.real) - distance)


def _soft(distance: np.ndarray, width: float = 0.9) -> np.ndarray:
    """1 well inside (positive distance, pixels), 0 well outside."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / np.float32(2 * width)))


def draw_red_cell(canvas: Canvas, cx: float, cy: float, radius: float, rng: np.random.Generator) -> None:
    """A red cell: a pale disc with a paler centre."""
    disc = blob(canvas, cx, cy, radius, rng, wobble=0.03, squash=rng.uniform(0.88, 1.0))
    pale = np.exp(-((canvas.x - cx) ** 2 + (canvas.y - cy) ** 2) / (2 * (0.42 * radius) ** 2))
    canvas.stain(disc, _RED_CELL * rng.uniform(0.85, 1.15) * (1 - 0.55 * pale)[..., None], cover=0.6)


def draw_cell(canvas: Canvas, cx: float, cy: float, kind: str, scale: float, rng: np.random.Generator) -> float:
    """A nucleated cell of class `kind`; `scale` is pixels per unit of 100 pixels field width.

    Returns:
        The share of the cell's area that its nucleus takes (0 to 1).
    """
    size = {"lymphocyte": 22.0, "erythroblast": 21.5, "neutrophil": 25.5, "eosinophil": 25.5, "monocyte": 27.0}[kind]
    radius = scale * size * rng.uniform(0.84, 1.16)
    body = blob(canvas, cx, cy, radius, rng, wobble=0.10 if kind == "monocyte" else 0.05, squash=rng.uniform(0.88, 1.0))
    nucleus = _nucleus(canvas, kind, cx, cy, radius, rng) * body
    # Between pink and blue; classes overlap, so that colour alone does not tell them apart.
    blue = {"lymphocyte": 0.70, "monocyte": 0.58, "erythroblast": 0.52, "neutrophil": 0.32, "eosinophil": 0.30}[kind]
    share = float(np.clip(blue + rng.normal(0, 0.22), 0, 1))
    cytoplasm = (1 - share) * _PINK + share * _BLUE
    canvas.stain(body, cytoplasm * rng.uniform(0.75, 1.2) * _texture(canvas, rng, 3.0, 0.12)[..., None], cover=0.95)
    if kind in ("eosinophil", "neutrophil"):
        coarse = kind == "eosinophil"
        tone = rng.uniform(0.35, 1.0) if coarse else rng.uniform(0.0, 0.75)
        dye = tone * _ORANGE + (1 - tone) * 0.6 * _NUCLEUS
        grain = _granules(canvas, body, rng, scale * (1.5 if coarse else 0.9), rng.uniform(0.25, 0.45))
        canvas.stain(grain * rng.uniform(0.35, 0.65), dye * rng.uniform(0.6, 1.0), cover=0.3)
    dark = {"lymphocyte": 0.98, "monocyte": 0.88, "erythroblast": 1.06, "neutrophil": 1.0, "eosinophil": 0.95}[kind]
    chromatin = _texture(canvas, rng, 1.6 * scale, 0.16) * dark * rng.uniform(0.75, 1.2)
    canvas.stain(nucleus, _NUCLEUS * chromatin[..., None], cover=0.95)
    return float(nucleus.sum() / max(body.sum(), 1e-9))


def _nucleus(canvas: Canvas, kind: str, cx: float, cy: float, radius: float, rng: np.random.Generator) -> np.ndarray:
    """The nucleus (h, w; 0 to 1): its shape is what sets the classes apart."""
    turn = rng.uniform(0, 2 * np.pi)
    if kind in ("lymphocyte", "erythroblast"):
        share = rng.uniform(0.74, 0.88) if kind == "lymphocyte" else rng.uniform(0.48, 0.62)
        shift = rng.uniform(0, 0.12) * radius
        return blob(canvas, cx + shift * np.cos(turn), cy + shift * np.sin(turn), share * radius, rng, wobble=0.03)
    if kind == "monocyte":
        whole = blob(canvas, cx, cy, 0.68 * radius, rng, wobble=0.10, squash=rng.uniform(0.75, 0.95))
        reach, width = 0.62 * radius, rng.uniform(0.26, 0.40) * radius
        dent = _soft(width - np.hypot(canvas.x - cx - reach * np.cos(turn), canvas.y - cy - reach * np.sin(turn)))
        return whole * (1 - dent)
    # Granulocytes: lobes along an arc, joined by thin threads.
    lobes = 2 if kind == "eosinophil" else int(rng.choice([3, 4, 5], p=[0.5, 0.38, 0.12]))
    spread = (1.5 if lobes == 2 else 0.95 * (lobes - 1)) * rng.uniform(0.85, 1.15)
    angles = turn + np.linspace(-spread / 2, spread / 2, lobes) * (1.45 if lobes == 2 else 1.0)
    arc = (0.40 if lobes == 2 else 0.44) * radius
    size = (0.36 if lobes == 2 else 0.27) * radius
    points = [(cx + arc * np.cos(a), cy + arc * np.sin(a)) for a in angles]
    mask = np.zeros_like(canvas.x)
    for px, py in points:
        part = blob(canvas, px, py, size * rng.uniform(0.88, 1.15), rng, wobble=0.10, squash=rng.uniform(0.75, 1.0))
        mask = np.maximum(mask, part)
    for (ax, ay), (bx, by) in pairwise(points):
        mask = np.maximum(mask, _thread(canvas, ax, ay, bx, by, 0.07 * radius))
    return mask


def _thread(canvas: Canvas, ax: float, ay: float, bx: float, by: float, half: float) -> np.ndarray:
    """A soft line from a to b of half-width `half`."""
    dx, dy = bx - ax, by - ay
    along = np.clip(((canvas.x - ax) * dx + (canvas.y - ay) * dy) / (dx * dx + dy * dy + 1e-9), 0, 1)
    return _soft(half - np.hypot(canvas.x - ax - along * dx, canvas.y - ay - along * dy), 0.6)


def _texture(canvas: Canvas, rng: np.random.Generator, grain: float, amount: float) -> np.ndarray:
    """Smooth random factors around 1 with details of about `grain` pixels."""
    rows, columns = (max(int(n / max(grain, 1)) + 2, 3) for n in (canvas.height, canvas.width))
    coarse = Image.fromarray(rng.normal(1, amount, (rows, columns)).astype(np.float32))
    return np.asarray(coarse.resize((canvas.width, canvas.height), Image.Resampling.BILINEAR))


def _granules(canvas: Canvas, body: np.ndarray, rng: np.random.Generator, grain: float, fill: float) -> np.ndarray:
    """Round grains of about `grain` pixels over the share `fill` of the body."""
    speckle = gaussian_filter(rng.standard_normal(body.shape, dtype=np.float32), max(grain * 0.6, 0.5), truncate=2.5)
    speckle /= speckle.std() + 1e-9
    # The normal quantile of the share left bare; filtered noise stays normal.
    return _soft(speckle - float(ndtri(1 - fill)), 0.25) * body


def expose(canvas: Canvas, look: Look, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """The photograph of a canvas at a site: RGB uint8 (h, w, 3). `strength` is the patient's staining."""
    density = canvas.density * np.array(look.stain, dtype=np.float32) * np.float32(strength * np.log(10))
    image = np.array(look.light, dtype=np.float32) * np.exp(-density)
    turn = rng.uniform(0, 2 * np.pi)
    slope = (canvas.x / canvas.width - 0.5) * np.cos(turn) + (canvas.y / canvas.height - 0.5) * np.sin(turn)
    image *= (1 - look.falloff * (slope + 0.5))[..., None]
    image = gaussian_filter(image, (look.blur, look.blur, 0), truncate=3.0)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(look.noise)
    return np.clip(np.rint(image * 255 + noise), 0, 255).astype(np.uint8)


def single_cell(
    kind: str, size: int, look: Look, strength: float, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """One cell of class `kind` in the middle of a field of `size` pixels, red cells around it.

    Returns:
        RGB uint8 (size, size, 3) and the nucleus' share of the cell.
    """
    canvas, scale = Canvas(size, size), size / 100
    for turn in rng.permutation(8)[: int(rng.integers(2, 6))] * (np.pi / 4) + rng.uniform(0, np.pi / 4):
        reach = rng.uniform(44, 60) * scale
        place = size / 2 + reach * np.cos(turn), size / 2 + reach * np.sin(turn)
        radius = rng.uniform(14, 18) * scale
        _patchwise(canvas, *place, int(24 * scale), partial(draw_red_cell, radius=radius, rng=rng))
    centre = size / 2 + rng.normal(0, 2.0 * scale, 2)
    share = draw_cell(canvas, centre[0], centre[1], kind, scale, rng)
    return expose(canvas, look, rng, strength), share


def smear(
    kinds: list[str], look: Look, strength: float, rng: np.random.Generator, height: int = 480, width: int = 640
) -> tuple[np.ndarray, list[tuple[str, tuple[int, int, int, int]]]]:
    """A whole field with the given nucleated cells among red cells.

    Returns:
        RGB uint8 (height, width, 3) and (class, (xmin, ymin, xmax, ymax)) per nucleated cell,
        0-based, maxima exclusive.
    """
    canvas, half = Canvas(height, width), 40
    taken: list[tuple[float, float]] = []
    for _ in range(400):
        if len(taken) == len(kinds):
            break
        x, y = rng.uniform(half, width - half), rng.uniform(half, height - half)
        if all(np.hypot(x - a, y - b) > 2.1 * half for a, b in taken):
            taken.append((x, y))
    for _ in range(110):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(14, 18)
        if all(np.hypot(x - a, y - b) > 30 + radius for a, b in taken):
            _patchwise(canvas, x, y, 24, partial(draw_red_cell, radius=radius, rng=rng))
    boxes = []
    for kind, (x, y) in zip(kinds, taken, strict=False):
        _patchwise(canvas, x, y, half, partial(draw_cell, kind=kind, scale=1.0, rng=rng))
        cx, cy = round(x), round(y)
        boxes.append((kind, (max(cx - half, 0), max(cy - half, 0), min(cx + half, width), min(cy + half, height))))
    return expose(canvas, look, rng, strength), boxes


def _patchwise(canvas: Canvas, x: float, y: float, half: int, draw: Callable[[Canvas, float, float], object]) -> None:
    """Draw on the window around (x, y) alone: most pixels are elsewhere."""
    left, top = max(int(x) - half, 0), max(int(y) - half, 0)
    right, bottom = min(int(x) + half, canvas.width), min(int(y) + half, canvas.height)
    if right <= left or bottom <= top:
        return
    part = Canvas(bottom - top, right - left)
    part.density = canvas.density[top:bottom, left:right]
    draw(part, x - left, y - top)
    canvas.density[top:bottom, left:right] = part.density
