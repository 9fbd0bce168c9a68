"""What the final model of a nested cross-validation ships beside its gate: prediction sets, a zero-shot reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import MedfmError
from medfm.core.progress import ProgressMaker
from medfm.evaluation.agreement import Reading, agreement
from medfm.evaluation.conformal import FEWEST, LEVEL
from medfm.evaluation.intervals import wilson_interval
from medfm.evaluation.nested import FoldOutcome, final_parts, first_of_patients
from medfm.evaluation.path_order import path_order
from medfm.training import agreement_file, sets_file
from medfm.workflows import finetune_agreement
from medfm.workflows.nested_output import embedded

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.evaluation.target import Target
    from medfm.reporting.result import Result
    from medfm.workflows.nested import NestedPlan
    from medfm.workflows.nested_fit import Material

_CLASSES = ("binary", "multiclass")
_NONE = "none: "


def shipped(
    result: Result,
    outcomes: Sequence[FoldOutcome],
    material: Material,
    cohort: Cohort,
    plan: NestedPlan,
    folder: Path,
    device: str,
    settings: Mapping[str, Any],
    progress: ProgressMaker,
) -> Result:
    """Write into ``model`` what is not there yet, and say in the result what ships and what was measured out of fold.

    One network (refit, soup) gets both. An ensemble has its scores from the averaged probabilities, written when it is
    made, and no reading: its members lie in as many spaces.

    Args:
        result: With ``nested`` in its extras.
        outcomes: Of the outer folds.
        material: Records and untouched encoder.
        cohort: The records.
        plan: Of the run.
        folder: Of the result.
        device: Of the encoders.
        settings: Of the embedding runs.
        progress: Makes the progress displays.
    """
    from medfm.workflows.finetune import MODEL

    truth, nested = material.truth, dict(result.extras["nested"])
    if truth.task not in _CLASSES:
        return result
    nested["sets"] = sets_held(outcomes, len(truth.classes))
    if nested.get("final") is not None:
        model, final = folder / MODEL, dict(nested["final"])
        if final["kind"] == "ensemble":
            final["reading"] = _NONE + "an ensemble has no encoder of its own"
        else:
            patients, sites = (cohort.table[c].to_numpy(dtype=object) for c in ("patient_id", "site"))
            order = path_order(cohort.table)
            rows = final_parts(truth, patients.astype(str), plan.protocol.scheme, plan.method, sites, order)[1]
            final["reading"] = _one_network(model, result, material, cohort, rows, device, settings, progress)
        final["sets"] = (model / sets_file.ABOUT).is_file()
        nested["final"] = final
    return replace(result, extras={**result.extras, "nested": nested})


def sets_held(outcomes: Sequence[FoldOutcome], classes: int) -> dict[str, Any] | None:
    """How often sets made inside the outer folds held the true class; ``None`` where no fold could make any.

    The interval is Wilson's, one trial per patient: a patient tested in every repeat counts once.
    """
    counted = [(o.outer.repeat, o.sets) for o in outcomes if o.sets]
    if not counted:
        return None
    held, tested, kept = (sum(one[key] for _, one in counted) for key in ("held", "tested", "kept"))
    repeats = {repeat for repeat, _ in counted}
    trials = max(sum(one["patients"] for repeat, one in counted if repeat == r) for r in repeats)
    low, high = (float(end) for end in wilson_interval(held / tested * trials, trials))
    ends = {"low": low, "high": high, "level": LEVEL, "classes": classes}
    return {"held": held, "tested": tested, "kept": kept, **ends}


def keep_scores(model: Path, scores: np.ndarray, truth: Target, rows: np.ndarray, cohort: Cohort) -> bool:
    """Write the true class's probability of one record per validation patient; whether there are enough patients.

    Args:
        model: Folder of the model.
        scores: float (n, classes), of `rows`.
        truth: Of the whole cohort.
        rows: int (n,), the validation rows, which no part of the model has learned from.
        cohort: For the patients.
    """
    if truth.task not in _CLASSES:
        return False
    first = first_of_patients(rows, cohort.table["patient_id"].to_numpy(dtype=object))
    if len(first) < FEWEST:
        return False
    sets_file.save_scores(model, scores[first, truth.values[rows[first]]], truth.classes)
    return True


def _one_network(
    model: Path,
    result: Result,
    material: Material,
    cohort: Cohort,
    rows: np.ndarray,
    device: str,
    settings: Mapping[str, Any],
    progress: ProgressMaker,
) -> str:
    """Write scores and reading of a refit or a soup where they are missing; a text about the reading."""
    from medfm.encoders.load import load_encoder
    from medfm.training.tuned import load_classifier

    encoder, truth = material.encoder, material.truth
    reading, why = None, f"the encoder {encoder.id} has no text tower"
    known = agreement_file.load_reading(model, truth.classes)
    if known is None and encoder.has_text:
        try:
            reading = finetune_agreement._reading(encoder, cohort, truth, settings, progress)
        except MedfmError as error:  # a class without a prompt: no reason to lose the trainings
            why = (error.what[:1].lower() + error.what[1:]).rstrip(".")
    if reading is not None or not (model / sets_file.ABOUT).is_file():
        classifier = load_classifier(model)
        fresh = load_encoder(model, device=device, variant=classifier.about.get("preprocessing_variant"))
        after = embedded(fresh, material, rows)
        keep_scores(model, classifier.scores(after), truth, rows, cohort)
        if reading is not None:
            moved = finetune_agreement.moved(material.embeddings[rows], after)
            measured = _out_of_fold(reading, result, material, cohort)
            finetune_agreement.keep_reading(model, reading, encoder, fresh, moved, measured)
            return _said(reading.strategy, measured.about())
    return _NONE + why if known is None else _said(known[0].strategy, known[1]["held_out"])


def _out_of_fold(reading: Reading, result: Result, material: Material, cohort: Cohort) -> Any:
    """The reading against the models of the outer folds, each on the patients that it was tested on."""
    truth = material.truth
    table = result.predictions.table
    table = table[table["repeat"] == 0]
    places = {record: row for row, record in enumerate(cohort.record_ids)}
    rows = np.array([places[record] for record in table["record_id"]], dtype=np.int64)
    decided = np.array([truth.classes.index(name) for name in table["predicted"]], dtype=np.int64)
    patients = cohort.table["patient_id"].to_numpy()[rows] if cohort.patients_known else None
    return agreement(decided, reading(material.embeddings[rows]), truth.values[rows], patients)


def _said(strategy: str, about: Mapping[str, Any]) -> str:
    """What was measured out of fold."""
    from medfm.evaluation.agreement import Agreement

    measured = Agreement(**{key: value for key, value in about.items() if key != "share"})
    return f"with the final model; measured with the models of the outer folds: {measured.sentence(strategy)}"
