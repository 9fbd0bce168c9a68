"""What can be measured of one recording in one pass: limb leads, amplitude, hum, clipping, flat leads, gaps.

Numbers only; what counts as wrong is decided in :mod:`medfm.cohorts.checks.signals`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from medfm.io.ecg.leads import LEADS
from medfm.modalities.ecg_beat import LimbFit, limb_fit

MAINS = (50, 60)
_SECONDS = 20
# III, aVR, aVL and aVF as shares of I and of II (Einthoven; Goldberger).
_LAWS = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}
_ROW = {name: row for row, name in enumerate(LEADS)}


@dataclass(frozen=True)
class Quality:
    """Measurements of one recording.

    Attributes:
        seconds: Length.
        sampling_hz: Rate.
        amplitude_mv: Standard deviation about the mean of each second, median over the leads that move.
        flat: Leads that do not move (standard deviation of that kind below 0.002 mV), absent ones left out.
        clipped: Milliseconds that each lead holds its own highest or lowest value, of stretches of three samples
            and more; leads without such stretches are left out.
        hum_mv: Root mean square of the 50 Hz and the 60 Hz component above its surroundings, in the worst lead.
        disagreement: Of each stored limb lead that follows from I and II: the root mean square of the difference
            as a share of that of I and II, over the samples that all three have.
        limbs: How the limb leads lie; ``None`` where it cannot be told.
        missing: Share of samples that are missing, absent leads left out.
        absent: Leads that the file lacks.
    """

    seconds: float
    sampling_hz: float
    amplitude_mv: float
    flat: tuple[str, ...]
    clipped: Mapping[str, float]
    hum_mv: Mapping[int, float]
    disagreement: Mapping[str, float]
    limbs: LimbFit | None
    missing: float
    absent: tuple[str, ...]


FLAT_MV = 0.002


def measure(array: np.ndarray, facts: Mapping[str, Any]) -> Quality:
    """Measure the canonical array (12, samples) in mV with its facts; missing values count as the lead's median.

    Whether limb leads disagree is judged only where the leads concerned are all there.
    """
    hz = float(facts["sampling_hz"])
    absent = tuple(facts.get("absent_leads", ()))
    derived = set(facts.get("derived_leads", ()))
    present = [row for row, lead in enumerate(LEADS) if lead not in absent]
    gaps = bool(facts.get("missing"))
    missing = float(np.isnan(array[present]).mean()) if gaps else 0.0
    filled = _filled(array) if gaps else array
    slow_free = _without_wander(filled, hz)
    deviation = slow_free.std(axis=1)
    moving = [row for row in present if deviation[row] >= FLAT_MV]
    flat = tuple(LEADS[row] for row in present if row not in moving)
    fit = limb_fit(filled, hz) if not {"I", "II", *absent} & set(flat) and not {"V5", "V6"} & set(absent) else None
    return Quality(
        seconds=array.shape[1] / hz,
        sampling_hz=hz,
        amplitude_mv=float(np.median(deviation[moving])) if moving else 0.0,
        flat=flat,
        clipped=_clipped(array, hz, [row for row in moving if LEADS[row] not in derived]),
        hum_mv=_hum(filled[moving], hz) if moving else {},
        disagreement=_disagreement(array, derived, set(absent), gaps=gaps),
        limbs=fit,
        missing=missing,
        absent=absent,
    )


def _filled(array: np.ndarray) -> np.ndarray:
    bad = np.isnan(array)
    middle = np.zeros(len(array), np.float32)
    some = ~bad.all(axis=1)
    middle[some] = np.nanmedian(array[some], axis=1)
    return np.where(bad, middle[:, None], array)


def _without_wander(array: np.ndarray, hz: float) -> np.ndarray:
    """The mean of each second taken off: baseline wander is no amplitude, and no error."""
    width = min(max(round(hz), 1), array.shape[1])
    whole = array.shape[1] // width * width
    seconds = array[:, :whole].reshape(len(array), -1, width)
    return (seconds - seconds.mean(axis=2, keepdims=True)).reshape(len(array), -1)


def _clipped(array: np.ndarray, hz: float, rows: list[int]) -> dict[str, float]:
    if array.shape[1] < 3:
        return {}
    found: dict[str, float] = {}
    held = array[rows]
    for extreme in (np.fmax.reduce(held, axis=1), np.fmin.reduce(held, axis=1)):
        at = held == extreme[:, None]
        threes = at[:, 2:] & at[:, 1:-1] & at[:, :-2]
        for place in np.flatnonzero(threes.any(axis=1)):
            # Every sample that belongs to a stretch of three: the threes, widened by two.
            covered = np.zeros(array.shape[1], bool)
            for shift in range(3):
                covered[shift : shift + threes.shape[1]] |= threes[place]
            lead = LEADS[rows[place]]
            found[lead] = max(found.get(lead, 0.0), 1e3 * float(covered.sum()) / hz)
    return found


def _hum(rows: np.ndarray, hz: float) -> dict[int, float]:
    """Root mean square (mV) within half a hertz of each mains frequency, less what its surroundings hold."""
    signal = rows[:, : int(_SECONDS * hz)]
    count = signal.shape[1]
    if count < 2 * hz:  # the neighbourhood would hold no bins
        return {}
    window = _window(count)
    steps = np.fft.rfftfreq(count, 1 / hz)
    found = {}
    spectrum = None
    for mains in MAINS:
        if mains + 3.5 > hz / 2:
            continue
        if spectrum is None:
            spectrum = np.abs(np.fft.rfft((signal - signal.mean(axis=1, keepdims=True)) * window, axis=1)) ** 2
            spectrum *= 2 / (count * float((window**2).sum()))
        away = np.abs(steps - mains)
        line, around = away <= 0.5 + 2 * hz / count, (away > 1.5) & (away <= 3.5)
        background = np.median(spectrum[:, around], axis=1) * 1.44 * line.sum()  # median of a chi-square to its mean
        power = np.maximum(spectrum[:, line].sum(axis=1) - background, 0)
        found[mains] = float(np.sqrt(power.max()))
    return found


@lru_cache(maxsize=8)
def _window(count: int) -> np.ndarray:
    # Most records of a cohort have one length.
    return np.hanning(count).astype(np.float32)


def _disagreement(array: np.ndarray, derived: set[str], absent: set[str], *, gaps: bool) -> dict[str, float]:
    if {"I", "II"} & (derived | absent):
        return {}
    # Every fourth sample is ample for a sum of squares.
    limbs = array[:6, ::4].astype(np.float64)
    found = {}
    for lead, (of_one, of_two) in _LAWS.items():
        if lead in derived or lead in absent:
            continue
        three = limbs[[0, 1, _ROW[lead]]]
        if gaps:  # what is missing contradicts nothing
            three = three[:, np.isfinite(three).all(axis=0)]
        if three.shape[1] < 2:
            continue
        one, two, own = three - three.mean(axis=1, keepdims=True)
        scale = float(np.sqrt((one @ one + two @ two) / (2 * len(one))))
        difference = own - of_one * one - of_two * two
        if scale > 0:
            found[lead] = float(np.sqrt(difference @ difference / len(difference))) / scale
    return found
