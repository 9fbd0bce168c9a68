"""Predictions per record: what every probe yields and every statistic is computed from.

Because they are kept, any statistic can be recomputed and any two results compared in pairs.

Columns of :attr:`Predictions.table`:

=================  =======================================================================
``record_id``      the cohort's id (for bags of cells: the patient's id)
``patient_id``     the cluster of the bootstrap
``site``           str or missing
``variant``        ``"main"`` for the headline; others such as ``"fraction=0.01"`` or ``"k=1"``
``repeat``         int, 0 for a single run
``fold``           int, 0 for a fixed split
``truth``          class name (binary, multiclass) or float (regression)
``predicted``      class name or float
``score:CLASS``    float64 probability of CLASS (binary, multiclass, multilabel)
``truth:CLASS``    multilabel only: 1, 0 or missing when unknown
=================  =======================================================================

A retrieval has in place of the last four the numbers per query that
:mod:`medfm.evaluation.retrieval_metrics` names, a survival analysis those per record of
:mod:`medfm.evaluation.survival_metrics`, drawn volumes those of
:mod:`medfm.evaluation.similarity_metrics`; they are listed in :attr:`Predictions.classes`.

Further columns (``age``, ``sex``, ...) are carried for subgroup tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from medfm.core.errors import EvaluationError

TaskKind = Literal["binary", "multiclass", "multilabel", "regression", "retrieval", "survival", "similarity"]
# Tasks whose predictions are numbers per record in place of truth and prediction.
FIGURES_ONLY = ("retrieval", "survival", "similarity")
MAIN = "main"


@dataclass(frozen=True)
class Predictions:
    """A table of predictions with its task.

    Attributes:
        table: See the module's text for the columns.
        task: Kind of task.
        classes: Class or label names in order; empty for regression; for retrieval the columns of
            figures per query. For a binary task the
            second is the positive class.
        target: Name of the target column(s).
    """

    table: pd.DataFrame
    task: TaskKind
    classes: tuple[str, ...] = ()
    target: str = "label"

    def __post_init__(self) -> None:
        needed = ["record_id", "patient_id", "variant", "repeat", "fold"]
        if self.task in FIGURES_ONLY:
            needed += list(self.classes)
        else:
            needed += [f"score:{c}" for c in self.classes]
            needed += [f"truth:{c}" for c in self.classes] if self.task == "multilabel" else ["truth", "predicted"]
        missing = [c for c in needed if c not in self.table.columns]
        if missing:
            raise EvaluationError(f"Predictions lack the columns {', '.join(missing)}.")

    def __len__(self) -> int:
        return len(self.table)

    def of_variant(self, variant: str = MAIN) -> Predictions:
        """The rows of one variant, index renewed."""
        rows = self.table[self.table["variant"] == variant].reset_index(drop=True)
        return Predictions(rows, self.task, self.classes, self.target)

    @property
    def variants(self) -> list[str]:
        """Variants in order of appearance."""
        return list(dict.fromkeys(str(v) for v in self.table["variant"]))

    def scores(self) -> np.ndarray:
        """float64 (n, classes), columns in order of :attr:`classes`."""
        if self.task in FIGURES_ONLY:
            return self.table[list(self.classes)].to_numpy(dtype=np.float64)
        return self.table[[f"score:{c}" for c in self.classes]].to_numpy(dtype=np.float64)

    def truth_index(self) -> np.ndarray:
        """int64 (n,): position of the true class in :attr:`classes` (binary, multiclass)."""
        position = {c: i for i, c in enumerate(self.classes)}
        return np.array([position[str(v)] for v in self.table["truth"]], dtype=np.int64)

    def predicted_index(self) -> np.ndarray:
        """int64 (n,): position of the predicted class."""
        position = {c: i for i, c in enumerate(self.classes)}
        return np.array([position[str(v)] for v in self.table["predicted"]], dtype=np.int64)

    def truth_matrix(self) -> np.ndarray:
        """float64 (n, labels) of 1, 0 and NaN for multilabel tasks."""
        return self.table[[f"truth:{c}" for c in self.classes]].to_numpy(dtype=np.float64)

    def patients(self) -> np.ndarray:
        """str (n,): the cluster of each row."""
        return self.table["patient_id"].astype(str).to_numpy()
