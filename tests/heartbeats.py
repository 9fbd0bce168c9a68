"""Synthetic recordings of a heart that beats to the left and down, for tests of checks and end-to-end runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
# Of each wave: when (s from the R peak), how wide (s), how large in I, II, V1 to V6 (mV).
_WAVES = (
    (-0.14, 0.025, (0.07, 0.16, 0.04, 0.05, 0.06, 0.06, 0.06, 0.06)),
    (-0.025, 0.008, (-0.05, -0.08, 0.1, 0.1, 0.05, -0.05, -0.08, -0.08)),
    (0.0, 0.012, (0.6, 0.9, -0.5, -0.7, 0.2, 0.9, 1.2, 1.0)),
    (0.03, 0.01, (-0.1, -0.15, -0.3, -0.5, -0.5, -0.3, -0.1, -0.05)),
    (0.27, 0.045, (0.15, 0.25, 0.05, 0.25, 0.3, 0.3, 0.25, 0.2)),
)


def heart(
    seed: int = 0, seconds: float = 10, hz: float = 500, rate: float = 70, noise: float = 0.01, wander: float = 0.1
) -> np.ndarray:
    """float32 (12, samples) in mV, limb leads that agree; a baseline that wanders."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * hz)) / hz
    # The beats are drawn first, so that one seed gives one heart at every rate.
    beats = np.arange(0.4 + rng.uniform(0, 0.3), seconds, 60 / rate)
    beats = beats + rng.normal(0, 0.01, len(beats))
    leads = wander * np.sin(2 * np.pi * 0.2 * time + rng.uniform(0, 6, (8, 1)))
    leads = leads + rng.normal(0, noise, leads.shape)
    for when, width, sizes in _WAVES:
        shape = np.exp(-(((time - beats[:, None] - when) / width) ** 2) / 2).sum(axis=0)
        leads += np.array(sizes)[:, None] * shape
    one, two = leads[:2]
    limbs = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.concatenate([np.stack(limbs), leads[2:]]).astype(np.float32)


def write_wfdb(
    folder: Path,
    name: str,
    array: np.ndarray,
    *,
    hz: float = 500,
    gain: float = 1000,
    leads: tuple[str, ...] = LEADS,
    unit: str = "mV",
    comment: str = "",
    promised: int | None = None,
) -> Path:
    """A WFDB record of `array` in mV; NaN becomes the mark of a missing sample."""
    digital = np.where(np.isnan(array), -32768, np.rint(np.nan_to_num(array) * gain)).astype("<i2")
    (folder / f"{name}.dat").write_bytes(digital.T.tobytes())
    samples = array.shape[1] if promised is None else promised
    lines = [f"{name} {len(array)} {hz:g} {samples}"]
    lines += [f"{name}.dat 16 {gain:g}/{unit} 16 0 0 0 0 {lead}" for lead in leads]
    (folder / f"{name}.hea").write_text("\n".join([*lines, *([f"# {comment}"] if comment else [])]) + "\n")
    return folder / f"{name}.hea"
