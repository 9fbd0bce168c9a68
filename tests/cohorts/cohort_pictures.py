"""Small pictures for the tests of cohorts."""

from pathlib import Path

import numpy as np
from PIL import Image


def paint(seed: int, height: int = 40, width: int = 44) -> np.ndarray:
    """A smooth coloured picture that is different for every seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(60, 220, (5, 5, 3)).astype(np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def save(path: Path, seed: int, **size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(paint(seed, **size)).save(path)
