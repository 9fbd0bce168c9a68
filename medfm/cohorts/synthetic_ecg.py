"""Drawing synthetic 12-lead ECGs from a moving dipole: what each finding changes can be seen in the leads.

Every wave (P, Q, R, S, T ...) is a Gaussian in time with a direction in the body; a lead is the
projection of their sum on its own direction. The limb leads therefore obey Einthoven's law by
construction. The shapes are drawn after textbooks, for demonstrations and tests: figures on these
recordings say nothing about real ones.

Source of the idea of Gaussian waves: McSharry et al., IEEE Trans Biomed Eng 50:289 (2003); the
directions, sizes and times are our own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

RHYTHMS = ("SR", "SBRAD", "STACH", "AFIB")
FINDINGS = ("1AVB", "CLBBB", "CRBBB", "STE", "STD", "VPC", "PAC", "LVH")
# Those of one group cannot stand together on one recording here.
EXCLUSIVE = (set(RHYTHMS), {"CLBBB", "CRBBB"}, {"STE", "STD"}, {"VPC", "PAC"})
_RATES = {"SR": (62, 96), "SBRAD": (38, 56), "STACH": (104, 136), "AFIB": (70, 125)}  # beats per minute

# Directions: x to the patient's left, y down, z to the front. Millivolts come from the waves.
_ANGLE = np.deg2rad([115, 95, 72, 48, 22, 2])
LEAD_VECTORS = np.zeros((12, 3))  # I, II, III, aVR, aVL, aVF, V1 to V6
LEAD_VECTORS[0] = (1, 0, 0)
LEAD_VECTORS[1] = (0.5, 0.87, 0)
LEAD_VECTORS[2] = LEAD_VECTORS[1] - LEAD_VECTORS[0]
LEAD_VECTORS[3] = -(LEAD_VECTORS[0] + LEAD_VECTORS[1]) / 2
LEAD_VECTORS[4] = LEAD_VECTORS[0] - LEAD_VECTORS[1] / 2
LEAD_VECTORS[5] = LEAD_VECTORS[1] - LEAD_VECTORS[0] / 2
LEAD_VECTORS[6:, 0] = np.cos(_ANGLE) * [1.0, 1.2, 1.4, 1.5, 1.4, 1.2]
LEAD_VECTORS[6:, 2] = np.sin(_ANGLE) * [1.0, 1.3, 1.5, 1.4, 1.2, 1.0]
LEAD_VECTORS[6:, 1] = (0.0, 0.05, 0.1, 0.2, 0.25, 0.25)


@dataclass(frozen=True)
class Heart:
    """What belongs to a person: rotation of the axis in the frontal plane, size of QRS and of T."""

    axis: float
    qrs: float
    t_wave: float


@dataclass(frozen=True)
class Device:
    """What belongs to a site: sampling rate, muscle noise and mains hum (mV), mains frequency (Hz), wander (mV)."""

    sampling_hz: int
    noise: float
    hum: float
    mains: float
    wander: float


@dataclass(frozen=True)
class _Wave:
    time: float  # seconds from the R wave
    width: float  # standard deviation, seconds
    vector: tuple[float, float, float]  # mV


_NARROW = (
    _Wave(-0.024, 0.008, (-0.14, -0.05, 0.22)),
    _Wave(0.000, 0.011, (0.85, 0.80, -0.10)),
    _Wave(0.024, 0.010, (0.02, -0.22, -0.62)),
)
_LEFT_BLOCK = (
    _Wave(-0.010, 0.018, (0.62, 0.30, -0.45)),
    _Wave(0.028, 0.017, (0.35, 0.05, -0.75)),
    _Wave(0.066, 0.019, (0.72, 0.20, -0.62)),
)
_RIGHT_BLOCK = (*_NARROW[:2], _Wave(0.024, 0.010, (0.0, -0.15, -0.35)), _Wave(0.068, 0.020, (-0.50, -0.05, 0.75)))
_VENTRICULAR = (_Wave(0.000, 0.028, (-0.60, 1.10, -0.70)), _Wave(0.055, 0.026, (-0.35, 0.85, -0.85)))
_P = _Wave(0.0, 0.021, (0.075, 0.11, 0.03))
_P_OTHER = _Wave(0.0, 0.016, (0.10, -0.05, 0.07))
_T = (0.26, 0.24, 0.20)
_ST = {"anterior": (0.05, 0.0, 0.24), "inferior": (-0.04, 0.26, -0.02), "depression": (-0.14, -0.10, -0.10)}


def conflicts(findings: Collection[str]) -> bool:
    """Whether two of the findings (:data:`RHYTHMS` and :data:`FINDINGS`) cannot stand together."""
    chosen = set(findings)
    if "AFIB" in chosen and chosen & {"1AVB", "PAC"}:
        return True
    # At a fast rate a long PR interval or an early beat would lie inside the T wave before.
    if "STACH" in chosen and chosen & {"1AVB", "PAC", "VPC"}:
        return True
    return any(len(chosen & group) > 1 for group in EXCLUSIVE)


@dataclass(frozen=True)
class Drawn:
    """One recording: float64 (12, samples) in mV, and its mean ventricular rate per minute."""

    values: np.ndarray
    rate: int
    region: str


def draw_ecg(
    findings: Collection[str], heart: Heart, device: Device, rng: np.random.Generator, seconds: float = 10.0
) -> Drawn:
    """Draw one recording.

    Args:
        findings: One of :data:`RHYTHMS` and any of :data:`FINDINGS` that do not conflict.
        heart: The person.
        device: The site.
        rng: Source of everything random.
        seconds: Length.

    Returns:
        Leads in the order I, II, III, aVR, aVL, aVF, V1 to V6; ``region`` is where the ST segment
        is raised (``anterior`` or ``inferior``), empty without.

    Raises:
        ValueError: No rhythm, or findings that conflict.
    """
    chosen = set(findings)
    if conflicts(chosen) or len(chosen & set(RHYTHMS)) != 1 or not chosen <= {*RHYTHMS, *FINDINGS}:
        raise ValueError(f"these findings cannot be drawn together: {sorted(chosen)}")
    region = str(rng.choice(["anterior", "inferior"])) if "STE" in chosen else ""
    time = np.arange(round(seconds * device.sampling_hz)) / device.sampling_hz
    beats = _beats(chosen, seconds, rng)
    pr = rng.uniform(0.25, 0.33) if "1AVB" in chosen else rng.uniform(0.135, 0.175)
    dipole = np.zeros((len(time), 3))
    for beat in beats:
        _add_beat(dipole, time, beat, chosen, region, pr, heart, rng)
    if "AFIB" in chosen:
        dipole += _flicker(time, rng)
    values = LEAD_VECTORS @ dipole.T
    values += _disturbance(time, device, rng)
    inside = sum(0 <= beat.time < seconds for beat in beats)
    return Drawn(values, round(60 * inside / seconds), region)


@dataclass(frozen=True)
class _Beat:
    time: float
    interval: float  # seconds since the beat before
    kind: str  # normal, VPC or PAC


def _beats(chosen: set[str], seconds: float, rng: np.random.Generator) -> list[_Beat]:
    low, high = _RATES[next(iter(chosen & set(RHYTHMS)))]
    mean = 60 / rng.uniform(low, high if "1AVB" not in chosen else min(high, 82))
    breath, phase = rng.uniform(0.01, 0.03), rng.uniform(0, 2 * np.pi)
    now = -rng.uniform(0.2, 1.0) * mean
    beats: list[_Beat] = []
    early = ("VPC" in chosen) * "VPC" or ("PAC" in chosen) * "PAC"
    # A premature beat about every third to fifth; the pause after a ventricular one makes up for it.
    next_early, until = int(rng.integers(2, 4)), 0.0
    while now < seconds + 1:
        if "AFIB" in chosen:
            interval = float(np.clip(rng.gamma(14, mean / 14), 0.34, 2.2))
        else:
            interval = mean * (1 + breath * np.sin(2 * np.pi * 0.25 * now + phase)) + rng.normal(0, 0.004)
        kind = "normal"
        if early and len(beats) == next_early:
            kind, interval = early, interval * rng.uniform(0.58, 0.68)
            until = 2 * mean - interval if early == "VPC" else 1.15 * mean
            next_early = len(beats) + int(rng.integers(3, 6))
        elif until:
            interval, until = until, 0.0
        now += interval
        beats.append(_Beat(now, interval, kind))
    return beats


def _add_beat(
    dipole: np.ndarray,
    time: np.ndarray,
    beat: _Beat,
    chosen: set[str],
    region: str,
    pr: float,
    heart: Heart,
    rng: np.random.Generator,
) -> None:
    ventricular = beat.kind == "VPC"
    waves: tuple[_Wave, ...] = _VENTRICULAR if ventricular else _NARROW
    if not ventricular and "CLBBB" in chosen:
        waves = _LEFT_BLOCK
    elif not ventricular and "CRBBB" in chosen:
        waves = _RIGHT_BLOCK
    size = heart.qrs * (2.1 if "LVH" in chosen and not ventricular else 1.0) * rng.normal(1, 0.03)
    for wave in waves:
        _add(dipole, time, beat.time + wave.time, wave.width, wave.vector, size, heart.axis)
    if not ventricular and "AFIB" not in chosen:
        shape = _P_OTHER if beat.kind == "PAC" else _P
        before = pr * (0.85 if beat.kind == "PAC" else 1.0)
        _add(dipole, time, beat.time - before, shape.width, shape.vector, 1.0, heart.axis)
    # The QT interval follows the root of the cycle (Bazett).
    stretch = np.sqrt(np.clip(beat.interval, 0.4, 1.5))
    t_vector, t_size = np.array(_T), heart.t_wave
    if ventricular or "CLBBB" in chosen:
        # Opposite to the QRS complex.
        t_vector = np.array((0.45, -0.60, 0.55) if ventricular else (-0.24, -0.05, 0.42))
    elif "CRBBB" in chosen:
        t_vector = np.array((0.26, 0.22, -0.12))
    elif "LVH" in chosen:
        t_size *= 1.25
    _add(dipole, time, beat.time + 0.27 * stretch + 0.02, 0.052 * stretch, tuple(t_vector), t_size, heart.axis)
    _add(dipole, time, beat.time + 0.27 * stretch + 0.075, 0.034 * stretch, tuple(t_vector), 0.5 * t_size, heart.axis)
    if not ventricular and ("STE" in chosen or "STD" in chosen):
        level = np.array(_ST[region or "depression"]) * (1.0 if "STE" in chosen else 1.2)
        begin, end = beat.time + 0.045, beat.time + 0.27 * stretch + 0.05
        rise = _step((time - begin) / 0.012) * _step((end - time) / 0.035)
        dipole += rise[:, None] * level


def _step(value: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 + 0.5 * np.tanh(value))


def _add(
    dipole: np.ndarray,
    time: np.ndarray,
    centre: float,
    width: float,
    vector: tuple[float, ...],
    size: float,
    axis: float,
) -> None:
    first, last = np.searchsorted(time, (centre - 5 * width, centre + 5 * width))
    shape = np.exp(-0.5 * ((time[first:last] - centre) / width) ** 2)
    x, y, z = vector
    turned = (x * np.cos(axis) - y * np.sin(axis), x * np.sin(axis) + y * np.cos(axis), z)
    dipole[first:last] += size * shape[:, None] * np.array(turned)


def _flicker(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The f waves of atrial fibrillation: 4 to 8 per second, of changing size and rate."""
    rate = rng.uniform(5, 7) + 0.8 * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * time + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(rate) / (len(time) / time[-1])
    envelope = 0.7 + 0.3 * np.sin(2 * np.pi * rng.uniform(0.2, 0.7) * time + rng.uniform(0, 6))
    wave = np.sin(phase) + 0.35 * np.sin(2 * phase + 1)
    return np.asarray((rng.uniform(0.03, 0.06) * envelope * wave)[:, None] * np.array((0.2, 1.0, 0.9)))


def _disturbance(time: np.ndarray, device: Device, rng: np.random.Generator) -> np.ndarray:
    """Noise, hum and wander (12, samples) of ten electrodes' differences, so that Einthoven still holds."""
    free = np.zeros((8, len(time)))  # I, II, V1 to V6
    scale = rng.uniform(0.6, 1.4)
    for row in free:
        row += rng.normal(0, device.noise * scale, len(time))
        row += device.hum * rng.uniform(0, 1) * np.sin(2 * np.pi * device.mains * time + rng.uniform(0, 6))
        for hertz in (0.08, 0.21, 0.33):
            row += device.wander * scale * rng.normal(0, 0.5) * np.sin(2 * np.pi * hertz * time + rng.uniform(0, 6))
    one, two = free[0], free[1]
    limbs = np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2])
    return np.concatenate([limbs, free[2:]])
