"""Deterministic weights for parity checks, computed from tensor names alone.

The rule (shared by every golden file in this folder): a tensor is drawn from numpy's legacy
generator ``RandomState`` seeded with the CRC-32 of its *published* key, and scaled by kind so
that activations stay near one: running variances uniform 0.5..1.5; running means a tenth of a
standard normal; LayerScale (``gamma``) uniform 0.1..1; matrices and kernels standard normal
over the root of their fan-in; norm scales 1 plus a tenth of a standard normal; all others
standard normal over the root of the first dimension (matrices) or over 50.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent


def filled(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 array of `shape` that belongs to the published `key`."""
    random = np.random.RandomState(zlib.crc32(key.encode()))
    kind = key.split(".")[-1]
    match kind:
        case "running_var":
            array = random.uniform(0.5, 1.5, shape)
        case "running_mean":
            array = 0.1 * random.standard_normal(shape)
        case "gamma":
            array = random.uniform(0.1, 1.0, shape)
        case "weight" if len(shape) > 1:
            array = random.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:], dtype=np.int64)))
        case "weight" if len(shape) == 1:
            array = 1.0 + 0.1 * random.standard_normal(shape)
        case _:
            array = random.standard_normal(shape) / np.sqrt(max(1, shape[0] if len(shape) == 2 else 2500))
    return np.asarray(array, dtype=np.float32)


def filled_input(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A standard-normal float32 input seeded with the CRC-32 of ``input:NAME``."""
    return np.random.RandomState(zlib.crc32(f"input:{name}".encode())).standard_normal(shape).astype(np.float32)


def published_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Published key -> shape, from ``tests/parity/NAME/keys.json``."""
    keys = json.loads((HERE / name / "keys.json").read_text())
    # Whole numbers (counters) are written with their type: {"shape": [], "dtype": "int64"}.
    return {key: tuple(entry["shape"] if isinstance(entry, dict) else entry) for key, entry in keys.items()}


def filled_state(name: str) -> dict[str, torch.Tensor]:
    """A synthetic checkpoint with the published keys and shapes of `name`."""
    state = {}
    for key, shape in published_shapes(name).items():
        counter = key.endswith("num_batches_tracked")
        state[key] = torch.tensor(0) if counter else torch.from_numpy(filled(key, shape))
    return state


def golden(name: str) -> dict[str, np.ndarray]:
    """The arrays of ``tests/parity/NAME/golden.npz``."""
    with np.load(HERE / name / "golden.npz") as data:
        return {key: data[key] for key in data.files}
