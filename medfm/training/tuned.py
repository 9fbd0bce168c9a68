"""A fine-tuned encoder with its classifier in one folder: ``load_encoder`` reads the one, this file the other.

Beside ``encoder.safetensors`` and ``card.md`` lie ``classifier.safetensors`` (``weight`` and ``bias`` on the
embedding) and ``classifier.json``: what is predicted, the threshold and how it was chosen.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medfm.core.errors import WeightsError
from medfm.core.files import atomic_path, write_json
from medfm.core.hashing import sha256_file
from medfm.encoders.save import ENSEMBLE_FILE
from medfm.training.finetune_labels import Labels

FORMAT = "medfm-classifier-1"
WEIGHTS, ABOUT = "classifier.safetensors", "classifier.json"
HALF = 0.5


@dataclass(frozen=True)
class TunedClassifier:
    """A linear classifier on the embeddings of a fine-tuned encoder.

    Attributes:
        labels: What it predicts.
        weight: float32 (outputs, d).
        bias: float32 (outputs,).
        threshold: Score of the positive class from which a record counts as positive (two classes).
        rule: How the threshold was chosen, in words.
        about: Recipe, cohort and kept epoch (JSON-like).
        folder: Where it was loaded from; the encoder lies there too.
    """

    labels: Labels
    weight: Tensor
    bias: Tensor
    threshold: float = HALF
    rule: str = "0.5 by convention"
    about: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """float64 (n, classes) probabilities, or (n, 1) values of a regression, of float (n, d) embeddings."""
        values = torch.from_numpy(np.asarray(embeddings, dtype=np.float64))
        return self.labels.scores(values @ self.weight.double().T + self.bias.double())

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """int64 (n,) class positions; for labels 0 or 1 (n, labels); a regression's values themselves."""
        if self.labels.task == "regression":
            return scores[:, 0]
        if self.labels.task == "multilabel":
            return (scores >= HALF).astype(np.int64)
        if self.labels.task == "binary":
            return (scores[:, 1] >= self.threshold).astype(np.int64)
        return scores.argmax(axis=1)


def save_classifier(folder: str | Path, classifier: TunedClassifier, fingerprint: str) -> None:
    """Write the classifier's two files into the folder of its encoder, the description last.

    Args:
        folder: Exists; holds the encoder.
        classifier: What to write.
        fingerprint: Of the encoder.

    Raises:
        StoreError: The folder cannot be written to.
    """
    from safetensors.torch import save

    place, labels = Path(folder), classifier.labels
    tensors = {"weight": classifier.weight.contiguous(), "bias": classifier.bias.contiguous()}
    with atomic_path(place / WEIGHTS) as temporary:
        temporary.write_bytes(save(tensors, metadata={"format": "pt"}))
    write_json(
        place / ABOUT,
        {
            "format": FORMAT,
            "task": labels.task,
            "kind": labels.kind,
            "classes": list(labels.classes),
            "target": labels.name,
            "centre": labels.centre,
            "spread": labels.spread,
            "threshold": {"value": classifier.threshold, "chosen": classifier.rule},
            "encoder_fingerprint": fingerprint,
            "weights_sha256": sha256_file(place / WEIGHTS),
            **classifier.about,
        },
    )


def model_folder(folder: str | Path) -> Path:
    """The folder that holds the classifier: `folder`, or ``model`` in it (as ``medfm finetune`` writes it).

    Raises:
        WeightsError: There is none.
    """
    place = Path(folder)
    for found in (place, place / "model"):
        if (found / ABOUT).is_file():
            return found
        if (found / ENSEMBLE_FILE).is_file():
            raise WeightsError(
                "This is an ensemble of several classifiers, not one.",
                where=str(found),
                fix=f"medfm predict (medfm.predict) takes it as it is; a single one lies in {found / 'members' / '1'}",
            )
    raise WeightsError(
        "There is no fine-tuned classifier here.",
        where=str(folder),
        expected=f"a folder with {ABOUT}, as 'medfm finetune' writes it",
        fix="name the folder that --out of medfm finetune named; a run that was stopped goes on with --resume",
    )


def load_classifier(folder: str | Path) -> TunedClassifier:
    """Read a classifier back.

    Args:
        folder: Of the model, or the result folder around it.

    Raises:
        WeightsError: The files are missing, damaged, or not those that were written together.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    place = model_folder(folder)
    try:
        about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']}")
        if sha256_file(place / WEIGHTS) != about["weights_sha256"]:
            raise ValueError("the weights are not those that the description is about")
        tensors = load_file(place / WEIGHTS)
        labels = Labels(
            about["task"], about["kind"], tuple(about["classes"]), about["target"], about["centre"], about["spread"]
        )
        weight, bias = tensors["weight"], tensors["bias"]
        if weight.ndim != 2 or weight.shape[0] != labels.outputs or bias.shape != (labels.outputs,):
            raise ValueError(f"weights of shape {tuple(weight.shape)} for {labels.outputs} outputs")
        if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            raise ValueError("weights that are not finite")
        threshold = about["threshold"]
        return TunedClassifier(labels, weight, bias, float(threshold["value"]), threshold["chosen"], about, place)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise WeightsError(
            f"The classifier is damaged: {error}.", where=str(place), fix="copy the whole folder again, or train again"
        ) from error
