"""One training of a nested cross-validation in its own folder: done once, gone on with after a stop."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from medfm.core.errors import TrainingError
from medfm.core.files import atomic_path, make_folder
from medfm.core.progress import Progress, ProgressMaker
from medfm.encoders.encoder import Encoder
from medfm.evaluation.nested import Fitted, Job
from medfm.evaluation.target import Target
from medfm.training.config import Machine
from medfm.training.finetune import FineTuned, fit
from medfm.training.finetune_batches import Inputs, Labelled
from medfm.training.finetune_config import FinetuneRecipe
from medfm.training.finetune_labels import Labels, labels_of
from medfm.training.known_inputs import KnownInputs
from medfm.training.loop import make_fabric
from medfm.training.record_tensors import RecordTensors
from medfm.training.threads import processor_threads

if TYPE_CHECKING:
    from medfm.training.classifier import Classifier

SCORES = "scores.npz"


@dataclass(frozen=True)
class Material:
    """What every training of a run takes its part of.

    Attributes:
        encoder: The untouched encoder.
        modality: Of the records.
        truth: Of all records.
        records: All of them, preprocessed, in the order of `truth`.
        embeddings: float32 (n, d), by the untouched encoder.
        identity: What must be equal to resume (JSON-like).
    """

    encoder: Encoder
    modality: str
    truth: Target
    records: RecordTensors
    embeddings: np.ndarray
    identity: dict[str, Any]

    def labelled(self, rows: np.ndarray, labels: Labels) -> Labelled:
        """The records of `rows` with labels and known embeddings."""
        known = torch.from_numpy(np.array(self.embeddings[rows], dtype=np.float32))
        inputs = KnownInputs(self.records.take(rows.tolist()), known)
        return Labelled(inputs, labels.encode(self.truth.values[rows]))

    def train(
        self,
        recipe: FinetuneRecipe,
        train: np.ndarray,
        validation: np.ndarray,
        place: Path,
        name: str,
        progress: ProgressMaker,
    ) -> FineTuned:
        """Train by `recipe`, from the checkpoint in `place` where there is one."""
        labels = labels_of(self.truth, train, recipe.objective.ordinal)
        started = any((place / "checkpoint" / n).is_file() for n in ("last.ckpt", "previous.ckpt"))
        with processor_threads(recipe.machine.threads):
            return fit(
                self.encoder,
                recipe,
                self.labelled(train, labels),
                self.labelled(validation, labels),
                labels,
                modality=self.modality,
                folder=make_folder(place),
                identity={**self.identity, "recipe": recipe.procedure(), "job": name},
                resume=started,
                progress=progress,
            )


@dataclass
class JobFitter:
    """Runs a :class:`Job` once: scores of a finished one are read from its folder.

    Attributes:
        material: Records and encoder.
        recipes: By number of the candidate.
        folder: Gets a folder per job.
        progress: Makes the displays.
        total: Number of jobs, for what is shown.
    """

    material: Material
    recipes: Sequence[FinetuneRecipe]
    folder: Path
    progress: ProgressMaker
    total: int
    done: int = 0

    def __call__(self, job: Job) -> Fitted:
        """Train and score."""
        self.done += 1
        place, recipe = self.folder / job.name, self.recipes[job.candidate]
        if (place / SCORES).is_file():
            return _read(place / SCORES)
        said = f"training {self.done} of {self.total}, outer fold {job.fold + 1}, {recipe.name}"
        tuned = self.material.train(recipe, job.train, job.validation, place, job.name, titled(self.progress, said))
        assert tuned.validation is not None
        tested = tuned.labels.scores(
            logits(tuned.model, self.material.records.take(job.test.tolist()), recipe.machine.accelerator)
        )
        found = Fitted(tuned.labels.scores(tuned.validation), tested, tuned.kept)
        _write(place / SCORES, found)
        shutil.rmtree(place / "checkpoint", ignore_errors=True)  # several times the network's size, each
        return found


def titled(progress: ProgressMaker, said: str) -> ProgressMaker:
    """`progress` whose displays begin with `said`."""

    def made(title: str, total: int | None, unit: str = "records") -> Progress:
        return progress(f"{said}: {title}", total, unit)

    return made  # type: ignore[return-value]


@torch.no_grad()
def logits(model: Classifier, inputs: Inputs, accelerator: str = "auto", batch: int = 64) -> Tensor:
    """float32 (n, outputs) of preprocessed records; the model ends on the CPU, in evaluation mode."""
    device = make_fabric(Machine(accelerator=accelerator)).device  # type: ignore[arg-type]
    model.eval().to(device)
    parts = []
    for start in range(0, len(inputs), batch):
        rows = torch.stack([inputs[i] for i in range(start, min(start + batch, len(inputs)))])
        parts.append(model(rows.to(device)).float().cpu())
    model.cpu()
    return torch.cat(parts)


def _write(path: Path, found: Fitted) -> None:
    kept = found.kept
    loss = np.nan if kept["loss"] is None else kept["loss"]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            validation=found.validation,
            tested=found.tested,
            stage=np.array(kept["stage"]),
            epoch=np.array(kept["epoch"]),
            loss=np.array(loss),
        )


def _read(path: Path) -> Fitted:
    try:
        with np.load(path, allow_pickle=False) as file:
            loss = float(file["loss"])
            kept = {"stage": str(file["stage"]), "epoch": int(file["epoch"]), "loss": None if np.isnan(loss) else loss}
            return Fitted(file["validation"], file["tested"], kept)
    except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
        raise TrainingError(
            f"The scores of a finished training are damaged: {error}.",
            where=str(path),
            fix="delete the folder of this training, then --resume",
        ) from error
