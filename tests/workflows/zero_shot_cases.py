"""Cohorts of shapes, their embeddings and a text tower in one planted space; no file is ever read."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "evaluation"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "knowledge"))

from planted_text import DIM, PlantedTower, records
from small_knowledge import values

from medfm.cohorts.cohort import Cohort
from medfm.embeddings.embeddings import Embeddings

FAST = ("statistics.resamples=40",)
WORDS = ("circle", "square", "ellipse")
LABELS = ("C", "S", "E")


class _Words(dict[str, Any]):
    """Words nobody planted point in a small direction of their own."""

    def __missing__(self, word: str) -> np.ndarray:
        return np.random.default_rng(sum(map(ord, word))).normal(size=32) / 32


class Tower:
    """A text encoder with the face of :class:`medfm.Encoder`; counts what it is asked."""

    id = "planted"
    modality = "ecg"
    weights_kind = "local file"
    weights_note = "planted directions"
    embedding_dim = DIM
    variant = None

    def __init__(self, seed: int = 0) -> None:
        self.planted = PlantedTower(seed)
        self.planted.words = _Words(self.planted.words)
        self.fingerprint = f"{seed:064d}"
        self.text_fingerprint = f"{seed + 1:064d}"
        self.asked: list[str] = []

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        self.asked += list(texts)
        return torch.from_numpy(self.planted([t.lower().replace(",", "") for t in texts]))


def shapes_file(folder: Path, **changes: Any) -> Path:
    """The knowledge of shapes as a YAML file, with a label set of its own."""
    content = values()
    content["label_sets"]["cohort"] = {
        "title": "the labels of the cohort",
        "source": "here",
        "labels": dict(zip(LABELS, ("circle", "square", "ellipse"), strict=True)),
    }
    content.update(changes)
    path = folder / "shapes.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def cohort_of(table: pd.DataFrame, **info: Any) -> Cohort:
    n = len(table)
    front = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "path": [f"r{i}.hea" for i in range(n)],
            "patient_id": [f"p{i // 2}" for i in range(n)],
            "site": None,
            "split": None,
        }
    )
    for column in ("patient_id", "split", "site"):
        if column in table:
            front[column] = table[column]
    rest = table.drop(columns=[c for c in ("patient_id", "split", "site") if c in table])
    return Cohort(pd.concat([front, rest], axis=1), "ecg", Path("/nowhere"), "shapes", info=dict(info))


def planted(n: int = 120, noise: float = 1.2, seed: int = 0, columns: tuple[str, ...] = LABELS) -> SimpleNamespace:
    """A multilabel cohort, its embeddings, its truth and the tower."""
    tower = Tower()
    truth = (np.random.default_rng(seed).random((n, 3)) < 0.35).astype(np.float64)
    truth[0], truth[1] = 1, 0
    vectors = records(tower.planted, truth, list(WORDS), noise, seed + 1)
    table = pd.DataFrame(truth.astype(int), columns=list(columns))
    cohort = cohort_of(table)
    emb = Embeddings(vectors, tuple(cohort.record_ids), {"encoder": tower.id, "fingerprint": tower.fingerprint})
    return SimpleNamespace(cohort=cohort, embeddings=emb, truth=truth, tower=tower, vectors=vectors)


def one_column(n: int = 120, noise: float = 0.9, names: tuple[str, ...] = WORDS, **more: Any) -> SimpleNamespace:
    """A cohort with one column ``label`` of three classes."""
    tower = Tower()
    index = np.random.default_rng(2).integers(0, 3, n)
    vectors = records(tower.planted, np.eye(3)[index], list(WORDS), noise, 5)
    cohort = cohort_of(pd.DataFrame({"label": np.array(names, dtype=object)[index], **more}))
    emb = Embeddings(vectors, tuple(cohort.record_ids), {"encoder": tower.id, "fingerprint": tower.fingerprint})
    return SimpleNamespace(cohort=cohort, embeddings=emb, truth=index, tower=tower, vectors=vectors)


def unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float64)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
