"""Recipes of the LDAE family: three stages, each a recipe of its own that starts from the folder of the one before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from medfm.core.config import StrictConfig
from medfm.core.names import unknown_name
from medfm.training.config import Machine

Share = Annotated[float, Field(ge=0, le=1)]


class LdaeOptimisation(StrictConfig):
    """Adam without weight decay, at one rate, as published."""

    lr: float = Field(2.5e-5, gt=0, description="learning rate, as used (no scaling with the batch)")
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="Adam moments")
    clip: float = Field(1.0, ge=0, description="largest gradient norm; 0 = no limit")
    warm_up: int = Field(0, ge=0, description="steps over which the rate rises from 0 (published: none)")
    decay: Literal["none", "cosine"] = Field("none", description="cosine: the rate falls to 0 at the last step")

    def factor(self, step: int, steps: int) -> float:
        """What the rate is multiplied by at `step` (from 0) of `steps`, above 0 and at most 1."""
        rise = min(1.0, (step + 1) / (self.warm_up + 1))
        return rise * (0.5 * (1 + math.cos(math.pi * step / steps)) if self.decay == "cosine" else 1.0)


class Averaging(StrictConfig):
    """The moving average of the weights, which is what is judged and kept."""

    decay: Share = Field(0.999, description="share that stays in every update; 0 = the weights themselves")
    every: Literal["step", "batch"] = Field(
        "step", description="after every optimiser step, or decay once per batch accumulated in it (published)"
    )
    ramp: bool = Field(
        False, description="decay is at most (1 + n) / (10 + n) after n steps: short runs forget the first weights"
    )

    def at(self, step: int) -> float:
        """The decay of the update after `step` (from 0)."""
        return min(self.decay, (1 + step) / (10 + step)) if self.ramp else self.decay


class LdaeRecipe(StrictConfig):
    """What the recipes of all stages have."""

    family: Literal["ldae"] = Field("ldae", description="family of the recipe")
    name: str = Field(description="name of the recipe")
    description: str = Field("", description="what it is for, in one sentence")
    encoder: str = Field("ldae-brain-mri", description="id of the model card whose architecture is trained")
    start: str | None = Field(None, description="folder that the stage before wrote")
    first_weights: str | None = Field(
        None, description="fine-tuning: a folder of this stage, or a checkpoint, that training begins with [random]"
    )
    seed: int = Field(0, ge=0, description="decides first weights, order, noise and dropout")
    epochs: int = Field(ge=1, description="passes over the training records, at most")
    patience: int = Field(0, ge=0, description="epochs without a better value after which the run ends; 0 = never")
    judge_every: int = Field(1, ge=1, description="epochs from one look at the validation records to the next")
    batch_size: int = Field(ge=1, description="volumes per batch and process")
    accumulate: int = Field(1, ge=1, description="batches per optimiser step")
    split: Literal["train", "all"] = Field("train", description="which records are used; all includes test records")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field("32-true", description="number format")
    checkpointing: bool = Field(False, description="recompute activations in the backward pass: less memory, slower")
    optimisation: LdaeOptimisation = LdaeOptimisation()
    machine: Machine = Machine()

    def procedure(self) -> dict[str, object]:
        """The settings that decide the result, without those of the machine and without the place of what it starts from."""
        values = self.to_dict()
        left_out = ("machine", "start", "first_weights", "checkpointing")
        return {k: v for k, v in values.items() if k not in left_out} | {"devices": self.machine.devices}


class Discriminator(StrictConfig):
    """What the autoencoder is trained against."""

    channels: int = Field(64, ge=1, description="of its first layer")
    layers: int = Field(3, ge=1)
    lr: float = Field(1e-4, gt=0)
    learns_from: Literal["own_loss", "both_losses"] = Field(
        "own_loss",
        description="both_losses: also gathers the gradient of the autoencoder's adversarial term (a flaw, published)",
    )


class AutoencoderRecipe(LdaeRecipe):
    """Stage 1: the compression autoencoder."""

    stage: Literal["autoencoder"] = Field("autoencoder", description="which network is trained")
    l1: float = Field(1.0, ge=0, description="weight of the mean absolute difference (published: 1)")
    l2: float = Field(0.0, ge=0, description="weight of the mean square difference (published: 0)")
    first_sigma: float | None = Field(
        None, gt=0, description="standard deviation of latents that untrained networks begin with [as drawn, about 0.7]"
    )
    kl: float = Field(1e-7, ge=0, description="weight of the divergence, which is summed over a latent")
    perceptual: float = Field(0.0, ge=0, description="weight of the LPIPS distance, which needs downloaded weights")
    adversarial: float = Field(0.025, ge=0, description="weight of the adversarial terms; 0 = no discriminator")
    discriminator: Discriminator = Discriminator()
    selection: Literal["validation_l1", "validation_l1_drawn", "last"] = Field(
        "validation_l1", description="which epoch is kept: by the mean latent, by a drawn one (published), the last"
    )
    latent_scale: float | None = Field(
        None, gt=0, description="latents are multiplied by it [1 / their standard deviation]"
    )


class LatentRecipe(LdaeRecipe):
    """Stage 2: the denoiser of latents without a code."""

    stage: Literal["latent"] = Field("latent", description="which network is trained")
    latents: Literal["mean", "drawn_once"] = Field(
        "mean", description="the mean of each latent, or one draw per scan for the whole training (published)"
    )
    selection: Literal["validation_loss", "training_loss", "last"] = Field(
        "validation_loss", description="which epoch is kept; training_loss is as published"
    )
    clean_weight: float | None = Field(
        None, gt=0, description="weigh errors by 1 / SNR, at most this [equally, published]"
    )
    average: Averaging = Averaging()


class Samples(StrictConfig):
    """How selection by ``validation_ssim`` samples and compares."""

    steps: int = Field(100, ge=1, lt=1000, description="DDIM steps from pure noise (published: 100)")
    window: int = Field(4, ge=1, description="side of the window of the similarity, in voxels")


class SemanticRecipe(LdaeRecipe):
    """Stage 3: the semantic encoder and the half of the denoiser that it steers."""

    stage: Literal["semantic"] = Field("semantic", description="which network is trained")
    latents: Literal["mean", "drawn_once"] = Field("mean", description="as of the stage before")
    slice_weights: str | None = Field(
        None, description="state dict of torchvision's ConvNeXt that the slice network starts from [random weights]"
    )
    prior: Literal["required", "random_if_missing"] = Field(
        "required", description="random_if_missing: goes on with random weights without stage 2 (a flaw, published)"
    )
    selection: Literal["validation_loss", "validation_ssim", "training_loss", "last"] = Field(
        "validation_loss",
        description="which epoch is kept; validation_ssim: samples of the code alone against decoded latents (published)",
    )
    samples: Samples = Samples()
    mixed_codes: Share = Field(
        0.0, description="share of each batch whose code and latent are mixtures of two records (published: none)"
    )
    encoder_lr: float | None = Field(None, gt=0, description="learning rate of the encoder [that of optimisation]")
    clean_weight: float | None = Field(
        None, gt=0, description="weigh errors by 1 / SNR, at most this, in place of SNR^0.1 / (1 + SNR) (published)"
    )
    average: Averaging = Averaging()


STAGES: dict[str, type[LdaeRecipe]] = {
    "autoencoder": AutoencoderRecipe,
    "latent": LatentRecipe,
    "semantic": SemanticRecipe,
}


def stage_kind(values: Mapping[str, Any], where: str) -> type[LdaeRecipe]:
    """The settings class of a recipe of this family, from its key ``stage``.

    Raises:
        UnknownNameError: No such stage.
    """
    stage = values.get("stage")
    if not isinstance(stage, str) or stage not in STAGES:
        raise unknown_name("stage of LDAE", str(stage), STAGES, where=f"{where}: stage")
    return STAGES[stage]
