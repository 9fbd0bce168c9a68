"""Settings of a fine-tuning recipe: stages, which layers learn at which rate, augmentation, balance, selection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig
from medfm.training.finetune_views import Step
from medfm.training.freezing import Freezing
from medfm.training.rates import Constant, Schedule


class HeadOnly(StrictConfig):
    """The encoder stays as it is."""

    kind: Literal["head"] = "head"


class Whole(StrictConfig):
    """The whole encoder at one rate, or only its norms or biases."""

    kind: Literal["whole"] = "whole"
    only: Literal["all", "norms", "biases"] = Field("all", description="which of its parameters learn")
    lr: float = Field(gt=0, description="highest learning rate")
    weight_decay: float = Field(1e-4, ge=0)


class Decay(StrictConfig):
    """A rate per layer that falls by a factor from top to stem (ULMFiT; timm's layer decay)."""

    kind: Literal["decay"] = "decay"
    lr: float = Field(
        gt=0, description="highest learning rate of the head; the first layer below it has it times factor"
    )
    factor: float = Field(gt=0, le=1, description="rate of a layer over that of the one above it")
    top: Literal["with_last_layer", "own_layer"] = Field(
        "with_last_layer", description="whether what comes after the last layer (norm, projection) shares its rate"
    )
    blocks: bool = Field(True, description="whether every block of a stage is a layer of its own")
    weight_decay: float = Field(0.05, ge=0)
    decay_vectors: bool = Field(False, description="whether biases and norms get weight decay too")
    unfreezing: Literal["none", "one_per_epoch"] = Field(
        "none", description="all layers learn from the start, or one more per epoch from the top (gradual unfreezing)"
    )


class Part(StrictConfig):
    """Rate and awakening of one part of the encoder."""

    part: str = Field(
        description="stem, stage1 to stage4 (quarters of the layers), top, or a layer group such as layer4"
    )
    lr: float = Field(gt=0, description="highest learning rate")
    weight_decay: float = Field(1e-4, ge=0)
    wakes: float = Field(0.0, ge=0, lt=1, description="learns from epoch floor(wakes x epochs) on")


class Parts(StrictConfig):
    """Parts with rates of their own that wake up one after the other; what is not named stays frozen."""

    kind: Literal["parts"] = "parts"
    parts: tuple[Part, ...] = Field(min_length=1)
    optional: bool = Field(True, description="parts that a network lacks are left out; else they are an error")

    @model_validator(mode="after")
    def _once(self) -> Parts:
        names = [part.part for part in self.parts]
        if len(set(names)) < len(names):
            raise ValueError("a part is named twice")
        return self


class Lora(StrictConfig):
    """Low-rank updates beside frozen weights, merged into them at the end (Hu et al., arXiv 2106.09685)."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0, description="updates are scaled by alpha / rank")
    targets: Literal["auto", "attention", "all"] = Field(
        "auto", description="matrices of attention, or every matrix and kernel; auto: attention where there is one"
    )
    lr: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0)


Layers = Annotated[HeadOnly | Whole | Decay | Parts | Lora, Field(discriminator="kind")]


class Mixing(StrictConfig):
    """Two records in one."""

    kind: Literal["cutmix", "mixup"] = "cutmix"
    probability: float = Field(0.5, ge=0, le=1, description="per batch")
    alpha: float = Field(1.0, gt=0, description="of the Beta distribution of lambda")


class HeadRate(StrictConfig):
    """AdamW's settings of the head in one stage."""

    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)


class Stage(StrictConfig):
    """Some epochs with one optimiser; the next stage starts a fresh one."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    epochs: int = Field(ge=1)
    layers: Layers = HeadOnly()
    head: HeadRate = HeadRate()
    schedule: Schedule = Constant()
    betas: tuple[float, float] = Field(
        (0.9, 0.999), description="AdamW's moments, where the schedule leaves them alone"
    )
    mixing: Mixing | None = None
    augment: bool = True
    freezing: Freezing = Freezing()


class Head(StrictConfig):
    """The linear classifier on the embedding."""

    dropout: float = Field(0.1, ge=0, lt=1)
    bias: float = Field(0.0, description="first value of the biases; weights start by Xavier's uniform rule")
    standardise: bool = Field(
        True,
        description="the embedding is z-scored by the untouched encoder's mean and deviation over the training records",
    )
    least_deviation: float = Field(
        0.1, ge=0, description="deviations are taken as at least this share of the embedding's root mean square"
    )


class EarlyLearning(StrictConfig):
    """Early-learning regularisation against wrong labels (Liu et al., NeurIPS 2020, arXiv 2007.00151)."""

    weight: float = Field(3.0, ge=0, description="lambda")
    momentum: float = Field(0.7, ge=0, lt=1, description="beta of the moving average of predictions")


class Objective(StrictConfig):
    """The loss. Unknown labels (NaN) of a multilabel task never count."""

    ordinal: bool = Field(False, description="classes are grades in rising order: cumulative logits with one direction")
    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")
    balance: Literal["auto", "none", "loss", "sampler"] = Field(
        "auto", description="classes count alike by weights in the loss, or by drawing records; auto: loss for classes"
    )
    early_learning: EarlyLearning | None = None


class Validation(StrictConfig):
    """Where the records come from that choose the epoch and the threshold; never from test."""

    source: Literal["auto", "split", "patients", "none"] = Field(
        "auto",
        description="the split 'val', a share of the training patients, none; auto: the split where there is one",
    )
    share: float = Field(0.2, gt=0, lt=1, description="of the training patients")


class Selection(StrictConfig):
    """Which epoch is kept."""

    keep: Literal["best", "last"] = Field(
        "best", description="the epoch with the lowest validation loss, or the last one"
    )
    patience: int = Field(0, ge=0, description="epochs without a better one before a stage stops; 0: never")
    threshold: Literal["half", "youden"] = Field(
        "youden", description="two classes: 0.5, or the highest sensitivity + specificity on validation records"
    )


class FinetuneMachine(StrictConfig):
    """What does not belong to the procedure: a resumed run may change these."""

    accelerator: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train")
    threads: int = Field(0, ge=0, description="processor threads; 0 = as torch chooses")
    workers: int = Field(0, ge=0, description="processes that read records; 0 = the training process itself")
    memory_mb: int = Field(2048, ge=0, description="preprocessed records are kept in memory up to this size")

    @model_validator(mode="before")
    @classmethod
    def _one_process(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "devices" not in values:
            return values
        if values["devices"] != 1:
            raise ValueError("fine-tuning runs in one process (devices 1); several are for medfm pretrain")
        return {key: value for key, value in values.items() if key != "devices"}


class FinetuneRecipe(StrictConfig):
    """One way to adapt an encoder to labels."""

    name: str = Field(description="name of the recipe")
    description: str = Field("", description="what it is for, in one sentence")
    source: str = Field("", description="paper and code it follows")
    seed: int = Field(0, ge=0, description="decides first weights of the head, order, augmentation and dropout")
    stages: tuple[Stage, ...] = Field(min_length=1)
    batch_size: int = Field(32, ge=2)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field("32-true", description="number format of training")
    clip: float = Field(1.0, ge=0, description="largest gradient norm; 0 = no limit")
    head: Head = Head()
    objective: Objective = Objective()
    augmentation: Literal["auto", "none"] | tuple[Step, ...] = Field(
        "auto", description="auto: what changes nothing of the finding in the modality; or a list of steps"
    )
    validation: Validation = Validation()
    selection: Selection = Selection()
    deviations: tuple[str, ...] = Field((), description="what a reader must know")
    machine: FinetuneMachine = FinetuneMachine()

    @model_validator(mode="after")
    def _fits(self) -> FinetuneRecipe:
        if len({stage.name for stage in self.stages}) < len(self.stages):
            raise ValueError("two stages have the same name")
        if self.objective.early_learning and any(stage.mixing for stage in self.stages):
            raise ValueError("early_learning remembers every record's prediction; it cannot go with mixing")
        if self.validation.source == "none" and self.selection.keep == "best":
            raise ValueError("selection.keep best needs validation records; set selection.keep=last")
        if self.validation.source == "none" and self.selection.threshold != "half":
            raise ValueError("a threshold is chosen on validation records; set selection.threshold=half")
        if self.validation.source == "none" and self.selection.patience:
            raise ValueError("selection.patience needs validation records; set selection.patience=0")
        lora = [isinstance(stage.layers, Lora) for stage in self.stages]
        if any(lora[:-1]):
            raise ValueError("updates of low rank are for the last stage")
        return self

    @property
    def epochs(self) -> int:
        """Of all stages."""
        return sum(stage.epochs for stage in self.stages)

    def procedure(self) -> dict[str, object]:
        """The settings that decide the result, without those of the machine."""
        return {key: value for key, value in self.to_dict().items() if key != "machine"}
