"""What a nested cross-validation leaves: pooled figures, comparisons on the same folds, the final model."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medfm.core.errors import EvaluationError
from medfm.core.progress import ProgressMaker
from medfm.evaluation.intervals import wilson_interval
from medfm.evaluation.nested import FoldOutcome, OuterFold, final_parts, majority
from medfm.evaluation.path_order import first_by_order, path_order
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.protocol import Protocol
from medfm.evaluation.protocol_nested import NestedFineTune
from medfm.evaluation.recalibration import Recalibration, recalibrate
from medfm.evaluation.unusual import fewest, fit_gate
from medfm.training.gate_file import ABOUT as GATE
from medfm.training.gate_file import save_gate
from medfm.workflows.finetune_gate import ALARM_RATE

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.embeddings.embeddings import Embeddings
    from medfm.encoders.encoder import Encoder
    from medfm.evaluation.target import Target
    from medfm.reporting.result import Result
    from medfm.training.finetune import FineTuned
    from medfm.workflows.nested import NestedPlan
    from medfm.workflows.nested_fit import Material

# More columns than these do not fit on the page.
_MOST_PARTS = 6
Rival = tuple[str, str, Predictions]


def out_of_fold(
    outcomes: Sequence[FoldOutcome], cohort: Cohort, truth: Target, also: Sequence[str] = ()
) -> Predictions:
    """One row per record and repeat, decided by the threshold of the fold that tested it; `also`: columns carried along."""
    import pandas as pd

    from medfm.evaluation.evaluate import CARRIED, truth_columns

    wanted = dict.fromkeys((*CARRIED, *also))
    carried = [c for c in wanted if c in cohort.table.columns and c not in ("patient_id", "site")]
    base = cohort.table[["record_id", "patient_id", "site", *carried]]
    frames = []
    for one in outcomes:
        rows = one.outer.test
        own = truth.take(rows)
        frame = (
            base.iloc[rows].reset_index(drop=True).assign(variant=MAIN, repeat=one.outer.repeat, fold=one.outer.fold)
        )
        frame = frame.assign(**truth_columns(own, one.scores))
        if truth.task == "binary":
            frame = frame.assign(predicted=own.names((one.scores[:, 1] >= one.threshold).astype(np.int64)))
        frames.append(frame)
    return Predictions(pd.concat(frames, ignore_index=True), truth.task, truth.classes, truth.name)


def tested_parts(folds: Sequence[OuterFold], count: int) -> dict[str, np.ndarray]:
    """Parts of the table of participants: the sites where they are the folds, else all records as one part.

    Folds at random differ by chance alone, and their cells would mostly be too small to show.
    """
    if folds[0].site and len(folds) <= _MOST_PARTS:
        return {f"site {fold.site}": fold.test for fold in folds}
    return {"cross-validation": np.arange(count)}


def rivals(
    found: Sequence[tuple[Encoder, Embeddings]],
    cohort: Cohort,
    columns: str | list[str],
    truth: Target,
    plan: Protocol,
    progress: ProgressMaker,
) -> list[Rival]:
    """Out-of-fold predictions of a probe of every untouched encoder on the very same folds."""
    from medfm.evaluation.evaluate import evaluate
    from medfm.evaluation.protocol import load_protocol

    assert isinstance(plan.method, NestedFineTune)
    if not plan.method.beside:
        return []
    scheme = [f"scheme.{key}={str(value).lower()}" for key, value in plan.scheme.model_dump().items()]
    probe = load_protocol(plan.method.beside, overrides=tuple(scheme))
    positive = truth.classes[1] if truth.task == "binary" else None
    made = []
    for encoder, values in found:
        own = evaluate(values, cohort, columns, probe, task=truth.task, positive=positive, progress=progress)
        made.append((encoder.id, probe.id, _tested_alike(own.predictions, cohort, plan.method)))
    return made


def _tested_alike(predictions: Predictions, cohort: Cohort, method: NestedFineTune) -> Predictions:
    """Without the records that the nested run does not test."""
    if method.tested == "all":
        return predictions
    table = cohort.table
    patients = table["patient_id"].astype(str).to_numpy(dtype=object)
    first = set(table["record_id"].iloc[first_by_order(np.arange(len(table)), patients, path_order(table))])
    kept = predictions.table[predictions.table["record_id"].isin(first)].reset_index(drop=True)
    return replace(predictions, table=kept)


def compared(result: Result, others: Sequence[Rival]) -> list[dict[str, Any]]:
    """One entry per rival: figures of both sides, paired difference, p-values corrected over the rivals by Holm."""
    from medfm.evaluation.metrics import metrics_for
    from medfm.evaluation.multiple import holm
    from medfm.evaluation.paired import compare_pair, match
    from medfm.evaluation.summarise import summarise
    from medfm.workflows.baseline import ends_of

    known = result.summary.patients_known
    plan = result.protocol.statistics.model_copy(update={"subgroups": ()})
    names = [e.metric for e in result.summary.headline]
    entries: list[dict[str, Any]] = []
    for encoder, probe, predictions in others:
        rival = summarise(predictions, plan, metrics=names, patients_known=known)
        pair = match(predictions.of_variant(), result.predictions.of_variant(), patients_known=known)
        rows = [
            {
                "metric": found.metric,
                "better": found.better,
                "before": ends_of(rival.estimate(found.metric)),
                "after": ends_of(result.summary.estimate(found.metric)),
                "difference": {"value": found.difference, "low": found.low, "high": found.high},
                "p": found.p,
                "corrected_t": found.others.get("nadeau_bengio"),
                "wilcoxon": found.others.get("wilcoxon_repeats"),
                "method": found.method,
            }
            for found in compare_pair(pair, metrics_for(names, result.summary.task), plan)
        ]
        folds = [{"metrics": row.metrics} for row in rival.folds]
        entries.append(
            {
                "encoder": encoder,
                "protocol": probe,
                "level": plan.level,
                "common": pair.n_common,
                "rows": rows,
                "folds": folds,
            }
        )
    for place in range(len(names)):
        for key in ("p", "corrected_t"):
            own = [e["rows"][place] for e in entries if e["rows"][place][key] is not None]
            for row, value in zip(own, holm([row[key] for row in own]).tolist(), strict=True):
                row[f"{key}_holm"] = value
    return entries


def nested_result(
    outcomes: Sequence[FoldOutcome],
    before: Embeddings,
    cohort: Cohort,
    columns: str | list[str],
    truth: Target,
    plan: NestedPlan,
    findings: Any,
    notes: Sequence[str],
    others: Sequence[Rival],
    progress: ProgressMaker,
) -> Result:
    """The result of pooled out-of-fold predictions, with ``nested`` in its extras."""
    from medfm.evaluation.evaluate import Evaluation
    from medfm.evaluation.grades import headline_with_kappa, order_notes
    from medfm.evaluation.paper import paper_average
    from medfm.evaluation.summarise import summarise
    from medfm.reporting.result import Result
    from medfm.workflows.result_parts import batch_effect_of, map_of, provenance_of, resolved_settings

    protocol = plan.protocol
    predictions = out_of_fold(outcomes, cohort, truth, protocol.statistics.subgroup_columns)
    with progress("resampling", protocol.statistics.resamples, "resamples") as resampling:
        summary = summarise(
            predictions,
            protocol.statistics,
            metrics=headline_with_kappa(protocol.metrics, truth),
            patients_known=cohort.patients_known,
            progress=resampling,
        )
    chosen = [
        {
            "repeat": o.outer.repeat,
            "fold": o.outer.fold,
            "train": len(o.outer.train),
            "test": len(o.outer.test),
            **o.chosen,
        }
        for o in outcomes
    ]
    said = (*summary.notes, *order_notes(truth, protocol.metrics), *notes)
    result = Result(
        kind="nested_finetune",
        protocol=protocol,
        summary=summary.model_copy(update={"notes": said}),
        predictions=predictions,
        provenance=provenance_of(before, cohort, protocol),
        findings=findings,
        config={
            "target": columns if isinstance(columns, str) else list(columns),
            "task": truth.task,
            "positive": truth.classes[1] if truth.task == "binary" else None,
            "recipes": [recipe.to_dict() for recipe in plan.recipes],
            **resolved_settings(before, cohort, protocol),
        },
        batch_effect=batch_effect_of(before, cohort, protocol),
        embedding_map=map_of(before, cohort, Evaluation(predictions, (), ()), protocol, "pca"),
        extras={"paper_average": averages} if (averages := paper_average(summary, protocol)) else {},
    )
    entry = {
        "trainings": plan.per_fold * len(outcomes),
        "metric": plan.method.metric if truth.task != "regression" else "r2",
        "rule": plan.method.rule,
        "folds": chosen,
        "beside": compared(result, others),
        "false_alarms": false_alarms(
            outcomes, cohort.table["patient_id"].to_numpy(dtype=object).astype(str) if cohort.patients_known else None
        ),
        "common_validation": plan.method.common,
    }
    return replace(result, extras={**result.extras, "nested": entry})


def false_alarms(outcomes: Sequence[FoldOutcome], patients: np.ndarray | None = None) -> dict[str, Any] | None:
    """How often gates fitted inside call tested records unusual, with Wilson's interval; ``None`` without gates.

    The interval has one trial per patient: one with many records, or tested in every repeat, counts once.

    Args:
        outcomes: Of the outer folds.
        patients: str (n,), of all records; ``None`` where nobody says, so that every record is one.
    """
    counted = [o for o in outcomes if o.chosen.get("alarms")]
    if not counted:
        return None
    alarms, tested = (sum(o.chosen["alarms"][i] for o in counted) for i in (0, 1))
    units: dict[int, set[Any]] = {}
    for o in counted:
        rows = np.asarray(o.outer.test)
        units.setdefault(o.outer.repeat, set()).update((rows if patients is None else patients[rows]).tolist())
    trials = max(len(seen) for seen in units.values())
    low, high = (float(end) for end in wilson_interval(alarms / tested * trials, trials))
    unit = "record" if patients is None else "patient"
    return {"alarms": alarms, "tested": tested, "low": low, "high": high, "unit": unit, "planned": ALARM_RATE}


def final_model(
    result: Result,
    outcomes: Sequence[FoldOutcome],
    material: Material,
    cohort: Cohort,
    plan: NestedPlan,
    folder: Path,
    progress: ProgressMaker,
    device: str,
) -> Result:
    """Train the recipe chosen most often on all patients, write ``model``, and say so in the result.

    A part of the patients, as in every outer fold, chooses epoch, recalibration and threshold.
    """
    from medfm.training.finetune_labels import labels_of
    from medfm.training.tuned import ABOUT, load_classifier
    from medfm.workflows.finetune import MODEL, TRAINING
    from medfm.workflows.finetune_data import Prepared
    from medfm.workflows.finetune_output import write_model
    from medfm.workflows.nested_fit import titled

    method, truth = plan.method, material.truth
    picked = majority(outcomes, method.candidates)
    recipe = plan.recipes[method.candidates.index(picked)]
    recipe = recipe.model_copy(
        update={"selection": recipe.selection.model_copy(update={"threshold": method.threshold})}
    )
    patients, sites = (cohort.table[c].to_numpy(dtype=object) for c in ("patient_id", "site"))
    order = path_order(cohort.table)
    train, validation = final_parts(truth, patients.astype(str), plan.protocol.scheme, method, sites, order)
    if not (folder / MODEL / ABOUT).is_file():
        place = folder / TRAINING / "final"
        tuned = material.train(recipe, train, validation, place, "final", titled(progress, "the final model"))
        assert tuned.validation is not None
        mend = recalibrate(tuned.labels.scores(tuned.validation), truth.take(validation), method.recalibration)
        labels = labels_of(truth, train, recipe.objective.ordinal)
        data = Prepared(labels, material.labelled(train, labels), material.labelled(validation, labels), None, ())
        more = _card_lines(result, outcomes, picked, mend, len(outcomes))
        _, fresh = write_model(
            folder / MODEL, mended(tuned, mend), material.encoder, recipe, cohort, data, device, split="all", more=more
        )
        write_gate(folder / MODEL, fresh, material, train, validation)
        shutil.rmtree(place / "checkpoint", ignore_errors=True)
    classifier = load_classifier(folder)
    final = {
        "kind": "refit",
        "gate": (folder / MODEL / GATE).is_file(),
        "candidate": picked,
        "train": len(train),
        "validation": len(validation),
        "threshold": classifier.threshold,
        "kept": classifier.about.get("kept"),
    }
    return replace(result, extras={**result.extras, "nested": {**result.extras["nested"], "final": final}})


def mended(tuned: FineTuned, mend: Recalibration) -> FineTuned:
    """`tuned` with the recalibration in its head, so that its logits are the recalibrated ones."""
    if mend.rule == "none" or tuned.validation is None:
        return tuned
    with torch.no_grad():
        linear = tuned.model.head.linear
        linear.weight.mul_(mend.slope)
        linear.bias.mul_(mend.slope).add_(mend.intercept)
    return replace(tuned, validation=tuned.validation * mend.slope + mend.intercept)


def write_gate(model: Path, encoder: Encoder, material: Material, train: np.ndarray, validation: np.ndarray) -> bool:
    """Write the gate for unusual records of `encoder` into its folder; whether there are enough records for one."""
    if len(validation) < fewest(ALARM_RATE):
        return False
    try:
        learned, held = (embedded(encoder, material, rows) for rows in (train, validation))
        save_gate(model, fit_gate(learned, held, ALARM_RATE), encoder.fingerprint)
    except EvaluationError:
        return False  # all embeddings equal: nothing is near or far
    return True


def embedded(encoder: Encoder, material: Material, rows: np.ndarray, batch: int = 64) -> np.ndarray:
    """float32 (n, d) of these rows."""
    inputs = material.records.take(rows.tolist())
    parts = [
        encoder(torch.stack([inputs[i] for i in range(start, min(start + batch, len(inputs)))])).cpu()
        for start in range(0, len(inputs), batch)
    ]
    return torch.cat(parts).numpy()


def figure_lines(result: Result) -> str:
    """The pooled headline figures as a Markdown list, and how often gates of the folds gave a false alarm."""
    from medfm.reporting.nested import alarms_text
    from medfm.reporting.words import figure, word

    lines = []
    for e in result.summary.headline:
        if e.value is not None:
            ends = "" if e.low is None or e.high is None else f" ({figure(e.low)} to {figure(e.high)})"
            lines.append(f"- {word(e.metric).title}: {figure(e.value)}{ends}")
    measured = result.extras.get("nested", {}).get("false_alarms")
    if measured is not None:
        lines.append(
            f"- Gate for unusual records, where one is in this folder: those of the outer folds called {alarms_text(measured)}"
        )
    return chr(10).join(lines)


def _card_lines(result: Result, outcomes: Sequence[FoldOutcome], picked: str, mend: Recalibration, count: int) -> str:
    votes = sum(o.chosen["candidate"] == picked for o in outcomes)
    scaled = (
        "" if mend.rule == "none" else f" Its probabilities are recalibrated ({mend.rule}, slope {mend.slope:.3f})."
    )
    return f"""
## What stands for it

This very model was tested on nobody: all patients of the cohort are in it. What stands for it are the pooled
out-of-fold figures of the nested cross-validation around it ({count} outer folds, every patient tested by models that
never saw them), with {100 * result.protocol.statistics.level:g} % intervals over patients:

{figure_lines(result)}

They belong to the procedure, selection included. `{picked}` was chosen in {votes} of {count} outer folds, and was
trained once more on all patients, some of whom only chose epoch, threshold and recalibration.{scaled}
"""
