"""Arguments of the colour-histogram baseline, readable without torch."""

from __future__ import annotations

from pydantic import Field

from medfm.core.config import StrictConfig


class HistogramArgs(StrictConfig):
    """Architecture arguments of the family, as the model card holds them."""

    bins: int = Field(16, ge=2, le=256, description="bins per channel")

    @property
    def dim(self) -> int:
        """Length of the embedding: six channels (R, G, B, H, S, V)."""
        return 6 * self.bins
