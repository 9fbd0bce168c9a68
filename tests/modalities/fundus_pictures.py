"""Drawn fundus photographs: a lit disc with vessels, optic disc and macula on a surround."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def fundus(
    rows: int = 200,
    columns: int = 300,
    centre: tuple[float, float] | None = None,
    radius: float = 90.0,
    surround: tuple[int, int, int] = (0, 0, 0),
    noise: float = 2.0,
    side: str = "R",
    seed: int = 0,
) -> np.ndarray:
    """uint8 (rows, columns, 3); ``side`` R has the optic disc right of the centre."""
    random = np.random.default_rng(seed)
    x0, y0 = centre if centre is not None else ((columns - 1) / 2, (rows - 1) / 2)
    y, x = np.mgrid[:rows, :columns].astype(float)
    u, v = (x - x0) / radius, (y - y0) / radius
    sign = 1 if side == "R" else -1
    light = 1 - 0.25 * (u**2 + v**2)
    light = light - 0.25 * np.exp(-((u + 0.15 * sign) ** 2 + v**2) / 0.02)
    disc = np.exp(-((((u - 0.45 * sign) ** 2 + (v + 0.02) ** 2) / 0.0225) ** 3))
    vessels = np.zeros_like(u)
    for bend in (-1.1, -0.6, 0.6, 1.1):
        along = np.abs(u - 0.45 * sign)
        for way in (1.0, -1.0):
            toward = np.sign(u - 0.45 * sign) == way
            arch = bend * 0.6 * np.sqrt(along + 1e-6) * (1 if way == -sign else 0.8)
            vessels += toward * np.exp(-((v - arch) ** 2) / (2 * 0.012**2))
    vessels = np.clip(vessels, 0, 1) * 0.35
    picture = np.stack(
        [190 * light + 50 * disc, 95 * light + 110 * disc - 80 * vessels, 45 * light + 60 * disc - 25 * vessels],
        axis=-1,
    )
    picture[..., 0] -= 40 * vessels
    picture = ndimage.gaussian_filter(picture, (0.5, 0.5, 0))
    inside = u**2 + v**2 <= 1
    picture[~inside] = surround
    picture += random.normal(0, noise, picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def true_mask(rows: int, columns: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2
