"""A picture of what the network is shown: some pictures of the first step, each with its random crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from medfm.core.files import atomic_open
from medfm.training.augment import MEAN, STD
from medfm.training.batches import CropData
from medfm.training.config import PretrainConfig
from medfm.training.pictures import Pictures, step_positions

_GAP = 6
_TITLE = 26
_TEXT_SIZE = 12
_INCH = 110


def as_shown(views: Tensor) -> Tensor:
    """Normalised float views (..., 3, h, w) back as uint8 RGB, clipped to 0 .. 255."""
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    return ((views * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


def crops_grid(pictures: Pictures, config: PretrainConfig, rows: int = 6) -> np.ndarray:
    """The first pictures of step 0 with the very crops the run takes of them.

    Each row is one picture: itself, two global crops, then the local ones, each in a cell as
    wide as the largest of them, in its true size, on white.

    Args:
        pictures: What the run trains on.
        config: The recipe.
        rows: Largest number of pictures.

    Returns:
        uint8 (height, width, 3).
    """
    data = CropData(pictures, config)
    views = config.views
    cell = max(pictures.size, views.global_size, views.local_size)
    positions = step_positions(len(pictures), config.batch_size, 0, config.seed)[:rows]
    columns = 3 + views.local_crops
    canvas = np.full((len(positions) * (cell + _GAP) - _GAP, columns * (cell + _GAP) - _GAP, 3), 255, np.uint8)
    for row, position in enumerate(positions):
        global_crops, local_crops = data[position]
        shown = [pictures[position[1]], *as_shown(global_crops), *as_shown(local_crops)]
        for column, picture in enumerate(shown):
            top, left = row * (cell + _GAP), column * (cell + _GAP)
            height, width = picture.shape[1:]
            canvas[top : top + height, left : left + width] = picture.permute(1, 2, 0).numpy()
    return canvas


def draw_crops(path: str | Path, pictures: Pictures, config: PretrainConfig, rows: int = 6) -> None:
    """Write :func:`crops_grid` with a title over each column as a PNG.

    Args:
        path: File to write.
        pictures: What the run trains on.
        config: The recipe.
        rows: Largest number of pictures.
    """
    from PIL import Image, ImageDraw, ImageFont

    grid = torch.from_numpy(crops_grid(pictures, config, rows)).permute(2, 0, 1)
    # Small crops are enlarged pixel by pixel, so that they can be seen.
    columns = 3 + config.views.local_crops
    times = max(1, round(_INCH * columns / grid.shape[2]))
    large = tv.resize(grid, [s * times for s in grid.shape[1:]], interpolation=tv.InterpolationMode.NEAREST)
    canvas = np.full((large.shape[1] + _TITLE, large.shape[2], 3), 255, np.uint8)
    canvas[_TITLE:] = large.permute(1, 2, 0).numpy()
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    names = ["picture", "global 1", "global 2", *(f"local {i + 1}" for i in range(config.views.local_crops))]
    step = (large.shape[2] + _GAP * times) // columns
    for column, name in enumerate(names):
        pen.text((column * step + 2, 4), name, fill=(0, 0, 0), font=ImageFont.load_default(_TEXT_SIZE))
    with atomic_open(path) as handle:
        image.save(handle, format="PNG")
