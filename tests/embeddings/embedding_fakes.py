"""A tiny encoder, and cohorts of tiny pictures, for the tests of the embedding floor."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from medfm.cohorts.cohort import Cohort

SIDE = 8
DIM = 6


class TinyPreprocess:
    """Record -> float32 (3, 8, 8) in [0, 1]."""

    def __call__(self, record):
        if record.array.shape[0] == 13:
            raise ValueError("thirteen rows")
        return torch.from_numpy(np.ascontiguousarray(record.array[:SIDE, :SIDE])).permute(2, 0, 1).float() / 255


class TinyEncoder:
    """A linear map; counts the calls and remembers the batch shapes."""

    id = "tiny"
    modality = "blood_cell"
    weights_kind = "random"
    embedding_dim = DIM
    device = "cpu"

    def __init__(self, fingerprint: str = "ab" * 32, seed: int = 0, delay: float = 0.0) -> None:
        self.fingerprint = fingerprint
        self.preprocess = TinyPreprocess()
        self.delay = delay
        self.calls = 0
        self.shapes: set[tuple[int, ...]] = set()
        self.threads: set[int] = set()
        self.lock = threading.Lock()
        self.weight = torch.randn(3 * SIDE * SIDE, DIM, generator=torch.Generator().manual_seed(seed))

    def __call__(self, batch):
        with self.lock:
            self.calls += 1
            self.shapes.add(tuple(batch.shape))
            self.threads.add(torch.get_num_threads())
        time.sleep(self.delay)
        return batch.flatten(1) @ self.weight


def picture(path: Path, seed: int, side: int = SIDE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(array).save(path)
    return path


def cohort_of(root: Path, paths: list[str], ids: list[str] | None = None) -> Cohort:
    ids = ids or [f"r{i:03d}" for i in range(len(paths))]
    table = pd.DataFrame(
        {
            "record_id": ids,
            "path": paths,
            "patient_id": ids,
            "site": None,
            "split": "train",
            "label": [f"class {i % 3}" for i in range(len(ids))],
            "age": [float(30 + i) for i in range(len(ids))],
        }
    )
    return Cohort(table, "blood_cell", root, name="tiny cells")


def make_cohort(root: Path, n: int, first_seed: int = 0) -> Cohort:
    for i in range(n):
        picture(root / f"cell_{i:03d}.png", first_seed + i)
    return cohort_of(root, [f"cell_{i:03d}.png" for i in range(n)])


def expected_values(encoder: TinyEncoder, cohort: Cohort) -> np.ndarray:
    """What the encoder gives record by record, outside any pipeline."""
    rows = [encoder.preprocess(cohort.read(i)) for i in range(len(cohort))]
    return (torch.stack(rows).flatten(1) @ encoder.weight).numpy()
