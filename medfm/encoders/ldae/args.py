"""Sizes of the three LDAE networks, as a model card holds them (without torch).

The defaults are the published sizes (GabrieleLozupone/LDAE, config/aekl.yaml and config/ldae_repr_learn.yaml).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig

AXES = 3


class LdaeArgs(StrictConfig):
    """The semantic encoder: ConvNeXt slice by slice, then attention over the slices."""

    slices: int = Field(128, ge=1, description="length of the table of slice positions: the most slices of a volume")
    depths: tuple[int, ...] = Field((3, 3, 27, 3), description="ConvNeXt blocks per stage (the defaults: Small)")
    widths: tuple[int, ...] = Field((96, 192, 384, 768), description="channels per stage; the last is the embedding")
    stochastic_depth: float = Field(0.4, ge=0, lt=1, description="largest share of blocks left out while training")
    heads: int = Field(8, ge=1, description="heads of the attention over slices")
    dropout: float = Field(0.1, ge=0, lt=1)
    code_norm: Literal["layer", "batch"] = Field(
        "layer", description="norm of the code: over its own numbers (published), or each number over the records"
    )

    @model_validator(mode="after")
    def _fits(self) -> LdaeArgs:
        if not self.widths or len(self.widths) != len(self.depths):
            raise ValueError("depths and widths need one number per stage, and at least one stage")
        if min(self.widths) < 1 or min(self.depths) < 1:
            raise ValueError("depths and widths must be positive")
        if self.widths[-1] % self.heads or self.widths[-1] % 2:
            raise ValueError("the last width must be even and a multiple of heads")
        return self

    @property
    def dim(self) -> int:
        """Length of the semantic code."""
        return self.widths[-1]


class AutoencoderArgs(StrictConfig):
    """The compression autoencoder: MONAI's ``AutoencoderKL`` in three dimensions."""

    channels: tuple[int, ...] = Field((64, 128, 128, 128), min_length=1, description="per level")
    latent_channels: int = Field(3, ge=1)
    blocks: int = Field(2, ge=1, description="residual blocks per level")
    groups: int = Field(32, ge=1, description="of the group norms")

    @model_validator(mode="after")
    def _fits(self) -> AutoencoderArgs:
        if any(channels < 1 or channels % self.groups for channels in self.channels):
            raise ValueError("every number of channels must be a multiple of groups")
        return self

    @property
    def factor(self) -> int:
        """How many times smaller each side of the latent is than that of the volume."""
        return int(2 ** (len(self.channels) - 1))


class DenoiserArgs(StrictConfig):
    """The U-Net on latents, with and without the branch that a semantic code steers."""

    latent_channels: int = Field(3, ge=1)
    width: int = Field(256, ge=2, description="channels of the first level")
    multipliers: tuple[int, ...] = Field((1, 2, 3), min_length=1, description="channels per level, times width")
    blocks: int = Field(2, ge=1, description="residual blocks per level on the way down; one more on the way up")
    attention_at: tuple[int, ...] = Field((2, 4), description="shrink factors at which there is attention")
    heads: int = Field(1, ge=1)
    groups: int = Field(32, ge=1, description="of the group norms")
    dropout: float = Field(0.1, ge=0, lt=1)
    condition: int = Field(768, ge=1, description="length of the semantic code")

    @model_validator(mode="after")
    def _fits(self) -> DenoiserArgs:
        if self.width % 2:
            raise ValueError("width must be even: half cosines, half sines")
        if any(factor < 1 or (self.width * factor) % self.groups for factor in self.multipliers):
            raise ValueError("width times every multiplier must be a multiple of groups")
        if any((self.width * factor) % self.heads for factor in self.multipliers):
            raise ValueError("width times every multiplier must be a multiple of heads")
        return self

    @property
    def factor(self) -> int:
        """The last two sides of a latent must be multiples of this; the first is never shrunk."""
        return int(2 ** (len(self.multipliers) - 1))
