"""Position tables at other sizes than the trained one: four rules that differ in the result.

DINOv2 models hold one learnt row per patch of the training picture plus one for the class
token. At any other size the patch rows are resampled, and projects do it differently; on a
real table this changes embeddings in the second decimal, so the rule is part of the card.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from medfm.core.errors import WeightsError

if TYPE_CHECKING:
    import torch

Rule = Literal["dinov2", "dinov2-register", "timm", "dinobloom-init"]

# DINOv2 adds this to the target size before dividing, once meant to avoid a rounding fault;
# the published models are used with it, so it belongs to them.
_DINOV2_OFFSET = 0.1


def interpolate_positions(table: torch.Tensor, size: tuple[int, int], rule: Rule = "dinov2") -> torch.Tensor:
    """The position table for a grid of `size` patches.

    Args:
        table: float (1, 1 + M * M, d): the class-token row, then the patch rows, row-major.
        size: Rows and columns of patches wanted.
        rule: ``dinov2`` (run-time rule of the models without registers: bicubic, no antialias,
            scale factor (n + 0.1) / M), ``dinov2-register`` and ``timm`` (bicubic to the exact
            size with antialias), ``dinobloom-init`` (bicubic to the exact size, no antialias:
            how DinoBloom and RedDino made their first table from the 518-pixel one).

    Returns:
        (1, 1 + rows * columns, d) in the table's dtype; the class-token row is copied. The
        table itself is returned when the count fits and the grid is square.

    Raises:
        WeightsError: The table is not that of a square grid.

    Source: facebookresearch/dinov2 ``interpolate_pos_encoding``; timm ``resample_abs_pos_embed``;
    marrlab/DinoBloom ``ssl_meta_arch``.
    """
    from torch.nn.functional import interpolate

    rows, columns = size
    stored = table.shape[1] - 1
    side = math.isqrt(stored)
    if side * side != stored:
        raise WeightsError(
            f"A position table of {table.shape[1]} rows is not that of a square grid and a class token.",
            expected="1 + M * M rows, such as 257 (224 pixels) or 1370 (518 pixels)",
        )
    if rows * columns == stored and rows == columns:
        return table
    width = table.shape[2]
    grid = table[:, 1:].float().reshape(1, side, side, width).permute(0, 3, 1, 2)
    if rule == "dinov2":
        scale = ((rows + _DINOV2_OFFSET) / side, (columns + _DINOV2_OFFSET) / side)
        grid = interpolate(grid, scale_factor=scale, mode="bicubic", antialias=False)
    else:
        grid = interpolate(grid, size=size, mode="bicubic", antialias=rule != "dinobloom-init")
    import torch

    patches = grid.permute(0, 2, 3, 1).reshape(1, rows * columns, width)
    return torch.cat([table[:, :1], patches.to(table.dtype)], dim=1)
