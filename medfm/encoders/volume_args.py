"""Architecture arguments of the baselines on volumes (3D ResNet, SwinUNETR's encoder, simple figures), without torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig

Backbone3d = Literal["resnet10", "resnet18", "resnet34", "resnet50"]
_STAGES = 4
_BOTTLENECK = 4  # how many times wider the last convolution of a bottleneck is
_OF_VOLUMES = 5  # axes of a kernel: out, in, three sides


class ResNet3dArgs(StrictConfig):
    """A 3D ResNet of MedicalNet, or of MONAI, which strides where MedicalNet dilates."""

    kernel_axes: ClassVar[int] = _OF_VOLUMES

    backbone: Backbone3d
    width: int = Field(64, ge=1, description="channels of the first stage; published: 64")
    dilated: bool = Field(
        description="true: stages 3 and 4 keep the resolution and dilate by 2 and 4, as MedicalNet; "
        "false: they halve it, as MONAI. The tensors are the same, the embeddings are not."
    )

    @property
    def bottleneck(self) -> bool:
        """Whether blocks have three convolutions."""
        return self.backbone == "resnet50"

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks per stage."""
        known = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2)}
        return known.get(self.backbone, (3, 4, 6, 3))

    @property
    def padded_shortcut(self) -> bool:
        """Whether a shortcut that grows is filled up with zeros (MedicalNet's type A) instead of convolved (B)."""
        return self.backbone in ("resnet18", "resnet34")

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return int(self.width * 2 ** (_STAGES - 1) * (_BOTTLENECK if self.bottleneck else 1))


class SwinArgs(StrictConfig):
    """SwinUNETR's encoder without its U-Net."""

    kernel_axes: ClassVar[int] = _OF_VOLUMES

    width: int = Field(48, ge=1, description="channels behind the first 2 x 2 x 2 patches; published: 48")
    depths: tuple[int, int, int, int] = Field((2, 2, 2, 2), description="blocks per stage")
    heads: tuple[int, int, int, int] = Field((3, 6, 12, 24), description="attention heads per stage")
    window: int = Field(7, ge=2, description="side of an attention window, in patches of the stage")

    @model_validator(mode="after")
    def _fits(self) -> SwinArgs:
        if min(self.depths) < 1 or min(self.heads) < 1:
            raise ValueError("depths and heads must be positive")
        if any(self.width * 2**stage % heads for stage, heads in enumerate(self.heads)):
            raise ValueError("the channels of every stage (width, doubled each time) must be a multiple of its heads")
        return self

    @property
    def dim(self) -> int:
        """Length of the embedding: the channels behind the last merging."""
        return int(self.width * 2**_STAGES)


class VolumeStatsArgs(StrictConfig):
    """A histogram and a coarse thumbnail of a volume."""

    bins: int = Field(16, ge=2, le=256, description="bins of the histogram of 0..1")
    cells: int = Field(8, ge=1, le=32, description="cells of the thumbnail along every axis")

    @property
    def dim(self) -> int:
        """Length of the embedding: the histogram, then the thumbnail."""
        return int(self.bins + self.cells**3)
