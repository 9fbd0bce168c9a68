"""Sizes of a BERT text tower, as a model card holds them (without torch)."""

from __future__ import annotations

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig


class BertArgs(StrictConfig):
    """Sizes of a BERT text tower; the defaults are BERT-base with MedCPT's vocabulary."""

    vocabulary: int = Field(30522, ge=5, description="number of word pieces")
    width: int = Field(768, ge=8)
    layers: int = Field(12, ge=1)
    heads: int = Field(12, ge=1)
    feed_forward: int = Field(3072, ge=8)
    positions: int = Field(512, ge=2, description="longest text in tokens that the position table allows")

    @model_validator(mode="after")
    def _divides(self) -> BertArgs:
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        return self
