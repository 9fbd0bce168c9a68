"""What can be measured of one fundus photograph in one pass: colour, light, sharpness, side of the optic disc.

Numbers only; what counts as wrong is decided in :mod:`medfm.cohorts.checks.fundus`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medfm.modalities.fundus_field import field_of_view, reduced

DIAMETER = 512  # pixels of the field of view at which everything is measured
_SHARP = 300  # fields smaller than this are too coarse to judge sharpness


@dataclass(frozen=True)
class FundusQuality:
    """Measurements of one photograph.

    Attributes:
        found: Whether a round field of view was found.
        share: Share of the picture that the field covers.
        retina_colour: Share of the field's pixels that are redder than green and not bluer than green.
        brightness: Mean of the green channel inside, 0 to 255.
        dark: Share of the field's pixels below 20 in every channel.
        bright: Share of the field's pixels above 250 in red and green.
        unevenness: Standard deviation of the light (green, smoothed) as a share of its mean.
        sharpness: Contrast of the green channel at 1 to 2 pixels against that at 4 to 8 pixels of a field of
            512; ``None`` where the field has fewer than 300 pixels.
        disc_side: ``R`` or ``L``: the half of the picture with the place that looks most like an optic disc.
        disc_lead: How much better it looks than the best place of the other half, in standard deviations of
            all places.
    """

    found: bool
    share: float
    retina_colour: float
    brightness: float
    dark: float
    bright: float
    unevenness: float
    sharpness: float | None
    disc_side: str
    disc_lead: float


def measure(picture: np.ndarray) -> FundusQuality:
    """Measure a photograph, uint8 (rows, columns, 3)."""

    field = field_of_view(picture)
    top, bottom, left, right = field.box
    scale = max(2 * field.radius / DIAMETER, 1.0)
    small = reduced(picture[top:bottom, left:right], scale)
    radius = field.radius / scale
    x, y = (field.centre[0] - left + 0.5) / scale - 0.5, (field.centre[1] - top + 0.5) / scale - 0.5
    rows, columns = np.ogrid[: small.shape[0], : small.shape[1]]
    away = np.hypot(columns - x, rows - y) / radius
    inside = away < 0.92 if field.found else np.ones(small.shape[:2], bool)
    if not inside.any():
        inside = np.ones(small.shape[:2], bool)
    red, green, blue = (small[..., i].astype(np.float32) for i in range(3))
    smooth = _inside_mean(green, inside, 0.08 * radius)
    light = smooth[inside]
    mean = max(float(green[inside].mean()), 1.0)
    coloured = (red > green) & (green >= blue - 4) & (red - blue > 12)
    fine = _band(green, inside, 0.7, 1.4) if 2 * field.radius >= _SHARP else None
    coarse = _band(green, inside, 3.0, 6.0)
    side, lead = _disc(red, green, inside, away, x, radius)
    return FundusQuality(
        found=field.found,
        share=float(field.mask().mean()) if field.found else 1.0,
        retina_colour=float(coloured[inside].mean()),
        brightness=float(green[inside].mean()),
        dark=float((small[inside].max(axis=1) < 20).mean()),
        bright=float((small[inside][:, :2].min(axis=1) > 250).mean()),
        unevenness=float(light.std()) / mean,
        sharpness=None if fine is None else fine / max(coarse, 1e-3),
        disc_side=side,
        disc_lead=lead,
    )


def _inside_mean(values: np.ndarray, inside: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean over the pixels inside alone, so that the surround does not darken the edge."""
    from scipy import ndimage

    step = max(int(sigma // 5), 1)  # so wide a mean needs every pixel no more than once per fifth of its width
    part = inside[::step, ::step]
    weight = ndimage.gaussian_filter(part.astype(np.float32), sigma / step)
    total = ndimage.gaussian_filter(np.where(part, values[::step, ::step], 0).astype(np.float32), sigma / step)
    mean = np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), 0)
    return np.asarray(mean.repeat(step, axis=0).repeat(step, axis=1)[: inside.shape[0], : inside.shape[1]])


def _band(values: np.ndarray, inside: np.ndarray, low: float, high: float) -> float:
    """Root mean square of a difference of Gaussians, away from the edge of the field."""
    from scipy import ndimage

    inner = ndimage.binary_erosion(inside, iterations=12, border_value=0)
    if not inner.any():
        inner = inside
    difference = ndimage.gaussian_filter(values, low) - ndimage.gaussian_filter(values, high)
    return float(np.sqrt((difference[inner] ** 2).mean()))


def _disc(
    red: np.ndarray, green: np.ndarray, inside: np.ndarray, away: np.ndarray, x: float, radius: float
) -> tuple[str, float]:
    """The likelier side of the optic disc: a bright spot of its size that vessels run through."""
    from scipy import ndimage as nd

    size = 0.12 * radius  # about the radius of a disc in a field of 45 to 50 degrees
    value = green + 0.5 * red
    spot = _inside_mean(value, inside, 0.6 * size) - _inside_mean(value, inside, 2.2 * size)
    dark = nd.gaussian_filter(green, 3.5) - nd.gaussian_filter(green, 1.2)
    vessels = _inside_mean(np.maximum(dark, 0), inside, size)
    place = inside & (away < 0.85)
    if not place.any():
        return "R", 0.0
    score = np.zeros_like(green)
    for part in (spot, vessels):
        spread = float(part[place].std())
        if spread > 1e-6:
            score += (part - float(part[place].mean())) / spread
    columns = np.broadcast_to(np.arange(green.shape[1])[None], green.shape)
    right, left = place & (columns > x + 0.1 * radius), place & (columns < x - 0.1 * radius)
    if not right.any() or not left.any():
        return "R", 0.0
    spread = max(float(score[place].std()), 1e-6)
    lead = (float(score[right].max()) - float(score[left].max())) / spread
    return ("R" if lead >= 0 else "L"), abs(lead)
