"""Which patches the student does not see: random blocks, as in BEiT, iBOT and DINOv2."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np

_TRIES = 10


def _block(mask: np.ndarray, most: int, source: random.Random, least: int, log_aspect: tuple[float, float]) -> int:
    """Mask one rectangle that adds between 1 and `most` patches; the number added, 0 after ten misses."""
    height, width = mask.shape
    for _ in range(_TRIES):
        area = source.uniform(least, most)
        aspect = math.exp(source.uniform(*log_aspect))
        rows = round(math.sqrt(area * aspect))
        columns = round(math.sqrt(area / aspect))
        if rows >= height or columns >= width:
            continue
        top = source.randint(0, height - rows)
        left = source.randint(0, width - columns)
        window = mask[top : top + rows, left : left + columns]
        added = rows * columns - int(window.sum())
        if 0 < added <= most:
            window[:] = True
            return added
    return 0


def block_mask(
    grid: tuple[int, int],
    patches: int,
    source: random.Random,
    *,
    least_block: int = 4,
    most_block: int | None = None,
    least_aspect: float = 0.3,
) -> np.ndarray:
    """A mask of at most `patches` patches, made of random rectangles.

    Args:
        grid: Rows and columns of patches.
        patches: Number of patches to mask; fewer are masked when no further block fits.
        source: Random source; the same state gives the same mask.
        least_block: Least area drawn for a block.
        most_block: Largest number of patches one block adds; half of the grid when not given.
        least_aspect: Aspect ratios are drawn log-uniformly from this to its inverse.

    Returns:
        bool (rows, columns), True = masked.

    Source: Bao et al., BEiT (arXiv 2106.08254), algorithm 1; parameters of DINOv2.
    """
    mask = np.zeros(grid, dtype=bool)
    ceiling = most_block if most_block is not None else grid[0] * grid[1] // 2
    log_aspect = (math.log(least_aspect), math.log(1 / least_aspect))
    masked = 0
    while masked < patches:
        added = _block(mask, min(patches - masked, ceiling), source, least_block, log_aspect)
        if added == 0:
            break
        masked += added
    return mask


def batch_masks(
    images: int,
    grid: tuple[int, int],
    source: random.Random,
    *,
    probability: float = 0.5,
    ratio: tuple[float, float] = (0.1, 0.5),
    most_block: int | None = None,
) -> np.ndarray:
    """Masks of a batch: a share of the images is masked, with ratios spread evenly over a range.

    Args:
        images: Number of images (all global crops of the batch).
        grid: Rows and columns of patches.
        source: Random source.
        probability: Share of images that get a mask, rounded down.
        ratio: Lowest and highest share of masked patches in a masked image.
        most_block: See :func:`block_mask`.

    Returns:
        bool (images, rows * columns).
    """
    patches = grid[0] * grid[1]
    masked = int(images * probability)
    # float32, as published: the rounding decides the integer counts below.
    edges = [float(v) for v in np.linspace(ratio[0], ratio[1], masked + 1, dtype=np.float32)]
    masks = []
    for low, high in itertools.pairwise(edges):
        masks.append(block_mask(grid, int(patches * source.uniform(low, high)), source, most_block=most_block))
    masks += [np.zeros(grid, dtype=bool) for _ in range(images - masked)]
    source.shuffle(masks)
    return np.stack(masks).reshape(images, patches)
