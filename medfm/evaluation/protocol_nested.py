"""Settings of nested cross-validation of fine-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig


class NestedFineTune(StrictConfig):
    """Choose recipe, epoch, threshold and recalibration inside the training patients of each outer fold; test outside."""

    kind: Literal["nested_finetune"] = "nested_finetune"
    candidates: tuple[str, ...] = Field(
        ("linear-probe", "lp-ft", "bpd-progressive"),
        min_length=1,
        description="fine-tuning recipes (names or YAML files), the simplest first",
    )
    inner_folds: int = Field(
        4,
        ge=0,
        description="parts that the training patients of an outer fold are cut into; 0: nothing is chosen, all of them train",
    )
    inner_trained: int = Field(
        1, ge=1, description="how many of these parts take their turn as validation; 1: one part is held out"
    )
    metric: Literal["log_loss", "auroc", "balanced_accuracy", "accuracy"] = Field(
        "log_loss", description="what chooses the recipe on validation patients; R2 for a measurement"
    )
    rule: Literal["best", "one_standard_error"] = Field(
        "best", description="the best recipe, or the first in the list within one standard error of the best"
    )
    threshold: Literal["youden", "half"] = Field(
        "youden", description="two classes: 0.5, or the highest sensitivity + specificity on validation patients"
    )
    recalibration: Literal["temperature", "platt", "none"] = Field(
        "temperature", description="fitted on validation patients; platt is for two classes"
    )
    patient_labels: Literal["one", "any"] = Field(
        "one", description="one: all records of a patient have the same class; any: a label belongs to the record"
    )
    tested: Literal["all", "first"] = Field(
        "all", description="records of a tested patient that are tested: all, or the first one in the order of paths"
    )
    training_seed: Literal["recipe", "published"] = Field(
        "recipe",
        description="every training has the recipe's seed; or BPDneo's 1000 + repeat + fold, repeats from 1, folds from 0",
    )
    beside: str = Field("linear-probe@1", description="probe of the untouched encoder on the same folds; empty: none")
    final: Literal["refit", "ensemble", "none"] = Field(
        "refit",
        description="train the recipe chosen most often once more on all patients, keep the models of the outer folds "
        "as one predictor, or leave it",
    )
    average: Literal["probabilities", "logits"] = Field("probabilities", description="what an ensemble averages")
    soup: Literal["none", "uniform", "greedy"] = Field(
        "none",
        description="average the weights of the outer folds' models into the final model, in place of a refit: all of "
        "them, or those that help on validation patients",
    )

    @model_validator(mode="after")
    def _fits(self) -> NestedFineTune:
        if len(set(self.candidates)) < len(self.candidates):
            raise ValueError("a candidate is named twice")
        if self.inner_folds == 1:
            raise ValueError("inner_folds is 2 or more, or 0")
        chosen = (self.recalibration, self.threshold, self.final, self.soup) != ("none", "half", "none", "none")
        if not self.chooses and (len(self.candidates) > 1 or chosen):
            raise ValueError(
                "inner_folds: 0 leaves no patients to choose on; it needs one candidate, threshold: half, "
                "recalibration: none and final: none"
            )
        if self.inner_trained > max(self.inner_folds, 1):
            raise ValueError("inner_trained cannot exceed inner_folds")
        if self.soup != "none" and self.training_seed != "recipe":
            raise ValueError("a soup needs trainings that start alike: training_seed: recipe")
        if self.soup != "none" and self.final != "refit":
            raise ValueError(f"a soup takes the place of the refit; it cannot go with final: {self.final}")
        if self.common and self.inner_trained > 1:
            raise ValueError(
                "a soup or an ensemble of the fold models needs inner_trained: 1, one model per outer fold"
            )
        return self

    @property
    def chooses(self) -> bool:
        """Whether patients are set aside inside the training part of a fold."""
        return self.inner_folds > 0

    @property
    def product(self) -> Literal["refit", "ensemble", "soup", "none"]:
        """What becomes of the run."""
        return "soup" if self.soup != "none" else self.final

    @property
    def common(self) -> bool:
        """Whether the outer folds hold out the same validation patients, whom no model of any fold has then seen."""
        return self.product in ("ensemble", "soup")
