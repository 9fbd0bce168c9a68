"""From planes to volumes: which belong together, in which order, with which gaps.

Order and spacing come from the positions of the planes alone: never from file names, instance numbers, slice
thickness or the element "spacing between slices", all of which are wrong often enough.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.volumes.dicom_planes import Plane

# Pictures made of a volume, and those that plan one: left out where a volume is beside them.
MADE = frozenset(("LOCALIZER", "MPR", "MIP", "PROJECTION IMAGE", "PROJECTION"))
# Components of the signal: a phase map is not the magnitude image of the same planes.
_COMPONENTS = {
    **dict.fromkeys(("M", "MAGNITUDE", "M_FFE", "M_SE", "M_IR"), "magnitude"),
    **dict.fromkeys(("P", "PHASE", "PHASE MAP"), "phase"),
    **dict.fromkeys(("R", "REAL"), "real"),
    **dict.fromkeys(("I", "IMAGINARY"), "imaginary"),
}
_DIRECTION = 1e-3  # of a cosine
_SPACING = 1e-3  # mm
_SAME_PLACE = 0.01  # mm
# A step between planes may deviate by this share, or by what positions rounded to 0.01 mm deviate.
_UNEVEN, _ROUNDED = 0.01, 0.02


@dataclass(frozen=True)
class Series:
    """Planes that are one volume.

    Attributes:
        label: What the user chooses it by: the number of the series, with the part where it has several.
        planes: Its planes in no order.
        copies: Files left out since they are copies of others.
    """

    label: str
    planes: tuple[Plane, ...]
    copies: int = 0


@dataclass(frozen=True)
class Stack:
    """Planes in order, and where they lie.

    Attributes:
        planes: From the first along the normal to the last.
        affine: float64 (4, 4), (column, row, plane) -> mm; x to the right, y to the front, z to the top.
    """

    planes: tuple[Plane, ...]
    affine: np.ndarray


def separate(planes: Sequence[Plane]) -> list[Series]:
    """The volumes among `planes`, by series, geometry, echo, component and repetition; sorted by their labels."""
    parts: dict[tuple[Any, ...], list[Plane]] = defaultdict(list)
    directions: list[np.ndarray] = []
    for plane in planes:
        cosines = np.array(plane.along_row + plane.along_column)
        known = next((i for i, d in enumerate(directions) if np.abs(d - cosines).max() < _DIRECTION), None)
        if known is None:
            known = len(directions)
            directions.append(cosines)
        spacing = tuple(round(side / _SPACING) for side in plane.spacing)
        component = next((_COMPONENTS[kind] for kind in plane.kinds[2:] if kind in _COMPONENTS), "")
        parts[plane.series, plane.size, spacing, known, component, plane.group].append(plane)
    volumes: dict[int, list[tuple[list[Plane], int]]] = defaultdict(list)
    for members in parts.values():
        kept, copies = _without_copies(members)
        for repetition in _repetitions(kept):
            volumes[members[0].number].append((repetition, copies))
    found = []
    for number, several in sorted(volumes.items()):
        several.sort(
            key=lambda pair: (-len(pair[0]), str(pair[0][0].group), str(pair[0][0].order), pair[0][0].position)
        )
        for part, (members, copies) in enumerate(several, start=1):
            label = str(number) if len(several) == 1 else f"{number}-{part}"
            found.append(Series(label, tuple(members), copies))
    return found


def choose(series: Sequence[Series], label: str | None, where: str) -> tuple[Series, int]:
    """The volume called `label`; without one the only volume that is neither planning nor a reformat.

    Returns:
        The volume, and how many others there are.

    Raises:
        ReadError: There are several, or none of that label.
    """
    if label is not None:
        for one in series:
            if one.label == label:
                return one, len(series) - 1
        raise ReadError(f"There is no series '{label}'.", where=where, expected=_listed(series))
    own = [one for one in series if not any(MADE & set(plane.kinds) for plane in one.planes)] or list(series)
    if len(own) != 1:
        raise ReadError(
            f"The folder holds {len(own)} volumes, and which one is the record cannot be guessed.",
            where=where,
            expected=f"one series; here are {_listed(own)}",
            fix="name one in the column (option) 'series', or give each series a folder of its own",
        )
    return own[0], len(series) - 1


def stack(series: Series, where: str) -> Stack:
    """The planes of a volume in order, and its affine.

    Raises:
        ReadError: Planes are missing, doubled, unevenly spaced or displaced against each other; or only one.
    """
    first = series.planes[0]
    normal = first.normal
    places = np.array([plane.position for plane in series.planes])
    along = places @ normal
    order = np.argsort(along, kind="stable")
    if len(order) < 2:
        raise ReadError(
            "The series has a single slice.",
            where=where,
            expected="the folder of a series, or an enhanced multi-frame file",
            fix="name the folder that holds all slices of the series",
        )
    steps = np.diff(along[order])
    doubled = int((steps < _SAME_PLACE).sum())
    if doubled:
        raise ReadError(
            f"{doubled} of {len(order)} slices lie where another slice lies.",
            where=where,
            expected="one slice per place",
            fix="the folder may hold two scans or time points without their numbers: keep the files of one",
        )
    step = float(np.median(steps))
    allowed = max(_UNEVEN * step, _ROUNDED)
    gaps = np.rint(steps / step)
    regular = np.abs(steps - gaps * step) <= allowed * np.maximum(gaps, 1)
    if regular.all() and (gaps > 1).any():
        places_of_gaps, lost = np.flatnonzero(gaps > 1), int((gaps - 1).sum())
        raise ReadError(
            f"{lost} slice{' is' if lost == 1 else 's are'} missing: the step of {step:.3g} mm is exceeded after slice "
            f"{', '.join(str(i + 1) for i in places_of_gaps[:5])} of {len(order)}.",
            where=where,
            expected="evenly spaced slices",
            fix="export or copy the series again; a volume with gaps would be squeezed",
        )
    if not regular.all() or (gaps != 1).any():
        raise ReadError(
            f"The slices are unevenly spaced: {steps.min():.3g} to {steps.max():.3g} mm, most often {step:.3g} mm.",
            where=where,
            expected="steps that differ by at most 1 %",
            fix="export the series again, or resample it to even slices first",
        )
    ordered = places[order]
    mean_step = (ordered[-1] - ordered[0]) / (len(order) - 1)
    aside = np.linalg.norm(ordered - ordered[0] - np.outer(along[order] - along[order][0], normal), axis=1).max()
    if aside > max(0.1, 0.01 * step * len(order)):
        raise ReadError(
            f"The slices are displaced against each other by up to {aside:.3g} mm: they form no box.",
            where=where,
            expected="slices behind each other",
            fix="resample the series to a rectangular grid first",
        )
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.along_row) * first.spacing[1]
    affine[:3, 1] = np.array(first.along_column) * first.spacing[0]
    affine[:3, 2] = mean_step
    affine[:3, 3] = ordered[0]
    affine[:2] *= -1  # from left and back to right and front
    return Stack(tuple(series.planes[i] for i in order), affine)


def _without_copies(planes: Iterable[Plane]) -> tuple[list[Plane], int]:
    """The planes without those that bear the identifier and place of another."""
    kept: dict[Any, Plane] = {}
    total = 0
    for number, plane in enumerate(planes):
        total += 1
        kept.setdefault((plane.instance or number, plane.position), plane)
    return list(kept.values()), total - len(kept)


def _repetitions(planes: list[Plane]) -> list[list[Plane]]:
    """The planes parted by time, acquisition or kind where that leaves each place once; else all together."""
    if _each_once(planes):
        return [planes]
    keys = [lambda plane, name=name: dict(plane.order).get(name) for name in dict(planes[0].order)]
    for key in [*keys, lambda plane: plane.kinds]:
        parts: dict[Any, list[Plane]] = defaultdict(list)
        for plane in planes:
            parts[key(plane)].append(plane)
        if len(parts) > 1 and all(map(_each_once, parts.values())):
            return list(parts.values())
    return [planes]


def _each_once(planes: Sequence[Plane]) -> bool:
    along = np.sort(np.array([plane.position for plane in planes]) @ planes[0].normal)
    return bool((np.diff(along) >= _SAME_PLACE).all())


def _listed(series: Sequence[Series]) -> str:
    shown = [
        f"{one.label} ({len(one.planes)} slices of {one.planes[0].size[1]} x {one.planes[0].size[0]})" for one in series
    ]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
