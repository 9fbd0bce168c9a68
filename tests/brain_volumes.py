"""A drawn head: symmetric from left to right only, with a brain, ventricles, a nose and a neck."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "mri"


def head(
    mm: float = 4.0, noise: float = 0.01, seed: int = 0, field: tuple[int, int, int] = (200, 248, 240)
) -> np.ndarray:
    """float32 (i, j, k) in right, front, top with cubic voxels; air is noise of a magnitude image."""
    axes = [(np.arange(round(size / mm)) + 0.5) * mm - size / 2 for size in field]
    x, y, z = np.meshgrid(*axes, indexing="ij")

    def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        return sum(((p - c) / r) ** 2 for p, c, r in zip((x, y, z), centre, radii, strict=True)) < 1

    volume = np.zeros(x.shape)
    volume[(abs(x) < 45) & (abs(y + 25) < 45) & (z < -30)] = 350  # neck
    volume[ball((0, 92, -35), (16, 22, 22))] = 450  # nose
    volume[ball((0, 0, 15), (78, 98, 92))] = 500  # scalp
    volume[ball((0, 0, 18), (68, 86, 80))] = 120  # skull
    volume[ball((0, 0, 20), (63, 80, 72))] = 700  # brain
    for side in (-1, 1):
        volume[ball((side * 14, 8, 25), (7, 28, 12))] = 200  # ventricles
        volume[ball((side * 25, -52, -38), (24, 20, 16))] = 560  # cerebellum
        volume[ball((side * 22, 60, -50), (14, 26, 30))] = 30  # sinuses
    volume[ball((0, -30, -20), (14, 14, 22))] = 900  # brain stem
    generator = np.random.default_rng(seed)
    sigma = noise * 700
    if sigma:
        volume = np.hypot(volume + generator.normal(0, sigma, x.shape), generator.normal(0, sigma, x.shape))
    return volume.astype(np.float32)


def save_head(path: Path, array: np.ndarray | None = None, mm: float = 4.0, code: int = 1, **drawn: object) -> Path:
    """A NIfTI file of a head, in the order right, front, top."""
    values = head(mm, **drawn) if array is None else array  # type: ignore[arg-type]
    image = nib.Nifti1Image(values, np.diag([mm, mm, mm, 1.0]))
    image.set_sform(image.affine, code)
    image.set_qform(image.affine, code)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def t1_head(mm: float = 4.0, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> tuple[np.ndarray, np.ndarray]:
    """A head as T1 shows it, with fat under the scalp and a dark skull, and its brain (ventricles and all).

    Returns:
        float32 (i, j, k) in right, front, top with cubic voxels and no noise; bool, where the brain is.
    """
    axes = [(np.arange(round(size / mm)) + 0.5) * mm - size / 2 for size in (200, 248, 240)]
    x, y, z = np.meshgrid(*[a - s for a, s in zip(axes, shift, strict=True)], indexing="ij")

    def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        return sum(((p - c) / r) ** 2 for p, c, r in zip((x, y, z), centre, radii, strict=True)) < 1

    volume = np.zeros(x.shape, np.float32)
    volume[(abs(x) < 45) & (abs(y + 25) < 45) & (z < -40)] = 1100  # neck
    volume[ball((0, 0, 15), (80, 98, 90))] = 1400  # fat
    volume[ball((0, 0, 16), (74, 92, 84))] = 90  # skull
    brain = ball((0, 0, 20), (62, 80, 68)) | ball((0, -40, -30), (40, 28, 22))
    volume[brain] = 650
    volume[ball((0, 0, 22), (46, 62, 50))] = 800  # white matter
    for side in (-1, 1):
        volume[ball((side * 14, 12, 26), (8, 30, 14))] = 150  # ventricles
    return volume, brain
