"""A gate for unusual records: how far an embedding lies from those a model was trained on.

Mahalanobis distance (Lee et al., NeurIPS 2018, without classes) with Ledoit and Wolf's shrunk
covariance (J. Multivar. Anal. 88, 2004), fitted on training embeddings. The threshold is the distance
that a stated share of *validation* records exceeds. What is kept is a mean, a matrix and the
validation distances: no embedding of a patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medfm.core.errors import EvaluationError


@dataclass(frozen=True)
class UnusualGate:
    """Tells records far from the training records.

    Attributes:
        centre: float (d,), mean of the training embeddings.
        precision: float (d, d), inverse of their shrunk covariance.
        known: float (m,), distances of the validation records in rising order.
        alarm_rate: Share of records like those of validation that may be called unusual.
    """

    centre: np.ndarray
    precision: np.ndarray
    known: np.ndarray
    alarm_rate: float

    def distances(self, embeddings: np.ndarray) -> np.ndarray:
        """float64 (n,): Mahalanobis distances of float (n, d) embeddings."""
        values = np.asarray(embeddings, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.centre):
            raise EvaluationError(
                f"Embeddings of shape {values.shape} do not fit.", expected=f"(records, {len(self.centre)})"
            )
        away = values - self.centre
        return np.sqrt(np.maximum(np.einsum("nd,de,ne->n", away, self.precision, away, optimize=True), 0.0))

    @property
    def threshold(self) -> float:
        """Distance above which a record is unusual."""
        return threshold_at(self.known, self.alarm_rate)

    def unusual(self, embeddings: np.ndarray) -> np.ndarray:
        """bool (n,): beyond the threshold."""
        return self.distances(embeddings) > self.threshold

    def percentiles(self, embeddings: np.ndarray) -> np.ndarray:
        """float64 (n,), 0 to 100: share of validation records that lie no farther away."""
        places = np.searchsorted(self.known, self.distances(embeddings), side="right")
        return np.asarray(100.0 * places / len(self.known))


def fit_gate(train: np.ndarray, validation: np.ndarray, alarm_rate: float = 0.05) -> UnusualGate:
    """A gate from training and validation embeddings.

    Args:
        train: float (n, d).
        validation: float (m, d) of patients that the model was not trained on.
        alarm_rate: Between 0 and 1; records like those of validation exceed the threshold at most this often on average.

    Raises:
        EvaluationError: Fewer than two training records, too few validation records for the rate, or values
            that are not finite.
    """
    from sklearn.covariance import LedoitWolf

    if not 0 < alarm_rate < 1:
        raise EvaluationError(f"Alarms cannot have the rate {alarm_rate}.", expected="a number between 0 and 1")
    if len(train) < 2 or _rank(len(validation), alarm_rate) > len(validation):
        raise EvaluationError(
            f"{len(train)} training and {len(validation)} validation records are too few for a gate.",
            expected=f"at least {fewest(alarm_rate)} validation records for alarms at {100 * alarm_rate:g} %",
        )
    if not (np.isfinite(train).all() and np.isfinite(validation).all()):
        raise EvaluationError("Embeddings of a gate must be finite numbers.")
    values = np.asarray(train, dtype=np.float64)
    if float(values.std(axis=0).max()) == 0:
        raise EvaluationError("All training embeddings are equal, so nothing is near or far.")
    fitted = LedoitWolf().fit(values)
    gate = UnusualGate(fitted.location_, np.asarray(fitted.precision_), np.zeros(1), alarm_rate)
    known = np.sort(gate.distances(validation))
    return UnusualGate(gate.centre, gate.precision, known, alarm_rate)


def fewest(alarm_rate: float) -> int:
    """Least number of validation records for which a threshold at `alarm_rate` exists."""
    return int(np.ceil(1 / alarm_rate - 1e-9)) - 1


def threshold_at(known: np.ndarray, alarm_rate: float) -> float:
    """The distance, of float (m,) rising ones of validation records, above which alarms come at `alarm_rate`."""
    return float(known[_rank(len(known), alarm_rate) - 1])


def _rank(known: int, alarm_rate: float) -> int:
    """Place (from 1) of the threshold among the sorted distances: exact for exchangeable records."""
    return int(np.ceil((1 - alarm_rate) * (known + 1) - 1e-9))
