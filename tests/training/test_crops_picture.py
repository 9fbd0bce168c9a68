"""The picture of the crops shows what the first step is given, in its true colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medfm.training.augment import MEAN, STD
from medfm.training.batches import batches
from medfm.training.config import PretrainConfig
from medfm.training.crops_picture import as_shown, crops_grid, draw_crops
from medfm.training.pictures import Pictures, step_positions

Recipe = Callable[..., PretrainConfig]
GAP = 6


def test_normalising_is_undone_exactly() -> None:
    colours = torch.randint(0, 256, (2, 3, 5, 5), generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    assert torch.equal(as_shown((colours / 255 - mean) / std), colours.to(torch.uint8))
    assert as_shown(torch.full((3, 1, 1), 99.0)).flatten().tolist() == [255] * 3
    assert as_shown(torch.full((3, 1, 1), -99.0)).flatten().tolist() == [0] * 3


@pytest.mark.parametrize("crops", [0, 2])
def test_the_cells_are_the_crops_of_the_first_step(recipe: Recipe, pictures: Pictures, crops: int) -> None:
    config = recipe(views={"local_crops": crops})
    grid = crops_grid(pictures, config, rows=3)
    cell = pictures.size
    assert grid.shape == (3 * (cell + GAP) - GAP, (3 + crops) * (cell + GAP) - GAP, 3)
    first = next(iter(batches(config, pictures, 4)))
    order = [index for _, index in step_positions(len(pictures), config.batch_size, 0, config.seed)]

    def at(row: int, column: int, side: int) -> np.ndarray:
        top, left = row * (cell + GAP), column * (cell + GAP)
        return grid[top : top + side, left : left + side].transpose(2, 0, 1)

    for row in range(3):
        assert np.array_equal(at(row, 0, cell), pictures[order[row]].numpy())
        for k in range(2):
            shown = as_shown(first.global_crops[k * config.batch_size + row])
            assert np.array_equal(at(row, 1 + k, 16), shown.numpy())
        for k in range(crops):
            shown = as_shown(first.local_crops[k * config.batch_size + row])
            assert np.array_equal(at(row, 3 + k, 8), shown.numpy())
    assert (grid[:, cell : cell + GAP] == 255).all()


def test_the_file_has_titles_above_the_grid_and_never_more_rows_than_a_step(
    recipe: Recipe, pictures: Pictures, tmp_path: Path
) -> None:
    config = recipe()
    draw_crops(tmp_path / "crops.png", pictures, config, rows=50)
    image = np.asarray(Image.open(tmp_path / "crops.png"))
    grid = crops_grid(pictures, config, rows=50)
    assert grid.shape[0] == config.batch_size * (pictures.size + GAP) - GAP
    times = image.shape[1] // grid.shape[1]
    head = image.shape[0] - times * grid.shape[0]
    assert 0 < head < 40 and (image[:head] < 128).any(), "no title was drawn"
    assert np.array_equal(image[head::times, ::times], grid)


def test_drawing_changes_nothing_in_the_run(recipe: Recipe, pictures: Pictures, tmp_path: Path) -> None:
    config = recipe()
    state = torch.get_rng_state()
    before = next(iter(batches(config, pictures, 4)))
    draw_crops(tmp_path / "crops.png", pictures, config)
    after = next(iter(batches(config, pictures, 4)))
    assert torch.equal(before.global_crops, after.global_crops) and torch.equal(before.local_crops, after.local_crops)
    assert torch.equal(torch.get_rng_state(), state)
