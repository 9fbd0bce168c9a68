"""Planted embeddings, texts and tokens for the few-shot tests."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medfm.evaluation.adapters.inputs import AdapterInputs
from medfm.evaluation.schemes import Fold
from medfm.evaluation.shots import ShotFold
from medfm.evaluation.target import Target


def planted(n=120, d=16, classes=3, noise=1.0, seed=0, text_noise=0.5):
    """Inputs whose texts point roughly at the classes, the target and a table with a split."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, d))
    y = np.arange(n) % classes
    values = (centres[y] + noise * rng.normal(size=(n, d))).astype(np.float32)
    text = centres + text_noise * rng.normal(size=(classes, d))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    names = tuple("abcdef"[:classes])
    truth = Target("label", "binary" if classes == 2 else "multiclass", names, y.astype(np.int64))
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "patient_id": [f"p{i // 2}" for i in range(n)],
            "site": None,
            "split": np.where(np.arange(n) < 2 * n // 3, "train", "test"),
        }
    )
    return AdapterInputs(values, text, 20.0), truth, table


def token_set(n=60, places=9, d=6, classes=2, seed=0):
    """Tokens of which one place, elsewhere in every record, carries the class; the mean hardly shows it."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    tokens = rng.normal(size=(n, places, d)).astype(np.float32)
    where = rng.integers(0, places, n)
    signal = 4 * np.eye(d, dtype=np.float32)[y]
    tokens[np.arange(n), where] = signal + 0.1 * rng.normal(size=(n, d))
    return tokens, y.astype(np.int64), where


def shot_fold(train, test, validation=(), shots=1, repeat=0):
    parts = [np.asarray(rows, dtype=np.int64) for rows in (train, test, validation)]
    return ShotFold(shots, Fold(*parts, repeat=repeat))
