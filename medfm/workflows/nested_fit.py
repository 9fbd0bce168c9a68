"""One training of a nested cross-validation in its own folder: done once, gone on with after a stop."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from medfm.core.errors import EvaluationError, TrainingError
from medfm.core.files import atomic_path, make_folder
from medfm.core.progress import Progress, ProgressMaker
from medfm.encoders.encoder import Encoder
from medfm.evaluation.nested import Fitted, Job
from medfm.evaluation.retrieval_index import duration
from medfm.evaluation.target import Target
from medfm.evaluation.unusual import fewest, fit_gate
from medfm.training.config import Machine
from medfm.training.finetune import FineTuned, fit
from medfm.training.finetune_batches import Inputs, Labelled
from medfm.training.finetune_config import FinetuneRecipe, HeadOnly
from medfm.training.finetune_labels import Labels, labels_of
from medfm.training.freezing import Freezing
from medfm.training.known_inputs import KnownInputs
from medfm.training.loop import make_fabric
from medfm.training.record_tensors import RecordTensors
from medfm.training.threads import processor_threads
from medfm.workflows.finetune_gate import ALARM_RATE

if TYPE_CHECKING:
    from medfm.training.classifier import Classifier

SCORES, MEMBER = "scores.npz", "model"
# Writes the trained model of a job into a folder.
Export = Callable[[Job, Path, FineTuned, FinetuneRecipe], None]


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
        seed: int | None = None,
    ) -> FineTuned:
        """Train by `recipe`, from the checkpoint in `place` where there is one; `seed` in place of the recipe's."""
        labels = labels_of(self.truth, train, recipe.objective.ordinal)
        started = any((place / "checkpoint" / n).is_file() for n in ("last.ckpt", "previous.ckpt"))
        with processor_threads(recipe.machine.threads):
            return fit(
                self.encoder,
                recipe,
                self.labelled(train, labels),
                self.labelled(validation, labels) if len(validation) else None,
                labels,
                modality=self.modality,
                folder=make_folder(place),
                identity={**self.identity, "recipe": recipe.procedure(), "job": name},
                seed=seed,
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
        export: Keeps the model of every job, where fold models become the final one.
        done: Jobs so far, those of an earlier run among them.
        counts: Of these, by number of the candidate.
        seconds: How long the trainings of this run took, by number of the candidate.
    """

    material: Material
    recipes: Sequence[FinetuneRecipe]
    folder: Path
    progress: ProgressMaker
    total: int
    export: Export | None = None
    done: int = 0
    counts: dict[int, int] = field(default_factory=dict)
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def __call__(self, job: Job) -> Fitted:
        """Train and score."""
        left, start = self.left(), time.monotonic()
        self.done += 1
        self.counts[job.candidate] = self.counts.get(job.candidate, 0) + 1
        place, recipe = self.folder / job.name, self.recipes[job.candidate]
        if (place / SCORES).is_file():
            return _read(place / SCORES)
        said = f"training {self.done} of {self.total}, outer fold {job.fold + 1}, {recipe.name}{left}"
        display = titled(self.progress, said)
        tuned = self.material.train(recipe, job.train, job.validation, place, job.name, display, job.seed)
        seen = self._vectors(tuned, recipe, job.test)
        tested = tuned.labels.scores(tuned.model.head(seen).detach())
        inner = tested[:0] if tuned.validation is None else tuned.labels.scores(tuned.validation)
        found = Fitted(inner, tested, tuned.kept, self._alarms(tuned, recipe, job, seen.numpy()))
        if self.export is not None:
            self.export(job, place / MEMBER, tuned, recipe)
        _write(place / SCORES, found)
        shutil.rmtree(place / "checkpoint", ignore_errors=True)  # several times the network's size, each
        self.seconds.setdefault(job.candidate, []).append(time.monotonic() - start)
        return found

    def left(self) -> str:
        """About how long the trainings to come will take; empty before the first.

        Recipes differ in length: until each was trained once, the time of those known is the least that it can be.
        """
        if not self.seconds:
            return ""
        each = self.total // len(self.recipes)
        todo = {c: each - self.counts.get(c, 0) for c in range(len(self.recipes))}
        known = sum(n * fmean(self.seconds[c]) for c, n in todo.items() if c in self.seconds)
        said = "about" if all(c in self.seconds for c, n in todo.items() if n) else "more than"
        return f" ({said} {duration(known)} left)"

    def _vectors(self, tuned: FineTuned, recipe: FinetuneRecipe, rows: np.ndarray) -> Tensor:
        """float32 (n, d): embeddings of these rows by the tuned network."""
        if all(isinstance(s.layers, HeadOnly) and s.freezing == Freezing() for s in recipe.stages):
            return torch.from_numpy(np.array(self.material.embeddings[rows], dtype=np.float32))
        return vectors(tuned.model, self.material.records.take(rows.tolist()), recipe.machine.accelerator)

    def _alarms(self, tuned: FineTuned, recipe: FinetuneRecipe, job: Job, seen: np.ndarray) -> int | None:
        """How many tested records a gate of this training calls unusual: its false alarms, all patients being alike."""
        if len(job.validation) < fewest(ALARM_RATE):
            return None
        train, validation = (self._vectors(tuned, recipe, rows).numpy() for rows in (job.train, job.validation))
        try:
            return int(fit_gate(train, validation, ALARM_RATE).unusual(seen).sum())
        except EvaluationError:
            return None


def titled(progress: ProgressMaker, said: str) -> ProgressMaker:
    """`progress` whose displays begin with `said`."""

    def made(title: str, total: int | None, unit: str = "records") -> Progress:
        return progress(f"{said}: {title}", total, unit)

    return made  # type: ignore[return-value]


@torch.no_grad()
def vectors(model: Classifier, inputs: Inputs, accelerator: str = "auto", batch: int = 64) -> Tensor:
    """float32 (n, d): embeddings of preprocessed records; the model ends on the CPU, in evaluation mode."""
    device = make_fabric(Machine(accelerator=accelerator)).device  # type: ignore[arg-type]
    model.eval().to(device)
    parts = []
    for start in range(0, len(inputs), batch):
        rows = torch.stack([inputs[i] for i in range(start, min(start + batch, len(inputs)))])
        parts.append(model.embeddings(rows.to(device)).cpu())
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
            alarms=np.array(-1 if found.alarms is None else found.alarms),
        )


def _read(path: Path) -> Fitted:
    try:
        with np.load(path, allow_pickle=False) as file:
            loss = float(file["loss"])
            kept = {"stage": str(file["stage"]), "epoch": int(file["epoch"]), "loss": None if np.isnan(loss) else loss}
            alarms = int(file["alarms"])
            return Fitted(file["validation"], file["tested"], kept, None if alarms < 0 else alarms)
    except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
        raise TrainingError(
            f"The scores of a finished training are damaged: {error}.",
            where=str(path),
            fix="delete the folder of this training, then --resume",
        ) from error
