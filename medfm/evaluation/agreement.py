"""A second opinion beside a trained classifier: what the text tower says of the same record, and how often both agree.

A record on which a classifier and the zero-shot reading of the untouched encoder differ is either hard, unlike the
training records, or one where the reading is wrong; how often each happens is measured on held-out records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.evaluation.intervals import wilson_interval
from medfm.evaluation.zero_shot import ClassVectors, zero_shot_scores


@dataclass(frozen=True)
class Reading:
    """Zero-shot reading by stored text vectors: the class whose prompts lie nearest.

    Attributes:
        vectors: Of the classes, in the classifier's order.
        strategy: By which prompts were made.
        untouched: Whether records must be embedded by the untouched encoder beside the model, because training moved
            the model's own embeddings away from the texts.
    """

    vectors: ClassVectors
    strategy: str
    untouched: bool = False

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """int64 (n,): class positions of float (n, d) embeddings of the encoder whose space the texts share."""
        return np.asarray(zero_shot_scores(np.asarray(embeddings), self.vectors).argmax(axis=1), dtype=np.int64)


@dataclass(frozen=True)
class Agreement:
    """How a classifier and the reading went together on held-out records.

    Attributes:
        records: How many.
        agreed: On how many both gave one class.
        low, high: 95 % interval of the share that agreed (Wilson, one trial per patient's share of agreement).
        wrong_agreed, wrong_differed: Errors of the classifier where both agreed and where not.
        right_reading: How often the reading alone was right.
    """

    records: int
    agreed: int
    low: float
    high: float
    wrong_agreed: int
    wrong_differed: int
    right_reading: int

    @property
    def share(self) -> float:
        """Of the records on which both agreed."""
        return self.agreed / self.records

    def about(self) -> dict[str, Any]:
        """JSON-like."""
        return {**self.__dict__, "share": self.share}

    def sentence(self, strategy: str) -> str:
        """For the report."""
        differed = self.records - self.agreed
        parts = [f"{self.wrong_agreed} of {self.agreed} where both agree"] if self.agreed else []
        parts += [f"{self.wrong_differed} of {differed} where they differ"] if differed else []
        return (
            f"Zero-shot reading of the untouched encoder (prompts {strategy}) agrees with the classifier on {self.agreed} of "
            f"{self.records} tested records, {100 * self.share:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f} %). "
            f"The classifier is wrong on {', '.join(parts)}; the reading alone is right on {self.right_reading} of {self.records}."
        )


def agreement(
    decided: np.ndarray, read: np.ndarray, truth: np.ndarray, patients: np.ndarray | None = None
) -> Agreement:
    """Agreement of two decisions on the same held-out records.

    Args:
        decided: int (n,), by the classifier.
        read: int (n,), by the reading.
        truth: int (n,).
        patients: (n,) ids; the interval then counts one trial per patient, which is careful. ``None``: per record.

    Raises:
        EvaluationError: No record, or lengths that differ.
    """
    decided, read, truth = (np.asarray(v, dtype=np.int64) for v in (decided, read, truth))
    if not len(decided) or not len(decided) == len(read) == len(truth):
        raise EvaluationError("An agreement needs two decisions and a truth for each of at least one record.")
    same, wrong = decided == read, decided != truth
    trials = len(same) if patients is None else len(np.unique(np.asarray(patients).astype(str)))
    low, high = (float(v) for v in wilson_interval(same.mean() * trials, trials))
    return Agreement(
        len(same),
        int(same.sum()),
        low,
        high,
        int((wrong & same).sum()),
        int((wrong & ~same).sum()),
        int((read == truth).sum()),
    )
