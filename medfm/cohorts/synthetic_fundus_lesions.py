"""Lesions of synthetic fundus photographs by grade of diabetic retinopathy, 0 to 4.

What a grade has follows the International Clinical Diabetic Retinopathy severity scale (Wilkinson et al.,
Ophthalmology 2003, 110:1677): microaneurysms alone (1), more than those (2), more than 20 haemorrhages in each
quadrant or beaded veins (3), new vessels or blood in front of the retina (4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medfm.cohorts.synthetic_fundus import DISC, FOVEA, Camera, Eye, Fundus, draw_retina, expose, soft

GRADES = ("0", "1", "2", "3", "4")
_PER_QUADRANT = 21  # more than 20, as the scale has it


@dataclass(frozen=True)
class Lesions:
    """What lies on the retina.

    Attributes:
        microaneurysms: Number of red dots.
        haemorrhages: Number of dot, blot and flame haemorrhages in each quadrant.
        exudates: Number of clusters of hard exudates around the macula.
        cotton_wool: Number of cotton wool spots.
        beading: Strength of venous beading, 0 to 1.
        new_vessels: ``""``, ``"disc"`` or ``"elsewhere"``.
        preretinal: Whether blood lies in front of the retina.
    """

    microaneurysms: int = 0
    haemorrhages: tuple[int, int, int, int] = (0, 0, 0, 0)
    exudates: int = 0
    cotton_wool: int = 0
    beading: float = 0.0
    new_vessels: str = ""
    preretinal: bool = False


def draw_lesions(grade: str, rng: np.random.Generator) -> Lesions:
    """What an eye of a grade has, drawn at random."""
    if grade == "0":
        return Lesions()
    if grade == "1":
        return Lesions(int(rng.integers(4, 12)))
    few = tuple(int(n) for n in rng.integers(1, 5, 4))
    exudates, spots = int(rng.integers(1, 4)), int(rng.integers(0, 3))
    if grade == "2":
        return Lesions(int(rng.integers(10, 25)), (few[0], few[1], few[2], few[3]), exudates, spots)
    many = tuple(int(n) for n in rng.integers(_PER_QUADRANT, _PER_QUADRANT + 8, 4))
    if grade == "3":
        beading = float(rng.uniform(0.6, 1.0))
        full = (many[0], many[1], many[2], many[3])
        return Lesions(int(rng.integers(20, 40)), full, int(rng.integers(0, 4)), spots + 1, beading)
    place = str(rng.choice(["disc", "elsewhere"]))
    return Lesions(
        int(rng.integers(10, 30)),
        (few[0] + 4, few[1] + 4, few[2] + 4, few[3] + 4),
        int(rng.integers(0, 3)),
        spots,
        float(rng.uniform(0.0, 0.6)),
        place,
        bool(rng.random() < 0.5),
    )


def photograph(eye: Eye, lesions: Lesions, camera: Camera, size: int, rng: np.random.Generator) -> np.ndarray:
    """One photograph: RGB uint8 (size, width by the camera, 3)."""
    shift = (float(rng.uniform(-0.07, 0.07)), float(rng.uniform(-0.12, 0.12)))
    fundus = Fundus(eye, size, round(size * camera.aspect), size * camera.radius, shift)
    draw_retina(fundus, beading=lesions.beading)
    for _ in range(lesions.cotton_wool):
        _spot(fundus, _place(rng, 0.30, 0.75), rng)
    for _ in range(lesions.exudates):
        _exudate(fundus, rng)
    _bleeds(fundus, lesions, rng)
    if lesions.new_vessels:
        _new_vessels(fundus, lesions.new_vessels, rng)
    if lesions.preretinal:
        _preretinal(fundus, rng)
    return expose(fundus, camera, rng)


def _place(rng: np.random.Generator, near: float, far: float, quadrant: int | None = None) -> tuple[float, float]:
    """A place between two distances from the centre of the field, off the disc and off the fovea."""
    while True:
        turn = rng.uniform(0, 2 * np.pi) if quadrant is None else (quadrant + rng.uniform(0.05, 0.95)) * np.pi / 2
        away = rng.uniform(near, far)
        x, y = float(away * np.cos(turn)), float(away * np.sin(turn))
        if np.hypot(x - DISC[0], y - DISC[1]) > 0.18 and np.hypot(x - FOVEA[0], y - FOVEA[1]) > 0.06:
            return x, y


def _bleeds(fundus: Fundus, lesions: Lesions, rng: np.random.Generator) -> None:
    """Microaneurysms and haemorrhages, laid as one layer of blood."""
    blood = np.zeros((fundus.height, fundus.width), np.float32)
    for _ in range(lesions.microaneurysms):
        _dot(fundus, blood, _place(rng, 0.12, 0.70), rng.uniform(0.009, 0.014), 1.0, 0.0, 0.8)
    for quadrant, number in enumerate(lesions.haemorrhages):
        for _ in range(number):
            flame = rng.random() < 0.3
            radius, squash = (rng.uniform(0.012, 0.022), 0.35) if flame else (rng.uniform(0.012, 0.034), 0.75)
            place = _place(rng, 0.15, 0.85, quadrant)
            _dot(fundus, blood, place, radius, squash, rng.uniform(0, np.pi), rng.uniform(0.7, 1.0))
    fundus.absorb(np.minimum(blood, 1.0), (0.42, 1.05, 0.75))


def _dot(
    fundus: Fundus,
    layer: np.ndarray,
    place: tuple[float, float],
    radius: float,
    squash: float,
    turn: float,
    depth: float,
) -> None:
    """Add one soft ellipse to a layer; only its neighbourhood is touched."""
    column, row = fundus.pixel(*place)
    half = int(radius / squash * fundus.radius) + 4
    left, top = max(int(column) - half, 0), max(int(row) - half, 0)
    part = layer[top : max(int(row) + half, 0), left : max(int(column) + half, 0)]
    if part.size == 0:
        return
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    dx, dy = (columns - column) / fundus.radius, (rows - row) / fundus.radius
    u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    inside = soft(radius - np.hypot(u * squash, v), max(0.003, 0.4 / fundus.radius))
    np.maximum(part, (depth * inside).astype(np.float32), out=part)


def _exudate(fundus: Fundus, rng: np.random.Generator) -> None:
    """A cluster of small sharp yellow deposits near the macula."""
    layer = np.zeros((fundus.height, fundus.width), np.float32)
    x, y = _place(rng, 0.12, 0.42)
    for _ in range(int(rng.integers(8, 22))):
        place = (x + float(rng.normal(0, 0.05)), y + float(rng.normal(0, 0.05)))
        _dot(fundus, layer, place, rng.uniform(0.006, 0.017), 0.8, rng.uniform(0, np.pi), 0.9)
    fundus.cover(layer, (0.96, 0.82, 0.42))


def _spot(fundus: Fundus, place: tuple[float, float], rng: np.random.Generator) -> None:
    """A cotton wool spot: greyish white with feathered edges."""
    away = fundus.distance(place, rng.uniform(0.6, 0.9))
    fundus.cover(0.6 * np.exp(-((away / rng.uniform(0.035, 0.055)) ** 2)), (0.92, 0.80, 0.62))


def _new_vessels(fundus: Fundus, where: str, rng: np.random.Generator) -> None:
    """A lacy tangle of fine vessels on the disc or along an arcade."""
    x, y = DISC if where == "disc" else (float(rng.uniform(-0.1, 0.35)), float(rng.choice([-0.55, 0.55])))
    lines = []
    for _ in range(26):
        turn, points = rng.uniform(0, 2 * np.pi), [(x + float(rng.normal(0, 0.02)), y + float(rng.normal(0, 0.02)))]
        for _ in range(int(rng.integers(10, 20))):
            turn += rng.normal(0, 0.7)
            points.append((points[-1][0] + 0.016 * float(np.cos(turn)), points[-1][1] + 0.016 * float(np.sin(turn))))
        lines.append((points, 0.006))
    fundus.absorb(fundus.strokes(lines), (0.30, 0.80, 0.60))


def _preretinal(fundus: Fundus, rng: np.random.Generator) -> None:
    """A boat-shaped haemorrhage: blood with a level upper border."""
    place = float(rng.uniform(-0.35, 0.25)), float(rng.uniform(0.35, 0.5))
    away = fundus.distance(place, 0.8)
    level = soft(fundus.y - np.float32(place[1] + fundus.shift[1]), 0.006)
    fundus.absorb(soft(rng.uniform(0.14, 0.22) - away, 0.008) * level, (0.45, 1.4, 0.9))
