"""Architecture arguments of the MERL family, as a model card holds them (without torch)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig
from medfm.encoders.bert_args import BertArgs

RESNETS = {  # name: blocks per stage, expansion (1: basic block, 4: bottleneck)
    "resnet18": ((2, 2, 2, 2), 1),
    "resnet34": ((3, 4, 6, 3), 1),
    "resnet50": ((3, 4, 6, 3), 4),
    "resnet101": ((3, 4, 23, 3), 4),
}
VITS = {  # name: width, heads, feed-forward width; twelve blocks, heads of 64
    "vit_tiny": (192, 3, 768),
    "vit_small": (384, 6, 1536),
    "vit_middle": (512, 8, 2048),
    "vit_base": (768, 12, 3072),
}


class MerlArgs(StrictConfig):
    """Architecture arguments of the family; the defaults are the published ResNet-18."""

    backbone: Literal[
        "resnet18", "resnet34", "resnet50", "resnet101", "vit_tiny", "vit_small", "vit_middle", "vit_base"
    ] = Field("resnet18", description="signal encoder")
    output: Literal["projected", "pooled"] = Field(
        "projected", description="projected: the space shared with text; pooled: what linear probes use"
    )
    leads: int = Field(12, ge=1)
    samples: int = Field(5000, ge=50, description="length of the input; the position tables belong to it")
    stem: int = Field(64, ge=4, description="channels of the first ResNet stage (64 as published)")
    patch: int = Field(50, ge=1, description="samples per ViT token")
    projection: int = Field(256, ge=4, description="width of the shared space")
    pool_heads: int = Field(4, ge=1, description="heads of the attention pool")
    text: BertArgs | None = Field(None, description="sizes of the text tower; null: none")

    @model_validator(mode="after")
    def _fits(self) -> MerlArgs:
        if self.is_vit and self.samples % self.patch:
            raise ValueError("samples must be a multiple of patch")
        if self.is_vit and self.stem != 64:
            raise ValueError("stem is for ResNets only")
        if self.projection % self.pool_heads:
            raise ValueError("projection must be a multiple of pool_heads")
        if self.text is not None and self.output == "pooled":
            raise ValueError("a text tower needs output 'projected': pooled features are not in the shared space")
        return self

    @property
    def is_vit(self) -> bool:
        """Whether the signal encoder is a vision transformer."""
        return self.backbone in VITS

    @property
    def width(self) -> int:
        """Length of the pooled feature of the signal encoder."""
        if self.is_vit:
            return VITS[self.backbone][0]
        return self.stem * 8 * RESNETS[self.backbone][1]

    @property
    def steps(self) -> int:
        """Time steps that leave the ResNet (313 for 5000 samples): the signal is halved four times, rounded up."""
        return -(-self.samples // 16)

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return self.projection if self.output == "projected" else self.width

    def without_text(self) -> MerlArgs:
        """The same network without its text tower."""
        return self.model_copy(update={"text": None})
