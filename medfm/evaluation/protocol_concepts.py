"""Settings of the concept-bottleneck probe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from medfm.core.config import StrictConfig


class ConceptProbe(StrictConfig):
    """L1 logistic regression on the similarities to named findings, on the same folds as the black-box probe."""

    kind: Literal["concept_probe"] = "concept_probe"
    knowledge: str | None = Field(None, description="domain or YAML file; null: the cohort's modality")
    label_set: str | None = Field(None, description="only findings of this label set's classes; null: all findings")
    template: str | None = Field(None, description="text with {name} for the finding; the knowledge's first when null")
    lower_case: bool | None = Field(None, description="lower-case every text; null: as the encoder's card says")
    penalty: float | None = Field(None, ge=0, description="fixed L1 penalty; null: chosen on inner folds")
    penalties: int = Field(16, ge=2, description="values tried, from the smallest that silences every finding down")
    smallest: float = Field(1e-3, gt=0, lt=1, description="the last value tried, as a share of the first")
    folds: int = Field(5, ge=2, description="inner folds, grouped by patient and stratified")
    metric: str = Field("log_loss", description="what selection optimises: log_loss, balanced_accuracy, auroc")

    @field_validator("template")
    @classmethod
    def _one_place(cls, text: str | None) -> str | None:
        if text is not None and text.count("{name}") != 1:
            raise ValueError("the template must hold {name} once")
        return text
