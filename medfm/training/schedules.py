"""Values that change with the iteration: cosine schedules with freeze and linear warm-up."""

from __future__ import annotations

import numpy as np


class CosineSchedule:
    """Zeros while frozen, a linear warm-up, then a half cosine towards the final value.

    The warm-up includes both of its ends, so the base value stands at its last iteration and
    again at the first of the cosine; the final value is reached only past the end.

    Args:
        base: Value after the warm-up.
        final: Value from iteration `total` on.
        total: Number of iterations.
        warmup: Iterations of the warm-up.
        start: Value at the first warm-up iteration.
        freeze: Iterations at 0 before the warm-up.

    Raises:
        ValueError: Freeze and warm-up are longer than `total`.

    Source: DINOv2 (arXiv 2304.07193), appendix B, and its public code.
    """

    def __init__(
        self, base: float, final: float, total: int, warmup: int = 0, start: float = 0.0, freeze: int = 0
    ) -> None:
        falling = total - warmup - freeze
        if falling < 0:
            raise ValueError(f"freeze ({freeze}) and warm-up ({warmup}) are longer than the schedule ({total})")
        cosine = final + 0.5 * (base - final) * (1 + np.cos(np.pi * np.arange(falling) / max(falling, 1)))
        self.final = float(final)
        self.values = np.concatenate([np.zeros(freeze), np.linspace(start, base, warmup), cosine])

    def __call__(self, iteration: int) -> float:
        """The value at `iteration`, counted from 0; the final value past the end."""
        return float(self.values[iteration]) if iteration < len(self.values) else self.final

    def zero_until(self, iteration: int) -> CosineSchedule:
        """This schedule with the first `iteration` values set to 0 (the frozen last layer)."""
        other = CosineSchedule.__new__(CosineSchedule)
        other.final = self.final
        other.values = self.values.copy()
        other.values[:iteration] = 0.0
        return other


def warmup_only(start: float, end: float, warmup: int) -> CosineSchedule:
    """From `start` to `end` in `warmup` iterations, then constant (the teacher temperature)."""
    return CosineSchedule(base=end, final=end, total=warmup, warmup=warmup, start=start)
