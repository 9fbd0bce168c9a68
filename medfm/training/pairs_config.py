"""Parts of recipes that learn from pairs of a record and its report (MERL now; others of that kind)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig
from medfm.training.config import Machine
from medfm.training.text_window_rule import TextWindow

Share = Annotated[float, Field(ge=0, le=1)]


class TextRule(StrictConfig):
    """Where the reports are and what of the text tower learns."""

    column: str = Field("text", description="column of the cohort with the reports")
    start: Literal["pretrained", "random"] = Field(
        "pretrained", description="first weights: published ones of the tower's own repository, or random"
    )
    weights: str | None = Field(None, description="folder of a BERT (config.json, weights, vocab.txt) [looked for]")
    trained_layers: int | Literal["all"] = Field(
        0, description="how many last layers (with the pooler) of the tower learn; 0: none of it, all: everything"
    )
    cache: bool = Field(True, description="a frozen tower encodes every text once, not in every step")
    max_tokens: int | None = Field(None, ge=3, description="shorter cut than the card's [the card's]")
    window: TextWindow = Field(TextWindow(), description="what is read of a text that is longer than that")

    @model_validator(mode="after")
    def _fits(self) -> TextRule:
        if self.trained_layers != "all" and self.trained_layers < 0:
            raise ValueError("trained_layers must be 0 or more, or all")
        if self.start == "random" and self.trained_layers != "all":
            raise ValueError("a text tower with random weights must learn: trained_layers: all")
        if self.start == "random" and self.weights is not None:
            raise ValueError("weights are given, but start is random")
        return self


class PairsOptimisation(StrictConfig):
    """AdamW on all trainable parameters as one group."""

    lr: float = Field(2e-4, gt=0, description="highest learning rate, as used (no scaling with the batch)")
    weight_decay: float = Field(1e-5, ge=0)
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="AdamW moments")
    schedule: Literal["warmup_cosine", "warm_restarts"] = Field(
        "warmup_cosine", description="one cosine after a linear warm-up, or cosines that start again (MERL)"
    )
    warmup: int = Field(0, ge=0, description="steps of the linear warm-up (warmup_cosine)")
    restart_every: int = Field(5000, ge=1, description="steps of one cosine (warm_restarts)")
    final_lr: float = Field(1e-8, ge=0, description="learning rate at the end of a cosine")
    clip: float = Field(0.0, ge=0, description="largest gradient norm; 0 = no limit")


class Validation(StrictConfig):
    """Which records are set aside to choose the epoch."""

    source: Literal["split", "patients", "records"] = Field(
        "split", description="the cohort's split 'val', or a share of the training patients or records"
    )
    share: float = Field(0.02, gt=0, lt=1, description="of the training patients or records")


class ZeroShotSelection(StrictConfig):
    """What selection by zero-shot needs: labels of the validation records."""

    label_set: str = Field(description="label set of the knowledge base; its labels are columns of the table")
    table: str | None = Field(
        None, description="table of labelled records, of which the split val is used [the validation records]"
    )
    strategy: str = Field("class-name@1", description="prompt strategy, name@version")


class PairsRecipe(StrictConfig):
    """What every recipe on pairs has."""

    name: str = Field(description="name of the recipe")
    description: str = Field("", description="what it is for, in one sentence")
    encoder: str = Field(description="id of the model card whose architecture is trained")
    preprocessing_variant: str | None = Field(None, description="other preprocessing of the card, by name")
    seed: int = Field(0, ge=0, description="decides first weights, order and dropout")
    epochs: int = Field(ge=1, description="passes over the training records")
    batch_size: int = Field(ge=2, description="pairs per step and process")
    split: Literal["train", "all"] = Field("train", description="which records are used; all includes test records")
    shuffle: Literal["each_epoch", "same_order"] = Field(
        "each_epoch", description="a new order per epoch, or one order"
    )
    gather: Literal["none", "local_gradient", "full"] = Field(
        "full",
        description="pairs of other processes: not seen; seen, gradient of the own share only; seen, whole gradient",
    )
    batch_norm: Literal["per_process", "synchronised"] = Field(
        "per_process", description="whose batch the normalisation sees; synchronised needs CUDA"
    )
    precision: Literal["32-true", "bf16-mixed"] = Field("32-true", description="number format of the forward pass")
    selection: Literal["validation_loss", "zero_shot_validation", "last"] = Field(
        "validation_loss", description="which epoch is kept; zero_shot_validation uses labels"
    )
    zero_shot: ZeroShotSelection | None = Field(None, description="needed by selection zero_shot_validation")
    validation: Validation = Validation()
    text: TextRule = TextRule()
    optimisation: PairsOptimisation = PairsOptimisation()
    machine: Machine = Machine()

    @model_validator(mode="after")
    def _fits(self) -> PairsRecipe:
        if self.selection == "zero_shot_validation" and self.zero_shot is None:
            raise ValueError("selection zero_shot_validation needs zero_shot.label_set")
        return self

    def procedure(self) -> dict[str, object]:
        """The settings that decide the result, without those of the machine."""
        values = self.to_dict()
        # The number of processes changes which pair is in which step.
        return {key: value for key, value in values.items() if key != "machine"} | {"devices": self.machine.devices}


class MerlRecipe(PairsRecipe):
    """A recipe of the MERL family: signal against report (CMA) and signal against itself (UMA)."""

    family: Literal["merl"] = Field("merl", description="family of the recipe")
    encoder: str = Field("merl-resnet18", description="id of the model card whose architecture is trained")
    temperature: float = Field(0.07, gt=0, description="divides the cosines; not learned")
    uma: float = Field(1.0, ge=0, description="weight of the uni-modal term; the cross-modal one has 1")
