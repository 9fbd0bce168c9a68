"""Settings of a survival protocol."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig


class Survival(StrictConfig):
    """Ridge-penalised Cox regression on principal components of frozen embeddings.

    Standardisation, components and penalty come from the training records of each fold alone.
    """

    kind: Literal["survival"] = "survival"
    unit: Literal["patient", "first", "record"] = Field(
        "patient",
        description="patient: one row per patient, the mean of its embeddings (its records must share time and event); "
        "first: the patient's first row of the table; record: every record, intervals clustered by patient",
    )
    components: tuple[int, ...] = Field((1, 2, 4, 8, 16, 32), min_length=1, description="numbers of components tried")
    penalties: tuple[float, ...] = Field(
        (0.01, 0.1, 1.0, 10.0), min_length=1, description="ridge penalties tried, as lifelines' penalizer"
    )
    events_per_component: float = Field(
        10.0, ge=0, description="numbers of components with fewer training events each are not tried (0: all are)"
    )
    inner_folds: int = Field(5, ge=2, description="folds inside training that choose, by patient and event")
    criterion: Literal["partial_likelihood", "c_index"] = Field(
        "partial_likelihood",
        description="what inner folds choose by: cross-validated partial likelihood (Verweij and van Houwelingen 1993), "
        "or Harrell's C",
    )
    cause: int = Field(1, ge=1, description="code of the event of interest; 0 is censored, other codes compete")
    pairs: Literal["within_fold", "pooled"] = Field(
        "within_fold", description="which records are compared: risks of one fold's model, or of all folds together"
    )
    times: tuple[float, ...] = Field(
        (), description="times of the time-dependent AUC, in the table's unit; quartiles of the event times when empty"
    )
    tau: float | None = Field(
        None, gt=0, description="Uno's C counts events before it; where 10 % are still uncensored when null"
    )
    horizon: float | None = Field(
        None,
        gt=0,
        description="time at which the absolute risk is calibrated; the median event time when null",
    )
    groups: Literal[2, 3] = Field(2, description="risk groups, cut at quantiles of the training risks")

    @model_validator(mode="after")
    def _sensible(self) -> Survival:
        for name in ("components", "penalties", "times"):
            values = getattr(self, name)
            if any(v <= 0 for v in values):
                raise ValueError(f"{name} must be above 0")
            if len(set(values)) != len(values):
                raise ValueError(f"{name} names something twice")
        return self
