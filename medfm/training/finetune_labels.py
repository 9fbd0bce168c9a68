"""Labels as a network is trained on them, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medfm.core.errors import ConfigError
from medfm.evaluation.predictions import TaskKind
from medfm.evaluation.target import Target
from medfm.objectives.labels import Kind, probabilities


@dataclass(frozen=True)
class Labels:
    """What is predicted.

    Attributes:
        task: Kind of task.
        kind: Of the loss: the task, or ``"ordinal"``.
        classes: Class or label names in order; empty for a regression.
        name: Of the target column(s).
        centre, spread: A regression is trained on (value - centre) / spread.
    """

    task: TaskKind
    kind: Kind
    classes: tuple[str, ...]
    name: str
    centre: float = 0.0
    spread: float = 1.0

    @property
    def outputs(self) -> int:
        """Number of logits."""
        return {"binary": 1, "regression": 1, "ordinal": len(self.classes) - 1}.get(self.kind, len(self.classes))

    def encode(self, values: np.ndarray) -> Tensor:
        """Values of a :class:`Target` as the loss takes them."""
        if self.kind in ("multiclass", "ordinal"):
            return torch.from_numpy(values.astype(np.int64))
        numbers = values.astype(np.float32)
        if self.kind == "regression":
            numbers = ((values - self.centre) / self.spread).astype(np.float32)
        return torch.from_numpy(numbers)

    def scores(self, logits: Tensor) -> np.ndarray:
        """float64 (n, classes) probabilities, or (n, 1) values of a regression in their own unit."""
        found = probabilities(self.kind, logits.double()).cpu().numpy()
        return found * self.spread + self.centre if self.kind == "regression" else found


def labels_of(target: Target, train: np.ndarray, ordinal: bool) -> Labels:
    """The labels of a training run.

    Args:
        target: Of all records.
        train: Rows that train; a regression is standardised by them.
        ordinal: Whether the classes are grades in rising order.

    Raises:
        ConfigError: The target cannot be ordinal.
    """
    kind: Kind = target.task  # type: ignore[assignment]
    if ordinal:
        if target.task != "multiclass":
            raise ConfigError(
                f"A {target.task} target has no grades.",
                where="objective.ordinal",
                expected="one column with three or more classes",
            )
        if target.grades is None and not all(name.lstrip("-").isdigit() for name in target.classes):
            raise ConfigError(
                "It is not known in which order the classes rise: " + ", ".join(target.classes) + ".",
                where="objective.ordinal",
                expected="numbers, or the classes of a label set with a scale (see medfm knowledge)",
                fix="number the grades in the table, or --set objective.ordinal=false",
            )
        kind = "ordinal"
    if target.task != "regression":
        return Labels(target.task, kind, target.classes, target.name)
    values = target.values[train]
    return Labels("regression", kind, (), target.name, float(values.mean()), float(values.std()) or 1.0)
