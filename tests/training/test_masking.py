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


@pytest.mark.parametrize("seed", range(6))
def test_masked_counts_stay_within_their_band(seed: int) -> None:
    """The i-th masked image draws a share between the i-th and (i + 1)-th step of the range, never more."""
    found = batch_masks(12, (14, 14), random.Random(seed), probability=0.5, ratio=(0.1, 0.5), most_block=98)
    counts = sorted(found.sum(axis=1).tolist())
    assert counts[:6] == [0] * 6
    steps = np.linspace(0.1, 0.5, 7)[1:]
    assert all(0 < count <= int(196 * step + 1e-4) for count, step in zip(counts[6:], steps, strict=True))


@pytest.mark.parametrize("most", [4, 10, 60])
def test_a_block_adds_at_most_its_ceiling(most: int) -> None:
    """With as many patches asked for as one block may add, no mask has more."""
    for seed in range(20):
        mask = block_mask((10, 10), most, random.Random(seed), most_block=most)
        assert 0 <= mask.sum() <= most


def test_images_that_are_masked_stand_at_random_places() -> None:
    places = np.zeros(8)
    for seed in range(60):
        places += batch_masks(8, (6, 6), random.Random(seed), probability=0.5, ratio=(0.2, 0.5)).any(axis=1)
    assert places.min() > 15
    assert places.max() < 45
