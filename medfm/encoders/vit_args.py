"""Architecture arguments of the DINOv2 family, as a model card holds them (without torch)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig
from medfm.encoders.posembed import Rule

_SIZES = {  # name: width, depth, heads, feed-forward (hub constructors of facebookresearch/dinov2)
    "small": (384, 12, 6, "gelu"),
    "base": (768, 12, 12, "gelu"),
    "large": (1024, 24, 16, "gelu"),
    "giant": (1536, 40, 24, "swiglu"),
}


class ViTArgs(StrictConfig):
    """Architecture arguments of the family, as the model card holds them."""

    size: Literal["small", "base", "large", "giant", "custom"] = Field(
        "custom", description="a published size, or custom with width, depth and heads"
    )
    width: int | None = Field(None, ge=8, description="embedding width of a custom size")
    depth: int | None = Field(None, ge=1, description="number of blocks of a custom size")
    heads: int | None = Field(None, ge=1, description="attention heads of a custom size")
    patch: int = Field(14, ge=1, description="side of a patch in pixels")
    img_size: int = Field(224, ge=1, description="side in pixels the position table belongs to")
    interpolation: Rule = Field("dinov2", description="rule for position tables at other sizes")
    layer_scale: float = Field(1.0, gt=0, description="first value of LayerScale in an untrained network")

    @model_validator(mode="after")
    def _complete(self) -> ViTArgs:
        given = (self.width, self.depth, self.heads)
        if self.size == "custom":
            if any(value is None for value in given):
                raise ValueError("a custom size needs width, depth and heads")
            if (self.width or 0) % (self.heads or 1):
                raise ValueError("width must be a multiple of heads")
        elif any(value is not None for value in given):
            raise ValueError("width, depth and heads are only for size 'custom'")
        if self.img_size % self.patch:
            raise ValueError("img_size must be a multiple of patch")
        return self

    @property
    def shape(self) -> tuple[int, int, int, str]:
        """Width, depth, heads and kind of feed-forward layer."""
        if self.size != "custom":
            return _SIZES[self.size]
        return int(self.width or 0), int(self.depth or 0), int(self.heads or 0), "gelu"

    @property
    def dim(self) -> int:
        """Width of the class token, the embedding."""
        return self.shape[0]
