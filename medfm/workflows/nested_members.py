"""The models of the outer folds as the final model: an ensemble of them, or a soup of their weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medfm.core.errors import EvaluationError, TrainingError
from medfm.core.files import make_folder
from medfm.evaluation.averaging import average_scores
from medfm.evaluation.nested import FoldOutcome, Job, final_parts
from medfm.evaluation.path_order import path_order
from medfm.evaluation.recalibration import Recalibration, recalibrate
from medfm.evaluation.selection import quality
from medfm.evaluation.thresholds import youden
from medfm.evaluation.unusual import UnusualGate, fewest, fit_gate
from medfm.training import sets_file
from medfm.training.ensemble import MEMBERS, Ensemble, ensemble_folder, load_ensemble, save_ensemble
from medfm.training.gate_file import save_gate
from medfm.training.tuned import ABOUT, HALF, load_classifier
from medfm.workflows.finetune_gate import ALARM_RATE
from medfm.workflows.nested_cards import ensemble_card, model_id, seen_in, soup_prose
from medfm.workflows.nested_fit import MEMBER, Export, Material
from medfm.workflows.nested_output import embedded, mended, write_gate
from medfm.workflows.nested_shipped import keep_scores

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.encoders.encoder import Encoder
    from medfm.evaluation.target import Target
    from medfm.reporting.result import Result
    from medfm.training.finetune import FineTuned
    from medfm.training.finetune_config import FinetuneRecipe
    from medfm.workflows.nested import NestedPlan
    from medfm.workflows.soup import Soup


def exporter(material: Material, cohort: Cohort, plan: NestedPlan, device: str) -> Export | None:
    """Keeps the model of every job beside its scores; ``None`` where fold models are not wanted.

    Members of an ensemble are recalibrated like the fold's own predictions; the weights of a soup stay as trained.
    """
    from medfm.workflows.finetune_data import Prepared
    from medfm.workflows.finetune_output import write_model

    method = plan.method
    if not method.common:
        return None

    def keep(job: Job, folder: Path, tuned: FineTuned, recipe: FinetuneRecipe) -> None:
        assert tuned.validation is not None
        if method.product == "ensemble":
            truth = material.truth.take(job.validation)
            tuned = mended(tuned, recalibrate(tuned.labels.scores(tuned.validation), truth, method.recalibration))
        selection = recipe.selection.model_copy(update={"threshold": method.threshold})
        recipe = recipe.model_copy(update={"selection": selection})
        train, validation = (material.labelled(rows, tuned.labels) for rows in (job.train, job.validation))
        data = Prepared(tuned.labels, train, validation, None, ())
        said = (
            f"\nOne of the models of a nested cross-validation: outer fold {job.fold + 1}, repeat {job.repeat + 1}.\n"
        )
        write_model(folder, tuned, material.encoder, recipe, cohort, data, device, split="all", more=said)

    return keep


def forget_others(outcome: FoldOutcome, folder: Path, method: Any) -> None:
    """Delete the models of an outer fold whose recipe was not chosen."""
    picked = list(method.candidates).index(outcome.chosen["candidate"])
    for number in range(len(method.candidates)):
        if number != picked:
            shutil.rmtree(_job_folder(outcome, folder, number) / MEMBER, ignore_errors=True)


def _job_folder(outcome: FoldOutcome, folder: Path, candidate: int) -> Path:
    outer = outcome.outer
    empty = np.zeros(0, dtype=np.int64)
    return folder / Job(outer.repeat, outer.fold, candidate, 0, empty, empty, empty).name


def _chosen_folder(outcome: FoldOutcome, training: Path, method: Any) -> Path:
    return _job_folder(outcome, training, list(method.candidates).index(outcome.chosen["candidate"])) / MEMBER


def final_from_folds(
    result: Result,
    outcomes: Sequence[FoldOutcome],
    material: Material,
    cohort: Cohort,
    plan: NestedPlan,
    folder: Path,
    device: str,
) -> Result:
    """Write ``model`` from the fold models, and say so in the result."""
    from medfm.workflows.finetune import MODEL, TRAINING

    method, truth = plan.method, material.truth
    table = cohort.table
    patients, sites = (table[c].to_numpy(dtype=object) for c in ("patient_id", "site"))
    scheme, order = plan.protocol.scheme, path_order(table)
    learning, choosing = final_parts(truth, patients.astype(str), scheme, method, sites, order)
    make = _ensemble if method.product == "ensemble" else _soup
    entry = make(
        result, outcomes, material, cohort, plan, folder / MODEL, folder / TRAINING, learning, choosing, device
    )
    for job in (folder / TRAINING).glob(f"*/{MEMBER}"):
        shutil.rmtree(job, ignore_errors=True)
    return replace(result, extras={**result.extras, "nested": {**result.extras["nested"], "final": entry}})


def _ensemble(
    result: Result,
    outcomes: Sequence[FoldOutcome],
    material: Material,
    cohort: Cohort,
    plan: NestedPlan,
    model: Path,
    training: Path,
    learning: np.ndarray,
    choosing: np.ndarray,
    device: str,
) -> dict[str, Any]:
    method, truth = plan.method, material.truth
    if ensemble_folder(model) is None or not (model / "card.md").is_file():
        make_folder(model / MEMBERS)
        places = [model / MEMBERS / str(number) for number in range(1, len(outcomes) + 1)]
        for outcome, place in zip(outcomes, places, strict=True):
            source = _chosen_folder(outcome, training, method)
            if not place.is_dir():
                _present(source).rename(place)
        classifiers = tuple(load_classifier(place) for place in places)
        held = [_encoder(place, device) for place in places]
        seen = [embedded(e, material, choosing) for e in held]
        known = _gates(held, seen, [o.outer.inner[0][0] for o in outcomes], material, places)
        scores = average_scores(
            [c.scores(v) for c, v in zip(classifiers, seen, strict=True)], truth.task, method.average
        )
        threshold, rule = _threshold(scores, truth.take(choosing), method.threshold)
        keep_scores(model, scores, truth, choosing, cohort)
        about = {
            "recipe": {"name": ", ".join(dict.fromkeys(o.chosen["candidate"] for o in outcomes))},
            "trained_on": {"cohort": cohort.name, "digest": cohort.digest(), "records": len(truth)},
            "from_encoder": classifiers[0].about["from_encoder"],
            "preprocessing_variant": material.encoder.variant,
            "synthetic": cohort.synthetic,
        }
        whole = Ensemble(classifiers, method.average, threshold, rule, about, known, ALARM_RATE, model)
        save_ensemble(model, whole)
        ensemble_card(result, outcomes, material, cohort, model, whole, len(choosing), held)
    found = load_ensemble(model)
    if not (model / sets_file.ABOUT).is_file():  # of a run before there were prediction sets
        seen = [
            embedded(_encoder(model / MEMBERS / str(n + 1), device), material, choosing) for n in range(len(outcomes))
        ]
        keep_scores(model, found.scores(seen), truth, choosing, cohort)
    return {
        "kind": "ensemble",
        "members": [_member(o) for o in outcomes],
        "average": found.average,
        "train": len(learning),
        "validation": len(choosing),
        "threshold": found.threshold,
        "gate": bool(len(found.known)),
    }


def _present(source: Path) -> Path:
    if not (source / ABOUT).is_file():
        raise TrainingError(
            "The model of a finished training is missing.",
            where=str(source),
            fix="delete the folder of this training, then --resume",
        )
    return source


def _member(outcome: FoldOutcome) -> dict[str, Any]:
    outer = outcome.outer
    return {
        "repeat": outer.repeat,
        "fold": outer.fold,
        "candidate": outcome.chosen["candidate"],
        "train": len(outer.inner[0][0]),
    }


def _encoder(place: Path, device: str) -> Encoder:
    from medfm.encoders.load import load_encoder

    return load_encoder(place, device=device, variant=load_classifier(place).about.get("preprocessing_variant"))


def _gates(
    held: Sequence[Encoder],
    seen: Sequence[np.ndarray],
    trained: Sequence[np.ndarray],
    material: Material,
    places: Sequence[Path],
) -> np.ndarray:
    """Write the gate of every member; mean distances of the validation records, rising, or none without a gate."""
    if len(seen[0]) < fewest(ALARM_RATE):
        return np.zeros(0)
    gates: list[UnusualGate] = []
    try:
        for encoder, values, rows in zip(held, seen, trained, strict=True):
            gates.append(fit_gate(embedded(encoder, material, rows), values, ALARM_RATE))
    except EvaluationError:
        return np.zeros(0)
    for gate, place, encoder in zip(gates, places, held, strict=True):
        save_gate(place, gate, encoder.fingerprint)
    return np.sort(np.mean([g.distances(v) for g, v in zip(gates, seen, strict=True)], axis=0))


def _threshold(scores: np.ndarray, truth: Target, rule: str) -> tuple[float, str]:
    if truth.task != "binary":
        return HALF, "0.5 for each label" if truth.task == "multilabel" else "not used"
    found = youden(scores[:, 1], truth.values == 1) if rule == "youden" else None
    if found is None:
        return (
            HALF,
            "0.5 by convention" if rule == "half" else "0.5, since the validation scores do not tell classes apart",
        )
    return found, f"highest sensitivity + specificity on {len(truth)} validation records that no model learned from"


def _soup(
    result: Result,
    outcomes: Sequence[FoldOutcome],
    material: Material,
    cohort: Cohort,
    plan: NestedPlan,
    model: Path,
    training: Path,
    learning: np.ndarray,
    choosing: np.ndarray,
    device: str,
) -> dict[str, Any]:
    from medfm.workflows.soup import load_ingredients, make_soup, write_soup

    method, truth = plan.method, material.truth
    if not (model / ABOUT).is_file():
        parts = load_ingredients([_present(_chosen_folder(o, training, method)) for o in outcomes], device)
        held, own = truth.take(choosing), material.records.take
        inputs = own(choosing.tolist())
        made = make_soup(
            parts,
            "greedy" if method.soup == "greedy" else "uniform",
            learning=own(learning.tolist()),
            choosing=inputs,
            quality=lambda scores: quality(method.metric, held, scores),
        )
        made, mend, scores = _recalibrated(made, material, choosing, held, method.recalibration)
        threshold, rule = _threshold(scores, held, method.threshold)
        about: dict[str, Any] = {
            "recipe": {"name": f"{method.soup} soup"},
            "trained_on": {"cohort": cohort.name, "digest": cohort.digest(), "records": len(learning)},
            "soup": _soup_entry(made, method),
        }
        _, fresh = write_soup(
            model,
            made,
            parts,
            encoder_id=model_id(material.encoder.id, f"{method.soup}-soup", cohort.name),
            title=f"{material.encoder.id}, {method.soup} soup of fold models on {cohort.name}",
            prose=soup_prose(result, made, material, cohort, plan, mend, threshold, rule, len(learning), len(choosing)),
            threshold=threshold,
            rule=rule,
            about=about,
            training_data=[*material.encoder.card.spec.training_data, seen_in(cohort, len(learning))],
            device=device,
        )
        write_gate(model, fresh, material, learning, choosing)
    saved = load_classifier(model).about
    return {
        "kind": "soup",
        "members": [_member(o) for o in outcomes],
        "train": len(learning),
        "validation": len(choosing),
        "threshold": float(saved["threshold"]["value"]),
        "gate": (model / "unusual.json").is_file(),
        **saved["soup"],
    }


def _recalibrated(
    soup: Soup, material: Material, rows: np.ndarray, truth: Target, rule: str
) -> tuple[Soup, Recalibration, np.ndarray]:
    """The soup with the recalibration in its classifier, and its scores of the validation records."""
    from medfm.encoders.published import family_of

    embed = family_of(material.encoder.card)[0].embed
    inputs = material.records.take(rows.tolist())
    with torch.inference_mode():
        parts = [
            embed(soup.network, torch.stack([inputs[i] for i in range(start, min(start + 64, len(inputs)))]))
            for start in range(0, len(inputs), 64)
        ]
    raw = torch.cat(parts).double() @ soup.weight.double().T + soup.bias.double()
    mend = recalibrate(soup.labels.scores(raw), truth, rule)
    if mend.rule != "none":
        soup = replace(soup, weight=soup.weight * mend.slope, bias=soup.bias * mend.slope + mend.intercept)
        raw = raw * mend.slope + mend.intercept
    return soup, mend, soup.labels.scores(raw)


def _soup_entry(soup: Soup, method: Any) -> dict[str, Any]:
    """JSON-like."""
    return {
        "rule": method.soup,
        "metric": method.metric,
        "kept": list(soup.kept),
        "alone": list(soup.alone),
        "quality": soup.quality,
        "steps": [{"model": s.model, "quality": s.quality, "kept": s.kept} for s in soup.steps],
        "measured_batchnorm": soup.measured,
    }
