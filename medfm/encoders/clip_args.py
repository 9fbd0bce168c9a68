"""Architecture arguments of the CLIP family, as a model card holds them (without torch).

What a checkpoint does not show, or shows only to those who look (activation, image size, pooling
of texts), is written out in every card and has no default here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig
from medfm.encoders.bert_args import BertArgs

ACTIVATIONS = {"gelu": "GELU in its exact (erf) form", "quick_gelu": "QuickGELU, x * sigmoid(1.702 x)"}


class ImageTower(StrictConfig):
    """A vision transformer with a class token."""

    kind: Literal["open_clip", "timm"] = Field(
        description="open_clip: a norm before the blocks, no bias in the patches; timm: the plain ViT, GELU only"
    )
    patch: int = Field(ge=1, description="side of a patch in pixels")
    width: int = Field(ge=8)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    layer_scale: bool = Field(False, description="whether blocks have LayerScale (timm only)")
    head: Literal["linear", "mlp"] = Field(
        "linear",
        description="projection: one matrix without bias, or two layers with bias and GELU between (timm only)",
    )

    @model_validator(mode="after")
    def _fits(self) -> ImageTower:
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        if self.kind == "open_clip" and (self.layer_scale or self.head != "linear"):
            raise ValueError("layer_scale and head 'mlp' are for kind 'timm'")
        return self


class ClipText(StrictConfig):
    """CLIP's own causal text transformer on byte pairs."""

    kind: Literal["clip"]
    pooling: Literal["end_of_text"] = Field(description="the feature at the end-of-text token")
    context: int = Field(77, ge=3, description="length every text is padded or cut to")
    vocabulary: int = Field(49408, ge=5)
    width: int = Field(512, ge=8)
    layers: int = Field(12, ge=1)
    heads: int = Field(8, ge=1)

    @model_validator(mode="after")
    def _divides(self) -> ClipText:
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        return self

    @property
    def limit(self) -> int:
        """Longest text in tokens."""
        return self.context


class BertText(BertArgs):
    """A BERT tower and a projection."""

    kind: Literal["bert"]
    pooling: Literal["cls", "pooler"] = Field(
        description="cls: first token of the last layer; pooler: BERT's dense layer and tanh on it"
    )
    head: Literal["mlp", "none"] = Field(description="mlp: two matrices without bias, GELU between; none: as it is")

    @property
    def limit(self) -> int:
        """Longest text in tokens."""
        return self.positions


TextTower = Annotated[ClipText | BertText, Field(discriminator="kind")]


class ClipArgs(StrictConfig):
    """Architecture arguments of the family."""

    image_size: int = Field(ge=1, description="side of the input in pixels; the position table belongs to it")
    activation: Literal["gelu", "quick_gelu"] = Field(
        description="in both towers; checkpoints do not show it, and a wrong one changes every number a little"
    )
    projection: int = Field(ge=4, description="width of the space shared with text")
    image: ImageTower
    text: TextTower | None = Field(None, description="the text tower; null: none")
    output: Literal["projected", "pooled"] = Field(
        "projected", description="projected: the space shared with text; pooled: the class token before the projection"
    )

    @model_validator(mode="after")
    def _fits(self) -> ClipArgs:
        if self.image_size % self.image.patch:
            raise ValueError("image_size must be a multiple of image.patch")
        erf_only = self.image.kind == "timm" or isinstance(self.text, BertText)
        if self.activation == "quick_gelu" and erf_only:
            raise ValueError("quick_gelu exists only in CLIP's own towers, not in those of timm and BERT")
        if self.text is not None and self.output == "pooled":
            raise ValueError("a text tower needs output 'projected': pooled features are not in the shared space")
        if isinstance(self.text, BertText) and self.text.head == "none" and self.text.width != self.projection:
            raise ValueError("without a head the width of the text tower must equal projection")
        return self

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return self.image.patch

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return self.projection if self.output == "projected" else self.image.width

    @property
    def token_dim(self) -> int:
        """Width of patch tokens, which are not projected."""
        return self.image.width

    @property
    def assumed(self) -> tuple[str, ...]:
        """What no checkpoint shows and is taken from here."""
        return (f"activation {ACTIVATIONS[self.activation]}",)

    def without_text(self) -> ClipArgs:
        """The same network without its text tower."""
        return self.model_copy(update={"text": None})
