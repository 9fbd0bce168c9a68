"""Settings of the linear probe trained by gradient descent, every published quirk under a name."""

from __future__ import annotations

import itertools
from typing import Literal

from pydantic import Field, field_validator

from medfm.core.config import StrictConfig

ReportedEpoch = Literal["best_validation", "best_test", "last"]

CHOSEN_ON_TEST = (
    "The reported epoch was chosen on the test records themselves, as published: the figure is too high and says "
    "nothing certain about new records."
)


class GradientProbe(StrictConfig):
    """One linear layer on frozen embeddings, trained by Adam in small batches.

    The defaults are the sound way; the published MERL settings are in ``merl-linear@1``.
    """

    kind: Literal["gradient_probe"] = "gradient_probe"
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0, description="Adam's L2 penalty, on the bias too; not decoupled as in AdamW")
    batch_size: int = Field(16, ge=1, description="the last, smaller batch of an epoch is kept")
    epochs: int = Field(100, ge=1)
    milestones: tuple[int, ...] = Field((40,), description="counts of the schedule at which lr is multiplied by gamma")
    gamma: float = Field(0.1, gt=0, le=1)
    scheduler_step: Literal["per_epoch", "per_batch_and_epoch"] = Field(
        "per_epoch", description="what the schedule counts; as published every batch and every epoch"
    )
    report_epoch: ReportedEpoch = Field(
        "best_validation", description="best_test chooses on the test records: as published, and wrong"
    )
    also_report: tuple[ReportedEpoch, ...] = Field((), description="further epochs as variants beside the headline")
    selection_metric: Literal["auroc", "log_loss", "mcc"] = Field(
        "auroc", description="what makes an epoch the best; mcc: Matthews correlation at 0.5, two classes or labels"
    )
    validation_share: float = Field(
        0.2, ge=0.05, le=0.5, description="share of training patients that choose the epoch where no split 'val' does"
    )
    validation_by: Literal["patient", "record"] = Field(
        "patient", description="record draws by record: as LDAE published, and a patient is then on both sides"
    )
    standardise: bool = Field(True, description="z-score each dimension with training statistics")
    seeds: int = Field(3, ge=1, description="trainings with other initial weights and orders; each is a repeat")

    @field_validator("milestones")
    @classmethod
    def _rising(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if any(v < 1 for v in values) or any(a >= b for a, b in itertools.pairwise(values)):
            raise ValueError("milestones must be whole numbers from 1 on that rise")
        return values

    @property
    def reported(self) -> tuple[ReportedEpoch, ...]:
        """The headline's rule first, then the others, each once."""
        return tuple(dict.fromkeys((self.report_epoch, *self.also_report)))
