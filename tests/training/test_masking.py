"""Block masks beyond the published sequence: counts, shapes, sources of chance."""

from __future__ import annotations

import random

import numpy as np
import pytest

from medfm.training.masking import batch_masks, block_mask


@pytest.mark.parametrize("patches", [0, 3, 10, 40])
def test_never_more_than_asked_for_and_most_of_it(patches: int) -> None:
    for seed in range(30):
        mask = block_mask((10, 10), patches, random.Random(seed))
        assert mask.shape == (10, 10) and mask.dtype == bool
        assert mask.sum() <= patches
        if patches >= 10:
            assert mask.sum() >= patches // 2


def test_the_source_decides_and_the_global_state_does_not() -> None:
    random.seed(1)
    first = block_mask((8, 8), 20, random.Random(3))
    state = random.getstate()
    random.seed(2)
    assert np.array_equal(first, block_mask((8, 8), 20, random.Random(3)))
    random.setstate(state)
    assert not np.array_equal(first, block_mask((8, 8), 20, random.Random(4)))


def test_grids_that_are_not_square() -> None:
    mask = block_mask((4, 12), 20, random.Random(0))
    assert mask.shape == (4, 12) and 0 < mask.sum() <= 20


def test_batches_mask_a_share_of_images_within_the_ratio() -> None:
    masks = batch_masks(20, (10, 10), random.Random(0), probability=0.5, ratio=(0.1, 0.5))
    counts = masks.sum(axis=1)
    assert masks.shape == (20, 100)
    assert (counts > 0).sum() == 10
    assert counts.max() <= 50
    assert len(set(counts[counts > 0])) > 5


def test_a_batch_without_masks() -> None:
    assert not batch_masks(4, (5, 5), random.Random(0), probability=0.0).any()
