"""Several fine-tuned models as one predictor: a folder with ``ensemble.json`` and the models in ``members/``.

Each member is a whole model of :mod:`medfm.training.tuned`, and loads by itself. Their embeddings lie in different
spaces, so the ensemble as a whole is a classifier and not an encoder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import WeightsError
from medfm.core.files import write_json
from medfm.core.hashing import sha256_file
from medfm.encoders.save import ENSEMBLE_FILE
from medfm.evaluation.averaging import Average, average_scores
from medfm.evaluation.unusual import UnusualGate, threshold_at
from medfm.training.finetune_labels import Labels
from medfm.training.gate_file import load_gate
from medfm.training.tuned import ABOUT, TunedClassifier, load_classifier

FORMAT = "medfm-ensemble-1"
MEMBERS = "members"


@dataclass(frozen=True)
class Ensemble:
    """Classifiers of several fine-tuned encoders whose scores are averaged.

    Attributes:
        members: In order; the folder of each holds its encoder.
        average: What is averaged.
        threshold: Score of the positive class from which a record counts as positive (two classes).
        rule: How the threshold was chosen, in words.
        about: Where it comes from (JSON-like).
        known: float64 (m,), rising: mean distances of validation records, for the gate; empty without one.
        alarm_rate: Of the gate.
        folder: Where it was loaded from.
    """

    members: tuple[TunedClassifier, ...]
    average: Average
    threshold: float
    rule: str
    about: dict[str, Any] = field(default_factory=dict)
    known: np.ndarray = field(default_factory=lambda: np.zeros(0))
    alarm_rate: float = 0.05
    folder: Path | None = None

    @property
    def labels(self) -> Labels:
        """What is predicted; the same for all members but for the scale of a regression."""
        return self.members[0].labels

    def scores(self, embeddings: Sequence[np.ndarray]) -> np.ndarray:
        """float64 (n, classes) or (n, 1) of the records' embeddings by each member, float (n, d) each."""
        found = [member.scores(values) for member, values in zip(self.members, embeddings, strict=True)]
        return average_scores(found, self.labels.task, self.average)

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """As :meth:`medfm.training.tuned.TunedClassifier.decide`, by the ensemble's threshold."""
        return replace(self.members[0], threshold=self.threshold).decide(scores)


@dataclass(frozen=True)
class EnsembleGate:
    """Tells records far from the training records: the mean over members of each one's distance.

    Attributes:
        gates: Of the members.
        known: float64 (m,), rising: mean distances of validation records that no member has learned from.
        alarm_rate: Share of records like those of validation that may be called unusual.
    """

    gates: tuple[UnusualGate, ...]
    known: np.ndarray
    alarm_rate: float

    def distances(self, embeddings: Sequence[np.ndarray]) -> np.ndarray:
        """float64 (n,) of the embeddings by each member."""
        return np.asarray(np.mean([g.distances(v) for g, v in zip(self.gates, embeddings, strict=True)], axis=0))

    @property
    def threshold(self) -> float:
        """Mean distance above which a record is unusual."""
        return threshold_at(self.known, self.alarm_rate)

    def unusual(self, embeddings: Sequence[np.ndarray]) -> np.ndarray:
        """bool (n,): beyond the threshold."""
        return self.distances(embeddings) > self.threshold

    def percentiles(self, embeddings: Sequence[np.ndarray]) -> np.ndarray:
        """float64 (n,), 0 to 100: share of validation records that lie no farther away."""
        places = np.searchsorted(self.known, self.distances(embeddings), side="right")
        return np.asarray(100.0 * places / len(self.known))


def save_ensemble(folder: str | Path, ensemble: Ensemble) -> None:
    """Write ``ensemble.json``; the members lie in ``members/1`` and so on already.

    Raises:
        StoreError: The folder cannot be written to.
    """
    place, labels = Path(folder), ensemble.labels
    names = [f"{MEMBERS}/{number}" for number in range(1, len(ensemble.members) + 1)]
    write_json(
        place / ENSEMBLE_FILE,
        {
            "format": FORMAT,
            "task": labels.task,
            "classes": list(labels.classes),
            "target": labels.name,
            "average": ensemble.average,
            "threshold": {"value": ensemble.threshold, "chosen": ensemble.rule},
            "members": [{"folder": name, "classifier_sha256": sha256_file(place / name / ABOUT)} for name in names],
            "unusual": {"alarm_rate": ensemble.alarm_rate, "known": [float(v) for v in ensemble.known]},
            **ensemble.about,
        },
    )


def ensemble_folder(folder: str | Path) -> Path | None:
    """The folder that holds the ensemble: `folder`, or ``model`` in it; ``None`` where there is none."""
    return next((p for p in (Path(folder), Path(folder) / "model") if (p / ENSEMBLE_FILE).is_file()), None)


def load_ensemble(folder: str | Path) -> Ensemble:
    """Read an ensemble back.

    Args:
        folder: Of the model, or the result folder around it.

    Raises:
        WeightsError: A file is missing, damaged, or a member is not the one that was put in.
    """
    place = ensemble_folder(folder)
    if place is None:
        raise WeightsError("There is no ensemble here.", where=str(folder), expected=f"a folder with {ENSEMBLE_FILE}")
    try:
        about = json.loads((place / ENSEMBLE_FILE).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']}")
        if not about["members"]:
            raise ValueError("no members")
        for entry in about["members"]:
            if sha256_file(place / entry["folder"] / ABOUT) != entry["classifier_sha256"]:
                raise ValueError(f"{entry['folder']} is not the model that was put in")
        members = tuple(load_classifier(place / entry["folder"]) for entry in about["members"])
        kinds = {(m.labels.task, m.labels.classes) for m in members}
        if len(kinds) > 1 or about["average"] not in ("probabilities", "logits"):
            raise ValueError("the members do not fit each other")
        threshold, gate = about["threshold"], about["unusual"]
        known = np.sort(np.asarray(gate["known"], dtype=np.float64))
        rate = float(gate["alarm_rate"])
        return Ensemble(
            members, about["average"], float(threshold["value"]), threshold["chosen"], about, known, rate, place
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"The ensemble is damaged: {error}.", where=str(place), fix="copy the whole folder again, or train again"
        ) from error


def load_ensemble_gate(ensemble: Ensemble, fingerprints: Sequence[str]) -> EnsembleGate | None:
    """The gate of an ensemble whose encoders have these fingerprints; ``None`` where it has none.

    Raises:
        WeightsError: A member's gate is damaged, missing, or belongs to another encoder.
    """
    if not len(ensemble.known):
        return None
    gates = []
    for member, fingerprint in zip(ensemble.members, fingerprints, strict=True):
        assert member.folder is not None
        gate = load_gate(member.folder, fingerprint)
        if gate is None:
            raise WeightsError(
                "The gate of a member is missing.", where=str(member.folder), fix="copy the whole folder again"
            )
        gates.append(gate)
    return EnsembleGate(tuple(gates), ensemble.known, ensemble.alarm_rate)
