"""Schedules of fine-tuning as pure functions: step -> share of the highest rate, and AdamW's first moment."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from medfm.core.config import StrictConfig


class Constant(StrictConfig):
    """One rate throughout."""

    kind: Literal["constant"] = "constant"

    def factor(self, step: int, steps: int) -> float:
        """1."""
        return 1.0

    def beta1(self, step: int, steps: int) -> float | None:
        """No change."""
        return None


class Cosine(StrictConfig):
    """A linear rise, then a cosine down to a share of the highest rate."""

    kind: Literal["cosine"] = "cosine"
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps that rise")
    final: float = Field(0.0, ge=0, le=1, description="share of the highest rate at the end")

    def factor(self, step: int, steps: int) -> float:
        """Share of the highest rate at `step` of `steps`."""
        rise = self.warmup * steps
        if step < rise:
            return (step + 1) / (rise + 1)
        past = (step - rise) / max(steps - 1 - rise, 1)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(past, 1.0))) / 2

    def beta1(self, step: int, steps: int) -> float | None:
        """No change."""
        return None


class OneCycle(StrictConfig):
    """Up and down again, with AdamW's first moment the other way round.

    Smith and Topin, arXiv 1708.07120, in the form of ``torch.optim.lr_scheduler.OneCycleLR``.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    rise: float = Field(0.3, gt=0, lt=1, description="share of the steps in which the rate rises (pct_start)")
    start_divisor: float = Field(25.0, gt=0, description="the first rate is the peak divided by this (div_factor)")
    final_divisor: float = Field(
        1e4, gt=0, description="the last rate is the first one divided by this (final_div_factor)"
    )
    momentum: tuple[float, float] | None = Field(
        (0.95, 0.85), description="first moment at the lowest and at the highest rate; null leaves it alone"
    )

    def _between(self, step: int, steps: int, low: float, peak: float, end: float) -> float:
        top = self.rise * steps - 1
        if step <= top:
            return _cosine(low, peak, step / top if top > 0 else 1.0)
        return _cosine(peak, end, (step - top) / (steps - 1 - top))

    def factor(self, step: int, steps: int) -> float:
        """Share of the peak at `step` of `steps`."""
        first = 1 / self.start_divisor
        return self._between(step, steps, first, 1.0, first / self.final_divisor)

    def beta1(self, step: int, steps: int) -> float | None:
        """AdamW's first moment at `step` of `steps`."""
        if self.momentum is None:
            return None
        return self._between(step, steps, self.momentum[0], self.momentum[1], self.momentum[0])


class SlantedTriangular(StrictConfig):
    """A short linear rise and a long linear fall (Howard and Ruder, ACL 2018, arXiv 1801.06146)."""

    kind: Literal["slanted_triangular"] = "slanted_triangular"
    rise: float = Field(0.1, gt=0, lt=1, description="share of the steps in which the rate rises (cut_frac)")
    ratio: float = Field(32.0, gt=1, description="the highest rate over the lowest")

    def factor(self, step: int, steps: int) -> float:
        """Share of the highest rate at `step` of `steps`."""
        cut = max(1, math.floor(steps * self.rise))
        past = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / self.rise - 1))
        return (1 + max(past, 0.0) * (self.ratio - 1)) / self.ratio

    def beta1(self, step: int, steps: int) -> float | None:
        """No change."""
        return None


Schedule = Annotated[Constant | Cosine | OneCycle | SlantedTriangular, Field(discriminator="kind")]


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) / 2.0 * (math.cos(math.pi * share) + 1)
