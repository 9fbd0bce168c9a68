"""Nested cross-validation of fine-tuning: what is chosen is chosen inside, every patient is tested outside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medfm.core.errors import ConfigError, EvaluationError, TrainingError
from medfm.core.files import make_folder, write_json
from medfm.core.progress import ProgressMaker, Silent
from medfm.evaluation.predictions import TaskKind
from medfm.evaluation.protocol import Protocol, protocol_of
from medfm.evaluation.protocol_nested import NestedFineTune
from medfm.evaluation.target import labelled, make_target
from medfm.workflows.before_evaluation import check_cohort, target_names
from medfm.workflows.finetune import TRAINING, Describe, FinetuneRun, changed, load_finetune_recipe
from medfm.workflows.finetune_verdict import NESTED as PROTOCOL
from medfm.workflows.finetune_verdict import check_settings

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.encoders.encoder import Encoder
    from medfm.evaluation.nested import FoldOutcome
    from medfm.training.finetune_config import FinetuneRecipe

PLAN = "plan.json"
_KINDS = ("kfold", "balanced_kfold", "leave_one_site_out")


@dataclass(frozen=True)
class NestedPlan:
    """What will be trained: the protocol, one recipe per candidate, and how many trainings that makes."""

    protocol: Protocol
    recipes: tuple[FinetuneRecipe, ...]

    @property
    def method(self) -> NestedFineTune:
        """Of the protocol."""
        assert isinstance(self.protocol.method, NestedFineTune)
        return self.protocol.method

    @property
    def by_site(self) -> bool:
        """Whether every site is an outer fold."""
        return self.protocol.scheme.kind == "leave_one_site_out"

    @property
    def per_fold(self) -> int:
        """Trainings of one outer fold."""
        return len(self.method.candidates) * self.method.inner_trained

    @property
    def inside(self) -> int:
        """Trainings of the outer folds; of one site where the sites are the folds."""
        scheme = self.protocol.scheme
        return self.per_fold * (1 if self.by_site else scheme.folds * scheme.repeats)

    def digest(self) -> str:
        """SHA-256 of the protocol; a recipe in a file counts by its name, wherever the file lies."""
        method = self.method.model_copy(update={"candidates": tuple(recipe.name for recipe in self.recipes)})
        return self.protocol.model_copy(update={"method": method}).digest()

    def __str__(self) -> str:
        scheme, method = self.protocol.scheme, self.method
        final = method.product == "refit"
        epochs = ", ".join(f"{r.name} ({r.epochs} epochs at most)" for r in self.recipes)
        times = f" x {scheme.repeats} repeats" if scheme.repeats > 1 and not self.by_site else ""
        parts = (
            f"{method.inner_trained} of {method.inner_folds} inner parts"
            if method.chooses
            else "all that is not tested"
        )
        folds = "every site as outer fold" if self.by_site else f"{scheme.folds} outer folds"
        count = f"{self.inside} trainings for each site" if self.by_site else f"{self.inside + final} trainings"
        last = {
            "refit": ", and 1 for the final model",
            "ensemble": "; the final model is the ensemble of the fold models",
            "soup": f"; the final model is the {method.soup} soup of the fold models",
        }
        return (
            f"{count}: {folds}{times} x {len(self.recipes)} candidates x "
            f"{parts}{last.get(method.product, '')}\n"
            f"candidates: {epochs}"
        )


def nested_plan(protocol: str | Protocol = PROTOCOL, overrides: Sequence[str] = (), device: str = "auto") -> NestedPlan:
    """The plan of a protocol of nested cross-validation, every setting checked.

    Raises:
        ConfigError: The protocol is of another method, is not by patient, or a recipe is wrong.
    """
    plan = protocol_of(protocol, ())
    if not isinstance(plan.method, NestedFineTune):
        raise ConfigError(
            f"The protocol '{plan.id}' is of the method '{plan.method.kind}', not 'nested_finetune'.", expected=PROTOCOL
        )
    check_settings(overrides, plan)
    plan = protocol_of(plan, overrides)
    assert isinstance(plan.method, NestedFineTune)
    if not plan.scheme.group_by_patient or plan.scheme.kind not in _KINDS:
        raise ConfigError(
            "Nested cross-validation is by patient, in k folds or with every site as a fold.",
            where="scheme",
            fix="--set scheme.kind=kfold --set scheme.group_by_patient=true",
        )
    recipes = [load_finetune_recipe(name) for name in plan.method.candidates]
    if device != "auto":
        recipes = [changed(r, [f"machine.accelerator={'cpu' if device == 'cpu' else 'cuda'}"]) for r in recipes]
    if any(r.objective.ordinal for r in recipes) and plan.method.recalibration != "none":
        raise ConfigError(
            "Recalibration is not for grades with ordered thresholds.", fix="--set method.recalibration=none"
        )
    waiting = [r.name for r in recipes if r.selection.keep == "best" or r.selection.patience]
    if not plan.method.chooses and waiting:
        raise ConfigError(
            f"No patients are set aside inside, but the recipe '{waiting[0]}' chooses its epoch on some.",
            where="method.inner_folds",
            expected="a recipe that keeps its last epoch, such as bpd-progressive@1",
            fix="--set method.inner_folds=4",
        )
    return NestedPlan(plan, tuple(recipes))


def nested_finetune(
    encoder: Encoder | str | Path,
    cohort: Cohort,
    target: str | Sequence[str] | None = None,
    protocol: str | Protocol | NestedPlan = PROTOCOL,
    out: str | Path = "nested",
    *,
    beside: Encoder | str | Path | Sequence[Encoder | str | Path] | None = None,
    task: Literal["auto"] | TaskKind = "auto",
    positive: str | None = None,
    allow: Sequence[str] = (),
    drop_unlabelled: bool = False,
    overrides: Sequence[str] = (),
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    name: str = "",
    embed_settings: Mapping[str, Any] | None = None,
    progress: ProgressMaker | None = None,
    label_set: str | None = None,
    map_class: Mapping[str, str] | None = None,
    describe: Describe | None = None,
) -> FinetuneRun:
    """Judge fine-tuning of `encoder` on `cohort` by nested cross-validation, and train a final model.

    `out` becomes a result folder of out-of-fold predictions; in it lie ``model`` (the final one) and ``training``
    (a folder per training, with its log). A column ``split`` is not looked at: every patient is tested once per repeat.

    Args:
        encoder: An encoder, its id, or a folder; it is not changed.
        cohort: Records with labels and patients.
        target: Label column, or a list of 0/1 columns; the cohort's own when ``None``.
        protocol: A protocol of nested cross-validation, or a plan of :func:`nested_plan`.
        out: The folder to write.
        beside: Another encoder, or several, whose probes are compared on the same folds.
        task: Kind of task.
        positive: Positive class of a binary task.
        allow: Codes of checks that may fail; they are stamped on the result.
        drop_unlabelled: Leave out records without a label.
        overrides: ``KEY=VALUE`` changes of the protocol.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        resume: Go on with the run in `out`; finished trainings are not done again.
        overwrite: Replace an earlier run in `out`.
        name: What people call the result.
        embed_settings: Of the embedding runs.
        progress: Makes the progress displays.
        label_set: Label set of the knowledge that the classes are named by, for the zero-shot reading.
        map_class: Class -> class of the knowledge, for the zero-shot reading.
        describe: Writes what describes the run into the folder once it is this run's.

    Raises:
        ChecksFailedError: A check failed whose code is not in `allow`.
        ConfigError: A setting is wrong, or a recipe does not fit.
        EvaluationError: The folds are impossible: too few patients, a patient with two classes.
        TrainingError: A folder in use, another run in it, a loss that is not finite.
        KeyboardInterrupt: After Ctrl-C; what is trained is kept, and `resume` goes on.
    """
    from medfm.encoders.load import load_encoder
    from medfm.evaluation.nested import run_fold
    from medfm.training.record_tensors import load_record_tensors
    from medfm.workflows.embed import check_modality, embed
    from medfm.workflows.finetune_names import check_names, with_names
    from medfm.workflows.finetune_output import claim_folder, nothing_left, save_into
    from medfm.workflows.nested_fit import JobFitter, Material
    from medfm.workflows.nested_folds import folds_of, patients_of, split_note
    from medfm.workflows.nested_members import exporter, final_from_folds, forget_others
    from medfm.workflows.nested_output import final_model, nested_result, rivals, tested_parts
    from medfm.workflows.nested_shipped import shipped
    from medfm.workflows.nested_training import shown_training
    from medfm.workflows.participants import with_participants

    plan = protocol if isinstance(protocol, NestedPlan) else nested_plan(protocol, overrides, device)
    shown: ProgressMaker = progress if progress is not None else Silent
    columns, asked = target_names(cohort, target), cohort
    notes = []
    if drop_unlabelled:
        kept = labelled(cohort, columns)
        notes += [f"{len(cohort) - len(kept)} records without a label are left out."] if len(kept) < len(cohort) else []
        cohort = kept
    cohort = with_names(cohort, label_set, map_class)
    truth = make_target(cohort, columns, task, positive=positive)
    check_names(cohort, truth, asked=label_set is not None or bool(map_class))
    folds_of(cohort, truth, plan)  # before any work
    loaded, *others = _different(
        [load_encoder(e, device=device) if isinstance(e, (str, Path)) else e for e in (encoder, *_several(beside))]
    )
    folder = claim_folder(out, resume, overwrite)
    settings = dict(embed_settings or {})
    found = []
    with nothing_left(folder):
        for one in (loaded, *others):
            check_modality(one, cohort)
            found.append((one, embed(one, cohort, progress=shown, **settings)))
        before = found[0][1]
        findings = check_cohort(cohort, columns, truth.task, plan.protocol, before, allow)
    # Every encoder is judged on the same records, so that the folds are the same.
    readable = np.all([e.rows(cohort.record_ids) >= 0 for _, e in found], axis=0)
    lost = len(cohort) - int(readable.sum())
    notes += [f"{lost} records could not be read and are left out."] if lost else []
    cohort = cohort.subset(readable)
    truth = make_target(cohort, columns, truth.task, positive=positive)
    patients = patients_of(cohort)
    folds, said = folds_of(cohort, truth, plan)
    said += split_note(cohort)
    memory = max(recipe.machine.memory_mb for recipe in plan.recipes)
    records = load_record_tensors(cohort, loaded.preprocess, memory, shown)
    if records.failures:
        raise EvaluationError(
            "A record that was embedded cannot be read now.", where=records.failures[0][0], fix="run it again"
        )
    identity = {
        "protocol": plan.digest(),
        "recipes": [recipe.procedure() for recipe in plan.recipes],
        "cohort": cohort.digest(),
        "target": columns if isinstance(columns, str) else "+".join(columns),
        "classes": list(truth.classes),
        "encoder": loaded.fingerprint,
        "records": len(cohort),
        "content": records.digest(),
    }
    _same_plan(folder, identity, resume, {"protocol": plan.protocol.digest()})
    if describe is not None:
        describe(folder)
    vectors = before.values[before.rows(cohort.record_ids)]
    material = Material(loaded, cohort.modality, truth, records, vectors, identity)
    keep = exporter(material, cohort, plan, device)
    fit = JobFitter(material, plan.recipes, folder / TRAINING, shown, plan.per_fold * len(folds), keep)
    outcomes: list[FoldOutcome] = []
    for outer in folds:
        outcomes.append(run_fold(outer, truth, patients, plan.method, fit))
        forget_others(outcomes[-1], folder / TRAINING, plan.method)
    compared = rivals(found, cohort, columns, truth, plan.protocol, shown)
    result = nested_result(outcomes, before, cohort, columns, truth, plan, findings, [*said, *notes], compared, shown)
    if plan.method.product == "refit":
        result = final_model(result, outcomes, material, cohort, plan, folder, shown, device)
    elif plan.method.common:
        result = final_from_folds(result, outcomes, material, cohort, plan, folder, device)
    drawn = shown_training(folder / TRAINING, outcomes, plan, result.extras["nested"].get("final"))
    result = replace(result, extras={**result.extras, "nested": {**result.extras["nested"], "training": drawn}})
    result = shipped(result, outcomes, material, cohort, plan, folder, device, settings, shown)
    result = replace(
        result, config={**result.config, "drop_unlabelled": drop_unlabelled, "allow": sorted(allow)}, name=name
    )
    save_into(with_participants(result, asked, cohort, truth, tested_parts(folds, len(cohort))), folder)
    return FinetuneRun(result, folder, len(before.failures))


def _several(beside: Encoder | str | Path | Sequence[Encoder | str | Path] | None) -> tuple[Encoder | str | Path, ...]:
    if beside is None:
        return ()
    return tuple(beside) if isinstance(beside, Sequence) and not isinstance(beside, str) else (beside,)


def _different(encoders: list[Encoder]) -> list[Encoder]:
    """The encoders as they are; an encoder beside itself would count twice in the correction over encoders.

    Raises:
        ConfigError: Two of them are the same: weights, architecture and preprocessing.
    """
    seen: set[tuple[str, str]] = set()
    for one in encoders:
        key = (one.fingerprint, one.preprocess.digest)
        if key in seen:
            raise ConfigError(
                f"The encoder '{one.id}' is named twice.",
                where="--beside",
                expected="encoders other than the one that is fine-tuned, each once",
                fix="leave it out: the untouched encoder is compared anyway",
            )
        seen.add(key)
    return encoders


def _same_plan(folder: Path, identity: dict[str, Any], resume: bool, earlier: Mapping[str, Any]) -> None:
    """Write the plan, or compare it with the one there; `earlier` is how an earlier version wrote some entries."""
    from medfm.training.checkpoint import check_same_run

    path = folder / TRAINING / PLAN
    if resume and path.is_file():
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise TrainingError(
                "The plan of the run is damaged.", where=str(path), fix="start anew with --overwrite"
            ) from error
        if isinstance(saved, dict):
            identity.update({key: value for key, value in earlier.items() if saved.get(key) == value})
        check_same_run(saved, json.loads(json.dumps(identity)), str(path))
        return
    if resume and any(folder.iterdir()):
        raise TrainingError(
            "The output folder holds another kind of run, which cannot be gone on with here.",
            where=str(folder),
            fix="choose another folder, or --overwrite",
        )
    make_folder(folder / TRAINING)
    write_json(path, identity)
