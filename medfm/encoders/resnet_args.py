"""Architecture arguments of networks on torchvision's ResNets (FLAIR, ConVIRT, ImageNet), without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig
from medfm.encoders.bert_args import BertArgs

WIDTHS = {"resnet18": 512, "resnet34": 512, "resnet50": 2048, "resnet101": 2048, "resnet18-narrow": 128}
Backbone = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet18-narrow"]


class ResNetArgs(StrictConfig):
    """A ResNet alone: the pooled feature before its classifier."""

    backbone: Backbone
    image_size: int = Field(
        ge=32, description="side of the input in pixels; the network takes any, the card says which"
    )

    @property
    def width(self) -> int:
        """Length of the pooled feature."""
        return WIDTHS[self.backbone]

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return self.width

    @property
    def token_dim(self) -> int:
        """Width of the map's places."""
        return self.width

    @property
    def patch(self) -> int:
        """Pixels between two places of the map."""
        return 32


class FlairText(BertArgs):
    """FLAIR's text tower."""

    vocabulary: int = Field(28996, ge=5, description="number of word pieces")
    pooling: Literal["mean_with_padding"] = Field(
        description="mean over all positions, padding included, of the states of several layers, then their mean"
    )
    hidden_states: tuple[int, ...] = Field(min_length=1, description="which states: 0 the embedding, -1 the last layer")

    @model_validator(mode="after")
    def _known(self) -> FlairText:
        if any(not -self.layers - 1 <= state <= self.layers for state in self.hidden_states):
            raise ValueError(f"hidden_states must lie between {-self.layers - 1} and {self.layers}")
        return self

    @property
    def limit(self) -> int:
        """Longest text in tokens."""
        return self.positions

    @property
    def padding_counts(self) -> bool:
        """Whether a text's embedding depends on how far it is padded."""
        return True


class ConvirtText(BertArgs):
    """ConVIRT's text tower."""

    vocabulary: int = Field(28996, ge=5, description="number of word pieces")
    pooling: Literal["mean", "max"] = Field(description="over the tokens of the last layer, padding left out")

    @property
    def limit(self) -> int:
        """Longest text in tokens."""
        return self.positions


class _Paired(ResNetArgs):
    projection: int = Field(512, ge=4, description="width of the space shared with text")
    output: Literal["projected", "pooled"] = Field(
        "projected", description="projected: the space shared with text; pooled: what linear probes use"
    )

    @model_validator(mode="after")
    def _fits(self) -> _Paired:
        if getattr(self, "text", None) is not None and self.output == "pooled":
            raise ValueError("a text tower needs output 'projected': pooled features are not in the shared space")
        return self

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return self.projection if self.output == "projected" else self.width


class FlairArgs(_Paired):
    """Architecture arguments of FLAIR."""

    text: FlairText | None = Field(None, description="the text tower; null: none")

    def without_text(self) -> FlairArgs:
        """The same network without its text tower."""
        return self.model_copy(update={"text": None})


class ConvirtArgs(_Paired):
    """Architecture arguments of ConVIRT."""

    text: ConvirtText | None = Field(None, description="the text tower; null: none")

    def without_text(self) -> ConvirtArgs:
        """The same network without its text tower."""
        return self.model_copy(update={"text": None})
