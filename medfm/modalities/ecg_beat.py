"""The median beat of a recording, and how well its limb leads fit its chest leads.

A swap of limb electrodes leaves V1 to V6 as they are (up to a small shift) and turns I and II over.
In nearly every heart the activation runs to the left and down, so that I and II go along with V5 and V6
in the P wave, the QRS complex and the T wave. Where lead I runs against them in all three, the arm
electrodes are swapped (or the heart lies on the right); where II does, right arm and left leg are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Seconds around the steepest point of the QRS complex.
BEFORE, AFTER = 0.26, 0.42
P_WAVE, QRS, T_WAVE = (-0.2, -0.085), (-0.06, 0.06), (0.15, 0.4)
_PR_SEGMENT = (-0.085, -0.065)
# A wave below this (mV, root mean square) says little about its direction and weighs less.
_FAINT_MV = 0.02
_ANALYSIS_HZ = 250
_SECONDS = 20


@dataclass(frozen=True)
class LimbFit:
    """How the limb leads of one recording lie.

    Attributes:
        one: Agreement of lead I with V5 + V6, the sum over P, QRS and T of their cosines: -3 to 3.
        two: The same for lead II.
        p_excess_mv: Mean of the P wave in I less that in II; healthy sinus beats have it below 0.
        beats: Beats in the median.
    """

    one: float
    two: float
    p_excess_mv: float
    beats: int


def limb_fit(array: np.ndarray, sampling_hz: float) -> LimbFit | None:
    """The fit of the limb leads of (12, samples) in mV without missing values.

    ``None`` where it cannot be told: fewer than two beats within 20 s, V5 and V6 both flat, or a rate below 80 Hz.
    """
    if sampling_hz < 80:
        return None
    found = _median_beat(array[[0, 1, 10, 11]], sampling_hz)
    if found is None:
        return None
    beat, hz, beats = found
    chest = beat[2] + beat[3]
    if not np.ptp(chest) > 0:
        return None
    agreement = np.zeros(2)
    for wave in (P_WAVE, QRS, T_WAVE):
        part = _window(wave, hz)
        limbs, towards = beat[:2, part], chest[part] / 2
        faint = _FAINT_MV * np.sqrt(limbs.shape[1])
        lengths = np.sqrt((limbs**2).sum(axis=1)) + faint
        agreement += limbs @ towards / lengths / (np.sqrt((towards**2).sum()) + faint)
    p_waves = beat[:2, _window(P_WAVE, hz)].mean(axis=1)
    return LimbFit(float(agreement[0]), float(agreement[1]), float(p_waves[0] - p_waves[1]), beats)


def _window(seconds: tuple[float, float], hz: float) -> slice:
    return slice(*(round((BEFORE + t) * hz) for t in seconds))


def _median_beat(rows: np.ndarray, sampling_hz: float) -> tuple[np.ndarray, float, int] | None:
    """Median over the beats of `rows`, zero in the PR segment; its rate; how many beats."""
    step = max(int(sampling_hz // _ANALYSIS_HZ), 1)
    hz = sampling_hz / step
    whole = min(rows.shape[1], int(_SECONDS * sampling_hz)) // step * step
    signal = rows[:, :whole].reshape(len(rows), -1, step).mean(axis=2, dtype=np.float64)
    before, after = round(BEFORE * hz), round(AFTER * hz)
    peaks = _steepest(signal, hz)
    peaks = peaks[(peaks >= before) & (peaks + after < signal.shape[1])]
    if len(peaks) < 2:
        return None
    beats = signal[:, peaks[:, None] + np.arange(-before, after)]
    beats -= beats[:, :, _window(_PR_SEGMENT, hz)].mean(axis=2, keepdims=True)
    return np.median(beats, axis=1), hz, len(peaks)


def _steepest(signal: np.ndarray, hz: float) -> np.ndarray:
    """Places of the QRS complexes: peaks of the summed slopes, at least 0.25 s apart."""
    from scipy.signal import find_peaks

    slopes = np.abs(np.diff(signal, axis=1)).sum(axis=0)
    width = max(round(0.08 * hz), 1)
    if len(slopes) <= width:
        return np.empty(0, np.int64)
    smooth = np.convolve(slopes, np.ones(width) / width, "same")
    peaks, _ = find_peaks(smooth, height=0.45 * np.quantile(smooth, 0.98), distance=max(round(0.25 * hz), 1))
    return np.asarray(peaks, np.int64)
