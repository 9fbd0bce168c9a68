"""One evaluation: embeddings + cohort + protocol -> predictions per record (or patient)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import EvaluationError
from medfm.core.progress import Progress, ProgressMaker, Silent
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.bags import collect_bags
from medfm.evaluation.concept_probe import run_concept_probe
from medfm.evaluation.concepts import FEATURES
from medfm.evaluation.gradient_probe import run_gradient_probe
from medfm.evaluation.knn import knn_scores
from medfm.evaluation.linear_probe import Outcome, run_linear_probe
from medfm.evaluation.mil import Bags, run_mil
from medfm.evaluation.path_order import path_order
from medfm.evaluation.patterns import pattern
from medfm.evaluation.predictions import MAIN, Predictions, TaskKind
from medfm.evaluation.protocol import KNN, MIL, LinearProbe, Protocol, ZeroShot
from medfm.evaluation.protocol_adapters import TEXT_METHODS, TOKEN_METHODS
from medfm.evaluation.protocol_concepts import ConceptProbe
from medfm.evaluation.protocol_finetune import FineTune
from medfm.evaluation.protocol_gradient import GradientProbe
from medfm.evaluation.protocol_nested import NestedFineTune
from medfm.evaluation.retrieval_config import Retrieval
from medfm.evaluation.schemes import Fold, draw_fractions, draw_fractions_by_record, make_folds
from medfm.evaluation.similarity_config import VolumeDrawing
from medfm.evaluation.survival_config import Survival
from medfm.evaluation.target import Target, make_target

# Cohort columns that subgroup tables use by themselves when they are there.
CARRIED = ("age", "sex")


@dataclass(frozen=True)
class FoldWeights:
    """The weights of one training.

    Attributes:
        repeat: Number of the repeat.
        fold: Number of the fold.
        coef: float64 (rows, features) on the features as given: one row per class or label, one for two
            classes (the positive one), one for regression.
        scale: float64 (features,), their standard deviations in training where they were standardised.
    """

    repeat: int
    fold: int
    coef: np.ndarray
    scale: np.ndarray | None = None


class FoldDirection(NamedTuple):
    """The direction that one training found, on standardised embeddings.

    Attributes:
        weights: float (rows, d).
        scale: float64 (d,), the standard deviations in training.
        patterns: float64 (rows, d), see :func:`medfm.evaluation.patterns.pattern`.
    """

    weights: np.ndarray
    scale: np.ndarray
    patterns: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation yields.

    Attributes:
        predictions: One row per tested unit, fold, repeat and variant.
        chosen: One entry per training: variant, repeat, fold, sizes and what was chosen.
        notes: What a reader must know, each once.
        attention: For attention pooling one row per tested cell: ``record_id, patient_id`` and
            ``attention`` or ``attention:CLASS``, averaged over the runs of the main variant.
        weights: Of the trainings of the main variant, where the method is linear.
        directions: Of the same, where embeddings were standardised.
    """

    predictions: Predictions
    chosen: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    attention: pd.DataFrame | None = None
    weights: tuple[FoldWeights, ...] = ()
    directions: tuple[FoldDirection, ...] = ()


def evaluate(
    embeddings: Embeddings,
    cohort: Cohort,
    target: str | Sequence[str],
    protocol: Protocol,
    *,
    task: Literal["auto"] | TaskKind = "auto",
    positive: str | None = None,
    device: str | None = None,
    progress: Progress | ProgressMaker | None = None,
) -> Evaluation:
    """Run `protocol` on the embedded records of `cohort`.

    Args:
        embeddings: Vectors by record id; records without one are left out, with a note.
        cohort: The records, their patients, splits and labels.
        target: Label column, or a list of 0/1 columns for a multilabel task.
        protocol: The procedure.
        task: Kind of task, guessed from the column by default.
        positive: Positive class of a binary task.
        device: Torch device of the solvers.
        progress: A progress, or a function of title and total that makes one.

    Raises:
        CohortError: There is no such column.
        EvaluationError: Ids do not match, labels are missing, or the folds are impossible.
    """
    if isinstance(protocol.method, ZeroShot):
        raise EvaluationError(
            f"The protocol '{protocol.id}' trains nothing: it asks a text tower.",
            fix="medfm zeroshot runs it (in Python medfm.zero_shot)",
        )
    if isinstance(protocol.method, Retrieval):
        raise EvaluationError(
            f"The protocol '{protocol.id}' searches and predicts nothing.", fix="use medfm retrieve (medfm.retrieve)"
        )
    if isinstance(protocol.method, Survival):
        raise EvaluationError(
            f"The protocol '{protocol.id}' predicts the time of an event, not a label.",
            fix="medfm survival runs it (in Python medfm.survival)",
        )
    if isinstance(protocol.method, VolumeDrawing):
        raise EvaluationError(
            f"The protocol '{protocol.id}' draws volumes and predicts no label.",
            fix="medfm reconstruct runs it (in Python medfm.reconstruct)",
        )
    if isinstance(protocol.method, (FineTune, NestedFineTune)):
        raise EvaluationError(
            f"The protocol '{protocol.id}' trains the encoder itself, not a probe of its embeddings.",
            fix="medfm finetune runs it (in Python medfm.finetune)",
        )
    if protocol.few_shot is not None or isinstance(protocol.method, (*TEXT_METHODS, *TOKEN_METHODS)):
        raise EvaluationError(
            f"The protocol '{protocol.id}' is for a few labelled records per class.",
            fix="medfm fewshot runs it (in Python medfm.few_shot)",
        )
    if isinstance(protocol.method, ConceptProbe) and FEATURES not in embeddings.provenance:
        raise EvaluationError(
            f"The protocol '{protocol.id}' works on similarities to findings, not on embeddings.",
            fix="medfm probe makes them with --encoder (in Python medfm.concept_probe)",
        )
    cohort, values, notes = embedded_records(embeddings, cohort)
    truth = make_target(cohort, target, task, positive=positive)
    table = cohort.table
    bags = Bags(values, ())
    if isinstance(protocol.method, MIL):
        bags, rows, truth = collect_bags(values, table, truth)
        table = table.iloc[rows].reset_index(drop=True)
        table = table.assign(record_id=table["patient_id"])
    patients = table["patient_id"].astype(str).to_numpy(dtype=object)
    scheme = protocol.scheme
    strata = truth.strata(scheme.folds)
    split, sites = (table[column].to_numpy(dtype=object) for column in ("split", "site"))
    folds, said = make_folds(
        scheme, split=split, patients=patients, strata=strata, sites=sites, order=path_order(table)
    )
    notes += said + _split_notes(protocol, table, folds)
    if protocol.fraction_draw == "merl":
        folds = draw_fractions_by_record(folds, protocol.fractions, protocol.fraction_repeats, seed=scheme.seed)
        notes.append("Training fractions are drawn by record, not by patient, and not by class (as published).")
    else:
        folds = draw_fractions(
            folds,
            protocol.fractions,
            protocol.fraction_repeats,
            patients=patients,
            strata=strata,
            generator=lambda draw: np.random.default_rng([scheme.seed, draw]),
        )
    if max(protocol.fractions) < 1:
        notes.append(f"The headline uses {max(protocol.fractions):g} of the training patients.")
    attention = None
    with _shown(progress, len(folds)) as shown:
        grouped: dict[str, Any] = {"patients": patients, "seed": scheme.seed, "progress": shown}
        if isinstance(protocol.method, KNN):
            runs = _knn(values, truth, folds, protocol.method, device, shown)
        elif isinstance(protocol.method, LinearProbe):
            outcomes = run_linear_probe(values, truth, folds, protocol.method, device=device, **grouped)
            runs = [(fold, "", outcome) for fold, outcome in zip(folds, outcomes, strict=True)]
        elif isinstance(protocol.method, ConceptProbe):
            outcomes = run_concept_probe(values, truth, folds, protocol.method, **grouped)
            runs = [(fold, "", outcome) for fold, outcome in zip(folds, outcomes, strict=True)]
        elif isinstance(protocol.method, GradientProbe):
            runs = run_gradient_probe(values, truth, folds, protocol.method, device=device, **grouped)
        else:
            found = run_mil(bags, truth, folds, protocol.method, seed=scheme.seed, device=device, progress=shown)
            runs = [(fold, "", f.outcome) for fold, f in zip(folds, found, strict=True)]
            top = max(protocol.fractions)
            main = [(fold, f.attention) for fold, f in zip(folds, found, strict=True) if fold.fraction == top]
            attention = _attention_table(main, bags.rows, cohort.table, truth)
    return evaluation_of(runs, values, table, truth, protocol, notes, attention)


def embedded_records(embeddings: Embeddings, cohort: Cohort) -> tuple[Cohort, np.ndarray, list[str]]:
    """The embedded records of the cohort, their vectors in cohort order, and notes."""
    rows = embeddings.rows(cohort.record_ids)
    found = rows >= 0
    if not found.any():
        raise EvaluationError(
            "No record of the cohort has an embedding.",
            where=f"cohort '{cohort.name}', {len(cohort)} records; {len(embeddings)} embeddings",
            expected="embeddings of this cohort's record ids",
            fix="embed this cohort, or map the id column (--map record_id=COLUMN)",
        )
    notes = []
    if not found.all():
        missing = [cohort.record_ids[i] for i in np.flatnonzero(~found)]
        reasons = {f.record_id: f.reason for f in embeddings.failures}
        read = sum(i in reasons for i in missing)
        notes.append(
            f"{len(missing)} of {len(cohort)} records have no embedding and are left out"
            + (f" ({read} could not be read)" if read else "")
            + f": {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}."
        )
        cohort = cohort.subset(found)
    return cohort, embeddings.values[rows[found]], notes


def _split_notes(protocol: Protocol, table: pd.DataFrame, folds: list[Fold]) -> list[str]:
    fixed = all(fold.fold == 0 for fold in folds) and len(folds) == 1
    method = protocol.method
    searching = isinstance(method, LinearProbe) and method.selection.rule == "validation"
    searching = searching or (isinstance(method, GradientProbe) and "best_validation" in method.reported)
    if fixed and not searching and not isinstance(method, MIL) and (table["split"] == "val").any():
        return [f"{int((table['split'] == 'val').sum())} records of the split 'val' are not used."]
    return []


def _shown(progress: Progress | ProgressMaker | None, total: int) -> Progress:
    if progress is None:
        return Silent("evaluating", total, "folds")
    if isinstance(progress, Progress):
        return progress
    return progress("evaluating", total, "folds")


def _knn(
    values: np.ndarray, truth: Target, folds: list[Fold], method: KNN, device: str | None, progress: Progress
) -> list[tuple[Fold, str, Outcome]]:
    runs = []
    for fold in folds:
        votes = knn_scores(values[fold.train], values[fold.test], truth.take(fold.train), method, device=device)
        for k in method.k:
            # The first k of the protocol is its headline; the others are variants beside it.
            label = "" if k == method.k[0] else f"k={k}"
            scores = votes[k]
            if truth.task in ("binary", "multiclass"):
                scores = scores / scores.sum(axis=1, keepdims=True)
            runs.append((fold, label, Outcome(scores, {"k": k})))
        progress.advance()
    return runs


def evaluation_of(
    runs: list[tuple[Fold, str, Outcome]],
    values: np.ndarray,
    table: pd.DataFrame,
    truth: Target,
    protocol: Protocol,
    notes: list[str],
    attention: pd.DataFrame | None,
) -> Evaluation:
    """What runs on folds gave, as one prediction per tested record, variant and repeat.

    Args:
        runs: Fold, label of the variant (empty for the method's own) and outcome on the fold's test records.
        values: float (n, d), the features that were trained on.
        table: The n records.
        truth: Their labels.
        protocol: Its largest fraction is the headline.
        notes: What to say before the notes of the runs.
        attention: Of attention pooling.
    """
    top = max(protocol.fractions)
    wanted = [*CARRIED, *protocol.statistics.subgroup_columns]
    carried = [c for c in dict.fromkeys(wanted) if c in table.columns and c not in ("patient_id", "site")]
    base = table[["record_id", "patient_id", "site", *carried]]
    frames, chosen, weights, directions = [], [], [], []
    for fold, label, outcome in runs:
        parts = [f"fraction={fold.fraction:g}"] if fold.fraction != top else []
        variant = ",".join([*parts, *([label] if label else [])]) or MAIN
        frame = base.iloc[fold.test].reset_index(drop=True)
        frame = frame.assign(variant=variant, repeat=fold.repeat, fold=fold.fold)
        frames.append(frame.assign(**truth_columns(truth.take(fold.test), outcome.scores)))
        sizes = {"train": len(fold.train), "validation": len(fold.validation), "test": len(fold.test)}
        chosen.append({"variant": variant, "repeat": fold.repeat, "fold": fold.fold, **sizes, **outcome.chosen})
        if outcome.coef is not None and variant == MAIN:
            weights.append(FoldWeights(fold.repeat, fold.fold, outcome.coef, outcome.scale))
        # Some methods make features of their own from tokens: no direction of the embeddings is behind those.
        own = outcome.scale is not None and np.shape(outcome.scale) == values.shape[1:]
        if outcome.standard is not None and own and variant == MAIN:
            scale = np.asarray(outcome.scale, np.float64)
            along = pattern(values[fold.train] / scale, outcome.standard)
            directions.append(FoldDirection(outcome.standard, scale, along))
        notes += [note if variant == MAIN else f"{variant}: {note}" for note in outcome.notes]
    joined = pd.concat(frames, ignore_index=True)
    # The headline first, whatever the order of the folds.
    order = np.argsort((joined["variant"] != MAIN).to_numpy(), kind="stable")
    joined = joined.iloc[order].reset_index(drop=True)
    predictions = Predictions(joined, truth.task, truth.classes, truth.name)
    return Evaluation(
        predictions, tuple(chosen), tuple(dict.fromkeys(notes)), attention, tuple(weights), tuple(directions)
    )


def truth_columns(truth: Target, scores: np.ndarray) -> dict[str, Any]:
    """Columns of predictions: truth (n,), what is predicted, and the scores (n, classes) by class."""
    if truth.task == "regression":
        return {"truth": truth.values, "predicted": scores[:, 0]}
    columns: dict[str, Any] = {f"score:{c}": scores[:, i] for i, c in enumerate(truth.classes)}
    if truth.task == "multilabel":
        return {**{f"truth:{c}": truth.values[:, i] for i, c in enumerate(truth.classes)}, **columns}
    return {
        "truth": truth.names(truth.values),
        # Ties go to the first class, as in scikit-learn.
        "predicted": truth.names(scores.argmax(axis=1)),
        **columns,
    }


def _attention_table(
    runs: list[tuple[Fold, tuple[np.ndarray, ...]]], rows: tuple[np.ndarray, ...], table: pd.DataFrame, truth: Target
) -> pd.DataFrame | None:
    """Mean attention to each tested cell over the runs that tested its patient."""
    if not runs or not runs[0][1]:
        return None
    sums: dict[int, np.ndarray] = {}
    counts: dict[int, int] = {}
    for fold, weights in runs:
        for patient, weight in zip(fold.test.tolist(), weights, strict=True):
            sums[patient] = sums.get(patient, 0) + weight.astype(np.float64)
            counts[patient] = counts.get(patient, 0) + 1
    width = next(iter(sums.values())).shape[1]
    names = ["attention"] if width == 1 else [f"attention:{c}" for c in truth.classes]
    patients = sorted(sums)
    cells = np.concatenate([rows[p] for p in patients])
    mean = np.concatenate([sums[p] / counts[p] for p in patients])
    frame = table.iloc[cells][["record_id", "patient_id"]].reset_index(drop=True)
    return frame.assign(**{name: mean[:, i] for i, name in enumerate(names)})
