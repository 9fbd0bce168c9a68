"""The round field of view of a fundus photograph on its surround: where it is, its mask, its crop.

The surround is what the corners agree on, whatever its colour; the field is the largest part that
differs from it; a circle is fitted to the edge of that part, with edges that the camera or a crop
cut straight left out. A result that is no circle is not called one: then the field is the whole picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

_SIDE = 320  # the search runs on a copy of at most this many pixels
_TRIES = 160
# The circle and the bright part must agree this well (intersection over union).
AGREEMENT = 0.93
# Share of the full turn on which edge points lie on the circle: a rectangle touches its circle at four corners only.
_ARC = 0.3


@dataclass(frozen=True)
class FieldOfView:
    """Where the field of view lies, in pixels of the picture.

    Attributes:
        found: Whether a circle was found; otherwise the field is the whole picture.
        centre: x and y of the centre (the upper left pixel's centre is 0, 0); of the picture if not found.
        radius: Radius; half the shorter side if not found.
        box: First and last-plus-one row, first and last-plus-one column of the field.
        shape: Rows and columns of the picture.
        agreement: Intersection over union of the circle and the part that differs from the surround.
    """

    found: bool
    centre: tuple[float, float]
    radius: float
    box: tuple[int, int, int, int]
    shape: tuple[int, int]
    agreement: float

    @property
    def cut(self) -> tuple[str, ...]:
        """Sides at which more than 2 % of the radius is cut off: ``top``, ``bottom``, ``left``, ``right``."""
        if not self.found:
            return ()
        top, bottom, left, right = self.box
        (x, y), r = self.centre, self.radius
        missing = {
            "top": top - (y - r),
            "bottom": y + r + 1 - bottom,
            "left": left - (x - r),
            "right": x + r + 1 - right,
        }
        return tuple(side for side, pixels in missing.items() if pixels > 0.02 * r + 1)

    def mask(self) -> np.ndarray:
        """Bool (rows, columns): True inside the field."""
        inside = np.zeros(self.shape, bool)
        top, bottom, left, right = self.box
        if not self.found:
            inside[top:bottom, left:right] = True
            return inside
        rows, columns = np.ogrid[top:bottom, left:right]
        x, y = self.centre
        inside[top:bottom, left:right] = (columns - x) ** 2 + (rows - y) ** 2 <= self.radius**2
        return inside


def field_of_view(picture: np.ndarray) -> FieldOfView:
    """The field of view of a photograph, uint8 (rows, columns, 3); deterministic, some milliseconds.

    Handles a dark or coloured surround, burned-in text in it, and a circle cut off at any side.
    A picture without a surround (a crop inside the retina) has ``found`` False.
    """
    rows, columns = picture.shape[:2]
    whole = FieldOfView(
        False, ((columns - 1) / 2, (rows - 1) / 2), min(rows, columns) / 2, (0, rows, 0, columns), (rows, columns), 0.0
    )
    if min(rows, columns) < 16:
        return whole
    scale = max(max(rows, columns) / _SIDE, 1.0)
    small = reduced(picture, scale).astype(np.int16)
    border = _surround(small)
    if border is None:
        return whole
    colour, noise = border
    distance = np.abs(small - colour).max(axis=2)
    best: tuple[float, float, float, float, tuple[int, int, int, int]] | None = None
    for threshold in (10 + 3 * noise, 20 + 3 * noise, 40 + 3 * noise):
        fit = _circle_at(distance > threshold)
        if fit is not None and not _stepped(distance, fit[1:4]):
            fit = None
        if fit is not None and (best is None or fit[0] > best[0] + 0.005):
            best = fit
    if best is None or best[0] < AGREEMENT:
        return whole
    agreement, x, y, r, (top, bottom, left, right) = best
    sx, sy = columns / small.shape[1], rows / small.shape[0]
    # The centre of small pixel i is (i + 0.5) * s - 0.5 in the large picture.
    centre, radius = ((x + 0.5) * sx - 0.5, (y + 0.5) * sy - 0.5), (r + 0.5) * (sx + sy) / 2
    limits = (
        max(int(np.floor(max(top * sy - sy * (top > 0), centre[1] - radius))), 0),
        min(int(np.ceil(min(bottom * sy + sy, centre[1] + radius + 1))), rows),
        max(int(np.floor(max(left * sx - sx * (left > 0), centre[0] - radius))), 0),
        min(int(np.ceil(min(right * sx + sx, centre[0] + radius + 1))), columns),
    )
    return FieldOfView(True, centre, radius, limits, (rows, columns), agreement)


def crop_field(picture: np.ndarray, fill: int | None = 0) -> tuple[np.ndarray, FieldOfView]:
    """The picture cut to its field of view, uint8 (rows, columns, 3), and where that was.

    Args:
        picture: uint8 (rows, columns, 3).
        fill: Value of pixels of the box outside the circle; ``None`` leaves them as they are.
    """
    field = field_of_view(picture)
    top, bottom, left, right = field.box
    cut = picture[top:bottom, left:right].copy()
    if fill is not None and field.found:
        cut[~field.mask()[top:bottom, left:right]] = fill
    return cut, field


def reduced(picture: np.ndarray, scale: float) -> np.ndarray:
    """A copy smaller by `scale` (at least 1), averaged over areas; uint8."""
    rows, columns = picture.shape[:2]
    size = (max(round(columns / scale), 1), max(round(rows / scale), 1))
    if size == (columns, rows):
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize(size, Image.Resampling.BOX, reducing_gap=2.0))


def _surround(small: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Colour and noise that at least two smooth corners share."""
    side = max(2, round(0.03 * min(small.shape[:2])))
    corners = [
        small[rows, columns].reshape(-1, 3)
        for rows in (slice(0, side), slice(-side, None))
        for columns in (slice(0, side), slice(-side, None))
    ]
    smooth = [c for c in corners if c.std(axis=0).max() < 12]
    groups = [[o for o in smooth if np.abs(np.median(o, axis=0) - np.median(c, axis=0)).max() < 25] for c in smooth]
    largest = max(groups, key=len, default=[])
    if len(largest) < 2:
        return None
    pixels = np.concatenate(largest)
    return np.median(pixels, axis=0), float(pixels.std(axis=0).max())


def _circle_at(differs: np.ndarray) -> tuple[float, float, float, float, tuple[int, int, int, int]] | None:
    """Agreement, x, y, radius and box (rows, then columns) of the circle around the largest part."""
    from scipy import ndimage

    labels, number = ndimage.label(differs)
    if number == 0:
        return None
    part = ndimage.binary_fill_holes(labels == 1 + int(np.bincount(labels.ravel())[1:].argmax()))
    # Burned-in text and tabs that touch the circle go with an opening.
    part = ndimage.binary_opening(part, iterations=2) if part.sum() > 400 else part
    if part.sum() < 0.05 * part.size:
        return None
    points = _edge(part)
    circle = _fit(points, max(part.shape)) if len(points) >= 12 else None
    if circle is None or _arc(points, circle) < _ARC:
        return None
    x, y, r = circle
    rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
    disc = (columns - x) ** 2 + (rows - y) ** 2 <= (r + 0.5) ** 2
    on_rows, on_columns = (np.flatnonzero((part & disc).any(axis=axis)) for axis in (1, 0))
    if len(on_rows) == 0:
        return None
    box = (int(on_rows[0]), int(on_rows[-1]) + 1, int(on_columns[0]), int(on_columns[-1]) + 1)
    shown = np.zeros_like(disc)
    shown[box[0] : box[1], box[2] : box[3]] = disc[box[0] : box[1], box[2] : box[3]]
    agreement = float((part & shown).sum() / (part | shown).sum())
    return agreement, x, y, r, box


def _arc(points: np.ndarray, circle: tuple[float, float, float]) -> float:
    x, y, r = circle
    near = np.abs(np.hypot(points[:, 0] - x, points[:, 1] - y) - r) < 1.5
    angles = np.arctan2(points[near, 1] - y, points[near, 0] - x)
    return len(np.unique(np.floor(angles * (36 / np.pi)))) / 72


def _stepped(distance: np.ndarray, circle: tuple[float, float, float]) -> bool:
    """Whether the picture changes at the circle at once: a gradual change is shading, not the edge of a field."""
    x, y, r = circle
    rows, columns = np.ogrid[: distance.shape[0], : distance.shape[1]]
    away = np.hypot(columns - x, rows - y) / r
    inner, outer = distance[(away > 0.88) & (away < 0.96)], distance[(away > 1.04) & (away < 1.12)]
    return len(inner) > 0 and (len(outer) == 0 or float(np.median(inner)) > 2 * float(np.median(outer)) + 8)


def _edge(part: np.ndarray) -> np.ndarray:
    """Outermost pixels of every row and column as (x, y), those on the picture's own edge left out."""
    points = []
    for turned, grid in ((False, part), (True, part.T)):
        some = np.flatnonzero(grid.any(axis=1))
        first = grid[some].argmax(axis=1)
        last = grid.shape[1] - 1 - grid[some, ::-1].argmax(axis=1)
        for ends in (first, last):
            points.append(np.stack([some, ends] if turned else [ends, some], axis=1))
    found = np.unique(np.concatenate(points), axis=0).astype(np.float64)
    high, wide = part.shape
    inner = (found[:, 0] > 0) & (found[:, 0] < wide - 1) & (found[:, 1] > 0) & (found[:, 1] < high - 1)
    return found[inner]


def _fit(points: np.ndarray, side: int) -> tuple[float, float, float] | None:
    """The circle that most edge points lie on (random triples, fixed seed), refined by least squares."""
    random = np.random.default_rng(0)
    triples = points[random.integers(0, len(points), (_TRIES, 3))]
    a, b, c = triples[:, 0], triples[:, 1], triples[:, 2]
    d = 2 * (a[:, 0] * (b[:, 1] - c[:, 1]) + b[:, 0] * (c[:, 1] - a[:, 1]) + c[:, 0] * (a[:, 1] - b[:, 1]))
    good = np.abs(d) > side  # three points nearly on a line define no circle
    a, b, c, d = a[good], b[good], c[good], d[good]
    if len(d) == 0:
        return None
    squares = [(p**2).sum(axis=1) for p in (a, b, c)]
    x = (squares[0] * (b[:, 1] - c[:, 1]) + squares[1] * (c[:, 1] - a[:, 1]) + squares[2] * (a[:, 1] - b[:, 1])) / d
    y = (squares[0] * (c[:, 0] - b[:, 0]) + squares[1] * (a[:, 0] - c[:, 0]) + squares[2] * (b[:, 0] - a[:, 0])) / d
    r = np.hypot(a[:, 0] - x, a[:, 1] - y)
    usable = (r > 0.15 * side) & (r < 1.5 * side)
    if not usable.any():
        return None
    x, y, r = x[usable], y[usable], r[usable]
    off = np.abs(np.hypot(points[:, 0] - x[:, None], points[:, 1] - y[:, None]) - r[:, None])
    best = int((off < 1.5).sum(axis=1).argmax())
    circle = np.array([x[best], y[best], r[best]])
    for _ in range(3):
        near = np.abs(np.hypot(points[:, 0] - circle[0], points[:, 1] - circle[1]) - circle[2]) < 2.0
        if near.sum() < 8:
            break
        # x^2 + y^2 = 2 x0 x + 2 y0 y + (r^2 - x0^2 - y0^2), linear in the unknowns (Kasa).
        p = points[near]
        solved = np.linalg.lstsq(np.c_[2 * p, np.ones(len(p))], (p**2).sum(axis=1), rcond=None)[0]
        square = solved[2] + solved[0] ** 2 + solved[1] ** 2
        if square <= 0:
            break
        circle = np.array([solved[0], solved[1], np.sqrt(square)])
    return float(circle[0]), float(circle[1]), float(circle[2])
