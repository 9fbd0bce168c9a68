"""A text tower of words with planted directions, and records that follow them."""

from __future__ import annotations

import numpy as np

DIM = 32
WORDS = ("circle", "square", "ellipse", "disc", "box", "noise", "a", "drawing", "of")


class PlantedTower:
    """Sums one fixed direction per word; words with the same planted meaning share it."""

    same = {"disc": "circle", "box": "square"}

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.words = {word: rng.normal(size=DIM) / np.sqrt(DIM) for word in WORDS}
        self.calls: list[list[str]] = []

    def word(self, word: str) -> np.ndarray:
        return self.words[self.same.get(word, word)]

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.calls.append(list(texts))
        return np.stack([sum(self.word(w) for w in t.replace(".", "").split()) for t in texts]).astype(np.float32) * 3.0


def records(tower: PlantedTower, truth: np.ndarray, names: list[str], noise: float, seed: int = 1) -> np.ndarray:
    """Embeddings float32 (n, DIM) whose direction follows the true words, with noise."""
    rng = np.random.default_rng(seed)
    planted = truth @ np.stack([tower.word(n) for n in names])
    return (planted + noise * rng.normal(size=(len(truth), DIM)) / np.sqrt(DIM)).astype(np.float32) * 7.0
