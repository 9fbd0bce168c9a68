"""What a pretraining recipe says: the one source for Python, YAML, ``--set`` and the log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig
from medfm.training.augment import VARIANTS, Augmentation

Share = Annotated[float, Field(ge=0, le=1)]


class Views(StrictConfig):
    """The crops of a picture, in pixels of the network's input and shares of the picture's area."""

    global_size: int = Field(224, ge=1, description="side of the two global crops, a multiple of the patch")
    global_scale: tuple[Share, Share] = Field((0.32, 1.0), description="share of the area of a global crop")
    local_crops: int = Field(8, ge=0, description="number of local crops")
    local_size: int = Field(98, ge=1, description="side of the local crops, a multiple of the patch")
    local_scale: tuple[Share, Share] = Field((0.05, 0.32), description="share of the area of a local crop")
    augmentation: Literal["upstream", "dinobloom", "cells", "patches"] = Field(
        "cells", description="named set of random changes"
    )

    @property
    def changes(self) -> Augmentation:
        """The named augmentation, written out."""
        return VARIANTS[self.augmentation]

    @model_validator(mode="after")
    def _ordered(self) -> Views:
        for name in ("global_scale", "local_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must rise and lie above 0")
        return self


class Heads(StrictConfig):
    """The projection heads."""

    prototypes: int = Field(65536, ge=2, description="number of prototypes")
    hidden: int = Field(2048, ge=1, description="width of the hidden layers")
    bottleneck: int = Field(256, ge=1, description="width before the prototypes")
    shared: bool = Field(False, description="one head for class and patch tokens (RedDino) instead of two (DinoBloom)")


class Objective(StrictConfig):
    """Weights and rules of the loss."""

    dino: float = Field(1.0, ge=0, description="weight of the class-token terms")
    ibot: float = Field(1.0, ge=0, description="weight of the masked-patch term")
    koleo: float = Field(0.1, ge=0, description="weight of the spreading term")
    least_local_crops: int = Field(
        1, ge=1, description="local crops count from this number on (2 = DinoBloom and RedDino)"
    )
    centering: Literal["sinkhorn", "softmax"] = Field("sinkhorn", description="how teacher outputs are balanced")
    student_temperature: float = Field(0.1, gt=0, description="softmax temperature of the student")
    mask_probability: Share = Field(0.5, description="share of the global crops that are masked")
    mask_ratio: tuple[Share, Share] = Field((0.1, 0.5), description="share of masked patches in a masked crop")


class Teacher(StrictConfig):
    """The moving average of the student."""

    momentum: tuple[Share, Share] = Field((0.994, 1.0), description="first and last momentum, along a cosine")
    temperature: tuple[float, float] = Field((0.04, 0.07), description="softmax temperature before and after warm-up")
    temperature_warmup: int = Field(0, ge=0, description="steps of the temperature's linear warm-up")

    @model_validator(mode="after")
    def _safe_temperature(self) -> Teacher:
        # float32 exponentials overflow above 88; cosine logits reach 1, with some room for weight_g.
        if min(self.temperature) < 0.02:
            raise ValueError("temperature must be at least 0.02")
        return self


class Optimisation(StrictConfig):
    """AdamW and its schedules, in steps."""

    lr: float = Field(1e-3, gt=0, description="highest learning rate, as used (no scaling with the batch)")
    final_lr: float = Field(1e-6, ge=0, description="learning rate after the last step")
    warmup: int = Field(0, ge=0, description="steps of the linear warm-up")
    weight_decay: tuple[float, float] = Field((0.04, 0.2), description="first and last weight decay, along a cosine")
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="AdamW moments")
    clip: float = Field(3.0, ge=0, description="largest gradient norm of the backbone and of each head; 0 = no limit")
    layer_decay: float = Field(1.0, gt=0, le=1, description="learning-rate factor per layer below the output")
    patch_embed_lr: float = Field(0.2, ge=0, description="learning-rate factor of the patch embedding")
    freeze_last_layer: int = Field(0, ge=0, description="steps in which the prototypes do not learn")


class Machine(StrictConfig):
    """What does not belong to the procedure: a resumed run may change these."""

    accelerator: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train")
    devices: int = Field(1, ge=1, description="processes on this machine")
    strategy: Literal["ddp", "fsdp"] = Field(
        "ddp", description="several processes: whole networks in each, or shares of them (LDAE only)"
    )
    threads: int = Field(0, ge=0, description="processor threads of a training process; 0 = as torch chooses")
    workers: int = Field(0, ge=0, description="processes that prepare pictures; 0 = the training process itself")
    memory_mb: int = Field(1024, ge=0, description="decoded pictures are kept in memory up to this size")
    checkpoint_every: int = Field(50, ge=1, description="steps between checkpoints")
    tensorboard: bool = Field(False, description="also write TensorBoard events (needs the extra 'tensorboard')")


class PretrainConfig(StrictConfig):
    """A self-supervised recipe of the DINOv2 family."""

    family: Literal["dinov2"] = Field("dinov2", description="family of the recipe")
    name: str = Field(description="name of the recipe")
    description: str = Field("", description="what it is for, in one sentence")
    encoder: str = Field("dinov2-tiny", description="id of the model card whose architecture is trained")
    seed: int = Field(0, ge=0, description="decides first weights, order, crops and masks")
    steps: int = Field(ge=1, description="number of optimiser steps")
    batch_size: int = Field(ge=2, description="pictures per step and process")
    split: Literal["train", "all"] = Field("train", description="which records are used; all includes test records")
    picture_size: int = Field(256, ge=8, description="side to which pictures are squashed before cropping, in pixels")
    precision: Literal["32-true", "bf16-mixed"] = Field("32-true", description="number format of the forward pass")
    views: Views = Views()
    heads: Heads = Heads()
    objective: Objective = Objective()
    teacher: Teacher = Teacher()
    optimisation: Optimisation = Optimisation()
    machine: Machine = Machine()

    @model_validator(mode="after")
    def _fits(self) -> PretrainConfig:
        if self.optimisation.warmup > self.steps:
            raise ValueError(f"optimisation.warmup ({self.optimisation.warmup}) is longer than steps ({self.steps})")
        return self

    def procedure(self) -> dict[str, object]:
        """The settings that decide the result, without those of the machine."""
        values = self.to_dict()
        # The number of processes changes which picture is in which step. Checkpoints do not name the family.
        return {key: value for key, value in values.items() if key not in ("machine", "family")} | {
            "devices": self.machine.devices
        }
