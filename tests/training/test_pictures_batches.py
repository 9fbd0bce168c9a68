"""Pictures in memory or on demand, and batches decided by the step alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import TrainingError
from medfm.training.batches import CropData, batches, step_masks
from medfm.training.config import PretrainConfig
from medfm.training.pictures import Pictures, load_pictures, small_picture, step_positions

Recipe = Callable[..., PretrainConfig]


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    source = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(source.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(6)],
            "path": [f"{i}.png" for i in range(6)],
            "patient_id": [f"p{i}" for i in range(6)],
            "site": None,
            "split": "train",
        }
    )
    return Cohort(table, "blood_cell", tmp_path)


def test_in_memory_and_on_demand_are_equal(cohort: Cohort) -> None:
    held = load_pictures(cohort, 16, memory_mb=10)
    read = load_pictures(cohort, 16, memory_mb=0)
    assert held.held is not None and read.held is None
    assert len(held) == len(read) == 6
    for i in range(6):
        assert held[i].shape == (3, 16, 16) and held[i].dtype == torch.uint8
        assert torch.equal(held[i], read[i])


def test_one_unreadable_picture_is_left_out_and_named(cohort: Cohort) -> None:
    (cohort.root / "2.png").write_bytes(b"")
    pictures = load_pictures(cohort, 16, memory_mb=10)
    assert [ref.record_id for ref in pictures.refs] == ["r0", "r1", "r3", "r4", "r5"]
    assert [record for record, _ in pictures.failures] == ["r2"]
    with pytest.raises(TrainingError, match="cannot be read") as caught:
        load_pictures(cohort, 16, memory_mb=0)[2]
    assert "record r2" in str(caught.value)


def test_no_readable_picture_is_an_error(cohort: Cohort) -> None:
    for i in range(6):
        (cohort.root / f"{i}.png").write_bytes(b"broken")
    with pytest.raises(TrainingError, match="None of the 6 pictures"):
        load_pictures(cohort, 16, memory_mb=10)


def test_small_pictures_are_squashed() -> None:
    array = np.zeros((10, 40, 3), dtype=np.uint8)
    array[:, 20:] = 255
    small = small_picture(array, 8)
    assert small.shape == (3, 8, 8)
    assert small[:, :, :3].max() < 30 and small[:, :, 5:].min() > 225


def test_every_epoch_uses_every_picture_once_over_all_processes() -> None:
    count, batch, world = 13, 2, 3
    steps = 13 // 6
    for epoch in range(2):
        seen = [
            position
            for step in range(epoch * steps, (epoch + 1) * steps)
            for rank in range(world)
            for position in step_positions(count, batch, step, seed=1, rank=rank, world=world)
        ]
        assert {e for e, _ in seen} == {epoch}
        indices = [i for _, i in seen]
        assert len(indices) == len(set(indices)) == 12
    assert step_positions(13, 2, 0, seed=1) != step_positions(13, 2, 0, seed=2)
    assert step_positions(13, 2, 0, seed=1) != step_positions(13, 2, 6, seed=1)


def test_a_later_start_gives_the_same_batches(recipe: Recipe, pictures: Pictures) -> None:
    config = recipe()
    whole = list(batches(config, pictures, 4))
    rest = list(batches(config, pictures, 4, first=4))
    assert len(whole) == 6 and len(rest) == 2
    for a, b in zip(whole[4:], rest, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_workers_change_nothing(recipe: Recipe, pictures: Pictures) -> None:
    alone = list(batches(recipe(), pictures, 4))
    helped = list(batches(recipe(machine={"workers": 2}), pictures, 4))
    for a, b in zip(alone, helped, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_global_random_state_is_neither_read_nor_changed(recipe: Recipe, pictures: Pictures) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = next(iter(batches(recipe(), pictures, 4)))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    other = next(iter(batches(recipe(), pictures, 4)))
    assert torch.equal(one.global_crops, other.global_crops)


def test_crops_are_crop_major_and_masks_fit(recipe: Recipe, pictures: Pictures) -> None:
    config = recipe()
    batch = next(iter(batches(config, pictures, 4)))
    assert batch.global_crops.shape == (8, 3, 16, 16)
    assert batch.local_crops.shape == (8, 3, 8, 8)
    assert batch.masks.shape == (8, 16)
    assert int(batch.masks.any(dim=1).sum()) == 4
    for place, (epoch, index) in enumerate(step_positions(12, 4, 0, config.seed)):
        globals_, locals_ = CropData(pictures, config)[epoch, index]
        assert torch.equal(batch.global_crops[place], globals_[0])
        assert torch.equal(batch.global_crops[4 + place], globals_[1])
        assert torch.equal(batch.local_crops[4 + place], locals_[1])


def test_masks_depend_on_step_process_and_seed(recipe: Recipe) -> None:
    config = recipe(batch_size=8)
    base = step_masks(config, (8, 8), 3)
    assert torch.equal(base, step_masks(config, (8, 8), 3))
    for other in (
        step_masks(config, (8, 8), 4),
        step_masks(config, (8, 8), 3, rank=1),
        step_masks(recipe(batch_size=8, seed=9), (8, 8), 3),
    ):
        assert not torch.equal(base, other)
