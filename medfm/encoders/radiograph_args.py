"""Architecture arguments of networks for chest radiographs (TorchXRayVision, BPDneo), without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medfm.core.config import StrictConfig

WIDTHS = {"resnet50": 2048, "densenet121": 1024, "resnet18-narrow": 128}


class RadiographArgs(StrictConfig):
    """A torchvision network with its classifier; the embedding is what the classifier reads."""

    backbone: Literal["resnet50", "densenet121", "resnet18-narrow"]
    channels: Literal[1, 3] = Field(1, description="1: grey, as TorchXRayVision; 3: as ImageNet")
    classes: int = Field(ge=1, description="answers of the classifier")
    image_size: int = Field(ge=32, description="side of the input in pixels")

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return WIDTHS[self.backbone]

    @property
    def token_dim(self) -> int:
        """Width of the map's places."""
        return self.dim

    @property
    def patch(self) -> int:
        """Pixels between two places of the map."""
        return 32
