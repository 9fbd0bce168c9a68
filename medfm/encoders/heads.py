"""Heads on pooled features, such that the last bits of a row do not depend on the others of its batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def row_by_row(head: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """`head` of the features (n, d) -> (n, e); on a CPU without gradients, one row at a time.

    A product of few rows is the one place of a usual network where the kernel, and with it the last
    bits, changes with the number of rows: behind patches there are many rows in any case. One row at a
    time costs next to nothing here, and lets records be forwarded together with the bits they get alone.
    """
    if features.device.type != "cpu" or torch.is_grad_enabled() or len(features) < 2:
        return head(features)
    return torch.cat([head(row[None]) for row in features])
