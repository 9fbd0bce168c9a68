"""Which records a fine-tuning run learns from, which choose, which are tested; and those as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import EvaluationError, TrainingError
from medfm.core.progress import ProgressMaker
from medfm.embeddings.embeddings import Embeddings
from medfm.encoders.encoder import Encoder
from medfm.evaluation.protocol import Scheme
from medfm.evaluation.schemes import make_folds, split_rows
from medfm.evaluation.target import Target
from medfm.training.finetune_batches import Labelled
from medfm.training.finetune_config import FinetuneRecipe
from medfm.training.finetune_labels import Labels, labels_of
from medfm.training.known_inputs import KnownInputs
from medfm.training.record_tensors import RecordTensors, load_record_tensors


@dataclass(frozen=True)
class Parts:
    """Rows (int64) of a cohort that train, choose the epoch, and are tested, and what to say about them."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    notes: tuple[str, ...] = ()


def split_parts(cohort: Cohort, truth: Target, recipe: FinetuneRecipe) -> Parts:
    """The parts of a cohort by its column ``split``, validation as the recipe says.

    Args:
        cohort: With labels for every row.
        truth: Its target.
        recipe: Says where validation records come from; its seed draws validation patients.

    Raises:
        EvaluationError: There is no split 'train' or 'test', or no validation records can be had.
    """
    table, rule = cohort.table, recipe.validation
    patients = table["patient_id"].astype(str).to_numpy(dtype=object)
    strata = truth.strata(5)
    try:
        fold = make_folds(
            Scheme(kind="split"), split=table["split"].to_numpy(dtype=object), patients=patients, strata=strata
        )[0][0]
    except EvaluationError as error:
        # The scheme's own advice, folds, is not for fine-tuning: one network is trained.
        raise EvaluationError(
            error.what,
            where=error.where,
            expected=error.expected,
            fix="give a column 'split' by patient, with 'train' and 'test'; or nested cross-validation, which needs none (no --recipe)",
        ) from error
    given = len(fold.validation) > 0
    if rule.source == "none":
        said = ["No validation records: nothing is chosen on data."]
        said += [f"{len(fold.validation)} records of the split 'val' are not used."] if given else []
        return Parts(fold.train, fold.validation[:0], fold.test, tuple(said))
    if rule.source == "split" and not given:
        raise EvaluationError(
            "No record of the cohort has the split 'val'.",
            where="column 'split'",
            fix="--set validation.source=patients draws validation patients from the split 'train'",
        )
    if given and rule.source != "patients":
        return Parts(fold.train, fold.validation, fold.test, (f"{_chosen(truth)} chosen on the split 'val'.",))
    parts = max(2, round(1 / rule.share))
    try:
        pairs, _ = split_rows(parts, patients[fold.train], strata[fold.train], seed=recipe.seed, count=len(fold.train))
    except EvaluationError as error:
        raise EvaluationError(
            f"Validation patients cannot be drawn: {error.what}",
            expected=f"at least {parts} training patients",
            fix="give a split 'val', a larger --set validation.share, or a recipe without validation",
        ) from error
    train, validation = (fold.train[rows] for rows in pairs[0])
    said = [f"{_chosen(truth)} chosen on {len(validation)} records of patients taken out of training."]
    said += [f"{len(fold.validation)} records of the split 'val' are not used."] if given else []
    return Parts(train, validation, fold.test, tuple(said))


def _chosen(truth: Target) -> str:
    return "The epoch and the threshold are" if truth.task == "binary" else "The epoch is"


@dataclass(frozen=True)
class Prepared:
    """What :func:`medfm.training.finetune.fit` takes, and the records lost on the way."""

    labels: Labels
    train: Labelled
    validation: Labelled | None
    content: str | None
    failures: tuple[tuple[str, str], ...]


def prepare(
    encoder: Encoder,
    cohort: Cohort,
    truth: Target,
    parts: Parts,
    recipe: FinetuneRecipe,
    progress: ProgressMaker,
    known: Embeddings | None = None,
) -> Prepared:
    """Read and preprocess the records that train and choose, and encode their labels.

    Args:
        encoder: Whose preprocessing is used.
        cohort: The records.
        truth: Their target.
        parts: From :func:`split_parts`.
        recipe: For the memory it may use and the kind of loss.
        progress: Shows the reading.
        known: Of the untouched encoder, all records among them: those of single precision save the training passes
            through an encoder that has not moved.

    Raises:
        TrainingError: No record can be read, or a class has no readable training record.
    """
    wanted = np.concatenate([parts.train, parts.validation])
    records = load_record_tensors(cohort.subset(wanted), encoder.preprocess, recipe.machine.memory_mb, progress)
    rows = np.asarray(records.rows)
    learns = rows < len(parts.train)
    train = wanted[rows[learns]]
    labels = labels_of(truth, train, recipe.objective.ordinal)
    if truth.task in ("binary", "multiclass"):
        missing = [truth.classes[c] for c in range(len(truth.classes)) if not (truth.values[train] == c).any()]
        if missing:
            raise TrainingError(
                f"No training record is of the class {', '.join(missing)}.",
                where=f"column '{truth.name}', split 'train'",
                fix="split the cohort so that every class is in training, or leave the class out (--where)",
            )
    vectors = None
    if known is not None and known.provenance.get("precision", "fp32") == "fp32":
        vectors = known.values[known.rows(cohort.record_ids)]
    own = _labelled(records, np.flatnonzero(learns), labels, truth, wanted, vectors)
    other = None
    if len(parts.validation):
        if learns.all():
            raise TrainingError("No validation record can be read.", fix="run medfm data check on the table")
        other = _labelled(records, np.flatnonzero(~learns), labels, truth, wanted, vectors)
    return Prepared(labels, own, other, records.digest(), records.failures)


def _labelled(
    records: RecordTensors,
    places: np.ndarray,
    labels: Labels,
    truth: Target,
    wanted: np.ndarray,
    vectors: np.ndarray | None,
) -> Labelled:
    taken = records.take(places.tolist())
    rows = wanted[np.asarray(taken.rows)]
    targets = labels.encode(truth.values[rows])
    if vectors is None:
        return Labelled(taken, targets)
    return Labelled(KnownInputs(taken, torch.from_numpy(np.array(vectors[rows], dtype=np.float32))), targets)
