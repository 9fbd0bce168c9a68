"""A heat map painted over its picture."""

from __future__ import annotations

import numpy as np

from medfm.core.errors import ConfigError

# From dark purple over orange to pale yellow: growing lightness, so that a grey print keeps the order.
_RAMP = np.array([(20, 10, 60), (110, 25, 110), (190, 55, 85), (240, 120, 30), (250, 190, 60), (252, 250, 170)])


def overlay(picture: np.ndarray, heat: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """The picture uint8 (H, W, 3) in grey under the heat in colour; what was not seen stays grey and is darkened.

    Colours run from no heat to the largest value of this map, so they cannot be compared between
    pictures. They are not stretched from the smallest value: a map that is the same everywhere has one
    colour, and noise on it does not look like a finding. A map of zeros has the lowest colour.

    Args:
        picture: uint8 (H, W, 3) or (H, W).
        heat: float (H, W), 0 or more; NaN where the network saw nothing.
        opacity: Of the colours where the heat is largest, 0 to 1; where there is none it is a third of that.

    Raises:
        ConfigError: The two do not fit, or a value is out of range.
    """
    picture, heat = np.asarray(picture), np.asarray(heat, dtype=np.float64)
    if picture.dtype != np.uint8 or picture.shape[:2] != heat.shape or picture.shape[2:] not in ((), (3,)):
        raise ConfigError(
            f"A heat map {heat.shape} does not fit a picture {picture.shape} of type {picture.dtype}.",
            expected="float (H, W) over uint8 (H, W, 3) or (H, W)",
        )
    seen = ~np.isnan(heat)
    if not 0 <= opacity <= 1 or not np.isfinite(heat[seen]).all() or (heat[seen] < 0).any():
        raise ConfigError("The opacity must lie in 0 to 1, and heat be 0 or more.")
    grey = picture.astype(np.float64) if picture.ndim == 2 else picture @ np.array([0.299, 0.587, 0.114])
    top = heat[seen].max(initial=0.0)
    share = np.where(seen, heat, 0.0) / (top if top > 0 else 1.0)
    place = share * (len(_RAMP) - 1)
    low = np.minimum(place.astype(np.int64), len(_RAMP) - 2)
    part = (place - low)[..., None]
    colour = _RAMP[low] * (1 - part) + _RAMP[low + 1] * part
    alpha = np.where(seen, opacity * (1 + 2 * share) / 3, 0.0)[..., None]
    base = np.where(seen, grey, grey * 0.35)[..., None]
    return np.rint(base * (1 - alpha) + colour * alpha).clip(0, 255).astype(np.uint8)


def ramp(steps: int) -> list[str]:
    """`steps` colours from no heat to the largest, as ``#rrggbb``, for a legend."""
    place = np.linspace(0, len(_RAMP) - 1, steps)
    low = np.minimum(place.astype(np.int64), len(_RAMP) - 2)
    part = (place - low)[:, None]
    colours = np.rint(_RAMP[low] * (1 - part) + _RAMP[low + 1] * part).astype(np.int64)
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours.tolist()]
