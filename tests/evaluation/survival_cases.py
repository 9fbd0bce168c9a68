"""Follow-up drawn from known hazards, for the tests of survival."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medfm.cohorts.cohort import Cohort


def follow_up(
    rng: np.random.Generator, risk: np.ndarray, *, censored: float = 40.0, other: float | None = None, digits: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    """Times and codes (0 censored, 1 event, 2 other event) under the log hazards `risk` (n,)."""
    n = len(risk)
    own = 20 * rng.exponential(size=n) * np.exp(-risk)
    end = rng.uniform(2, censored, n)
    rival = np.full(n, np.inf) if other is None else other * rng.exponential(size=n)
    time = np.minimum(np.minimum(own, end), rival)
    code = np.where(own <= np.minimum(end, rival), 1, np.where(rival < end, 2, 0))
    return np.maximum(np.round(time, digits), 10.0**-digits), code


def planted(
    n: int = 160, d: int = 12, seed: int = 0, *, strength: float = 1.2, other: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings (n, d) whose strongest direction is the log hazard; times, codes and the true risk."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=n)
    values = np.outer(hidden, rng.normal(size=d)) + 0.5 * rng.normal(size=(n, d))
    time, code = follow_up(rng, strength * hidden, other=other)
    return values, time, code, strength * hidden


def cohort_of(time: np.ndarray, code: np.ndarray, patients: list[str] | None = None, /, **columns: object) -> Cohort:
    """A cohort without files: one row per follow-up."""
    n = len(time)
    table = pd.DataFrame(
        {
            "record_id": [f"r{i:03d}" for i in range(n)],
            "path": [f"{i}.png" for i in range(n)],
            "patient_id": patients or [f"p{i:03d}" for i in range(n)],
            "site": None,
            "split": None,
            "time": time,
            "event": code,
            **columns,  # a column given by name takes the place of the one above
        }
    )
    return Cohort(table, "blood_cell", Path(), name="planted")
