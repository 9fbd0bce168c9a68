"""Sheets of several volumes on one grid: rows of orthogonal slices, signed differences below, a colour bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medfm.reporting.drawing import Areas, Drawing, Lines, Picture, Text, rectangle
from medfm.reporting.volume_slices import Slice, centre_of, diverging, grey, reach_of, slices

WIDTH = 190.0  # mm
_MARGIN, _GAP, _LABELS = 7.0, 8.0, 23.0
_BAR, _BAR_STEPS = 60.0, 60
_QUIET = "#333333"


@dataclass(frozen=True)
class Shown:
    """One volume of a sheet.

    Attributes:
        label: Above it (strips) or at its row (panels); a line feed parts two lines.
        volume: (i, j, k) in the axes of the file, values about 0..1; ``None`` leaves the place empty.
        difference: The same shape, signed; ``None`` where there is nothing to subtract.
    """

    label: str
    volume: np.ndarray | None
    difference: np.ndarray | None = None


@dataclass(frozen=True)
class Sheet:
    """What the sheets of one record share.

    Attributes:
        name: The record, in bold below.
        affine: Of the volumes, (4, 4).
        sides_known: Whether left and right may be named.
        difference: What the colours mean, such as ``"reconstruction minus scan"``.
        lines: Further lines below.
        synthetic: Stamp it.
    """

    name: str
    affine: np.ndarray
    sides_known: bool = True
    difference: str = ""
    lines: tuple[str, ...] = ()
    synthetic: bool = False


def strip(columns: Sequence[Shown], sheet: Sheet, centre: tuple[int, int, int] | None = None) -> Drawing:
    """Volumes side by side; for every plane a row of slices and, below it, a row of differences.

    All differences share one scale, which is stated.

    Args:
        columns: At least one with a volume.
        sheet: The rest.
        centre: Voxel (RAS) of the slices; the middle of the head of the first volume when absent.
    """
    centre, reach, bright = _common(columns, sheet, centre)
    cut = [
        None if c.volume is None else slices(c.volume, sheet.affine, centre, sides_known=sheet.sides_known)
        for c in columns
    ]
    off = [None if c.difference is None else slices(c.difference, sheet.affine, centre) for c in columns]
    known = next(three for three in cut if three is not None)
    gap = 2.0
    widest = max(plane.size[0] for plane in known)
    cell = (WIDTH - 2 * _MARGIN - _LABELS - gap * len(columns)) / len(columns)
    scale = min(cell / widest, 0.32)
    cell = widest * scale
    drawing = Drawing(WIDTH, 0.0, f"{len(columns)} volumes of {sheet.name} in slices")
    two = any("\n" in c.label for c in columns)
    top = _MARGIN + (7.5 if two else 4.0)
    left = _MARGIN + _LABELS
    for number, column in enumerate(columns):
        middle = left + number * (cell + gap) + cell / 2
        lines = column.label.split("\n")
        for row, line in enumerate(lines[-2:]):
            y = top - 2.0 - 3.6 * (len(lines[-2:]) - 1 - row)
            drawing.add(Text(middle, y, line, 2.8, "middle", bold=row == 0))
    for plane in range(3):
        shape = known[plane]
        high = shape.size[1] * scale
        drawing.add(
            Text(_MARGIN, top + 4.0, shape.name, 3.0, bold=True),
            Text(_MARGIN, top + 8.0, f"slice {shape.at[0] + 1} of {shape.at[1]}", 2.4, colour=_QUIET),
            Text(_MARGIN, top + 11.4, f"{shape.ends[0]} above", 2.4, colour=_QUIET),
        )
        _letters(drawing, shape, left, left + len(columns) * (cell + gap) - gap, top, high, cell, scale)
        for number, three in enumerate(cut):
            if three is not None:
                _picture(
                    drawing,
                    three[plane],
                    grey(three[plane].values, 0.0, bright),
                    left + number * (cell + gap),
                    top,
                    cell,
                    scale,
                )
        top += high + 2.0
        if any(three is not None for three in off):
            drawing.add(Text(_MARGIN, top + 4.0, "difference", 2.8, colour=_QUIET))
            for number, three in enumerate(off):
                if three is not None:
                    pixels = diverging(three[plane].values, reach)
                    _picture(drawing, three[plane], pixels, left + number * (cell + gap), top, cell, scale, frame=True)
            top += high + 2.0
        top += 2.0
    return _finished(drawing, sheet, top + 4.0, scale, reach if any(o is not None for o in off) else None)


def panel_rows(rows: Sequence[Shown], sheet: Sheet, centre: tuple[int, int, int] | None = None) -> Drawing:
    """One volume per row as sagittal, coronal and axial slice; a row of the last one's difference below it.

    Args:
        rows: At least one with a volume.
        sheet: The rest.
        centre: As of :func:`strip`.
    """
    centre, reach, bright = _common(rows, sheet, centre)
    drawing = Drawing(WIDTH, 0.0, f"{len(rows)} volumes of {sheet.name} in slices")
    top, scale, coloured = _MARGIN, 1.0, False
    for shown in rows:
        for array, label, colours in (
            (shown.volume, shown.label, False),
            (shown.difference, f"difference: {sheet.difference}", True),
        ):
            if array is None:
                continue
            coloured |= colours
            three = slices(array, sheet.affine, centre, sides_known=sheet.sides_known)
            scale = min((WIDTH - 2 * _MARGIN - 2 * _GAP) / sum(s.size[0] for s in three), 0.34)
            tallest = max(s.size[1] for s in three) * scale
            drawing.add(Text(_MARGIN, top + 3.0, label.replace("\n", ", "), 3.2, bold=True))
            first = top == _MARGIN
            top += 12.4 if first else 8.4
            x = _MARGIN
            for part in three:
                wide, high = part.size[0] * scale, part.size[1] * scale
                if first:
                    name = f"{part.name}, {part.at[0] + 1} of {part.at[1]}"
                    drawing.add(Text(x, top - 4.4, name, 2.6, colour=_QUIET))
                pixels = diverging(part.values, reach) if colours else grey(part.values, 0.0, bright)
                _picture(drawing, part, pixels, x, top, wide, scale, frame=colours)
                beside = top + high / 2 + 1.0
                drawing.add(
                    Text(x + wide / 2, top - 0.8, part.ends[0], 2.8, "middle", bold=True),
                    Text(x + wide / 2, top + high + 3.0, part.ends[1], 2.8, "middle", bold=True),
                    Text(x - 0.8, beside, part.sides[0], 2.8, "end", bold=True),
                    Text(x + wide + 0.8, beside, part.sides[1], 2.8, bold=True),
                )
                x += wide + _GAP
            top += tallest + 6.0
    return _finished(drawing, sheet, top + 2.0, scale, reach if coloured else None)


def _common(
    shown: Sequence[Shown], sheet: Sheet, centre: tuple[int, int, int] | None
) -> tuple[tuple[int, int, int], float, float]:
    """Voxel of the slices, end of the scale of differences, and the value shown as white."""
    volumes = [one.volume for one in shown if one.volume is not None]
    if centre is None:
        centre = centre_of(volumes[0], sheet.affine)
    # A few bright vessels would leave the brain dark; where values fill their range nothing is changed.
    inside = volumes[0][volumes[0] > 0]
    bright = float(np.quantile(inside, 0.997)) if inside.size else 1.0
    bright = bright if 0.05 < bright < 0.9 else 1.0
    return centre, reach_of(*(one.difference for one in shown if one.difference is not None)), bright


def _picture(
    drawing: Drawing,
    part: Slice,
    pixels: np.ndarray,
    x: float,
    y: float,
    cell: float,
    scale: float,
    frame: bool = False,
) -> None:
    wide, high = part.size[0] * scale, part.size[1] * scale
    x += (cell - wide) / 2
    drawing.add(Picture(x, y, wide, high, pixels))
    if frame:  # white is no difference: without an edge nobody saw where the picture ends
        drawing.add(Lines([rectangle(x, y, wide, high)[[0, 1, 2, 3, 0]]], "#999999", 0.15))


def _letters(
    drawing: Drawing, part: Slice, left: float, right: float, top: float, high: float, cell: float, scale: float
) -> None:
    """Letters at the outer sides of a row of equal slices."""
    inside = (cell - part.size[0] * scale) / 2
    beside = top + high / 2 + 1.0
    drawing.add(
        Text(left + inside - 0.7, beside, part.sides[0], 2.8, "end", bold=True),
        Text(right - inside + 0.7, beside, part.sides[1], 2.8, bold=True),
    )


def _finished(drawing: Drawing, sheet: Sheet, y: float, scale: float, reach: float | None) -> Drawing:
    """Colour bar, scale bar, name and facts below; sets the height."""
    right = WIDTH - _MARGIN
    if reach is not None:
        step = _BAR / _BAR_STEPS
        colours = diverging(np.linspace(-reach, reach, _BAR_STEPS), reach)
        for number, colour in enumerate(colours):
            # A hair of overlap: no seam between neighbours.
            box = rectangle(_MARGIN + number * step, y, step + (0.1 if number + 1 < _BAR_STEPS else 0.0), 3.0)
            drawing.add(Areas([box], "#{:02x}{:02x}{:02x}".format(*colour.tolist())))
        drawing.add(Lines([rectangle(_MARGIN, y, _BAR, 3.0)[[0, 1, 2, 3, 0]]], "#666666", 0.15))
        for share, text, anchor in ((0.0, f"−{reach:g}", "start"), (0.5, "0", "middle"), (1.0, f"+{reach:g}", "end")):
            drawing.add(Text(_MARGIN + share * _BAR, y + 6.2, text, 2.8, anchor))  # type: ignore[arg-type]
        words = [sheet.difference, "in shares of the range of values;", "beyond the ends: their colour"]
        for row, line in enumerate(words):
            drawing.add(Text(_MARGIN + _BAR + 4.0, y + 2.2 + 3.4 * row, line, 2.6, colour=_QUIET))
    bar = 50.0 * scale
    drawing.add(
        Lines([np.array([(right - bar, y + 1.5), (right, y + 1.5)])], "#111111", 0.6),
        Text(right - bar / 2, y + 5.4, "50 mm", 2.8, "middle"),
    )
    y += 15.0 if reach is not None else 4.0
    drawing.add(Text(_MARGIN, y, sheet.name, 3.4, bold=True))
    convention = (
        "radiological convention: the patient's right (R) is at the left of coronal and axial slices"
        if sheet.sides_known
        else "LEFT AND RIGHT ARE NOT KNOWN: the file does not say which side is which"
    )
    for line in (*sheet.lines, convention):
        y += 4.3
        drawing.add(Text(_MARGIN, y, line, 2.8, colour=_QUIET))
    if sheet.synthetic:
        drawing.add(Text(right, y, "SYNTHETIC", 2.8, "end", bold=True, colour="#b3261e"))
    drawing.height = y + 4.0
    return drawing
