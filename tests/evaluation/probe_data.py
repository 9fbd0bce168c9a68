"""Small cohorts with a planted signal, shared by the tests of the probes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medfm.cohorts.cohort import Cohort
from medfm.embeddings.embeddings import Embeddings

LETTERS = np.array(list("dcba"))


def table_of(n: int = 160, cells: int = 4, classes: int = 4, seed: int = 0, signal: float = 2.0):
    """A table of n cells, `cells` per patient, one class per patient, and its vectors (n, 12)."""
    rng = np.random.default_rng(seed)
    patient = np.arange(n) // cells
    y = rng.permutation(np.arange(patient.max() + 1) % classes)[patient]
    X = rng.standard_normal((n, 12)) + signal * np.eye(classes, 12)[y]
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "path": [f"{i}.png" for i in range(n)],
            "patient_id": [f"p{i}" for i in patient],
            "site": np.array(["north", "south"])[patient % 2],
            "split": np.where(patient % 4 == 0, "test", "train"),
            "label": LETTERS[y],
            "age": 50 + 5 * X[:, 0] + rng.standard_normal(n),
            "sex": np.array(["f", "m"])[patient % 2],
            "grainy": (X[:, 1] + 0.3 * rng.standard_normal(n) > 0.8).astype(float),
            "pale": (X[:, 2] + 0.3 * rng.standard_normal(n) > 0.8).astype(float),
        }
    )
    return table, X.astype(np.float32)


def cohort_of(table: pd.DataFrame, **changes: object) -> Cohort:
    return Cohort(table.reset_index(drop=True), "blood_cell", Path("/nowhere"), **changes)  # type: ignore[arg-type]


def pair(**settings: object) -> tuple[Cohort, Embeddings]:
    """A cohort and its embeddings."""
    table, X = table_of(**settings)  # type: ignore[arg-type]
    about = {"encoder": "test-encoder", "fingerprint": "f" * 64, "weights_kind": "random"}
    return cohort_of(table), Embeddings(X, tuple(table["record_id"]), about)
